// What stands around the lines of a round of golf: levels, the tray, what each edit costs, the score.
import { h, span } from "./dom.ts";
import { buttonOf } from "./golf-line.ts";
import type { Model } from "./model.ts";
import { putIn } from "./pure.ts";
import type { GolfLine, GolfMessage, GolfState } from "./shapes.ts";

export type GolfModel = Model<GolfState, GolfMessage>;

// The round as it is on this page: what was moved here and the kernel has not answered yet counts, or a quick second
// move would undo the first.
export interface Round {
  model: GolfModel;
  lines: () => GolfLine[];
  texts: () => string[];
  play: (texts: string[]) => void;
  // Whether the kernel has answered the last move.
  settled: () => boolean;
  // What else the kernel is asked for; moves that it has not answered are forgotten with it.
  ask: (message: GolfMessage) => void;
}

const textsOf = (model: GolfModel) => model.get("lines").map((line) => line.text);
const unknown = (text: string): GolfLine => ({ text, movable: true, spare: false, seconds: "", share: 0, costs: [] });

export function createRound(model: GolfModel, changed: () => void): Round {
  let wanted: string[] | null = null;
  const settled = () => {
    if (wanted && wanted.join("\n") === textsOf(model).join("\n")) wanted = null;
    return wanted === null;
  };
  return {
    model,
    settled,
    texts: () => wanted ?? textsOf(model),
    lines() {
      const known = new Map(model.get("lines").map((line) => [line.text, line]));
      return (wanted ?? textsOf(model)).map((text) => known.get(text) ?? unknown(text));
    },
    play(texts) {
      wanted = texts;
      model.send({ type: "play", lines: texts });
      changed();
    },
    ask(message) {
      wanted = null;
      model.send(message);
    },
  };
}

export function editsOf(model: GolfModel): HTMLElement {
  const rows = model
    .get("edits")
    .map(({ title, times, seconds, total }, index) =>
      h(
        "tr",
        {},
        h("th", { scope: "row" }, span("ll-number", String(index + 1)), ` ${title}`),
        h("td", {}, times),
        h("td", { class: "ll-sum" }, seconds),
        h("td", { class: "ll-sum" }, total),
      ),
    );
  return h(
    "table",
    { class: "ll-table ll-golf-edits" },
    h("caption", { class: "ll-hidden" }, "What each edit costs"),
    h(
      "thead",
      {},
      h("tr", {}, ...["Edit", "How often", "Each time", "Together"].map((text) => h("th", { scope: "col" }, text))),
    ),
    h("tbody", {}, ...rows),
  );
}

export function scoreOf(model: GolfModel): string {
  const { total, par, at_par, broken, line } = model.get("score");
  if (broken) return `✕ ${line ? `Line ${line}: ` : ""}${broken}`;
  return at_par ? `★ ${total}: par. No order costs less.` : `${total}. Par is ${par}.`;
}

// The choice of a level stays one element: it keeps the focus while levels are gone through.
export function createLevels({ model, ask }: Round): { element: HTMLSelectElement; draw: () => void } {
  const element = h("select", {
    class: "ll-select",
    "aria-label": "Level",
    onchange: () => ask({ type: "level", level: element.value }),
  });
  const draw = () => {
    const options = model
      .get("levels")
      .map(({ name, title, at_par }, index) =>
        h("option", { value: name }, `${index + 1}. ${title}${at_par ? " ★" : ""}`),
      );
    element.replaceChildren(...options);
    element.value = model.get("level");
  };
  return { element, draw };
}

// The lines as a text that can be typed in; it is played when it is left, or on Ctrl-Enter.
export function typedOf({ ask, texts }: Round): HTMLTextAreaElement {
  const area = h("textarea", {
    class: "ll-input ll-golf-text",
    "aria-label": "The lines as text",
    onchange: () => ask({ type: "typed", text: area.value }),
  });
  area.value = texts().join("\n");
  area.rows = texts().length + 2;
  area.spellcheck = false;
  area.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) ask({ type: "typed", text: area.value });
  });
  return area;
}

export function trayOf({ model, play, texts }: Round): HTMLElement | "" {
  const tray = model.get("tray").filter((spare) => !texts().includes(spare.text));
  if (!tray.length) return "";
  return h(
    "div",
    { class: "ll-golf-tray" },
    h("p", { class: "ll-hint" }, "Beside the Dockerfile:"),
    ...tray.map((spare) =>
      h(
        "p",
        { class: "ll-golf-line", "data-text": spare.text },
        h("code", {}, spare.text),
        buttonOf(`Put in: ${spare.text}`, "+", false, () => play(putIn(texts(), spare))),
      ),
    ),
  );
}
