// The what-if matrix alone, below an editor whose text is planned as it is typed and never saved.
import { h, span } from "./dom.ts";
import { createEditor, type Editor } from "./editor.ts";
import { drawMatrix } from "./matrix.ts";
import { type Context, type Ended, listener, type Model } from "./model.ts";
import { createProblem } from "./problem.ts";
import { lineOf } from "./pure.ts";
import type { WhatIfMessage, WhatIfState } from "./shapes.ts";

const DEBOUNCE = 60;

// An editor of the model's draft, and the call that forgets what was typed and not yet sent.
function createDraft(model: Model<WhatIfState, WhatIfMessage>, host: HTMLElement): { editor: Editor; stop: Ended } {
  const dockerfile = model.get("dockerfile");
  let timer: number | undefined;
  const editor = createEditor(host, {
    label: () => `Draft of ${dockerfile}`,
    changed(text) {
      model.set("dockerfile_text", text);
      clearTimeout(timer);
      timer = setTimeout(() => model.send({ type: "typed", text }), DEBOUNCE);
    },
  });
  editor.open(dockerfile, model.get("dockerfile_text"));
  const stop = () => {
    clearTimeout(timer);
    editor.destroy();
  };
  return { editor, stop };
}

function paneOf(dockerfile: string, host: HTMLElement): HTMLElement {
  const tag = span("ll-tag", "a draft: nothing is saved or built");
  return h("div", { class: "ll-pane" }, h("p", { class: "ll-pane-head" }, h("span", {}, dockerfile), tag), host);
}

export function renderWhatIf({ model, el }: Context<WhatIfState, WhatIfMessage>): Ended {
  const { on, stop } = listener(model);
  const dockerfile = model.get("dockerfile");
  const editable = model.get("editable");
  const whatIf = h("div");
  const problem = createProblem();
  const host = h("div", { class: "ll-editor ll-short" });
  el.append(
    h(
      "section",
      { class: "ll ll-whatif", "aria-label": "What if a file changes?", "data-lm-suppress-shortcuts": "true" },
      editable && paneOf(dockerfile, host),
      problem.element,
      editable && h("p", { class: "ll-hint" }, "In the editor, Tab indents: press Escape, then Tab, to leave it."),
      whatIf,
    ),
  );
  const draft = editable ? createDraft(model, host) : null;

  const drawProblem = () => {
    const shown = model.get("plan_problem");
    draft?.editor.markLine(lineOf(shown, dockerfile, draft.editor.lines()), problem.id);
    problem.draw(shown, dockerfile, { rest: true });
  };
  const draw = () => drawMatrix(whatIf, model.get("what_if"));
  draw();
  drawProblem();
  on("change:what_if", draw);
  on("change:plan_problem", drawProblem);
  on("change:dockerfile_text", () => draft?.editor.replace(model.get("dockerfile_text")));
  return () => {
    problem.stop();
    stop();
    draft?.stop();
  };
}
