// Tabs after the WAI-ARIA pattern: arrow keys move between tabs, Tab goes on into the panel.
import { h, unique } from "./dom.ts";
import { nextTab } from "./pure.ts";

function createTab(title: string, content: HTMLElement) {
  const id = unique("tab");
  const controls = unique("panel");
  return {
    tab: h("button", { type: "button", role: "tab", id, class: "ll-tab", "aria-controls": controls }, title),
    panel: h("div", { role: "tabpanel", id: controls, class: "ll-panel", "aria-labelledby": id }, content),
  };
}

// `panels` is a list of titles and what they show.
export function createTabs(label: string, panels: readonly [title: string, content: HTMLElement][]): HTMLElement {
  const all = panels.map(([title, content]) => createTab(title, content));
  const show = (number: number) => {
    for (const [index, { tab, panel }] of all.entries()) {
      const chosen = index === number;
      tab.setAttribute("aria-selected", String(chosen));
      tab.tabIndex = chosen ? 0 : -1;
      panel.hidden = !chosen;
    }
  };
  for (const [index, { tab }] of all.entries()) {
    tab.addEventListener("click", () => show(index));
    tab.addEventListener("keydown", (event) => {
      const next = nextTab(event.key, index, all.length);
      if (next < 0) return;
      event.preventDefault();
      show(next);
      all[next]?.tab.focus();
    });
  }
  show(0);
  const list = h("div", { role: "tablist", class: "ll-tablist", "aria-label": label }, ...all.map(({ tab }) => tab));
  return h("div", { class: "ll-tabs" }, list, ...all.map(({ panel }) => panel));
}
