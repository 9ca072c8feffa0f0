// The chain of cache keys: each step's key is made of that of the step before, of what it says and of what it reads. A
// byte that is typed changes one of them, and all above it.
import { h } from "./dom.ts";
import type { KeyLink } from "./shapes.ts";
import { createStack, type Slab } from "./stack.ts";

const HINT = "Point at a step, or move to it with the arrow keys, to see what its key is made of.";
const SHORT = 12;

function slabOf(link: KeyLink): Slab {
  const { number, instruction, stage, key, changed, parts } = link;
  return {
    number,
    instruction,
    stage,
    thin: !key,
    height: 32,
    verdict: key ? (changed ? "runs" : "cached") : "metadata",
    word: key ? (changed ? "new key" : "same key") : "no key",
    sign: key ? (changed ? "≠" : "=") : "·",
    note: "",
    size: key.slice(0, SHORT),
    seconds: "",
    facts: [
      [`Step ${number}`, instruction],
      ...parts.map(({ name, text, digest }): [string, string] => [name, `${digest.slice(0, SHORT)}  ${text}`]),
      ["→ Key", key],
    ],
  };
}

export function createKeyChain() {
  const stack = createStack({
    label: "Cache keys, newest on top",
    empty: "The keys appear here as soon as the Dockerfile can be read.",
    hint: HINT,
    scaled: false,
  });
  const rule = h(
    "p",
    { class: "ll-hint" },
    "Compared with the last build. Type in a file or in the Dockerfile, and watch.",
  );
  return {
    element: h("div", { class: "ll-keys" }, rule, stack.element),
    draw: (links: readonly KeyLink[]) => stack.draw(links.map(slabOf)),
  };
}
