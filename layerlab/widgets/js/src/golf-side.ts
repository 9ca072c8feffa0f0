// What stands around the lines of a round of golf: levels, the tray, what each edit costs, the score.
import { h } from "./dom.ts";
import { buttonOf } from "./golf-line.ts";
import type { Model } from "./model.ts";
import type { GolfMessage, GolfState } from "./shapes.ts";

export type GolfModel = Model<GolfState, GolfMessage>;

export const textsOf = (model: GolfModel) => model.get("lines").map((line) => line.text);

export function editsOf(model: GolfModel): HTMLElement {
  const rows = model
    .get("edits")
    .map(({ title, times, seconds, total }) =>
      h(
        "tr",
        {},
        h("th", { scope: "row" }, title),
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

export function levelsOf(model: GolfModel): HTMLElement {
  const select = h(
    "select",
    {
      class: "ll-select",
      "aria-label": "Level",
      onchange: () => model.send({ type: "level", level: select.value }),
    },
    ...model
      .get("levels")
      .map(({ name, title, at_par }, index) =>
        h("option", { value: name }, `${index + 1}. ${title}${at_par ? " ★" : ""}`),
      ),
  );
  select.value = model.get("level");
  return select;
}

// The lines as a text that can be typed in; it is played when it is left, or on Ctrl-Enter.
export function typedOf(model: GolfModel): HTMLTextAreaElement {
  const area = h("textarea", {
    class: "ll-input ll-golf-text",
    "aria-label": "The lines as text",
    onchange: () => model.send({ type: "typed", text: area.value }),
  });
  area.value = textsOf(model).join("\n");
  area.rows = model.get("lines").length + 2;
  area.spellcheck = false;
  area.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) model.send({ type: "typed", text: area.value });
  });
  return area;
}

export function trayOf(model: GolfModel, put: (text: string) => void): HTMLElement | "" {
  const tray = model.get("tray");
  if (!tray.length) return "";
  return h(
    "div",
    { class: "ll-golf-tray" },
    h("p", { class: "ll-hint" }, "Beside the Dockerfile:"),
    ...tray.map((text) =>
      h(
        "p",
        { class: "ll-golf-line" },
        h("code", {}, text),
        buttonOf(`Put in: ${text}`, "+", false, () => put(text)),
      ),
    ),
  );
}
