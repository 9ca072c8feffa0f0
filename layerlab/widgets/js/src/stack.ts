// The stack of layers: one row a step, in the order of the Dockerfile. Rows are kept and changed, so that nothing
// flickers.
import { h, span, verdict } from "./dom.ts";
import { barWidth } from "./pure.ts";
import type { Step } from "./shapes.ts";

type Row = ReturnType<typeof createRow>;

function createRow() {
  const fill = span("ll-bar-fill");
  const parts = {
    number: h("span", { class: "ll-number", "aria-hidden": "true" }),
    code: h("code", { class: "ll-instruction" }),
    why: span("ll-why"),
    verdict: span("ll-cell-verdict"),
    bar: h("span", { class: "ll-bar", "aria-hidden": "true" }, fill),
    fill,
    size: span("ll-size"),
    seconds: span("ll-seconds"),
  };
  const item = h(
    "li",
    { class: "ll-step" },
    parts.number,
    span("ll-what", parts.code, parts.why),
    parts.verdict,
    span("ll-cell-size", parts.size, parts.bar),
    parts.seconds,
  );
  return { item, parts, key: "" };
}

function fillRow(row: Row, step: Step, largest: number): void {
  const key = JSON.stringify([step, largest]);
  if (row.key === key) return;
  row.key = key;
  const { item, parts } = row;
  item.dataset.verdict = step.verdict;
  item.classList.toggle("ll-no-layer", !step.layer);
  parts.number.textContent = String(step.number);
  parts.code.textContent = step.instruction;
  parts.code.title = step.instruction;
  parts.why.textContent = step.why;
  parts.why.hidden = !step.why;
  parts.verdict.replaceChildren(verdict(step));
  parts.size.textContent = step.size || (step.layer ? "" : "no layer");
  parts.bar.hidden = !step.bytes;
  parts.fill.style.width = `${barWidth(step.bytes, largest)}%`;
  parts.seconds.textContent = step.seconds;
}

export function createStack(label: string) {
  const list = h("ol", { class: "ll-stack", role: "list", "aria-label": label });
  let rows: Row[] = [];
  return {
    list,
    draw(steps: readonly Step[]): void {
      const largest = Math.max(0, ...steps.map((step) => step.bytes));
      rows = steps.map((step, number) => {
        const row = rows[number] ?? createRow();
        fillRow(row, step, largest);
        return row;
      });
      if (list.children.length !== rows.length) list.replaceChildren(...rows.map((row) => row.item));
    },
  };
}
