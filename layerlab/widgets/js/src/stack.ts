// The picture of a stack of layers: the newest on top, each as high as it is large. Rows are kept and changed, so that
// a rebuild can be seen: what is reused stays, what stands above a change falls and grows again.
import { h, span, unique, verdict } from "./dom.ts";
import { fallen, nextSlab, stagesOf } from "./pure.ts";
import { SCALE, type Step, type Verdict } from "./shapes.ts";

// What a person said of a step, beside what it did.
export interface Mark {
  text: string;
  right: boolean;
}

// One slab, or a tag where it is `thin`. `note` is the line below its instruction, `facts` what is said of it when it is
// pointed at.
export interface Slab {
  number: number;
  instruction: string;
  stage: string;
  thin: boolean;
  height: number;
  verdict: Verdict | "";
  word: string;
  sign: string;
  note: string;
  size: string;
  seconds: string;
  mark?: Mark | undefined;
  // Whether it runs for a reason of its own, and not for what it stands on.
  origin?: boolean;
  // Whether it is pressed; undefined where it is no switch.
  pressed?: boolean | undefined;
  facts: [name: string, value: string][];
  // Whether it is the chosen one; undefined where none is chosen.
  current?: boolean;
}

// What stands below a stack until somebody points at a slab.
export const POINT_HINT = "Point at a layer, or move to it with the arrow keys, to see its cause and its cache key.";

export interface StackOptions {
  label: string;
  // What stands where there is no slab yet.
  empty: string;
  // What pointing at a slab shows below the stack; without it nothing is shown.
  hint?: string;
  // Whether heights are sizes.
  scaled: boolean;
  choose?: (slab: Slab) => void;
}

type Row = ReturnType<typeof createRow>;

function createRow() {
  const parts = {
    number: h("span", { class: "ll-number" }),
    code: h("code", { class: "ll-instruction" }),
    changed: span("ll-tag"),
    note: span("ll-why"),
    verdict: span("ll-cell-verdict"),
    mark: span("ll-cell-mark"),
    size: span("ll-size"),
    seconds: span("ll-seconds"),
  };
  const button = h(
    "button",
    { type: "button", class: "ll-slab", tabindex: "-1" },
    parts.number,
    span("ll-what", span("ll-first", parts.code, parts.changed), parts.note),
    parts.mark,
    parts.verdict,
    parts.size,
    parts.seconds,
  );
  return { item: h("li", { class: "ll-step" }, button), button, parts, key: "" };
}

function fillRow({ item, button, parts }: Row, slab: Slab, fell: boolean): void {
  item.dataset.verdict = slab.verdict;
  item.classList.toggle("ll-no-layer", slab.thin);
  item.toggleAttribute("data-fallen", fell);
  button.style.setProperty("--ll-height", `${slab.height}px`);
  if (slab.pressed === undefined) button.removeAttribute("aria-pressed");
  else button.setAttribute("aria-pressed", String(slab.pressed));
  if (slab.current) button.setAttribute("aria-current", "true");
  else button.removeAttribute("aria-current");
  parts.number.textContent = String(slab.number);
  parts.code.textContent = slab.instruction;
  parts.changed.textContent = slab.origin ? "changed here" : "";
  parts.changed.hidden = !slab.origin;
  parts.note.textContent = slab.note;
  parts.note.hidden = !slab.note;
  parts.verdict.replaceChildren(slab.word ? verdict(slab) : "");
  parts.mark.replaceChildren(slab.mark ? markOf(slab.mark) : "");
  parts.size.textContent = slab.size;
  parts.seconds.textContent = slab.seconds;
}

function markOf({ text, right }: Mark): HTMLElement {
  // In words: a ✓ is what the cache gave.
  return h("span", { class: "ll-mine", "data-right": String(right) }, `you: ${text}, ${right ? "right" : "wrong"}`);
}

function legend(): HTMLElement {
  const marks = SCALE.map(([size, height]) => {
    const bar = h("span", { class: "ll-scale-bar", "aria-hidden": "true" });
    // A third of what it is in the stack, to the same scale.
    bar.style.height = `${Math.round(height / 3)}px`;
    return span("ll-scale-mark", bar, size);
  });
  return h("p", { class: "ll-scale" }, "The higher, the larger: ", ...marks);
}

// The facts of the slab that is pointed at.
function createFacts(hint: string) {
  const id = unique("facts");
  const element = h("div", { class: "ll-facts", id }, hint);
  let shown = "";
  return {
    element,
    id,
    draw(slab: Slab): void {
      const key = JSON.stringify(slab.facts);
      if (key === shown) return;
      shown = key;
      const rows = slab.facts
        .filter(([, value]) => value)
        .map(([name, value]) => h("div", { class: "ll-fact" }, h("dt", {}, name), h("dd", {}, value)));
      element.replaceChildren(h("dl", {}, ...rows));
    },
  };
}

export function createStack(options: StackOptions) {
  return new Stack(options);
}

