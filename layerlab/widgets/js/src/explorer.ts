// The layer explorer: layers on the left, the files of the chosen one (or of the whole image) on the right.
import { h, live, say, span, unique } from "./dom.ts";
import { type Context, type Ended, listener, type Model } from "./model.ts";
import { countFiles, findFiles, plural } from "./pure.ts";
import type { ExplorerMessage, ExplorerState, Layer } from "./shapes.ts";
import { createStack, type Slab } from "./stack.ts";
import { drawFound, drawNodes, PAGE } from "./tree.ts";

type ExplorerModel = Model<ExplorerState, ExplorerMessage>;

function changesOf({ added, changed, removed }: Layer): string {
  const said = (count: number, word: string) => (count ? `${count.toLocaleString("en")} ${word}` : "");
  const all = [said(added, "added"), said(changed, "changed"), said(removed, "removed")];
  return all.filter(Boolean).join(", ") || "no files";
}

function slabOf(layer: Layer, chosen: number): Slab {
  const wasted = layer.wasted ? `${layer.wasted} wasted` : "";
  return {
    ...layer,
    stage: "",
    thin: false,
    verdict: "base",
    word: "",
    sign: "",
    note: [changesOf(layer), wasted].filter(Boolean).join(" · "),
    seconds: "",
    facts: [],
    current: layer.number === chosen,
  };
}

// The files of a layer that later layers hide, and what would save their bytes.
function wasteOf(layer: Layer | undefined): HTMLElement | "" {
  if (!layer?.hidden.length) return "";
  const rows = layer.hidden.map(({ path, size, by }) =>
    h("li", { class: "ll-hidden-file" }, span("ll-size", size), span("ll-path", `/${path}`), `hidden by layer ${by}`),
  );
  const more = layer.more ? h("li", {}, `and ${plural(layer.more, "smaller file", "smaller files")}`) : null;
  const list = h("ul", { role: "list", "aria-label": "Wasted files, the largest first" }, ...rows, more);
  const summary = h("summary", {}, `${layer.wasted} wasted: shipped, and seen by nobody`);
  return h("details", { class: "ll-waste" }, summary, h("p", {}, layer.saved), list);
}

function wholeImage(model: ExplorerModel): HTMLButtonElement {
  const paths = plural(model.get("total").paths, "path", "paths");
  return h(
    "button",
    { type: "button", class: "ll-layer", onclick: () => model.send({ type: "choose", layer: 0 }) },
    span("ll-layer-what", "The whole image"),
    span("ll-layer-facts", `${paths}, as a container sees it`),
  );
}

function drawTree(tree: HTMLElement, found: HTMLElement, model: ExplorerModel, query: string): void {
  const nodes = model.get("tree");
  if (query) {
    const result = findFiles(nodes, query, PAGE);
    const files = plural(result.count, "file", "files");
    say(found, result.count > PAGE ? `${files}, the first ${PAGE} are shown` : files);
    tree.replaceChildren(drawFound(result.found));
  } else if (nodes.length) {
    say(found, plural(countFiles(nodes), "file", "files"));
    tree.replaceChildren(drawNodes(nodes, "Files"));
  } else {
    say(found, "This layer changes no file.");
    tree.replaceChildren();
  }
}

function headOf(model: ExplorerModel): HTMLElement {
  const { size, wasted } = model.get("total");
  const layers = plural(model.get("layers").length, "layer", "layers");
  const about = `${size} in ${layers}, of which ${wasted} are hidden by later layers and still shipped`;
  const title = h(
    "div",
    { class: "ll-title" },
    h("p", { class: "ll-name" }, model.get("image")),
    h("p", { class: "ll-about" }, about),
  );
  return h("div", { class: "ll-head" }, title);
}

export function renderExplorer({ model, el }: Context<ExplorerState, ExplorerMessage>): Ended {
  const { on, stop } = listener(model);
  const id = unique("filter");
  const draw = () => drawTree(tree, found, model, filter.value.trim());
  const filter = h("input", { type: "search", id, class: "ll-input", placeholder: "part of a path", oninput: draw });
  const found = live("ll-found");
  const tree = h("div", { class: "ll-tree-box", tabindex: "0", role: "region", "aria-label": "Files" });
  const whole = wholeImage(model);
  const stack = createStack({
    label: "Layers, newest on top",
    empty: "The image has no layers.",
    scaled: true,
    choose: ({ number }) => model.send({ type: "choose", layer: number }),
  });
  const title = h("p", { class: "ll-subtitle" });
  const waste = h("div");
  const filterRow = h("div", { class: "ll-filter" }, h("label", { for: id }, "Filter"), filter);
  el.append(
    h(
      "section",
      { class: "ll ll-explorer", "aria-label": "Layer explorer", "data-lm-suppress-shortcuts": "true" },
      headOf(model),
      h(
        "div",
        { class: "ll-split" },
        h("div", { class: "ll-layers" }, whole, stack.element),
        h("div", { class: "ll-files" }, title, waste, filterRow, found, tree),
      ),
    ),
  );
  const drawChosen = () => {
    const number = model.get("chosen");
    title.textContent = model.get("layers").some((layer) => layer.number === number)
      ? `What layer ${number} adds, changes and removes`
      : "The whole image, with the layer that each file comes from";
    waste.replaceChildren(wasteOf(model.get("layers").find((layer) => layer.number === number)));
    whole.setAttribute("aria-current", String(number === 0));
    stack.draw(model.get("layers").map((layer) => slabOf(layer, number)));
    draw();
  };
  drawChosen();
  on("change:tree", draw);
  on("change:chosen", drawChosen);
  return stop;
}
