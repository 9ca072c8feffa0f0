// Making elements. Text goes in as text, never as HTML: it comes from files and from what programs write.

export function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "class") element.className = value;
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  element.append(...children.filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

let last = 0;

// A name that no other element of the page has, for labels and descriptions.
export function unique(stem) {
  last += 1;
  return `ll-${stem}-${last}-${Math.random().toString(36).slice(2, 8)}`;
}

// A live region speaks when its text changes; setting the same text again would make some screen readers repeat it.
export function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

// A verdict: its sign for the eye, its word for everybody.
export function verdict(item, extra = "") {
  return h("span", { class: `ll-verdict ${extra}` }, h("span", { class: "ll-sign", "aria-hidden": "true" }, item.sign), item.word);
}

// Draws anew what may hold the focus. Where the focused element went with it, the section takes the focus, else the page would.
export function keepingFocus(section, draw) {
  const held = section.contains(document.activeElement);
  draw();
  if (held && !section.contains(document.activeElement)) section.focus({ preventScroll: true });
}

// Listens to a model, and stops when the view goes: a model outlives its views.
export function listener(model) {
  const calls = [];
  return {
    on(event, call) {
      model.on(event, call);
      calls.push([event, call]);
    },
    stop() {
      for (const [event, call] of calls) model.off(event, call);
    },
  };
}
