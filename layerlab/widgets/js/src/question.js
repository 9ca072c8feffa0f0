// One question: choices or a number, committed before the answer is shown.
import { h, keepingFocus, listener, say, unique } from "./dom.js";

export function renderQuestion({ model, el }) {
  const { on, stop } = listener(model);
  const group = unique("question");
  const body = h("fieldset", { class: "ll-fieldset" });
  const status = h("p", { class: "ll-status", role: "status", "aria-live": "polite" });
  const section = h("section", { class: "ll ll-ask", "aria-label": "Question", tabindex: "-1", "data-lm-suppress-shortcuts": "true" }, body, status);
  el.append(section);
  let mine = "";

  const commit = () => mine && model.send({ type: "commit", answer: mine });
  const draw = () => {
    const { answer, why, right, answered } = model.get("result");
    const done = answer !== undefined;
    const committed = model.get("committed");
    const given = model.get("given");
    const choices = model.get("choices");
    const button = h("button", { type: "button", class: "ll-button ll-primary", disabled: !mine, onclick: commit }, "Commit");
    const chosen = (value) => {
      mine = value;
      button.disabled = !value;
    };
    const locked = committed || done;
    const inputs = choices.map((choice) => {
      const input = h("input", { type: "radio", name: group, value: choice, disabled: locked, onchange: () => chosen(choice) });
      input.checked = (committed ? given : mine) === choice;
      return h("label", { class: "ll-choice", "data-right": done && choice === answer ? "true" : done && committed && choice === given ? "false" : null }, input, h("span", {}, choice));
    });
    if (!choices.length) {
      const input = h("input", { type: "text", inputmode: "decimal", class: "ll-input ll-numeric", "aria-label": `Your answer${model.get("unit") ? ` in ${model.get("unit")}` : ""}`, disabled: locked, oninput: () => chosen(input.value.trim()) });
      input.value = committed ? given : mine;
      inputs.push(h("p", { class: "ll-number-answer" }, input, model.get("unit")));
    }
    body.replaceChildren(h("legend", { class: "ll-question" }, model.get("question")), ...inputs, locked ? "" : h("div", { class: "ll-actions" }, button));
    const mark = answered ? (right ? "✓ Right. " : "✕ Not quite. ") : "";
    say(status, done ? `${mark}It is ${answer}. ${why}`.trim() : committed ? "Committed. Now find out." : "");
    status.dataset.right = done && answered ? String(right) : "";
  };
  draw();
  const redraw = () => keepingFocus(section, draw);
  on("change:committed", redraw);
  on("change:result", redraw);
  return stop;
}
