// The Workbench: two editors, Build and Stop, and what the build did. All that it shows is in the model's traits; all
// that it says goes by message (drafts.ts).
import { h, say } from "./dom.ts";
import { createDrafts, type Drafts, type WorkbenchModel } from "./drafts.ts";
import { createEditor, type Editor } from "./editor.ts";
import { drawHistory, drawMatrix } from "./matrix.ts";
import { type Context, type Ended, listener } from "./model.ts";
import { firstFile, lineOf, otherFiles } from "./pure.ts";
import type { WorkbenchMessage, WorkbenchState } from "./shapes.ts";
import { slabOf } from "./stack.ts";
import { createParts, fillSelect, type Parts } from "./workbench-parts.ts";

const GONE = "This view has lost its kernel. What was typed before is saved; run the cell again to go on.";

export function renderWorkbench({ model, el }: Context<WorkbenchState, WorkbenchMessage>): Ended {
  const view = new Workbench(model, el);
  view.draw();
  // A view that is made after the comm was lost is marked by this; one that is there hears of it (see `listen`).
  if (el.classList.contains("jupyter-widgets-disconnected")) view.lose();
  const stop = view.listen();
  return () => {
    view.end();
    stop();
  };
}

class Workbench {
  private readonly model: WorkbenchModel;
  private readonly drafts: Drafts;
  private readonly parts: Parts;
  private readonly fileEditor: Editor;
  private readonly dockerEditor: Editor;
  // The names of the files in the two editors.
  private file: string;
  private dockerfile: string;
  // Whether the Dockerfile was edited since the last build's problem came, which then stands at no line of it for
  // certain.
  private outdated = false;

  constructor(model: WorkbenchModel, el: HTMLElement) {
    this.model = model;
    this.dockerfile = model.get("dockerfile");
    this.drafts = createDrafts(
      model,
      () => this.dockerfile,
      () => this.drawLost(),
    );
    this.file = firstFile(otherFiles(this.drafts.names()));
    this.parts = createParts({
      build: () => this.askBuild(),
      stop: () => this.drafts.ask("stop"),
      openFile: (name) => this.openFile(name),
      chooseDockerfile: (name) => this.chooseDockerfile(name),
    });
    el.append(this.parts.root);
    this.lookWhenEntered();
    this.fileEditor = this.createEditor(this.parts.fileHost, () => this.file);
    this.dockerEditor = this.createEditor(
      this.parts.dockerHost,
      () => this.dockerfile,
      () => {
        this.outdated = true;
      },
    );
  }

  private createEditor(host: HTMLElement, name: () => string, changed = () => {}): Editor {
    return createEditor(host, {
      label: () => `Contents of ${name()}`,
      hint: this.parts.hint.id,
      build: () => this.askBuild(),
      save: () => this.drafts.flush(),
      changed: (text) => {
        changed();
        this.drafts.typed(name(), text);
      },
    });
  }

  // What was changed elsewhere meanwhile is seen before anything is typed over it.
  private lookWhenEntered(): void {
    const { root } = this.parts;
    root.addEventListener("focusin", ({ relatedTarget }) => {
      const inside = relatedTarget instanceof Node && root.contains(relatedTarget);
      if (!inside) this.drafts.ask("look");
    });
  }

  draw(): void {
    this.openFile(this.file);
    this.openDockerfile(this.dockerfile);
    this.drawAbout();
    this.drawBusy();
    this.drawStatus();
    this.drawSteps();
    this.drawNotes();
    this.drawLog();
    this.drawPast();
    this.drawWhatIf();
    this.drawKeys();
    this.drawLists();
    this.drawForecast();
  }

  // Draws what changes from now on; returns the call that stops it.
  listen(): Ended {
    const { on, stop } = listener(this.model);
    // A model keeps its comm for life, so this event is only heard when that is lost.
    on("comm_live_update", () => this.lose());
    on("change:files", () => this.drawFiles());
    on("change:dockerfiles", () => this.drawLists());
    on("change:dockerfile", () => this.drawDockerfile());
    on("change:about", () => this.drawAbout());
    on("change:busy", () => this.drawBusy());
    on("change:status", () => this.drawStatus());
    on("change:steps", () => this.drawSteps());
    on("change:notes", () => this.drawNotes());
    on("change:log", () => this.drawLog());
    on("change:past", () => this.drawPast());
    on("change:what_if", () => this.drawWhatIf());
    on("change:chain", () => this.drawKeys());
    on("change:forecast", () => this.drawForecast());
    on("change:problem", () => {
      this.outdated = false;
      this.drawProblem(true);
    });
    on("change:plan_problem", () => this.drawProblem());
    return stop;
  }

