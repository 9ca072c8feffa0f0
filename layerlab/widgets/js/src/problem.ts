// An error below the editor: where, what, what to do, and the end of what the failed step wrote.
import { h, sign, unique } from "./dom.ts";
import { placeOf } from "./pure.ts";
import type { Problem } from "./shapes.ts";

// While somebody types, each half word is an error: it is only told when the typing rests.
const REST = 600;

function partsOf(problem: Problem, dockerfile: string): (HTMLElement | "")[] {
  const place = placeOf(problem, dockerfile);
  return [
    h("p", { class: "ll-problem-message" }, sign("✕"), place ? h("strong", {}, `${place}: `) : null, problem.message),
    problem.remedy ? h("p", { class: "ll-problem-remedy" }, problem.remedy) : "",
    problem.log
      ? h("pre", { class: "ll-problem-log", tabindex: "0", "aria-label": "The end of the output" }, problem.log)
      : "",
  ];
}

export function createProblem() {
  const id = unique("problem");
  const element = h("div", { class: "ll-problem", role: "alert", id });
  let timer: number | undefined;
  let shown = "";
  const show = (problem: Problem, dockerfile: string) => {
    const key = JSON.stringify(problem);
    if (key === shown) return;
    shown = key;
    element.classList.toggle("ll-on", Boolean(problem.message));
    element.replaceChildren(...(problem.message ? partsOf(problem, dockerfile) : []));
  };
  return {
    element,
    id,
    draw(problem: Problem, dockerfile: string, { rest }: { rest: boolean }): void {
      clearTimeout(timer);
      if (rest && problem.message) timer = setTimeout(() => show(problem, dockerfile), REST);
      else show(problem, dockerfile);
    },
    stop: () => clearTimeout(timer),
  };
}
