// Files of an image as a tree. A directory is drawn when it is opened, and a long list a part at a time: an image may
// hold tens of thousands of files.
import { h, span } from "./dom.ts";
import { countFiles, type FoundFile, type Mark, marksBelow, marksText, markText, plural } from "./pure.ts";
import type { TreeNode } from "./shapes.ts";

export const PAGE = 200;
const FEW = 12;

const treeOf = (label: string, ...items: HTMLElement[]) =>
  h("ul", { class: "ll-tree", role: "list", "aria-label": label }, ...items);

function fileOf(path: string, mark: Mark): HTMLElement {
  const shown = mark ? h("span", { class: "ll-mark", "data-mark": mark }, markText(mark)) : null;
  return h("li", { class: "ll-file" }, span("ll-path", path), shown);
}

// At most PAGE nodes, and a button for the next ones.
export function drawNodes(nodes: readonly TreeNode[], label: string): HTMLElement {
  const list = treeOf(label);
  let done = 0;
  const more = h("button", { type: "button", class: "ll-link", onclick: () => next(true) });
  const holder = h("li", { class: "ll-more" }, more);
  const next = (focus: boolean) => {
    const part = nodes.slice(done, done + PAGE).map(drawNode);
    done += part.length;
    holder.remove();
    list.append(...part);
    if (done < nodes.length) {
      more.textContent = `Show ${Math.min(PAGE, nodes.length - done)} more of ${nodes.length.toLocaleString("en")}`;
      list.append(holder);
    }
    if (focus && part[0]) (part[0].querySelector("summary") ?? more).focus();
  };
  next(false);
  return list;
}

function drawNode([name, mark, children]: TreeNode): HTMLElement {
  if (!children) return fileOf(name, mark);
  const summary = h(
    "summary",
    {},
    span("ll-path", `${name}/`),
    span("ll-count", plural(countFiles(children), "file", "files")),
    span("ll-mark", marksText(marksBelow(children))),
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

export function drawFound(files: readonly FoundFile[]): HTMLElement {
  return treeOf("Files found", ...files.map(([path, mark]) => fileOf(path, mark)));
}
