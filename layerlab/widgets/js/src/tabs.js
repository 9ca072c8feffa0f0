// Tabs after the WAI-ARIA pattern: arrow keys move between tabs, Tab goes on into the panel.
import { h, unique } from "./dom.js";
import { nextTab } from "./pure.js";

// `panels` is a list of [title, element]. Returns the element and a function that shows the panel of a number.
export function createTabs(label, panels) {
  const ids = panels.map(() => [unique("tab"), unique("panel")]);
  const show = (number, focus = false) => {
    tabs.forEach((tab, index) => {
      const chosen = index === number;
      tab.setAttribute("aria-selected", String(chosen));
      tab.tabIndex = chosen ? 0 : -1;
      boxes[index].hidden = !chosen;
    });
    if (focus) tabs[number].focus();
  };
  const tabs = panels.map(([title], index) =>
    h(
      "button",
      {
        type: "button",
        role: "tab",
        id: ids[index][0],
        class: "ll-tab",
        "aria-controls": ids[index][1],
        onclick: () => show(index),
        onkeydown: (event) => {
          const next = nextTab(event.key, index, panels.length);
          if (next < 0) return;
          event.preventDefault();
          show(next, true);
        },
      },
      title,
    ),
  );
  const boxes = panels.map(([, element], index) => h("div", { role: "tabpanel", id: ids[index][1], class: "ll-panel", "aria-labelledby": ids[index][0] }, element));
  show(0);
  return { element: h("div", { class: "ll-tabs" }, h("div", { role: "tablist", class: "ll-tablist", "aria-label": label }, ...tabs), ...boxes), show };
}
