// Predict, then see: a choice for each step, and afterwards the real verdict beside it.
import { h, keepingFocus, listener, say, verdict } from "./dom.js";

export function renderPrediction({ model, el }) {
  const { on, stop } = listener(model);
  const status = h("p", { class: "ll-status", role: "status", "aria-live": "polite" });
  const body = h("div");
  const chosen = new Map();
  const section = h("section", { class: "ll ll-prediction", "aria-label": "Prediction", tabindex: "-1", "data-lm-suppress-shortcuts": "true" }, h("p", { class: "ll-question" }, model.get("question")), body, status);
  el.append(section);

  const commit = () => model.send({ type: "commit", answers: Object.fromEntries(chosen) });
  const cellOf = (row) => {
    const cell = h("td", { class: "ll-cell ll-mine", "data-right": row.counts ? String(row.right) : null });
    if (row.counts) cell.append(h("span", { class: "ll-sign", "aria-hidden": "true" }, row.right ? "✓" : "✕"));
    cell.append(row.answer || "–");
    if (row.counts) cell.append(h("span", { class: "ll-hidden" }, row.right ? ", right" : ", wrong"));
    return cell;
  };
  const table = (head, rows) => h("table", { class: "ll-table ll-predict" }, h("thead", {}, h("tr", {}, ...head.map((text) => h("th", { scope: "col" }, text)))), h("tbody", {}, ...rows));
  const step = (number, instruction) => h("th", { scope: "row" }, h("span", { class: "ll-number" }, number), h("code", {}, instruction));

  const draw = () => {
    const results = model.get("results");
    const committed = model.get("committed");
    const given = model.get("given");
    if (results.length) {
      const rows = results.map((row, index) =>
        h(
          "tr",
          {},
          step(index + 1, row.instruction),
          committed ? cellOf(row) : null,
          h("td", { class: "ll-cell", "data-verdict": row.verdict }, verdict(row)),
          h("td", { class: "ll-cause" }, row.why),
        ),
      );
      body.replaceChildren(table(["Step", ...(committed ? ["Your answer"] : []), "What it did", "Cause"], rows));
      say(status, model.get("score"));
      return;
    }
    const rows = model.get("steps").map((instruction, index) => {
      const number = String(index + 1);
      const select = h(
        "select",
        { class: "ll-select", "aria-label": `Your answer for step ${number}: ${instruction}`, disabled: committed, onchange: () => (select.value ? chosen.set(number, select.value) : chosen.delete(number), drawButton()) },
        h("option", { value: "" }, "choose …"),
        ...model.get("choices").map((choice) => h("option", { value: choice }, choice)),
      );
      select.value = (committed ? given[number] : chosen.get(number)) ?? "";
      return h("tr", {}, step(number, instruction), h("td", { class: "ll-cell" }, select));
    });
    const button = h("button", { type: "button", class: "ll-button ll-primary", onclick: commit }, "Commit");
    const drawButton = () => {
      button.disabled = chosen.size === 0;
    };
    drawButton();
    body.replaceChildren(table(["Step", "Your answer"], rows), committed ? "" : h("div", { class: "ll-actions" }, button));
    say(status, committed ? "Committed. Now run the build." : "");
  };
  draw();
  const redraw = () => keepingFocus(section, draw);
  on("change:committed", redraw);
  on("change:results", redraw);
  return stop;
}
