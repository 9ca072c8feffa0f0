// Predict, then see: press the step where the cache breaks, and all that stands on it turns, too. The card of the build
// says afterwards who was right.
import { h, keepingFocus, live, say } from "./dom.ts";
import { type Context, type Ended, listener, type Model } from "./model.ts";
import { turned } from "./pure.ts";
import type { AskedStep, Cell, PredictionMessage, PredictionState } from "./shapes.ts";
import { createStack, type Slab } from "./stack.ts";

type PredictionModel = Model<PredictionState, PredictionMessage>;

const GESTURE =
  "Press the lowest step that will run: all above it in its stage turn, too. Press one that has turned to take it back. Nothing pressed: nothing runs.";

function slabOf(step: AskedStep, turned: Cell, open: boolean, runs: boolean): Slab {
  const face = runs ? turned : step;
  return {
    ...step,
    ...face,
    thin: step.verdict === "metadata",
    height: 32,
    note: "",
    size: "",
    seconds: "",
    pressed: step.asked && open ? runs : undefined,
    facts: [],
  };
}

function runsOf(model: PredictionModel): Set<number> {
  const given = Object.entries(model.get("given"));
  return new Set(given.filter(([, said]) => said === "runs").map(([number]) => Number(number)));
}

function stateOf(model: PredictionModel): string {
  const score = model.get("score");
  if (model.get("closed"))
    return score ? `${score}. The build below says it step by step.` : "The build has answered it.";
  return model.get("committed") ? "Committed. Now build." : "";
}

export function renderPrediction({ model, el }: Context<PredictionState, PredictionMessage>): Ended {
  const { on, stop } = listener(model);
  const view = new Prediction(model, el);
  view.draw();
  on("change:committed", () => view.redraw());
  on("change:closed", () => view.redraw());
  return stop;
}

class Prediction {
  private readonly model: PredictionModel;
  private runs: Set<number>;
  private readonly status = live("ll-status");
  private readonly gesture = h("p", { class: "ll-hint" }, GESTURE);
  private readonly commit: HTMLButtonElement;
  private readonly actions: HTMLElement;
  private readonly section: HTMLElement;
  private readonly stack = createStack({
    label: "Steps to predict, newest on top",
    empty: "There is no step to predict.",
    scaled: false,
    choose: (slab) => this.press(slab),
  });

  constructor(model: PredictionModel, el: HTMLElement) {
    this.model = model;
    this.runs = runsOf(model);
    const name = "ll-button ll-primary";
    const onclick = () => model.send({ type: "commit", runs: [...this.runs] });
    this.commit = h("button", { type: "button", class: name, onclick });
    this.actions = h("div", { class: "ll-actions" }, this.commit);
    this.section = h(
      "section",
      { class: "ll ll-prediction", "aria-label": "Prediction", tabindex: "-1", "data-lm-suppress-shortcuts": "true" },
      h("p", { class: "ll-question" }, model.get("question")),
      this.gesture,
      this.stack.element,
      this.actions,
      this.status,
    );
    el.append(this.section);
  }

  private press({ number, pressed }: Slab): void {
    if (pressed === undefined) return;
    this.runs = turned(this.model.get("steps"), this.runs, number);
    this.draw();
  }

  draw(): void {
    const { model } = this;
    const steps = model.get("steps");
    const open = !(model.get("committed") || model.get("closed"));
    const runs = open ? this.runs : runsOf(model);
    this.stack.draw(steps.map((step) => slabOf(step, model.get("turned"), open, runs.has(step.number))));
    // One card for each build: when that is there, the question alone is left of this one.
    this.stack.element.hidden = model.get("closed");
    this.gesture.hidden = !open;
    this.actions.hidden = !open;
    const asked = steps.filter((step) => step.asked).length;
    this.commit.textContent = runs.size ? `Commit: ${runs.size} of ${asked} run` : "Commit: nothing runs";
    say(this.status, stateOf(model));
  }

  redraw(): void {
    keepingFocus(this.section, () => this.draw());
  }
}
