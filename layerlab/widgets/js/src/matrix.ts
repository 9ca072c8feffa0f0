// Tables of verdicts: the what-if matrix (edits × steps) and the history (steps × builds).
import { h, span, verdict } from "./dom.ts";
import { plural } from "./pure.ts";
import type { Cell, EditRow, Matrix, Past, PastColumn } from "./shapes.ts";

const empty = (text: string) => h("p", { class: "ll-empty" }, text);

function cell(item: Cell | null): HTMLElement {
  if (!item) return h("td", { class: "ll-cell ll-none" }, span("ll-hidden", "not in this build"));
  return h("td", { class: "ll-cell", "data-verdict": item.verdict, title: item.why || item.word }, verdict(item));
}

// A table that a narrow page scrolls.
function table(
  region: string,
  name: string,
  caption: string,
  head: readonly HTMLElement[],
  rows: readonly HTMLElement[],
): HTMLElement {
  return h(
    "div",
    { class: "ll-scroll", tabindex: "0", role: "region", "aria-label": region },
    h(
      "table",
      { class: `ll-table ${name}` },
      h("caption", { class: "ll-hidden" }, caption),
      h("thead", {}, h("tr", {}, ...head)),
      h("tbody", {}, ...rows),
    ),
  );
}

function editRow(row: EditRow): HTMLElement {
  return h(
    "tr",
    {},
    h("th", { scope: "row" }, h("code", {}, row.edit), row.new ? span("ll-tag", "new") : null),
    ...row.cells.map(cell),
    h("td", { class: "ll-sum" }, row.runs ? plural(row.runs, "step", "steps") : "nothing"),
  );
}

export function drawMatrix(parent: HTMLElement, { columns, rows, note }: Matrix): void {
  if (!rows.length) {
    parent.replaceChildren(empty("The matrix appears here as soon as the Dockerfile can be read."));
    return;
  }
  const head = [
    h("th", { scope: "col", class: "ll-corner" }, "An edit of …"),
    ...columns.map(({ number, instruction }) =>
      h("th", { scope: "col" }, span("ll-number", String(number)), h("code", {}, instruction)),
    ),
    h("th", { scope: "col", class: "ll-sum" }, "Runs"),
  ];
  const caption = "What an edit makes the next build run again";
  parent.replaceChildren(
    table("What-if matrix", "ll-matrix", caption, head, rows.map(editRow)),
    note ? h("p", { class: "ll-note" }, note) : "",
  );
}

function factsOf({ outcome, ran, seconds }: PastColumn): string {
  if (outcome !== "built") return `${outcome}, ${seconds}`;
  return `${ran ? `${ran} ran` : "all cached"}, ${seconds}`;
}

export function drawHistory(parent: HTMLElement, { columns, rows }: Past): void {
  if (!rows.length) {
    parent.replaceChildren(empty("Each build adds a column here, up to six of them."));
    return;
  }
  const head = [
    h("th", { scope: "col", class: "ll-corner" }, "Step"),
    ...columns.map((build) =>
      h(
        "th",
        { scope: "col" },
        span("ll-build-name", `Build ${build.number}`),
        span("ll-build-facts", factsOf(build)),
        span("ll-build-facts", build.dockerfile),
      ),
    ),
  ];
  const lines = rows.map(({ instruction, cells }) =>
    h("tr", {}, h("th", { scope: "row" }, h("code", { title: instruction }, instruction)), ...cells.map(cell)),
  );
  parent.replaceChildren(table("Builds side by side", "ll-history", "Builds side by side", head, lines));
}
