// One line of a round of golf: what it costs, and the ways to move it.
import { h, sign, span } from "./dom.ts";
import type { GolfCost, GolfLine } from "./shapes.ts";

// What one drawing of the lines can ask for.
export interface Moves {
  // Of this board alone: a line of another is none of its own.
  board: string;
  // To another place among the lines, or out of them.
  move: (from: number, to: number) => void;
  take: (from: number) => void;
}

function costOf({ edit, rebuilt, in_vain }: GolfCost): HTMLElement {
  const vain = in_vain ? ", and makes what it made before" : "";
  return h(
    "span",
    {
      class: "ll-golf-cost",
      "data-verdict": rebuilt ? "runs" : "cached",
      "data-vain": in_vain || null,
      title: rebuilt ? `${edit}: runs again${vain}` : `${edit}: from the cache`,
    },
    sign(rebuilt ? "↻" : "✓"),
    span("ll-hidden", `${edit}: ${rebuilt ? `runs again${vain}` : "from the cache"}. `),
  );
}

// Above the lines: which edit each sign is of, by its number in the table of edits. Each sign says it in words itself.
export function headOf(edits: number): HTMLElement {
  const numbers = Array.from({ length: edits }, (_, index) => span("ll-sign", String(index + 1)));
  return h(
    "li",
    { class: "ll-golf-line ll-golf-head-line", "aria-hidden": "true" },
    span("ll-number"),
    span("ll-golf-what", "edit"),
    span("ll-golf-costs", ...numbers),
    span("ll-golf-moves"),
  );
}

export function buttonOf(label: string, text: string, disabled: boolean, onclick: () => void): HTMLElement {
  return h(
    "button",
    { type: "button", class: "ll-button ll-small", "aria-label": label, title: label, disabled, onclick },
    text,
  );
}

export function lineOf(line: GolfLine, index: number, count: number, broken: boolean, moves: Moves): HTMLElement {
  const { text, movable } = line;
  const item = h(
    "li",
    { class: "ll-golf-line", "data-broken": broken || null, "data-text": text },
    span("ll-number", String(index + 1)),
    h("code", {}, text),
    span("ll-golf-seconds", line.seconds),
    span("ll-golf-costs", ...line.costs.map(costOf)),
    h(
      "span",
      { class: "ll-golf-moves" },
      movable && buttonOf(`Move line ${index + 1} up: ${text}`, "▲", index < 1, () => moves.move(index, index - 1)),
      movable &&
        buttonOf(`Move line ${index + 1} down: ${text}`, "▼", index > count - 2, () => moves.move(index, index + 1)),
      movable && line.spare && buttonOf(`Put line ${index + 1} aside: ${text}`, "✕", false, () => moves.take(index)),
    ),
    h("span", { class: "ll-golf-bar", "aria-hidden": "true", "data-share": line.share }),
  );
  item.style.setProperty("--ll-share", String(line.share));
  if (movable) draggable(item, index, moves);
  return item;
}

function draggable(item: HTMLElement, index: number, moves: Moves): void {
  item.draggable = true;
  const kind = `text/${moves.board}`;
  item.addEventListener("dragstart", (event) => event.dataTransfer?.setData(kind, String(index)));
  item.addEventListener("dragover", (event) => {
    event.preventDefault();
    item.dataset.over = "true";
  });
  item.addEventListener("dragleave", () => {
    delete item.dataset.over;
  });
  item.addEventListener("drop", (event) => {
    event.preventDefault();
    delete item.dataset.over;
    const from = Number.parseInt(event.dataTransfer?.getData(kind) ?? "", 10);
    if (!Number.isNaN(from) && from !== index) moves.move(from, index);
  });
  // With the keyboard on any of its buttons, as well as with them.
  item.addEventListener("keydown", (event) => {
    const step = event.altKey ? { ArrowUp: -1, ArrowDown: 1 }[event.key] : undefined;
    if (step === undefined) return;
    event.preventDefault();
    event.stopPropagation();
    moves.move(index, index + step);
  });
}
