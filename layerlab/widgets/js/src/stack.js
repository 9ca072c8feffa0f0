// The stack of layers: one row a step, in the order of the Dockerfile. Rows are kept and changed, so that nothing flickers.
import { h, verdict } from "./dom.js";
import { barWidth } from "./pure.js";

export function createStack(label) {
  const list = h("ol", { class: "ll-stack", role: "list", "aria-label": label });
  let rows = [];

  const row = () => {
    const parts = {
      number: h("span", { class: "ll-number", "aria-hidden": "true" }),
      code: h("code", { class: "ll-instruction" }),
      why: h("span", { class: "ll-why" }),
      verdict: h("span", { class: "ll-cell-verdict" }),
      bar: h("span", { class: "ll-bar", "aria-hidden": "true" }, h("span", { class: "ll-bar-fill" })),
      size: h("span", { class: "ll-size" }),
      seconds: h("span", { class: "ll-seconds" }),
    };
    const item = h(
      "li",
      { class: "ll-step" },
      parts.number,
      h("span", { class: "ll-what" }, parts.code, parts.why),
      parts.verdict,
      h("span", { class: "ll-cell-size" }, parts.size, parts.bar),
      parts.seconds,
    );
    return { item, parts, key: "" };
  };

  const fill = (entry, step, largest) => {
    const key = JSON.stringify([step, largest]);
    if (entry.key === key) return;
    entry.key = key;
    const { item, parts } = entry;
    item.dataset.verdict = step.verdict;
    item.classList.toggle("ll-no-layer", !step.layer);
    parts.number.textContent = step.number;
    parts.code.textContent = step.instruction;
    parts.code.title = step.instruction;
    parts.why.textContent = step.why;
    parts.why.hidden = !step.why;
    parts.verdict.replaceChildren(verdict(step));
    parts.size.textContent = step.size || (step.layer ? "" : "no layer");
    parts.bar.hidden = !step.bytes;
    parts.bar.firstChild.style.width = `${barWidth(step.bytes, largest)}%`;
    parts.seconds.textContent = step.seconds;
  };

  return {
    list,
    draw(steps) {
      const largest = Math.max(0, ...steps.map((step) => step.bytes));
      while (rows.length < steps.length) rows.push(row());
      rows = rows.slice(0, steps.length);
      steps.forEach((step, number) => fill(rows[number], step, largest));
      if (list.children.length !== rows.length) list.replaceChildren(...rows.map((entry) => entry.item));
    },
  };
}
