// The layer explorer: layers on the left, the files of the chosen one (or of the whole image) on the right. A directory is drawn
// when it is opened, and a long list a part at a time: an image may hold tens of thousands of files.
import { h, listener, say, unique } from "./dom.js";
import { barWidth, countFiles, findFiles, isDirectory, marksBelow, marksText, markText, plural } from "./pure.js";

const PAGE = 200;
const FEW = 12;

const mark = (value) => (value ? h("span", { class: "ll-mark", "data-mark": value }, markText(value)) : null);

// At most PAGE items, and a button for the next ones.
function paged(list, nodes, draw) {
  let done = 0;
  const more = h("button", { type: "button", class: "ll-link", onclick: () => next(true) });
  const holder = h("li", { class: "ll-more" }, more);
  const next = (focus) => {
    const part = nodes.slice(done, done + PAGE).map(draw);
    done += part.length;
    holder.remove();
    list.append(...part);
    if (done < nodes.length) {
      more.textContent = `Show ${Math.min(PAGE, nodes.length - done)} more of ${nodes.length.toLocaleString("en")}`;
      list.append(holder);
    }
    if (focus && part.length) (part[0].querySelector("summary") ?? more).focus();
  };
  next(false);
  return list;
}

function drawNodes(nodes, label) {
  return paged(h("ul", { class: "ll-tree", role: "list", "aria-label": label }), nodes, drawNode);
}

function drawNode(node) {
  const [name, own] = node;
  if (!isDirectory(node)) return h("li", { class: "ll-file" }, h("span", { class: "ll-path" }, name), mark(own));
  const children = node[2];
  const summary = h(
    "summary",
    {},
    h("span", { class: "ll-path" }, `${name}/`),
    h("span", { class: "ll-count" }, plural(countFiles(children), "file", "files")),
    h("span", { class: "ll-mark" }, marksText(marksBelow(children))),
  );
  const details = h("details", {}, summary);
  const fill = () => {
    if (details.open && details.children.length === 1) details.append(drawNodes(children, `Contents of ${name}`));
  };
  // A few files are shown at once; where there are many, a person opens what is of interest.
  details.open = countFiles(children) <= FEW;
  fill();
  details.addEventListener("toggle", fill);
  return h("li", { class: "ll-directory" }, details);
}

export function renderExplorer({ model, el }) {
  const { on, stop } = listener(model);
  const id = unique("filter");
  const filter = h("input", { type: "search", id, class: "ll-input", placeholder: "part of a path", oninput: () => drawTree() });
  const found = h("p", { class: "ll-found", role: "status", "aria-live": "polite" });
  const tree = h("div", { class: "ll-tree-box", tabindex: "0", role: "region", "aria-label": "Files" });
  const list = h("ul", { class: "ll-layers", role: "list", "aria-label": "Layers, lowest first" });
  const name = h("p", { class: "ll-name" });
  const about = h("p", { class: "ll-about" });
  const title = h("p", { class: "ll-subtitle" });
  el.append(
    h(
      "section",
      { class: "ll ll-explorer", "aria-label": "Layer explorer", "data-lm-suppress-shortcuts": "true" },
      h("div", { class: "ll-head" }, h("div", { class: "ll-title" }, name, about)),
      h(
        "div",
        { class: "ll-split" },
        list,
        h("div", { class: "ll-files" }, title, h("div", { class: "ll-filter" }, h("label", { for: id }, "Filter"), filter), found, tree),
      ),
    ),
  );

  const choose = (number) => model.send({ type: "choose", layer: number });
  const item = (number, content) =>
    h(
      "li",
      {},
      h("button", { type: "button", class: "ll-layer", "aria-current": model.get("chosen") === number ? "true" : null, "data-layer": number, onclick: () => choose(number) }, ...content),
    );
  const drawLayers = () => {
    const focused = document.activeElement?.dataset?.layer;
    const layers = model.get("layers");
    const largest = Math.max(0, ...layers.map((layer) => layer.bytes));
    list.replaceChildren(
      item(0, [h("span", { class: "ll-layer-what" }, "The whole image"), h("span", { class: "ll-layer-facts" }, `${plural(model.get("total").paths, "path", "paths")}, as a container sees it`)]),
      ...layers.map((layer) =>
        item(layer.number, [
          h("span", { class: "ll-layer-what" }, h("span", { class: "ll-number" }, layer.number), h("code", { title: layer.instruction }, layer.instruction)),
          h(
            "span",
            { class: "ll-layer-facts" },
            h("span", { class: "ll-size" }, layer.size),
            h("span", {}, [layer.added && `${layer.added.toLocaleString("en")} added`, layer.changed && `${layer.changed.toLocaleString("en")} changed`, layer.removed && `${layer.removed.toLocaleString("en")} removed`].filter(Boolean).join(", ") || "no files"),
            layer.wasted ? h("span", { class: "ll-wasted" }, `${layer.wasted} wasted`) : null,
          ),
          h("span", { class: "ll-bar", "aria-hidden": "true" }, (() => {
            const fill = h("span", { class: "ll-bar-fill" });
            fill.style.width = `${barWidth(layer.bytes, largest)}%`;
            return fill;
          })()),
        ]),
      ),
    );
    if (focused !== undefined) list.querySelector(`[data-layer="${focused}"]`)?.focus();
  };
  function drawTree() {
    const nodes = model.get("tree");
    const query = filter.value.trim();
    if (query) {
      const result = findFiles(nodes, query, PAGE);
      say(found, result.count > PAGE ? `${plural(result.count, "file", "files")}, the first ${PAGE} are shown` : plural(result.count, "file", "files"));
      tree.replaceChildren(h("ul", { class: "ll-tree", role: "list", "aria-label": "Files found" }, ...result.found.map(([path, own]) => h("li", { class: "ll-file" }, h("span", { class: "ll-path" }, path), mark(own)))));
    } else if (nodes.length) {
      say(found, plural(countFiles(nodes), "file", "files"));
      tree.replaceChildren(drawNodes(nodes, "Files"));
    } else {
      say(found, "This layer changes no file.");
      tree.replaceChildren();
    }
  }
  const drawChosen = () => {
    const number = model.get("chosen");
    const layer = model.get("layers").find((each) => each.number === number);
    title.textContent = layer ? `What layer ${number} adds, changes and removes` : "The whole image, with the layer that each file comes from";
    drawLayers();
    drawTree();
  };
  name.textContent = model.get("image");
  about.textContent = `${model.get("total").size} in ${plural(model.get("layers").length, "layer", "layers")}, of which ${model.get("total").wasted} are hidden by later layers and still shipped`;
  drawChosen();
  on("change:tree", drawTree);
  on("change:chosen", drawChosen);
  return stop;
}
