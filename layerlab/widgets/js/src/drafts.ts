// The files of a Workbench as this page has them: what somebody types, and how the kernel hears of it. An edit goes by
// message when the typing rests, or inside the message that asks for a build, which so cannot overtake it.
import type { Model } from "./model.ts";
import { incoming } from "./pure.ts";
import type { WorkbenchMessage, WorkbenchState } from "./shapes.ts";

const DEBOUNCE = 150;

export type WorkbenchModel = Model<WorkbenchState, WorkbenchMessage>;

export interface Drafts {
  names(): string[];
  has(name: string): boolean;
  text(name: string): string;
  // Keeps what was typed into a file.
  typed(name: string, text: string): void;
  // Takes what the kernel has of the files that were not changed here; says which files that changed, with their texts.
  update(): Map<string, string>;
  // The edits so far, and what is to be done with them.
  send(type: "edit" | "choose" | "build"): void;
  // Sends the edits that wait, if there are any.
  flush(): void;
  ask(type: "stop" | "look"): void;
  // Whether the kernel that made this Workbench is there no more: nobody hears what the page says then.
  isLost(): boolean;
  lose(): void;
}

// `dockerfile()` is the one that is open, `lost()` hears that the kernel has gone.
export function createDrafts(model: WorkbenchModel, dockerfile: () => string, lost: () => void): Drafts {
  const texts = new Map(Object.entries(model.get("files")));
  const dirty = new Set<string>();
  const channel = createChannel(model, lost);
  let timer: number | undefined;

  const send = (type: "edit" | "choose" | "build") => {
    clearTimeout(timer);
    const files = Object.fromEntries([...texts].filter(([name]) => dirty.has(name)));
    if (channel.tell({ type, files, dockerfile: dockerfile() })) dirty.clear();
  };
  const flush = () => {
    if (dirty.size) send("edit");
  };
  return {
    names: () => [...texts.keys()],
    has: (name) => texts.has(name),
    text: (name) => texts.get(name) ?? "",
    typed(name, text) {
      texts.set(name, text);
      dirty.add(name);
      model.set("files", Object.fromEntries(texts));
      clearTimeout(timer);
      timer = setTimeout(flush, DEBOUNCE);
    },
    update() {
      const theirs = model.get("files");
      const taken = incoming(texts, theirs, dirty);
      for (const [name, text] of taken) texts.set(name, text);
      for (const name of [...texts.keys()]) if (!(name in theirs)) texts.delete(name);
      return taken;
    },
    send,
    flush,
    ask: (type) => void channel.tell({ type }),
    isLost: channel.isLost,
    lose() {
      clearTimeout(timer);
      channel.lose();
    },
  };
}

// The way to a kernel, until it is lost.
function createChannel(model: WorkbenchModel, lost: () => void) {
  let gone = false;
  const lose = () => {
    if (gone) return;
    gone = true;
    lost();
  };
  return {
    isLost: () => gone,
    lose,
    // Whether the kernel hears it.
    tell(message: WorkbenchMessage): boolean {
      if (gone) return false;
      try {
        model.send(message);
      } catch {
        // A kernel that was shut down is known by this alone.
        lose();
        return false;
      }
      return true;
    },
  };
}
