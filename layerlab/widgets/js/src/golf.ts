// Cache golf: lines to move, what each edit then rebuilds, and the score against par.
import { h, live, say, span, unique } from "./dom.ts";
import { headOf, lineOf, type Moves } from "./golf-line.ts";
import { createLevels, createRound, editsOf, type Round, scoreOf, trayOf, typedOf } from "./golf-side.ts";
import { type Context, type Ended, listener } from "./model.ts";
import { moved } from "./pure.ts";
import type { GolfMessage, GolfState } from "./shapes.ts";

interface Board {
  element: HTMLElement;
  draw: () => void;
  // From lines that are moved to a text that is typed in, or back; returns whether it is a text now.
  toggle: () => boolean;
}

// The button that has the focus, by its line and what it does: where the line has gone, from the tray too, its like gets it.
function focused(element: HTMLElement): () => void {
  const held = document.activeElement;
  const mine = element.closest("section")?.contains(held);
  const text = mine ? held?.closest<HTMLElement>("[data-text]")?.dataset.text : undefined;
  const word = held?.textContent;
  return () => {
    const line = [...element.querySelectorAll<HTMLElement>("[data-text]")].find((one) => one.dataset.text === text);
    const buttons = [...(line?.querySelectorAll("button") ?? [])].filter((one) => !one.disabled);
    (buttons.find((one) => one.textContent === word) ?? buttons[0])?.focus();
  };
}

// The text stays as it is while somebody types in it.
function drawText(element: HTMLElement, round: Round): void {
  const area = element.querySelector("textarea");
  if (!area) element.replaceChildren(h("li", {}, typedOf(round)));
  else if (document.activeElement !== area) area.value = round.texts().join("\n");
}

function createBoard(round: Round): Board {
  const element = h("ol", { class: "ll-golf-lines", "aria-label": "Lines" });
  let typing = false;
  const moves: Moves = {
    board: unique("board"),
    move(from, to) {
      if (to >= 0 && to < round.texts().length) round.play(moved(round.texts(), from, to));
    },
    take(from) {
      round.play(round.texts().filter((_, index) => index !== from));
    },
  };
  const draw = () => {
    const refocus = focused(element);
    const lines = round.lines();
    const wrong = round.settled() ? round.model.get("score").line : 0;
    if (typing) drawText(element, round);
    else {
      const rows = lines.map((line, at) => lineOf(line, at, lines.length, at + 1 === wrong, moves));
      element.replaceChildren(headOf(round.model.get("edits").length), ...rows);
    }
    refocus();
  };
  const toggle = () => {
    typing = !typing;
    draw();
    element.querySelector("textarea")?.focus();
    return typing;
  };
  return { element, draw, toggle };
}

function actionsOf({ model, ask }: Round, board: Board): { element: HTMLElement; draw: () => void } {
  const button = (text: string, onclick: () => void) =>
    h("button", { type: "button", class: "ll-button", onclick }, text);
  const turn = (what: "hint" | "undo" | "restart") => () => ask({ type: "turn", what });
  const undo = button("Undo", turn("undo"));
  const type = button("Type", () => {
    type.textContent = board.toggle() ? "Move" : "Type";
  });
  const element = h(
    "div",
    { class: "ll-actions" },
    button("Hint", turn("hint")),
    undo,
    button("Start again", turn("restart")),
    type,
  );
  const draw = () => {
    undo.disabled = !model.get("can_undo");
  };
  return { element, draw };
}

// Runs once, after all that the kernel sends of a move.
function together(call: () => void): () => void {
  let due = false;
  return () => {
    if (due) return;
    due = true;
    queueMicrotask(() => {
      due = false;
      call();
    });
  };
}

// What is there already is not said anew.
function drawHints(element: HTMLElement, hints: readonly string[]): void {
  if ([...element.children].some((said, index) => said.textContent !== hints[index])) element.replaceChildren();
  element.append(...hints.slice(element.childElementCount).map((text) => h("p", {}, text)));
}

export function renderGolf({ model, el }: Context<GolfState, GolfMessage>): Ended {
  const { on, stop } = listener(model);
  const task = h("p", { class: "ll-question" });
  const side = h("div");
  const files = span("ll-tag");
  const hints = h("div", { class: "ll-golf-hints", role: "status" });
  const score = live("ll-status ll-golf-score");
  const round = createRound(model, () => {
    board.draw();
    drawSide();
  });
  const drawSide = () => side.replaceChildren(trayOf(round), editsOf(model));
  const board = createBoard(round);
  const actions = actionsOf(round, board);
  const levels = createLevels(round);
  const head = h("div", { class: "ll-golf-head" }, levels.element, files);
  const section = h(
    "section",
    { class: "ll ll-golf", "aria-label": "Cache golf", tabindex: "-1", "data-lm-suppress-shortcuts": "true" },
    ...[head, task, board.element, side, score, actions.element, hints],
  );
  el.append(section);
  const draw = () => {
    // An answer to an earlier move: that to the last is on its way.
    if (!round.settled()) return;
    const held = section.contains(document.activeElement);
    board.draw();
    actions.draw();
    task.textContent = model.get("task");
    levels.draw();
    files.textContent = model.get("files").join(" · ");
    drawSide();
    drawHints(hints, model.get("hints"));
    say(score, scoreOf(model));
    score.dataset.right = model.get("score").at_par ? "true" : "";
    if (held && !section.contains(document.activeElement)) section.focus({ preventScroll: true });
  };
  draw();
  const soon = together(draw);
  for (const name of ["lines", "score", "hints", "levels"] as const) on(`change:${name}`, soon);
  return stop;
}
