// One CodeMirror editor. Its colours come from JupyterLab's variables, so each theme is right without code for it.
import { defaultKeymap, history, historyKeymap, indentWithTab } from "@codemirror/commands";
import {
  bracketMatching,
  HighlightStyle,
  StreamLanguage,
  type StreamParser,
  syntaxHighlighting,
} from "@codemirror/language";
import { dockerFile } from "@codemirror/legacy-modes/mode/dockerfile";
import { javascript, json, typescript } from "@codemirror/legacy-modes/mode/javascript";
import { Compartment, EditorState, type Extension, type StateEffect } from "@codemirror/state";
import {
  drawSelection,
  EditorView,
  gutter,
  highlightActiveLine,
  type KeyBinding,
  keymap,
  lineNumbers,
} from "@codemirror/view";
import { tags as t } from "@lezer/highlight";

import { badLine, forecast, setBadLine, setForecast } from "./editor-marks.ts";
import { type Mode, modeOf } from "./pure.ts";
import type { LineVerdict } from "./shapes.ts";

const MODES: { [mode in Mode]?: StreamParser<unknown> } = { dockerfile: dockerFile, javascript, typescript, json };
// Typing is told apart by it from what comes from elsewhere.
const REMOTE = "ll.remote";

const highlight = HighlightStyle.define([
  {
    tag: [t.keyword, t.definitionKeyword, t.moduleKeyword],
    color: "var(--jp-mirror-editor-keyword-color, #00708f)",
    fontWeight: "600",
  },
  { tag: [t.string, t.special(t.string)], color: "var(--jp-mirror-editor-string-color, #a31515)" },
  { tag: t.comment, color: "var(--ll-soft)", fontStyle: "italic" },
  { tag: [t.number, t.bool, t.null], color: "var(--jp-mirror-editor-number-color, #067a3f)" },
]);

const theme = EditorView.theme({
  "&": {
    color: "var(--ll-text)",
    backgroundColor: "var(--ll-editor)",
    fontSize: "var(--jp-code-font-size, 13px)",
  },
  "&.cm-focused": { outline: "none" },
  ".cm-scroller": {
    fontFamily: "var(--jp-code-font-family, ui-monospace, monospace)",
    lineHeight: "1.55",
    height: "19em",
    overflow: "auto",
  },
  ".cm-content": { caretColor: "var(--jp-editor-cursor-color, var(--ll-text))", padding: "8px 0" },
  ".cm-cursor": { borderLeftColor: "var(--jp-editor-cursor-color, var(--ll-text))" },
  ".cm-gutters": { color: "var(--ll-soft)", backgroundColor: "transparent", border: "none" },
  ".cm-lineNumbers .cm-gutterElement": { padding: "0 8px 0 10px", minWidth: "2.4em" },
  ".cm-activeLine": { backgroundColor: "var(--ll-hover)" },
  "&.cm-focused > .cm-scroller > .cm-selectionLayer .cm-selectionBackground, .cm-selectionBackground": {
    backgroundColor: "var(--jp-editor-selected-focused-background, #b3d7ff)",
  },
});

export interface EditorOptions {
  // Names the editor for screen readers.
  label: () => string;
  // The id of what explains its keys.
  hint?: string;
  // Hears what a person types.
  changed: (text: string) => void;
  // Two keys.
  build?: () => void;
  save?: () => void;
}

export interface Editor {
  // Another file.
  open(name: string, text: string): void;
  // The same file with another text, from elsewhere.
  replace(text: string): void;
  lines(): number;
  // Marks a line as wrong (0: none) and says which element tells why. `show` brings it into view, which typing must not
  // do.
  markLine(line: number, describedBy: string, show?: boolean): void;
  markVerdicts(steps: readonly LineVerdict[]): void;
  // Takes no more typing; what is in it can still be read and copied.
  lock(): void;
  destroy(): void;
}

// What changes beside the text: the id of the element that tells what is wrong with a line, and whether it is locked.
interface Condition {
  described: string;
  locked: boolean;
}

function attributesOf({ label, hint = "" }: EditorOptions, { described, locked }: Condition): Extension {
  const told = [described, hint].filter(Boolean).join(" ");
  const names = {
    "aria-label": label(),
    tabindex: "0",
    ...(told && { "aria-describedby": told }),
    ...(described && { "aria-invalid": "true" }),
    ...(locked && { "aria-readonly": "true" }),
  };
  return [EditorView.contentAttributes.of(names), EditorState.readOnly.of(locked)];
}

function keysOf({ build, save }: EditorOptions): KeyBinding[] {
  const run = (call?: () => void) => () => {
    call?.();
    return true;
  };
  return [
    { key: "Mod-Enter", run: run(build) },
    { key: "Mod-s", run: run(save), preventDefault: true },
  ];
}

function languageOf(mode: Mode): Extension {
  const parser = MODES[mode];
  return parser ? StreamLanguage.define(parser) : [];
}

// A fresh state for each file: undo must not bring the text of another file back.
function stateOf(text: string, mode: Mode, options: EditorOptions, attributes: Extension): EditorState {
  return EditorState.create({
    doc: text,
    extensions: [
      keymap.of([...keysOf(options), ...defaultKeymap, ...historyKeymap, indentWithTab]),
      gutter({ class: "ll-forecast", markers: (view) => view.state.field(forecast) }),
      lineNumbers(),
      history(),
      drawSelection(),
      highlightActiveLine(),
      bracketMatching(),
      EditorState.tabSize.of(2),
      EditorView.lineWrapping,
      syntaxHighlighting(highlight),
      theme,
      badLine,
      forecast,
      languageOf(mode),
      attributes,
      EditorView.updateListener.of(({ docChanged, transactions, state }) => {
        const remote = transactions.some((transaction) => transaction.isUserEvent(REMOTE));
        if (docChanged && !remote) options.changed(state.doc.toString());
      }),
    ],
  });
}

export function createEditor(parent: HTMLElement, options: EditorOptions): Editor {
  const compartment = new Compartment();
  const condition: Condition = { described: "", locked: false };
  const attributes = () => attributesOf(options, condition);
  const fresh = (text: string, mode: Mode) => stateOf(text, mode, options, compartment.of(attributes()));
  const view = new EditorView({ parent, state: fresh("", "text") });
  return {
    open: (name, text) => view.setState(fresh(text, modeOf(name))),
    replace(text) {
      if (view.state.doc.toString() === text) return;
      view.dispatch({ changes: { from: 0, to: view.state.doc.length, insert: text }, userEvent: REMOTE });
    },
    lines: () => view.state.doc.lines,
    markLine(line, describedBy, show = false) {
      condition.described = line ? describedBy : "";
      const effects: StateEffect<unknown>[] = [setBadLine.of(line), compartment.reconfigure(attributes())];
      if (line && show) effects.push(EditorView.scrollIntoView(view.state.doc.line(line).from, { y: "center" }));
      view.dispatch({ effects });
    },
    markVerdicts: (steps) => view.dispatch({ effects: setForecast.of(steps) }),
    lock() {
      condition.locked = true;
      view.dispatch({ effects: compartment.reconfigure(attributes()) });
    },
    destroy: () => view.destroy(),
  };
}
