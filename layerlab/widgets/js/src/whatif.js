// The what-if matrix alone, below an editor whose text is planned as it is typed and never saved.
import { h, listener } from "./dom.js";
import { createEditor } from "./editor.js";
import { drawMatrix } from "./matrix.js";
import { createProblem } from "./problem.js";
import { lineOf } from "./pure.js";

const DEBOUNCE = 60;

export function renderWhatIf({ model, el }) {
  const { on, stop } = listener(model);
  const dockerfile = model.get("dockerfile");
  const whatIf = h("div");
  const problem = createProblem();
  let timer;
  let editor = null;
  const root = h("section", { class: "ll ll-whatif", "aria-label": "What if a file changes?", "data-lm-suppress-shortcuts": "true" });
  if (model.get("editable")) {
    const host = h("div", { class: "ll-editor ll-short" });
    root.append(
      h("div", { class: "ll-pane" }, h("p", { class: "ll-pane-head" }, h("span", {}, dockerfile), h("span", { class: "ll-tag" }, "a draft: nothing is saved or built")), host),
      problem.element,
      h("p", { class: "ll-hint" }, "In the editor, Tab indents: press Escape, then Tab, to leave it."),
    );
    editor = createEditor(host, {
      label: () => `Draft of ${dockerfile}`,
      changed(text) {
        model.set("dockerfile_text", text);
        clearTimeout(timer);
        timer = setTimeout(() => model.send({ type: "typed", text }), DEBOUNCE);
      },
    });
    editor.open(dockerfile, model.get("dockerfile_text"));
  } else {
    root.append(problem.element);
  }
  root.append(whatIf);
  el.append(root);

  const drawProblem = () => {
    const shown = model.get("plan_problem");
    if (editor) editor.markLine(lineOf(shown, dockerfile, editor.lines()), problem.id);
    problem.draw(shown, dockerfile, { rest: true });
  };
  const draw = () => drawMatrix(whatIf, model.get("what_if"));
  draw();
  drawProblem();
  on("change:what_if", draw);
  on("change:plan_problem", drawProblem);
  on("change:dockerfile_text", () => editor?.replace(model.get("dockerfile_text")));
  return () => {
    clearTimeout(timer);
    problem.stop();
    stop();
    editor?.destroy();
  };
}
