// The Workbench: two editors, Build and Stop, and what the build did. Everything that it shows is in the model's traits;
// everything that it says goes by message, the edits inside the message that asks for a build.
import { h, listener, say, unique } from "./dom.js";
import { createEditor } from "./editor.js";
import { drawHistory, drawMatrix } from "./matrix.js";
import { createProblem } from "./problem.js";
import { firstFile, incoming, lineOf, otherFiles } from "./pure.js";
import { createStack } from "./stack.js";
import { createTabs } from "./tabs.js";

const DEBOUNCE = 150;
const GONE = "The kernel has gone: run the cell again. Edits are not saved.";

export function renderWorkbench({ model, el }) {
  const { on, stop } = listener(model);
  const texts = new Map(Object.entries(model.get("files")));
  const dirty = new Set();
  // Whether the kernel that made this Workbench is there no more: nobody hears what the page says then.
  let gone = false;
  // Whether the Dockerfile was edited since the last build's problem came, which then stands at no line of it for certain.
  let outdated = false;
  let timer;
  let file = firstFile(otherFiles([...texts.keys()]));
  let dockerfile = model.get("dockerfile");

  // --- saying ---
  const tell = (message) => {
    if (gone) return false;
    try {
      model.send(message);
    } catch {
      // A kernel that was shut down is known by this alone.
      lose();
      return false;
    }
    return true;
  };
  const tellEdits = (type) => {
    clearTimeout(timer);
    const files = Object.fromEntries([...dirty].map((name) => [name, texts.get(name)]));
    if (tell({ type, files, dockerfile })) dirty.clear();
  };
  const flush = () => {
    if (dirty.size) tellEdits("edit");
  };
  const edited = (name) => (text) => {
    texts.set(name(), text);
    dirty.add(name());
    // For other views of this model in this page; nothing is sent by it.
    model.set("files", Object.fromEntries(texts));
    clearTimeout(timer);
    timer = setTimeout(flush, DEBOUNCE);
  };
  const editedDockerfile = (text) => {
    outdated = true;
    edited(() => dockerfile)(text);
  };
  const askBuild = () => {
    if (!model.get("busy") && !gone) tellEdits("build");
  };

  // --- parts ---
  const hint = h("p", { class: "ll-hint", id: unique("hint") }, "Edits are saved as you type. Ctrl+Enter builds. In an editor, Tab indents: press Escape, then Tab, to leave it.");
  const build = h("button", { type: "button", class: "ll-button ll-primary", onclick: askBuild }, "Build");
  const halt = h("button", { type: "button", class: "ll-button", onclick: () => tell({ type: "stop" }) }, "Stop");
  const status = h("p", { class: "ll-status", role: "status", "aria-live": "polite" });
  const about = h("p", { class: "ll-about" });
  const name = h("p", { class: "ll-name" });
  const notes = h("ul", { class: "ll-notes", role: "list", "aria-label": "Notes on this build" });
  const stack = createStack("Build steps, first at the top");
  const log = h("pre", { class: "ll-log", tabindex: "0", role: "log", "aria-live": "off", "aria-label": "Output of the build" });
  const past = h("div");
  const whatIf = h("div");
  const problem = createProblem();
  const files = h("select", { class: "ll-select", onchange: () => openFile(files.value) });
  const dockerfiles = h("select", { class: "ll-select", onchange: () => chooseDockerfile(dockerfiles.value) });
  const fileHost = h("div", { class: "ll-editor" });
  const dockerHost = h("div", { class: "ll-editor" });
  const legend = h(
    "p",
    { class: "ll-legend" },
    "The bar beside a line is its verdict in the next build: ",
    ...[["cached", "cached"], ["runs", "runs"], ["undecided", "undecided"]].map(([verdict, word]) => h("span", { class: "ll-legend-item" }, h("span", { class: `ll-swatch ll-forecast-${verdict}`, "aria-hidden": "true" }), word)),
  );
  const tabs = createTabs("What the build does", [
    ["Layers", h("div", {}, stack.list, notes)],
    ["What if", whatIf],
    ["Builds", past],
    ["Log", log],
  ]);
  const root = h(
    "section",
    { class: "ll ll-workbench", "aria-label": "Workbench", "data-lm-suppress-shortcuts": "true" },
    h("div", { class: "ll-head" }, h("div", { class: "ll-title" }, name, about), h("div", { class: "ll-actions" }, build, halt)),
    status,
    h(
      "div",
      { class: "ll-editors" },
      h("div", { class: "ll-pane" }, h("label", { class: "ll-pane-head" }, h("span", {}, "File"), files), fileHost),
      h("div", { class: "ll-pane" }, h("label", { class: "ll-pane-head" }, h("span", {}, "Build with"), dockerfiles), dockerHost),
    ),
    problem.element,
    h("div", { class: "ll-foot" }, legend, hint),
    tabs.element,
  );
  el.append(root);
  // What was changed elsewhere meanwhile is seen before anything is typed over it.
  root.addEventListener("focusin", (event) => {
    if (!root.contains(event.relatedTarget)) tell({ type: "look" });
  });

  const common = { hint: hint.id, build: askBuild, save: flush };
  const fileEditor = createEditor(fileHost, { label: () => `Contents of ${file}`, changed: edited(() => file), ...common });
  const dockerEditor = createEditor(dockerHost, { label: () => `Contents of ${dockerfile}`, changed: editedDockerfile, ...common });

  // --- showing ---
  function openFile(next) {
    file = next;
    fileEditor.open(file, texts.get(file) ?? "");
  }
  function openDockerfile(next) {
    dockerfile = next;
    dockerEditor.open(dockerfile, texts.get(dockerfile) ?? "");
    drawProblem();
    drawForecast();
  }
  function chooseDockerfile(next) {
    flush();
    openDockerfile(next);
    tellEdits("choose");
  }
  const fillSelect = (select, names, chosen) => {
    const now = [...select.options].map((option) => option.value);
    if (now.join("\n") !== names.join("\n")) select.replaceChildren(...names.map((each) => h("option", { value: each }, each)));
    select.value = chosen;
  };
  const drawLists = () => {
    const others = otherFiles([...texts.keys()]);
    if (!others.includes(file)) openFile(firstFile(others));
    fillSelect(files, others, file);
    fillSelect(dockerfiles, model.get("dockerfiles"), dockerfile);
  };
  const drawFiles = () => {
    const taken = incoming(texts, model.get("files"), dirty);
    for (const [changed, text] of taken) texts.set(changed, text);
    for (const gone of [...texts.keys()].filter((each) => !(each in model.get("files")))) texts.delete(gone);
    if (taken.has(file)) fileEditor.replace(taken.get(file));
    if (taken.has(dockerfile)) {
      outdated = true;
      dockerEditor.replace(taken.get(dockerfile));
    }
    drawLists();
  };
  function drawProblem({ show = false } = {}) {
    const typed = model.get("plan_problem");
    const built = model.get("problem");
    const ofBuild = Boolean(built.message) && !(outdated && typed.message);
    const shown = ofBuild ? built : typed;
    const line = ofBuild && outdated ? 0 : lineOf(shown, dockerfile, dockerEditor.lines());
    dockerEditor.markLine(line, problem.id, show && ofBuild);
    problem.draw(shown, dockerfile, { rest: !ofBuild && !model.get("busy") });
  }
  function drawForecast() {
    dockerEditor.markVerdicts(dockerfile === model.get("dockerfile") ? model.get("forecast") : []);
  }
  const drawAbout = () => {
    const facts = model.get("about");
    name.textContent = facts.tag;
    about.textContent = [facts.directory, facts.engine, facts.executor].filter(Boolean).join(" · ");
  };
  const drawBusy = () => {
    const busy = model.get("busy") && !gone;
    // Not "disabled": whoever built with the keyboard would lose their place in the page.
    build.setAttribute("aria-disabled", String(busy || gone));
    if (!busy && document.activeElement === halt) build.focus();
    halt.disabled = !busy;
    stack.list.setAttribute("aria-busy", String(busy));
    root.classList.toggle("ll-busy", busy);
  };
  const drawSteps = () => stack.draw(model.get("steps"));
  const drawNotes = () => notes.replaceChildren(...model.get("notes").map((text) => h("li", {}, text)));
  const drawLog = () => {
    const below = log.scrollHeight - log.scrollTop - log.clientHeight < 40;
    log.textContent = model.get("log") || "What the steps write appears here.";
    if (below) log.scrollTop = log.scrollHeight;
  };
  const drawPast = () => drawHistory(past, model.get("past"));
  const drawWhatIf = () => drawMatrix(whatIf, model.get("what_if"));
  const drawStatus = () => say(status, gone ? GONE : model.get("status"));
  function lose() {
    if (gone) return;
    gone = true;
    clearTimeout(timer);
    for (const editor of [fileEditor, dockerEditor]) editor.lock();
    hint.textContent = "The editors are read-only now: their texts can still be copied.";
    drawBusy();
    drawStatus();
  }
  const drawDockerfile = () => {
    if (model.get("dockerfile") !== dockerfile && texts.has(model.get("dockerfile"))) openDockerfile(model.get("dockerfile"));
    drawLists();
    drawForecast();
  };

  openFile(file);
  openDockerfile(dockerfile);
  for (const draw of [drawAbout, drawBusy, drawStatus, drawSteps, drawNotes, drawLog, drawPast, drawWhatIf, drawLists, drawForecast]) draw();
  // A model keeps its comm for life, so this event is only heard when that is lost. A view that is made later is marked instead.
  if (el.classList.contains("jupyter-widgets-disconnected")) lose();
  on("comm_live_update", lose);
  on("change:files", drawFiles);
  on("change:dockerfiles", drawLists);
  on("change:dockerfile", drawDockerfile);
  on("change:about", drawAbout);
  on("change:busy", drawBusy);
  on("change:status", drawStatus);
  on("change:steps", drawSteps);
  on("change:notes", drawNotes);
  on("change:log", drawLog);
  on("change:past", drawPast);
  on("change:what_if", drawWhatIf);
  on("change:forecast", drawForecast);
  on("change:problem", () => {
    outdated = false;
    drawProblem({ show: true });
  });
  on("change:plan_problem", () => drawProblem());

  return () => {
    flush();
    problem.stop();
    stop();
    fileEditor.destroy();
    dockerEditor.destroy();
  };
}