  lose(): void {
    this.drafts.lose();
  }

  end(): void {
    this.drafts.flush();
    this.parts.problem.stop();
    this.fileEditor.destroy();
    this.dockerEditor.destroy();
  }

  // --- what a person does ---

  private askBuild(): void {
    if (!this.model.get("busy") && !this.drafts.isLost()) this.drafts.send("build");
  }

  private openFile(name: string): void {
    this.file = name;
    this.fileEditor.open(name, this.drafts.text(name));
  }

  private openDockerfile(name: string): void {
    this.dockerfile = name;
    this.dockerEditor.open(name, this.drafts.text(name));
    this.drawProblem();
    this.drawForecast();
  }

  private chooseDockerfile(name: string): void {
    this.drafts.flush();
    this.openDockerfile(name);
    this.drafts.send("choose");
  }

  // --- what is shown ---

  private drawLists(): void {
    const others = otherFiles(this.drafts.names());
    if (!others.includes(this.file)) this.openFile(firstFile(others));
    fillSelect(this.parts.files, others, this.file);
    fillSelect(this.parts.dockerfiles, this.model.get("dockerfiles"), this.dockerfile);
  }

  private drawFiles(): void {
    const taken = this.drafts.update();
    const text = taken.get(this.file);
    if (text !== undefined) this.fileEditor.replace(text);
    const dockerText = taken.get(this.dockerfile);
    if (dockerText !== undefined) {
      this.outdated = true;
      this.dockerEditor.replace(dockerText);
    }
    this.drawLists();
  }

  private drawDockerfile(): void {
    const chosen = this.model.get("dockerfile");
    if (chosen !== this.dockerfile && this.drafts.has(chosen)) this.openDockerfile(chosen);
    this.drawLists();
    this.drawForecast();
  }

  // The last build's problem, or what is wrong with the Dockerfile as it is typed. `show` brings its line into view.
  private drawProblem(show = false): void {
    const typed = this.model.get("plan_problem");
    const built = this.model.get("problem");
    const ofBuild = Boolean(built.message) && !(this.outdated && typed.message);
    const shown = ofBuild ? built : typed;
    const line = ofBuild && this.outdated ? 0 : lineOf(shown, this.dockerfile, this.dockerEditor.lines());
    const { problem } = this.parts;
    this.dockerEditor.markLine(line, problem.id, show && ofBuild);
    problem.draw(shown, this.dockerfile, { rest: !ofBuild && !this.model.get("busy") });
  }

  private drawForecast(): void {
    const known = this.dockerfile === this.model.get("dockerfile");
    this.dockerEditor.markVerdicts(known ? this.model.get("forecast") : []);
  }

  private drawAbout(): void {
    const { tag, directory, engine, executor } = this.model.get("about");
    this.parts.name.textContent = tag;
    this.parts.about.textContent = [directory, engine, executor].filter(Boolean).join(" · ");
  }

  private drawBusy(): void {
    const { root, build, halt, stack } = this.parts;
    const gone = this.drafts.isLost();
    const busy = this.model.get("busy") && !gone;
    // Not "disabled": whoever built with the keyboard would lose their place in the page.
    build.setAttribute("aria-disabled", String(busy || gone));
    if (!busy && document.activeElement === halt) build.focus();
    halt.disabled = !busy;
    stack.busy(busy);
    root.classList.toggle("ll-busy", busy);
  }

  private drawStatus(): void {
    say(this.parts.status, this.drafts.isLost() ? GONE : this.model.get("status"));
  }

  private drawSteps(): void {
    this.parts.stack.draw(this.model.get("steps").map((step) => slabOf(step)));
  }

  private drawNotes(): void {
    this.parts.notes.replaceChildren(...this.model.get("notes").map((text) => h("li", {}, text)));
  }

  private drawLog(): void {
    const { log } = this.parts;
    const below = log.scrollHeight - log.scrollTop - log.clientHeight < 40;
    log.textContent = this.model.get("log") || "What the steps write appears here.";
    if (below) log.scrollTop = log.scrollHeight;
  }

  private drawPast(): void {
    drawHistory(this.parts.past, this.model.get("past"));
  }

  private drawWhatIf(): void {
    drawMatrix(this.parts.whatIf, this.model.get("what_if"));
  }

  private drawKeys(): void {
    this.parts.keys.draw(this.model.get("chain"));
  }

  private drawLost(): void {
    for (const editor of [this.fileEditor, this.dockerEditor]) editor.lock();
    this.parts.hint.textContent = "The editors are read-only now: their texts can still be copied.";
    this.drawBusy();
    this.drawStatus();
  }
}
