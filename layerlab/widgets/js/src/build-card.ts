// One build: its stack as it falls and grows, what was predicted beside what happened, and the output folded away.
import { h, live, say } from "./dom.ts";
import { type Context, type Ended, listener, type Model } from "./model.ts";
import { createProblem } from "./problem.ts";
import type { BuildMessage, BuildState } from "./shapes.ts";
import { createStack, POINT_HINT, slabOf } from "./stack.ts";

type BuildModel = Model<BuildState, BuildMessage>;

// The output, folded. Whether it is open is kept in the model: Jupyter draws the card anew when the build ends.
function createOutput(model: BuildModel) {
  const text = h("pre", { class: "ll-log ll-printed", tabindex: "0", "aria-label": "Output of the build" });
  const element = h("details", { class: "ll-output" }, h("summary", {}, "As docker build prints it"), text);
  element.open = model.get("unfolded");
  element.addEventListener("toggle", () => model.set("unfolded", element.open));
  return { element, draw: () => say(text, model.get("printed")) };
}

function drawSteps(stack: ReturnType<typeof createStack>, model: BuildModel): void {
  const guesses = model.get("guesses");
  const slabs = model.get("steps").map((step) => {
    const guess = guesses[String(step.number)];
    return slabOf(step, guess && { text: guess.said, right: guess.right });
  });
  stack.draw(slabs);
}

function createParts(model: BuildModel) {
  const title = model.get("title");
  const parts = {
    status: live("ll-status"),
    score: h("p", { class: "ll-score" }),
    notes: h("ul", { class: "ll-notes", role: "list", "aria-label": "Notes on this build" }),
    problem: createProblem(),
    output: createOutput(model),
    stack: createStack({
      label: "Build steps, newest on top",
      empty: "The steps appear here as they run.",
      hint: POINT_HINT,
      scaled: true,
    }),
  };
  const label = title ? `Build of ${title}` : "Build";
  const section = h(
    "section",
    { class: "ll ll-build", "aria-label": label, "data-lm-suppress-shortcuts": "true" },
    title ? h("p", { class: "ll-name" }, title) : null,
    parts.status,
    parts.problem.element,
    parts.stack.element,
    parts.score,
    parts.notes,
    parts.output.element,
  );
  return { section, ...parts };
}

export function renderBuild({ model, el }: Context<BuildState, BuildMessage>): Ended {
  const { on, stop } = listener(model);
  const { section, status, score, notes, problem, output, stack } = createParts(model);
  el.append(section);

  const drawBusy = () => {
    const busy = model.get("busy");
    section.classList.toggle("ll-busy", busy);
    stack.busy(busy);
    score.textContent = model.get("score");
    score.hidden = !score.textContent;
    notes.replaceChildren(...model.get("notes").map((text) => h("li", {}, text)));
    problem.draw(model.get("problem"), "Dockerfile", { rest: false });
  };
  const draws = {
    "change:status": () => say(status, model.get("status")),
    "change:steps": () => drawSteps(stack, model),
    "change:guesses": () => drawSteps(stack, model),
    "change:busy": drawBusy,
    "change:printed": output.draw,
  } as const;
  for (const [event, draw] of Object.entries(draws)) {
    draw();
    on(event as keyof typeof draws, draw);
  }
  return () => {
    problem.stop();
    stop();
  };
}
