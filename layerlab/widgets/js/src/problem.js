// An error below the editor: where, what, what to do, and the end of what the failed step wrote.
import { h, unique } from "./dom.js";
import { placeOf } from "./pure.js";

// While somebody types, each half word is an error: it is only told when the typing rests.
const REST = 600;

export function createProblem() {
  const id = unique("problem");
  const element = h("div", { class: "ll-problem", role: "alert", id });
  let timer;
  let shown = "";
  const draw = (problem, dockerfile) => {
    const key = JSON.stringify(problem);
    if (key === shown) return;
    shown = key;
    element.classList.toggle("ll-on", Boolean(problem.message));
    if (!problem.message) {
      element.replaceChildren();
      return;
    }
    const place = placeOf(problem, dockerfile);
    element.replaceChildren(
      h("p", { class: "ll-problem-message" }, h("span", { class: "ll-sign", "aria-hidden": "true" }, "✕"), place ? h("strong", {}, `${place}: `) : null, problem.message),
      problem.remedy ? h("p", { class: "ll-problem-remedy" }, problem.remedy) : "",
      problem.log ? h("pre", { class: "ll-problem-log", tabindex: "0", "aria-label": "The end of the output" }, problem.log) : "",
    );
  };
  return {
    element,
    id,
    draw(problem, dockerfile, { rest = false } = {}) {
      clearTimeout(timer);
      if (rest && problem.message) timer = setTimeout(() => draw(problem, dockerfile), REST);
      else draw(problem, dockerfile);
    },
    stop: () => clearTimeout(timer),
  };
}
