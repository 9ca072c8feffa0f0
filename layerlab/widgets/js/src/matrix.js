// Tables of verdicts: the what-if matrix (edits × steps) and the history (steps × builds).
import { h, verdict } from "./dom.js";
import { plural } from "./pure.js";

const scrolled = (label, table) => h("div", { class: "ll-scroll", tabindex: "0", role: "region", "aria-label": label }, table);

const cell = (item) => {
  if (!item) return h("td", { class: "ll-cell ll-none" }, h("span", { class: "ll-hidden" }, "not in this build"));
  return h("td", { class: "ll-cell", "data-verdict": item.verdict, title: item.why || item.word }, verdict(item));
};

export function drawMatrix(parent, data) {
  if (!data.rows.length) {
    parent.replaceChildren(h("p", { class: "ll-empty" }, "The matrix appears here as soon as the Dockerfile can be read."));
    return;
  }
  const head = h(
    "tr",
    {},
    h("th", { scope: "col", class: "ll-corner" }, "An edit of …"),
    ...data.columns.map((column) => h("th", { scope: "col" }, h("span", { class: "ll-number" }, `${column.number}`), h("code", {}, column.instruction))),
    h("th", { scope: "col", class: "ll-sum" }, "Runs"),
  );
  const rows = data.rows.map((row) =>
    h(
      "tr",
      {},
      h("th", { scope: "row" }, h("code", {}, row.edit), row.new ? h("span", { class: "ll-tag" }, "new") : null),
      ...row.cells.map(cell),
      h("td", { class: "ll-sum" }, row.runs ? plural(row.runs, "step", "steps") : "nothing"),
    ),
  );
  const table = h("table", { class: "ll-table ll-matrix" }, h("caption", { class: "ll-hidden" }, "What an edit makes the next build run again"), h("thead", {}, head), h("tbody", {}, ...rows));
  parent.replaceChildren(scrolled("What-if matrix", table), data.note ? h("p", { class: "ll-note" }, data.note) : "");
}

export function drawHistory(parent, data) {
  if (!data.rows.length) {
    parent.replaceChildren(h("p", { class: "ll-empty" }, "Each build adds a column here, up to six of them."));
    return;
  }
  const head = h(
    "tr",
    {},
    h("th", { scope: "col", class: "ll-corner" }, "Step"),
    ...data.columns.map((build) =>
      h(
        "th",
        { scope: "col" },
        h("span", { class: "ll-build-name" }, `Build ${build.number}`),
        h("span", { class: "ll-build-facts" }, build.outcome === "built" ? `${build.ran ? `${build.ran} ran` : "all cached"}, ${build.seconds}` : `${build.outcome}, ${build.seconds}`),
        h("span", { class: "ll-build-facts" }, build.dockerfile),
      ),
    ),
  );
  const rows = data.rows.map((row) => h("tr", {}, h("th", { scope: "row" }, h("code", { title: row.instruction }, row.instruction)), ...row.cells.map(cell)));
  const table = h("table", { class: "ll-table ll-history" }, h("caption", { class: "ll-hidden" }, "Builds side by side"), h("thead", {}, head), h("tbody", {}, ...rows));
  parent.replaceChildren(scrolled("Builds side by side", table));
}