export class Stack {
  readonly element: HTMLElement;
  // The lists of the stages; busy while a build goes on.
  private readonly body = h("div", { class: "ll-stack" });
  private readonly scale = legend();
  private readonly facts: ReturnType<typeof createFacts> | undefined;
  private readonly options: StackOptions;
  private readonly rows = new Map<number, Row>();
  private slabs: readonly Slab[] = [];
  private layout = "";
  // The one slab that Tab comes to.
  private current = 0;
  // Whether somebody has pointed at a slab. Until then the facts are those of the lowest that changed.
  private pointed = false;

  constructor(options: StackOptions) {
    this.options = options;
    this.facts = options.hint === undefined ? undefined : createFacts(options.hint);
    this.element = h("div", { class: "ll-stack-box" }, this.scale, this.body, this.facts?.element);
    this.body.addEventListener("keydown", (event) => this.move(event));
  }

  busy(busy: boolean): void {
    this.body.setAttribute("aria-busy", String(busy));
  }

  draw(slabs: readonly Slab[]): void {
    this.slabs = slabs;
    this.scale.hidden = !(this.options.scaled && slabs.length);
    if (this.facts) this.facts.element.hidden = !slabs.length;
    const fell = fallen(slabs);
    for (const slab of slabs) {
      const row = this.rowOf(slab.number);
      const key = JSON.stringify([slab, fell.has(slab.number)]);
      if (row.key === key) continue;
      row.key = key;
      fillRow(row, slab, fell.has(slab.number));
    }
    const told = slabs.find((slab) => (this.pointed ? slab.number === this.current : slab.origin));
    if (told) this.facts?.draw(told);
    this.layOut();
  }

  private rowOf(number: number): Row {
    const known = this.rows.get(number);
    if (known) return known;
    const row = createRow();
    const point = () => this.point(number);
    row.button.addEventListener("focus", point);
    row.button.addEventListener("mouseenter", point);
    row.button.addEventListener("click", () => {
      const slab = this.slabs.find((each) => each.number === number);
      if (slab) this.options.choose?.(slab);
    });
    this.rows.set(number, row);
    return row;
  }

  private point(number: number): void {
    const slab = this.slabs.find((each) => each.number === number);
    if (!slab) return;
    this.pointed = true;
    this.enter(number);
    this.facts?.draw(slab);
  }

  private enter(number: number): void {
    for (const each of [this.current, number]) {
      const button = this.rows.get(each)?.button;
      if (!button) continue;
      button.tabIndex = each === number ? 0 : -1;
      if (!this.facts) continue;
      if (each === number) button.setAttribute("aria-describedby", this.facts.id);
      else button.removeAttribute("aria-describedby");
    }
    this.current = number;
  }

  // Arrow keys move as they look: up is towards the newest.
  private move(event: KeyboardEvent): void {
    const numbers = stagesOf(this.slabs).flatMap(({ slabs }) => slabs.map((slab) => slab.number));
    const next = nextSlab(event.key, numbers.indexOf(this.current), numbers.length);
    const number = numbers[next];
    if (number === undefined) return;
    event.preventDefault();
    this.rows.get(number)?.button.focus();
  }

  // The lists and their order; rows that stay where they are keep the focus.
  private layOut(): void {
    const stages = stagesOf(this.slabs);
    const layout = JSON.stringify(stages.map(({ stage, slabs }) => [stage, slabs.map((slab) => slab.number)]));
    if (layout === this.layout) return;
    this.layout = layout;
    const lists = stages.flatMap(({ stage, title, slabs }) => {
      const label = title ? `${this.options.label}: ${title}` : this.options.label;
      const items = slabs.map((slab, index) => {
        const { item } = this.rowOf(slab.number);
        // How many are below it, for what runs upwards.
        item.style.setProperty("--ll-above", String(slabs.length - index));
        return item;
      });
      const list = h("ol", { class: "ll-slabs", role: "list", "aria-label": label, "data-stage": stage }, ...items);
      return title ? [h("p", { class: "ll-stage" }, title), list] : [list];
    });
    this.body.replaceChildren(...(lists.length ? lists : [h("p", { class: "ll-empty" }, this.options.empty)]));
    const first = stages[0]?.slabs[0]?.number;
    if (first !== undefined && !this.slabs.some((slab) => slab.number === this.current)) this.enter(first);
  }
}

// A step of a build as a slab.
export function slabOf(step: Step, mark?: Mark): Slab {
  const lines = step.line === step.end_line ? `line ${step.line}` : `lines ${step.line} to ${step.end_line}`;
  return {
    ...step,
    thin: !step.layer,
    note: step.said || step.why,
    mark,
    facts: [
      [`Step ${step.number}`, step.instruction],
      ["Verdict", step.seconds ? `${step.word}, ${step.seconds}` : step.word],
      ["Cause", step.why],
      ["Layer", step.layer ? step.size : "makes none"],
      ["Cache key", step.key],
      ["Dockerfile", lines],
    ],
  };
}
