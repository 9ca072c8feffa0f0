// Predict, then see: a choice for each step, and afterwards the real verdict beside it.
import { h, keepingFocus, live, say, sign, span, verdict } from "./dom.ts";
import { type Context, type Ended, listener, type Model } from "./model.ts";
import type { Compared, PredictionMessage, PredictionState } from "./shapes.ts";

type PredictionModel = Model<PredictionState, PredictionMessage>;
// Answers by the number of the step, as they are chosen.
type Answers = Map<string, string>;

function tableOf(head: readonly string[], rows: readonly HTMLElement[]): HTMLElement {
  return h(
    "table",
    { class: "ll-table ll-predict" },
    h("thead", {}, h("tr", {}, ...head.map((text) => h("th", { scope: "col" }, text)))),
    h("tbody", {}, ...rows),
  );
}

function stepOf(number: number, instruction: string): HTMLElement {
  return h("th", { scope: "row" }, span("ll-number", String(number)), h("code", {}, instruction));
}

function answerOf(row: Compared): HTMLElement {
  return h(
    "td",
    { class: "ll-cell ll-mine", "data-right": row.counts ? String(row.right) : null },
    row.counts && sign(row.right ? "✓" : "✕"),
    row.answer || "–",
    row.counts && span("ll-hidden", row.right ? ", right" : ", wrong"),
  );
}

function resultsOf(results: readonly Compared[], committed: boolean): HTMLElement {
  const rows = results.map((row, index) =>
    h(
      "tr",
      {},
      stepOf(index + 1, row.instruction),
      committed && answerOf(row),
      h("td", { class: "ll-cell", "data-verdict": row.verdict }, verdict(row)),
      h("td", { class: "ll-cause" }, row.why),
    ),
  );
  return tableOf(["Step", ...(committed ? ["Your answer"] : []), "What it did", "Cause"], rows);
}

// The choice for one step; `changed` hears that another was made.
function choiceOf(
  model: PredictionModel,
  number: string,
  instruction: string,
  chosen: Answers,
  changed: () => void,
): HTMLElement {
  const committed = model.get("committed");
  const take = () => {
    if (select.value) chosen.set(number, select.value);
    else chosen.delete(number);
    changed();
  };
  const select = h(
    "select",
    {
      class: "ll-select",
      "aria-label": `Your answer for step ${number}: ${instruction}`,
      disabled: committed,
      onchange: take,
    },
    h("option", { value: "" }, "choose …"),
    ...model.get("choices").map((choice) => h("option", { value: choice }, choice)),
  );
  select.value = (committed ? model.get("given")[number] : chosen.get(number)) ?? "";
  return select;
}

// The question: choices, and a button that commits them.
function questionOf(model: PredictionModel, chosen: Answers): (HTMLElement | "")[] {
  const commit = () => model.send({ type: "commit", answers: Object.fromEntries(chosen) });
  const button = h("button", { type: "button", class: "ll-button ll-primary", onclick: commit }, "Commit");
  const drawButton = () => {
    button.disabled = chosen.size === 0;
  };
  const rows = model.get("steps").map((instruction, index) => {
    const choice = choiceOf(model, String(index + 1), instruction, chosen, drawButton);
    return h("tr", {}, stepOf(index + 1, instruction), h("td", { class: "ll-cell" }, choice));
  });
  drawButton();
  const actions = model.get("committed") ? "" : h("div", { class: "ll-actions" }, button);
  return [tableOf(["Step", "Your answer"], rows), actions];
}

export function renderPrediction({ model, el }: Context<PredictionState, PredictionMessage>): Ended {
  const { on, stop } = listener(model);
  const status = live("ll-status");
  const body = h("div");
  const chosen: Answers = new Map();
  const section = h(
    "section",
    {
      class: "ll ll-prediction",
      "aria-label": "Prediction",
      tabindex: "-1",
      "data-lm-suppress-shortcuts": "true",
    },
    h("p", { class: "ll-question" }, model.get("question")),
    body,
    status,
  );
  el.append(section);

  const draw = () => {
    const results = model.get("results");
    const committed = model.get("committed");
    if (results.length) {
      body.replaceChildren(resultsOf(results, committed));
      say(status, model.get("score"));
    } else {
      body.replaceChildren(...questionOf(model, chosen));
      say(status, committed ? "Committed. Now run the build." : "");
    }
  };
  draw();
  const redraw = () => keepingFocus(section, draw);
  on("change:committed", redraw);
  on("change:results", redraw);
  return stop;
}
