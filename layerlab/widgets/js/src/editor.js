// One CodeMirror editor. Its colours come from JupyterLab's variables, so each theme is right without a line of code for it.
import { defaultKeymap, history, historyKeymap, indentWithTab } from "@codemirror/commands";
import { bracketMatching, HighlightStyle, StreamLanguage, syntaxHighlighting } from "@codemirror/language";
import { dockerFile } from "@codemirror/legacy-modes/mode/dockerfile";
import { javascript, json, typescript } from "@codemirror/legacy-modes/mode/javascript";
import { Compartment, EditorState, RangeSet, StateEffect, StateField } from "@codemirror/state";
import { Decoration, drawSelection, EditorView, gutter, GutterMarker, highlightActiveLine, keymap, lineNumbers } from "@codemirror/view";
import { tags as t } from "@lezer/highlight";

import { modeOf, verdictsByLine } from "./pure.js";

const MODES = { dockerfile: dockerFile, javascript, typescript, json };

const highlight = HighlightStyle.define([
  { tag: [t.keyword, t.definitionKeyword, t.moduleKeyword], color: "var(--jp-mirror-editor-keyword-color, #00708f)", fontWeight: "600" },
  { tag: [t.string, t.special(t.string)], color: "var(--jp-mirror-editor-string-color, #a31515)" },
  { tag: t.comment, color: "var(--ll-soft)", fontStyle: "italic" },
  { tag: [t.number, t.bool, t.null], color: "var(--jp-mirror-editor-number-color, #067a3f)" },
]);

const theme = EditorView.theme({
  "&": { color: "var(--ll-text)", backgroundColor: "var(--ll-editor)", fontSize: "var(--jp-code-font-size, 13px)" },
  "&.cm-focused": { outline: "none" },
  ".cm-scroller": { fontFamily: "var(--jp-code-font-family, ui-monospace, monospace)", lineHeight: "1.55", height: "19em", overflow: "auto" },
  ".cm-content": { caretColor: "var(--jp-editor-cursor-color, var(--ll-text))", padding: "8px 0" },
  ".cm-cursor": { borderLeftColor: "var(--jp-editor-cursor-color, var(--ll-text))" },
  ".cm-gutters": { color: "var(--ll-soft)", backgroundColor: "transparent", border: "none" },
  ".cm-lineNumbers .cm-gutterElement": { padding: "0 8px 0 10px", minWidth: "2.4em" },
  ".cm-activeLine": { backgroundColor: "var(--ll-hover)" },
  "&.cm-focused > .cm-scroller > .cm-selectionLayer .cm-selectionBackground, .cm-selectionBackground": {
    backgroundColor: "var(--jp-editor-selected-focused-background, #b3d7ff)",
  },
});

const setBadLine = StateEffect.define();
const badLine = StateField.define({
  create: () => Decoration.none,
  update(marks, transaction) {
    marks = marks.map(transaction.changes);
    for (const effect of transaction.effects) {
      if (effect.is(setBadLine)) {
        const number = Math.min(effect.value, transaction.state.doc.lines);
        const line = number > 0 ? transaction.state.doc.line(number) : null;
        marks = line ? Decoration.set([Decoration.line({ class: "ll-bad-line" }).range(line.from)]) : Decoration.none;
      }
    }
    return marks;
  },
  provide: (field) => EditorView.decorations.from(field),
});

class VerdictMarker extends GutterMarker {
  constructor(verdict) {
    super();
    this.verdict = verdict;
    this.elementClass = `ll-forecast-${verdict}`;
  }
  eq(other) {
    return other.verdict === this.verdict;
  }
}

const setForecast = StateEffect.define();
const forecast = StateField.define({
  create: () => RangeSet.empty,
  update(marks, transaction) {
    marks = marks.map(transaction.changes);
    for (const effect of transaction.effects) {
      if (effect.is(setForecast)) {
        const { doc } = transaction.state;
        const ranges = [...verdictsByLine(effect.value, doc.lines)].map(([line, verdict]) => new VerdictMarker(verdict).range(doc.line(line).from));
        marks = RangeSet.of(ranges, true);
      }
    }
    return marks;
  },
});

// `label()` names the editor for screen readers, `hint` is the id of what explains its keys, `changed(text)` hears what a person types,
// `build()` and `save()` are keys.
export function createEditor(parent, { label, hint = "", changed, build = () => {}, save = () => {} }) {
  const language = new Compartment();
  const attributes = new Compartment();
  let described = "";
  let locked = false;
  const attributesNow = () => {
    const told = [described, hint].filter(Boolean).join(" ");
    const names = { "aria-label": label(), tabindex: "0", ...(told && { "aria-describedby": told }), ...(described && { "aria-invalid": "true" }), ...(locked && { "aria-readonly": "true" }) };
    return [EditorView.contentAttributes.of(names), EditorState.readOnly.of(locked)];
  };
  const keys = [
    { key: "Mod-Enter", run: () => (build(), true) },
    { key: "Mod-s", run: () => (save(), true), preventDefault: true },
  ];
  // A fresh state for each file: undo must not bring the text of another file back.
  const stateOf = (text, mode) =>
    EditorState.create({
      doc: text,
      extensions: [
        keymap.of([...keys, ...defaultKeymap, ...historyKeymap, indentWithTab]),
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
        language.of(MODES[mode] ? StreamLanguage.define(MODES[mode]) : []),
        attributes.of(attributesNow()),
        EditorView.updateListener.of((update) => {
          if (update.docChanged && !update.transactions.some((transaction) => transaction.isUserEvent("ll.remote"))) changed(update.state.doc.toString());
        }),
      ],
    });
  const view = new EditorView({ parent, state: stateOf("", "text") });
  return {
    // Another file.
    open: (name, text) => view.setState(stateOf(text, modeOf(name))),
    // The same file with another text, from elsewhere.
    replace(text) {
      if (view.state.doc.toString() === text) return;
      view.dispatch({ changes: { from: 0, to: view.state.doc.length, insert: text }, userEvent: "ll.remote" });
    },
    text: () => view.state.doc.toString(),
    lines: () => view.state.doc.lines,
    // Marks a line as wrong (0: none) and says which element tells why. `show` brings it into view, which typing must not do.
    markLine(line, describedBy, show = false) {
      described = line ? describedBy : "";
      const effects = [setBadLine.of(line), attributes.reconfigure(attributesNow())];
      if (line && show) effects.push(EditorView.scrollIntoView(view.state.doc.line(line).from, { y: "center" }));
      view.dispatch({ effects });
    },
    // Takes no more typing; what is in it can still be read and copied.
    lock() {
      locked = true;
      view.dispatch({ effects: attributes.reconfigure(attributesNow()) });
    },
    markVerdicts: (steps) => view.dispatch({ effects: setForecast.of(steps) }),
    destroy: () => view.destroy(),
  };
}
