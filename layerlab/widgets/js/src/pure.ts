// What the views decide without a page: tested by node --test.
import type { LineVerdict, Problem, Sign, TreeNode, Verdict } from "./shapes.ts";

const baseName = (path: string): string => path.slice(path.lastIndexOf("/") + 1);

// Whether a file is one to build with, by its name.
export function isDockerfile(name: string): boolean {
  const base = baseName(name).toLowerCase();
  return !base.endsWith(".dockerignore") && (base.startsWith("dockerfile") || base.endsWith(".dockerfile"));
}

export type Mode = "dockerfile" | "json" | "typescript" | "javascript" | "text";

// The mode of the editor for a file.
export function modeOf(name: string): Mode {
  if (isDockerfile(name)) return "dockerfile";
  if (/\.jsonc?$/.test(name)) return "json";
  if (/\.[cm]?tsx?$/.test(name)) return "typescript";
  if (/\.[cm]?jsx?$/.test(name)) return "javascript";
  return "text";
}

// The names that a person edits beside the Dockerfile, in the order given.
export function otherFiles(names: Iterable<string>): string[] {
  return [...names].filter((name) => !isDockerfile(name));
}

// The file to open first: the source that the lesson edits, else the first.
export function firstFile(names: readonly string[]): string {
  const sources = ["src/index.ts", "index.ts", "src/index.js", "index.js"];
  return sources.find((name) => names.includes(name)) ?? names[0] ?? "";
}

// What the page has to take over of the files that the kernel has: those that it has not changed itself.
export function incoming(
  mine: ReadonlyMap<string, string>,
  theirs: Record<string, string>,
  dirty: ReadonlySet<string>,
): Map<string, string> {
  return new Map(Object.entries(theirs).filter(([name, text]) => !dirty.has(name) && mine.get(name) !== text));
}

// The line of a Dockerfile that an error stands at, kept within the text; 0 when it stands at none of it.
export function lineOf(problem: Problem, dockerfile: string, lines: number): number {
  if (!problem.message || !problem.line) return 0;
  const file = baseName(problem.file ?? "");
  if (file && file !== baseName(dockerfile)) return 0;
  return Math.min(Math.max(problem.line, 1), lines);
}

// The sentence above an error's message.
export function placeOf(problem: Problem, dockerfile: string): string {
  const file = baseName(problem.file ?? "");
  return problem.line ? `${file || dockerfile}, line ${problem.line}` : file;
}

// The verdict beside each line of a Dockerfile, from steps with first and last lines.
export function verdictsByLine(forecast: readonly LineVerdict[], lines: number): Map<number, Verdict> {
  const found = new Map<number, Verdict>();
  for (const step of forecast) {
    for (let line = step.line; line <= Math.min(step.end_line, lines); line += 1) found.set(line, step.verdict);
  }
  return found;
}

// The next tab for a key, or -1 for a key that moves nothing.
export function nextTab(key: string, current: number, count: number): number {
  if (key === "ArrowRight") return (current + 1) % count;
  if (key === "ArrowLeft") return (current + count - 1) % count;
  if (key === "Home") return 0;
  if (key === "End") return count - 1;
  return -1;
}

// --- the matrix ---

// Names that follow each other, once each, with how often.
export function bandsOf(names: readonly string[]): { name: string; count: number }[] {
  const bands: { name: string; count: number }[] = [];
  for (const name of names) {
    const last = bands[bands.length - 1];
    if (last?.name === name) last.count += 1;
    else bands.push({ name, count: 1 });
  }
  return bands;
}

const WAYS: Record<string, [number, number]> = {
  ArrowDown: [1, 0],
  ArrowUp: [-1, 0],
  ArrowRight: [0, 1],
  ArrowLeft: [0, -1],
};

// The cell that a key leads to from one of a table, or nothing for a key that moves nothing.
export function nextCell(
  key: string,
  row: number,
  column: number,
  rows: number,
  columns: number,
): [number, number] | null {
  const way = WAYS[key];
  if (!way || row < 0 || column < 0) return null;
  const within = (value: number, count: number) => Math.min(Math.max(value, 0), count - 1);
  return [within(row + way[0], rows), within(column + way[1], columns)];
}

// --- the stack ---

interface Placed {
  number: number;
  stage: string;
  verdict: Verdict | "";
}

// The slabs of each stage as they are drawn: the last stage first, the newest on top. A title says which stage it is
// where there are several.
export function stagesOf<Slab extends Placed>(
  slabs: readonly Slab[],
): { stage: string; title: string; slabs: Slab[] }[] {
  const stages: { stage: string; title: string; slabs: Slab[] }[] = [];
  for (const slab of slabs) {
    const last = stages[stages.length - 1];
    if (last && last.stage === slab.stage) last.slabs.unshift(slab);
    else stages.push({ stage: slab.stage, title: "", slabs: [slab] });
  }
  if (stages.length > 1) for (const each of stages) each.title = `Stage ${each.stage}`;
  return stages.reverse();
}

