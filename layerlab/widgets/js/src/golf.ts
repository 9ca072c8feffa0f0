// Cache golf: lines to move, what each edit then rebuilds, and the score against par.
import { h, live, say, span } from "./dom.ts";
import { lineOf, type Moves } from "./golf-line.ts";
import { editsOf, type GolfModel, levelsOf, scoreOf, textsOf, trayOf, typedOf } from "./golf-side.ts";
import { type Context, type Ended, listener } from "./model.ts";
import type { GolfMessage, GolfState } from "./shapes.ts";

// The lines after one of them went from a place to another.
export function moved(lines: readonly string[], from: number, to: number): string[] {
  const rest = lines.filter((_, index) => index !== from);
  const line = lines[from];
  if (line !== undefined) rest.splice(to, 0, line);
  return rest;
}

interface Board {
  element: HTMLElement;
  draw: () => void;
  // From lines that are moved to a text that is typed in, or back; returns whether it is a text now.
  toggle: () => boolean;
}

// The lines. A line that was moved keeps the focus where it has gone: on the same button, or on its neighbour.
function createBoard(model: GolfModel): Board {
  const element = h("ol", { class: "ll-golf-lines", "aria-label": "Lines" });
  let typing = false;
  let follow: { line: number; word: string } | null = null;
  const play = (lines: string[]) => model.send({ type: "play", lines });
  const moves: Moves = {
    move(from, to) {
      const lines = textsOf(model);
      if (to < 0 || to >= lines.length) return;
      const held = element.contains(document.activeElement) ? document.activeElement : null;
      follow = held && { line: to, word: held.getAttribute("aria-label")?.includes(" up") ? " up" : " down" };
      play(moved(lines, from, to));
    },
    take(from) {
      play(textsOf(model).filter((_, index) => index !== from));
    },
  };
  const focus = () => {
    const wanted = follow;
    follow = null;
    if (!wanted) return;
    const buttons = [...(element.children[wanted.line]?.querySelectorAll("button") ?? [])].filter(
      (one) => !one.disabled,
    );
    (buttons.find((one) => one.getAttribute("aria-label")?.includes(wanted.word)) ?? buttons[0])?.focus();
  };
  const draw = () => {
    const lines = model.get("lines");
    const wrong = model.get("score").line;
    if (typing) element.replaceChildren(h("li", {}, typedOf(model)));
    else element.replaceChildren(...lines.map((line, at) => lineOf(line, at, lines.length, at + 1 === wrong, moves)));
    focus();
  };
  const toggle = () => {
    typing = !typing;
    draw();
    element.querySelector("textarea")?.focus();
    return typing;
  };
  return { element, draw, toggle };
}

function actionsOf(model: GolfModel, board: Board): { element: HTMLElement; draw: () => void } {
  const button = (text: string, onclick: () => void) =>
    h("button", { type: "button", class: "ll-button", onclick }, text);
  const turn = (what: "hint" | "undo" | "restart") => () => model.send({ type: "turn", what });
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

export function renderGolf({ model, el }: Context<GolfState, GolfMessage>): Ended {
  const { on, stop } = listener(model);
  const head = h("div", { class: "ll-golf-head" });
  const task = h("p", { class: "ll-question" });
  const side = h("div");
  const hints = h("ul", { class: "ll-golf-hints", role: "status" });
  const score = live("ll-status ll-golf-score");
  const board = createBoard(model);
  const actions = actionsOf(model, board);
  const section = h(
    "section",
    { class: "ll ll-golf", "aria-label": "Cache golf", tabindex: "-1", "data-lm-suppress-shortcuts": "true" },
    ...[head, task, board.element, side, score, actions.element, hints],
  );
  el.append(section);
  // Below FROM, where it is seen.
  const put = (text: string) => {
    const [first = "", ...rest] = textsOf(model);
    model.send({ type: "play", lines: [first, text, ...rest] });
  };
  const draw = () => {
    const held = section.contains(document.activeElement);
    board.draw();
    actions.draw();
    task.textContent = model.get("task");
    head.replaceChildren(levelsOf(model), span("ll-tag", model.get("files").join(" · ")));
    side.replaceChildren(trayOf(model, put), editsOf(model));
    hints.replaceChildren(...model.get("hints").map((text) => h("li", {}, text)));
    say(score, scoreOf(model));
    score.dataset.right = model.get("score").at_par ? "true" : "";
    if (held && !section.contains(document.activeElement)) section.focus({ preventScroll: true });
  };
  draw();
  // The kernel sends all of a move together.
  const soon = () => queueMicrotask(draw);
  for (const name of ["lines", "score", "hints", "levels"] as const) on(`change:${name}`, soon);
  return stop;
}
