// The elements of a Workbench, and how they stand to each other. What is in them is drawn by workbench.ts.
import { h, live, span, unique } from "./dom.ts";
import { createKeyChain } from "./key-chain.ts";
import { createProblem } from "./problem.ts";
import { createStack, POINT_HINT } from "./stack.ts";
import { createTabs } from "./tabs.ts";

const HINT =
  "Edits are saved as you type. Ctrl+Enter builds. In an editor, Tab indents: press Escape, then Tab, to leave it.";

// What a person can do beside typing.
export interface Actions {
  build: () => void;
  stop: () => void;
  openFile: (name: string) => void;
  chooseDockerfile: (name: string) => void;
}

export type Parts = ReturnType<typeof createParts>;

function createSelect(choose: (name: string) => void): HTMLSelectElement {
  const select = h("select", { class: "ll-select", onchange: () => choose(select.value) });
  return select;
}

// The names of a list, and the chosen one. A list that stays the same is left alone: it may be open.
export function fillSelect(select: HTMLSelectElement, names: readonly string[], chosen: string): void {
  const now = [...select.options].map((option) => option.value);
  if (now.join("\n") !== names.join("\n")) {
    select.replaceChildren(...names.map((name) => h("option", { value: name }, name)));
  }
  select.value = chosen;
}

function createLegend(): HTMLElement {
  const items = ["cached", "runs", "undecided"].map((verdict) => {
    const swatch = h("span", { class: `ll-swatch ll-forecast-${verdict}`, "aria-hidden": "true" });
    return span("ll-legend-item", swatch, verdict);
  });
  return h("p", { class: "ll-legend" }, "The bar beside a line is its verdict in the next build: ", ...items);
}

function createHead() {
  const about = h("p", { class: "ll-about" });
  const name = h("p", { class: "ll-name" });
  return { about, name, title: h("div", { class: "ll-title" }, name, about) };
}

function createButtons(actions: Actions) {
  return {
    build: h("button", { type: "button", class: "ll-button ll-primary", onclick: actions.build }, "Build"),
    halt: h("button", { type: "button", class: "ll-button", onclick: actions.stop }, "Stop"),
  };
}

function createEditors(actions: Actions) {
  const files = createSelect(actions.openFile);
  const dockerfiles = createSelect(actions.chooseDockerfile);
  const fileHost = h("div", { class: "ll-editor" });
  const dockerHost = h("div", { class: "ll-editor" });
  const pane = (label: string, select: HTMLElement, host: HTMLElement) =>
    h("div", { class: "ll-pane" }, h("label", { class: "ll-pane-head" }, h("span", {}, label), select), host);
  const editors = h(
    "div",
    { class: "ll-editors" },
    pane("File", files, fileHost),
    pane("Build with", dockerfiles, dockerHost),
  );
  return { files, dockerfiles, fileHost, dockerHost, editors };
}

function createPanels() {
  const notes = h("ul", { class: "ll-notes", role: "list", "aria-label": "Notes on this build" });
  const stack = createStack({
    label: "Build steps, newest on top",
    empty: "Build, and the layers of the image are stacked up here.",
    hint: POINT_HINT,
    scaled: true,
  });
  const log = h("pre", {
    class: "ll-log",
    tabindex: "0",
    role: "log",
    "aria-live": "off",
    "aria-label": "Output of the build",
  });
  const keys = createKeyChain();
  const past = h("div");
  const whatIf = h("div");
  const tabs = createTabs("What the build does", [
    ["Layers", h("div", {}, stack.element, notes)],
    ["What if", whatIf],
    ["Keys", keys.element],
    ["Builds", past],
    ["Log", log],
  ]);
  return { notes, stack, keys, log, past, whatIf, tabs };
}

export function createParts(actions: Actions) {
  const hint = h("p", { class: "ll-hint", id: unique("hint") }, HINT);
  const status = live("ll-status");
  const problem = createProblem();
  const { title, ...head } = createHead();
  const buttons = createButtons(actions);
  const { editors, ...panes } = createEditors(actions);
  const { tabs, ...panels } = createPanels();
  const root = h(
    "section",
    { class: "ll ll-workbench", "aria-label": "Workbench", "data-lm-suppress-shortcuts": "true" },
    h("div", { class: "ll-head" }, title, h("div", { class: "ll-actions" }, buttons.build, buttons.halt)),
    status,
    editors,
    problem.element,
    h("div", { class: "ll-foot" }, createLegend(), hint),
    tabs,
  );
  return { root, hint, status, problem, ...head, ...buttons, ...panes, ...panels };
}