const RUNS: ReadonlySet<Verdict | ""> = new Set<Verdict>(["running", "executed", "failed", "stopped"]);

// The numbers of the slabs that stand on one that runs, and wait for it.
export function fallen(slabs: readonly Placed[]): Set<number> {
  const broken = new Set<string>();
  const found = new Set<number>();
  for (const { number, stage, verdict } of slabs) {
    if (RUNS.has(verdict)) broken.add(stage);
    if (verdict === "waiting" && broken.has(stage)) found.add(number);
  }
  return found;
}

interface Turning {
  number: number;
  stage: string;
  asked: boolean;
}

// The steps that run, after one of them was pressed: it and all above it in its stage; or without it, where it ran
// already.
export function turned(steps: readonly Turning[], runs: ReadonlySet<number>, pressed: number): Set<number> {
  const found = new Set(runs);
  if (found.delete(pressed)) return found;
  const stage = steps.find(({ number }) => number === pressed)?.stage;
  for (const step of steps) {
    if (step.asked && step.stage === stage && step.number >= pressed) found.add(step.number);
  }
  return found;
}

// The next place in a list that is drawn from top to bottom, or -1 for a key that moves nothing.
export function nextSlab(key: string, current: number, count: number): number {
  if (key === "ArrowDown") return Math.min(current + 1, count - 1);
  if (key === "ArrowUp") return Math.max(current - 1, 0);
  if (key === "Home") return 0;
  if (key === "End") return count - 1;
  return -1;
}

// --- file trees: a node is [name, mark] or [name, mark, children] ---

export type Mark = number | Sign;
export type FoundFile = [path: string, mark: Mark];

// How many files are below a list of nodes.
export function countFiles(nodes: readonly TreeNode[]): number {
  let count = 0;
  for (const [, , children] of nodes) count += children ? countFiles(children) : 1;
  return count;
}

// All files below a list of nodes with their marks, in order.
function* filesBelow(nodes: readonly TreeNode[], prefix = ""): Generator<FoundFile> {
  for (const [name, mark, children] of nodes) {
    if (children) yield* filesBelow(children, `${prefix}${name}/`);
    else yield [prefix + name, mark];
  }
}

// Files whose path holds the words, in order: at most `most` of them, and how many there are.
export function findFiles(
  nodes: readonly TreeNode[],
  query: string,
  most: number,
): { found: FoundFile[]; count: number } {
  const words = query.toLowerCase().split(/\s+/).filter(Boolean);
  const found: FoundFile[] = [];
  let count = 0;
  for (const file of filesBelow(nodes)) {
    const path = file[0].toLowerCase();
    if (!words.every((word) => path.includes(word))) continue;
    count += 1;
    if (found.length < most) found.push(file);
  }
  return { found, count };
}

function inOrder(one: Mark, other: Mark): number {
  return typeof one === "number" && typeof other === "number" ? one - other : String(one).localeCompare(String(other));
}

// The marks below a node, for a directory that has several: layers in order, or the signs of one layer.
export function marksBelow(nodes: readonly TreeNode[]): Mark[] {
  const marks = new Set<Mark>();
  for (const [, mark] of filesBelow(nodes)) if (mark) marks.add(mark);
  return [...marks].sort(inOrder);
}

// A mark in words.
export function markText(mark: Mark): string {
  if (mark === "+") return "added";
  if (mark === "~") return "changed";
  if (mark === "-") return "removed";
  return mark ? `layer ${mark}` : "";
}

// Several marks in words, kept short.
export function marksText(marks: readonly Mark[]): string {
  const [first, ...others] = marks;
  if (first === undefined) return "";
  if (others.length === 0) return markText(first);
  if (typeof first !== "number") return marks.map(markText).join(", ");
  return marks.length > 4 ? `${marks.length} layers` : `layers ${marks.join(", ")}`;
}

export function plural(count: number, one: string, many: string): string {
  return `${count.toLocaleString("en")} ${count === 1 ? one : many}`;
}

// The lines with one more, as the first of its stage.
export function putIn(lines: readonly string[], { text, after }: { text: string; after: string }): string[] {
  const place = lines.indexOf(after) + 1;
  return [...lines.slice(0, place), text, ...lines.slice(place)];
}

// The lines after one of them went from a place to another.
export function moved(lines: readonly string[], from: number, to: number): string[] {
  const rest = lines.filter((_, index) => index !== from);
  const line = lines[from];
  if (line !== undefined) rest.splice(to, 0, line);
  return rest;
}
