// The layer explorer: layers on the left, the files of the chosen one (or of the whole image) on the right.
import { h, live, say, span, unique } from "./dom.ts";
import { type Context, type Ended, listener, type Model } from "./model.ts";
import { barWidth, countFiles, findFiles, plural } from "./pure.ts";
import type { ExplorerMessage, ExplorerState, Layer } from "./shapes.ts";
import { drawFound, drawNodes, PAGE } from "./tree.ts";

type ExplorerModel = Model<ExplorerState, ExplorerMessage>;

function barOf(layer: Layer, largest: number): HTMLElement {
  const fill = span("ll-bar-fill");
  fill.style.width = `${barWidth(layer.bytes, largest)}%`;
  return h("span", { class: "ll-bar", "aria-hidden": "true" }, fill);
}

function changesOf({ added, changed, removed }: Layer): string {
  const said = (count: number, word: string) => (count ? `${count.toLocaleString("en")} ${word}` : "");
  const all = [said(added, "added"), said(changed, "changed"), said(removed, "removed")];
  return all.filter(Boolean).join(", ") || "no files";
}

function layerParts(layer: Layer, largest: number): HTMLElement[] {
  return [
    span(
      "ll-layer-what",
      span("ll-number", String(layer.number)),
      h("code", { title: layer.instruction }, layer.instruction),
    ),
    span(
      "ll-layer-facts",
      span("ll-size", layer.size),
      h("span", {}, changesOf(layer)),
      layer.wasted ? span("ll-wasted", `${layer.wasted} wasted`) : null,
    ),
    barOf(layer, largest),
  ];
}

function imageParts(model: ExplorerModel): HTMLElement[] {
  const paths = plural(model.get("total").paths, "path", "paths");
  return [span("ll-layer-what", "The whole image"), span("ll-layer-facts", `${paths}, as a container sees it`)];
}

// A row of the list: a layer, or the whole image for 0.
function itemOf(model: ExplorerModel, number: number, parts: HTMLElement[]): HTMLElement {
  const button = h(
    "button",
    {
      type: "button",
      class: "ll-layer",
      "aria-current": model.get("chosen") === number ? "true" : null,
      "data-layer": number,
      onclick: () => model.send({ type: "choose", layer: number }),
    },
    ...parts,
  );
  return h("li", {}, button);
}

function drawLayers(list: HTMLElement, model: ExplorerModel): void {
  const active = document.activeElement;
  const focused = active instanceof HTMLElement ? active.dataset.layer : undefined;
  const layers = model.get("layers");
  const largest = Math.max(0, ...layers.map((layer) => layer.bytes));
  list.replaceChildren(
    itemOf(model, 0, imageParts(model)),
    ...layers.map((layer) => itemOf(model, layer.number, layerParts(layer, largest))),
  );
  // Only the buttons made above have this attribute, which the DOM's types cannot know.
  if (focused !== undefined) list.querySelector<HTMLElement>(`[data-layer="${focused}"]`)?.focus();
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
  const list = h("ul", { class: "ll-layers", role: "list", "aria-label": "Layers, lowest first" });
  const title = h("p", { class: "ll-subtitle" });
  const filterRow = h("div", { class: "ll-filter" }, h("label", { for: id }, "Filter"), filter);
  el.append(
    h(
      "section",
      { class: "ll ll-explorer", "aria-label": "Layer explorer", "data-lm-suppress-shortcuts": "true" },
      headOf(model),
      h("div", { class: "ll-split" }, list, h("div", { class: "ll-files" }, title, filterRow, found, tree)),
    ),
  );
  const drawChosen = () => {
    const number = model.get("chosen");
    title.textContent = model.get("layers").some((layer) => layer.number === number)
      ? `What layer ${number} adds, changes and removes`
      : "The whole image, with the layer that each file comes from";
    drawLayers(list, model);
    draw();
  };
  drawChosen();
  on("change:tree", draw);
  on("change:chosen", drawChosen);
  return stop;
}
