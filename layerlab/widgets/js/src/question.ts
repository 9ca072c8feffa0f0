// One question: choices or a number, committed before the answer is shown.
import { h, keepingFocus, live, say, unique } from "./dom.ts";
import { type Context, type Ended, listener } from "./model.ts";
import type { QuestionMessage, QuestionState, Revealed } from "./shapes.ts";

// What one drawing of a question needs of the model; `mine` is what was chosen and not committed yet.
interface Shown {
  result: Revealed;
  done: boolean;
  committed: boolean;
  given: string;
  mine: string;
  chosen: (value: string) => void;
}

function rightOf(choice: string, { result, done, committed, given }: Shown): string | null {
  if (done && choice === result.answer) return "true";
  return done && committed && choice === given ? "false" : null;
}

function choiceOf(choice: string, group: string, shown: Shown): HTMLElement {
  const { done, committed, given, mine, chosen } = shown;
  const input = h("input", {
    type: "radio",
    name: group,
    value: choice,
    disabled: committed || done,
    onchange: () => chosen(choice),
  });
  input.checked = (committed ? given : mine) === choice;
  return h("label", { class: "ll-choice", "data-right": rightOf(choice, shown) }, input, h("span", {}, choice));
}

function numberOf(unit: string, { done, committed, given, mine, chosen }: Shown): HTMLElement {
  const input = h("input", {
    type: "text",
    inputmode: "decimal",
    class: "ll-input ll-numeric",
    "aria-label": `Your answer${unit ? ` in ${unit}` : ""}`,
    disabled: committed || done,
    oninput: () => chosen(input.value.trim()),
  });
  input.value = committed ? given : mine;
  return h("p", { class: "ll-number-answer" }, input, unit);
}

function statusOf({ result, done, committed }: Shown): string {
  if (!done) return committed ? "Committed. Now find out." : "";
  const verdict = result.right ? "✓ Right. " : "✕ Not quite. ";
  // A reason stands below the cell that asked for it; here the choices are marked.
  if (!result.why && result.answered) return verdict.trim();
  return `${result.answered ? verdict : ""}It is ${result.answer}. ${result.why}`.trim();
}

export function renderQuestion({ model, el }: Context<QuestionState, QuestionMessage>): Ended {
  const { on, stop } = listener(model);
  const group = unique("question");
  const body = h("fieldset", { class: "ll-fieldset" });
  const status = live("ll-status");
  const section = h(
    "section",
    { class: "ll ll-ask", "aria-label": "Question", tabindex: "-1", "data-lm-suppress-shortcuts": "true" },
    body,
    status,
  );
  el.append(section);
  let mine = "";

  const commit = () => {
    if (mine) model.send({ type: "commit", answer: mine });
  };
  const draw = () => {
    const name = "ll-button ll-primary";
    const button = h("button", { type: "button", class: name, disabled: !mine, onclick: commit }, "Commit");
    const result = model.get("result");
    const shown: Shown = {
      result,
      done: result.answer !== undefined,
      committed: model.get("committed"),
      given: model.get("given"),
      mine,
      chosen(value) {
        mine = value;
        button.disabled = !value;
      },
    };
    const choices = model.get("choices").map((choice) => choiceOf(choice, group, shown));
    const locked = shown.committed || shown.done;
    body.replaceChildren(
      h("legend", { class: "ll-question" }, model.get("question")),
      ...(choices.length ? choices : [numberOf(model.get("unit"), shown)]),
      locked ? "" : h("div", { class: "ll-actions" }, button),
    );
    say(status, statusOf(shown));
    status.dataset.right = shown.done && shown.result.answered ? String(shown.result.right) : "";
  };
  draw();
  const redraw = () => keepingFocus(section, draw);
  on("change:committed", redraw);
  on("change:result", redraw);
  return stop;
}
