// Making elements. Text goes in as text, never as HTML: it comes from files and from what programs write.

type Value = string | number | boolean | null | undefined;
type Child = Node | string | null | undefined | false;

// Listeners take no event here: the one that needs it adds itself.
type Listeners = { [name in "onclick" | "oninput" | "onchange"]?: () => void };
type Names =
  | "class"
  | "colspan"
  | "disabled"
  | "for"
  | "id"
  | "inputmode"
  | "name"
  | "placeholder"
  | "role"
  | "scope"
  | "tabindex"
  | "title"
  | "type"
  | "value";
type Attributes = Listeners & { [name in Names | `aria-${string}` | `data-${string}`]?: Value };

export function h<Tag extends keyof HTMLElementTagNameMap>(
  tag: Tag,
  attributes: Attributes = {},
  ...children: Child[]
): HTMLElementTagNameMap[Tag] {
  const element = document.createElement(tag);
  const entries: [string, Value | (() => void)][] = Object.entries(attributes);
  for (const [name, value] of entries) setAttribute(element, name, value);
  element.append(...children.filter(isShown));
  return element;
}

const isShown = <T>(value: T | null | undefined | false): value is T =>
  value !== undefined && value !== null && value !== false;

function setAttribute(element: HTMLElement, name: string, value: Value | (() => void)): void {
  if (!isShown(value)) return;
  if (typeof value === "function") element.addEventListener(name.slice(2), value);
  else element.setAttribute(name, value === true ? "" : String(value));
}

export function span(name: string, ...children: Child[]): HTMLElement {
  return h("span", { class: name }, ...children);
}

// A line that screen readers speak when it changes.
export function live(name: string): HTMLElement {
  return h("p", { class: name, role: "status", "aria-live": "polite" });
}

let last = 0;

// A name that no other element of the page has, for labels and descriptions.
export function unique(stem: string): string {
  last += 1;
  return `ll-${stem}-${last}-${Math.random().toString(36).slice(2, 8)}`;
}

// A live region speaks when its text changes; setting the same text again would make some screen readers repeat it.
export function say(element: HTMLElement, text: string): void {
  if (element.textContent !== text) element.textContent = text;
}

// A sign, for the eye alone: a word beside it says the same.
export function sign(text: string): HTMLElement {
  return h("span", { class: "ll-sign", "aria-hidden": "true" }, text);
}

// A verdict: its sign for the eye, its word for everybody.
export function verdict(item: { sign: string; word: string }): HTMLElement {
  return span("ll-verdict", sign(item.sign), item.word);
}

// Draws anew what may hold the focus. Where the focused element went with it, the section takes the focus, or else the
// page would.
export function keepingFocus(section: HTMLElement, draw: () => void): void {
  const held = section.contains(document.activeElement);
  draw();
  const active = document.activeElement;
  // What was hidden keeps the focus for a moment, and then the page has it.
  if (held && !(section.contains(active) && active?.closest("[hidden]") === null))
    section.focus({ preventScroll: true });
}
