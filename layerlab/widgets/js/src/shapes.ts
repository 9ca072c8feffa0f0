// Made from layerlab/widgets/shapes.py by ./lab build-assets: change it there.

export type Verdict =
  | "base"
  | "cached"
  | "executed"
  | "failed"
  | "metadata"
  | "running"
  | "runs"
  | "skipped"
  | "stopped"
  | "undecided"
  | "waiting";

export type Sign = "" | "+" | "-" | "~";

export type Ending = "built" | "failed" | "predicted" | "stopped";

export interface WorkbenchState {
  kind: "workbench";
  about: About;
  files: Record<string, string>;
  dockerfile: string;
  dockerfiles: string[];
  busy: boolean;
  status: string;
  steps: Step[];
  notes: string[];
  log: string;
  past: Past;
  what_if: Matrix;
  forecast: LineVerdict[];
  chain: KeyLink[];
  problem: Problem;
  plan_problem: Problem;
}

export interface About {
  engine: string;
  executor: string;
  tag: string;
  directory: string;
}

export interface Step {
  verdict: Verdict;
  word: string;
  sign: string;
  why: string;
  number: number;
  instruction: string;
  stage: string;
  line: number;
  end_line: number;
  layer: boolean;
  height: number;
  size: string;
  seconds: string;
  said: string;
  key: string;
  origin: boolean;
}

export interface Past {
  columns: PastColumn[];
  rows: PastRow[];
}

export interface PastColumn {
  number: number;
  dockerfile: string;
  seconds: string;
  outcome: Ending;
  ran: number;
}

export interface PastRow {
  instruction: string;
  cells: (PastCell | null)[];
}

export interface PastCell {
  verdict: Verdict;
  word: string;
  sign: string;
  why: string;
  seconds: string;
}

export interface Matrix {
  columns: EditColumn[];
  rows: EditRow[];
  note: string;
}

export interface EditColumn {
  number: number;
  instruction: string;
  line: number;
  stage: string;
}

export interface EditRow {
  edit: string;
  new: boolean;
  cells: Cell[];
  runs: number;
  cost: string;
}

export interface Cell {
  verdict: Verdict;
  word: string;
  sign: string;
  why: string;
}

export interface LineVerdict {
  line: number;
  end_line: number;
  verdict: Verdict;
}

export interface KeyLink {
  number: number;
  instruction: string;
  stage: string;
  layer: boolean;
  key: string;
  changed: boolean;
  parts: KeyFact[];
}

export interface KeyFact {
  name: string;
  text: string;
  digest: string;
}

export interface Problem {
  kind?: string;
  file?: string;
  line?: number;
  column?: number;
  message?: string;
  remedy?: string;
  log?: string;
}

export interface WhatIfState {
  kind: "whatif";
  dockerfile: string;
  dockerfile_text: string;
  editable: boolean;
  what_if: Matrix;
  plan_problem: Problem;
}

export interface ExplorerState {
  kind: "explorer";
  image: string;
  layers: Layer[];
  total: Total;
  chosen: number;
  tree: TreeNode[];
}

export interface Layer {
  number: number;
  instruction: string;
  height: number;
  size: string;
  wasted: string;
  added: number;
  changed: number;
  removed: number;
  hidden: Hidden[];
  more: number;
  saved: string;
}

export interface Hidden {
  path: string;
  size: string;
  by: number;
}

export interface Total {
  size: string;
  wasted: string;
  paths: number;
}

export type TreeNode = [string, number | Sign, TreeNode[]?];

export interface BuildState {
  kind: "build";
  title: string;
  busy: boolean;
  status: string;
  steps: Step[];
  guesses: Record<string, Guess>;
  score: string;
  notes: string[];
  problem: Problem;
  printed: string;
  unfolded: boolean;
}

export interface Guess {
  said: string;
  right: boolean;
}

export interface PredictionState {
  kind: "prediction";
  question: string;
  steps: AskedStep[];
  turned: Cell;
  given: Record<string, string>;
  committed: boolean;
  closed: boolean;
  score: string;
}

export interface AskedStep {
  verdict: Verdict;
  word: string;
  sign: string;
  why: string;
  number: number;
  instruction: string;
  stage: string;
  asked: boolean;
}

export interface QuestionState {
  kind: "question";
  question: string;
  choices: string[];
  unit: string;
  given: string;
  committed: boolean;
  result: Revealed;
}

export interface Revealed {
  answer?: string;
  why?: string;
  right?: boolean;
  answered?: boolean;
}

export interface GolfState {
  kind: "golf";
  levels: GolfLevel[];
  level: string;
  title: string;
  task: string;
  files: string[];
  lines: GolfLine[];
  tray: GolfSpare[];
  edits: GolfEdit[];
  score: GolfScore;
  hints: string[];
  can_undo: boolean;
}

export interface GolfLevel {
  name: string;
  title: string;
  at_par: boolean;
}

export interface GolfLine {
  text: string;
  movable: boolean;
  spare: boolean;
  seconds: string;
  share: number;
  costs: GolfCost[];
}

export interface GolfCost {
  edit: string;
  rebuilt: boolean;
  in_vain: boolean;
}

export interface GolfSpare {
  text: string;
  after: string;
}

export interface GolfEdit {
  title: string;
  times: string;
  seconds: string;
  total: string;
}

export interface GolfScore {
  total: string;
  par: string;
  at_par: boolean;
  broken: string;
  line: number;
}

export interface Edit {
  type: "edit";
  files: Record<string, string>;
  dockerfile?: string;
}

export interface Choose {
  type: "choose";
  files: Record<string, string>;
  dockerfile?: string;
}

export interface Build {
  type: "build";
  files: Record<string, string>;
  dockerfile?: string;
}

export interface Stop {
  type: "stop";
}

export interface Look {
  type: "look";
}

export interface Typed {
  type: "typed";
  text: string;
}

export interface ChooseLayer {
  type: "choose";
  layer: number;
}

export interface Nothing {
  type: "nothing";
}

export interface CommitPrediction {
  type: "commit";
  runs: number[];
}

export interface CommitAnswer {
  type: "commit";
  answer: string;
}

export interface Play {
  type: "play";
  lines: string[];
}

export interface Turn {
  type: "turn";
  what: "hint" | "restart" | "undo";
}

export interface ChooseLevel {
  type: "level";
  level: string;
}

export type WorkbenchMessage = Edit | Choose | Build | Stop | Look;

export type WhatIfMessage = Typed;

export type ExplorerMessage = ChooseLayer;

export type BuildMessage = Nothing;

export type PredictionMessage = CommitPrediction;

export type QuestionMessage = CommitAnswer;

export type GolfMessage = Play | Typed | Turn | ChooseLevel;

// Sizes of layers, and their heights in pixels.
export const SCALE: readonly [string, number][] = [
  ["1 kB or less", 40],
  ["1 MB", 60],
  ["1 GB", 80],
];
