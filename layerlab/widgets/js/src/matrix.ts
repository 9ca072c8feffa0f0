// Tables of verdicts: the what-if matrix (edits × steps) and the history (steps × builds).
import { h, sign, span, verdict } from "./dom.ts";
import { bandsOf, nextCell, plural } from "./pure.ts";
import type { Cell, EditColumn, EditRow, Matrix, Past, PastColumn } from "./shapes.ts";

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

// A sign that can be pointed at: its step and its cause are told below the table.
function signCell(item: Cell, { number, instruction }: EditColumn): HTMLElement {
  const why = item.why ? `: ${item.why}` : "";
  const told = `${number}. ${instruction} — ${item.word}${why}`;
  const name = { type: "button", class: "ll-point", tabindex: "-1", title: told } as const;
  const button = h("button", name, sign(item.sign), span("ll-hidden", item.word));
  return h("td", { class: "ll-icon", "data-verdict": item.verdict }, button);
}

function editRow(row: EditRow, columns: readonly EditColumn[]): HTMLElement {
  return h(
    "tr",
    {},
    h("th", { scope: "row" }, h("code", { title: row.edit }, row.edit), row.new ? span("ll-tag", "new") : null),
    h(
      "td",
      { class: "ll-sum" },
      h("span", {}, row.runs ? plural(row.runs, "step", "steps") : "nothing"),
      row.cost ? span("ll-cost", row.cost) : null,
    ),
    ...row.cells.map((item, index) => signCell(item, columns[index] ?? NO_COLUMN)),
  );
}

const NO_COLUMN: EditColumn = { number: 0, instruction: "", line: 0, stage: "" };

// One cell for each stage, as wide as its steps; nothing where there is one stage only.
function stageBand(columns: readonly EditColumn[]): HTMLElement | null {
  const bands = bandsOf(columns.map(({ stage }) => stage));
  if (bands.length < 2) return null;
  const cells = bands.map(({ name, count }) =>
    h("th", { scope: "colgroup", colspan: count, class: "ll-band" }, `stage ${name}`),
  );
  return h("tr", {}, h("td", { colspan: 2 }), ...cells);
}

function headOf(columns: readonly EditColumn[], costs: boolean): HTMLElement {
  return h(
    "thead",
    {},
    stageBand(columns),
    h(
      "tr",
      {},
      h("th", { scope: "col", class: "ll-corner" }, "An edit of …"),
      h("th", { scope: "col", class: "ll-corner" }, costs ? "Runs; whole build → rebuild" : "Runs"),
      ...columns.map(({ number, instruction }) =>
        h(
          "th",
          { scope: "col", class: "ll-upright", title: instruction },
          h("code", {}, instruction),
          span("ll-number", String(number)),
        ),
      ),
    ),
  );
}

type Signs = HTMLButtonElement[][];

// The sign that a key leads to from another.
function nextSign(signs: Signs, from: HTMLButtonElement, key: string): HTMLButtonElement | undefined {
  const row = signs.findIndex((each) => each.includes(from));
  const column = signs[row]?.indexOf(from) ?? -1;
  const next = nextCell(key, row, column, signs.length, signs[0]?.length ?? 0);
  return next ? signs[next[0]]?.[next[1]] : undefined;
}

// Arrow keys go from sign to sign; what is pointed at is told in `told`.
function pointing(table: HTMLElement, told: HTMLElement): void {
  const rows = [...table.querySelectorAll("tbody tr")];
  const signs: Signs = rows.map((row) => [...row.querySelectorAll<HTMLButtonElement>(".ll-point")]);
  const show = ({ target }: Event) => {
    const pointed = target instanceof Element ? target.closest<HTMLButtonElement>(".ll-point") : null;
    if (pointed) told.textContent = pointed.title;
  };
  table.addEventListener("focusin", show);
  table.addEventListener("mouseover", show);
  table.addEventListener("keydown", (event) => {
    const from = event.target;
    const next = from instanceof HTMLButtonElement ? nextSign(signs, from, event.key) : undefined;
    if (!next) return;
    event.preventDefault();
    for (const each of signs.flat()) each.tabIndex = each === next ? 0 : -1;
    next.focus();
  });
  const first = signs[0]?.[0];
  if (first) first.tabIndex = 0;
}

export function drawMatrix(parent: HTMLElement, { columns, rows, note }: Matrix): void {
  if (!rows.length) {
    parent.replaceChildren(empty("The matrix appears here as soon as the Dockerfile can be read."));
    return;
  }
  const open = rows.flatMap(({ cells }) => cells).find(({ verdict }) => verdict === "undecided");
  const why = open ? `? undecided: it ${open.why}. ` : "";
  const told = h(
    "p",
    { class: "ll-told" },
    `${why}Point at a sign, or move to it with the arrow keys, for its step and cause.`,
  );
  const table = h(
    "table",
    { class: "ll-table ll-matrix" },
    h("caption", { class: "ll-hidden" }, "What an edit makes the next build run again"),
    headOf(
      columns,
      rows.some(({ cost }) => cost),
    ),
    h("tbody", {}, ...rows.map((row) => editRow(row, columns))),
  );
  pointing(table, told);
  const region = { class: "ll-scroll", tabindex: "0", role: "region", "aria-label": "What-if matrix" } as const;
  parent.replaceChildren(h("div", region, table), told, note ? h("p", { class: "ll-note" }, note) : "");
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
