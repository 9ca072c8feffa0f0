// node --test, run by tests/widgets/test_front_end.py.
import assert from "node:assert/strict";
import { test } from "node:test";

import * as pure from "./src/pure.ts";

test("Dockerfiles are known by their names", () => {
  for (const name of ["Dockerfile", "Dockerfile.optimized", "sub/Dockerfile", "app.dockerfile"])
    assert.equal(pure.isDockerfile(name), true, name);
  for (const name of [".dockerignore", "Dockerfile.dockerignore", "src/index.ts"])
    assert.equal(pure.isDockerfile(name), false, name);
});

test("each file gets its mode", () => {
  const modes = {
    Dockerfile: "dockerfile",
    "src/a.ts": "typescript",
    "a.mjs": "javascript",
    "package.json": "json",
    "README.md": "text",
  };
  for (const [name, mode] of Object.entries(modes)) assert.equal(pure.modeOf(name), mode);
});

test("the lesson's source is opened first", () => {
  assert.equal(pure.firstFile(["a", "src/index.ts"]), "src/index.ts");
  assert.equal(pure.firstFile(["a", "b"]), "a");
  assert.equal(pure.firstFile([]), "");
});

test("what is being typed is not replaced", () => {
  const mine = new Map([
    ["a", "1"],
    ["b", "2"],
  ]);
  assert.deepEqual(
    [...pure.incoming(mine, { a: "x", b: "y", c: "z" }, new Set(["a"]))],
    [
      ["b", "y"],
      ["c", "z"],
    ],
  );
});

test("an error stands at its line, and within the text", () => {
  const problem = { message: "wrong", line: 9, file: "../app/Dockerfile" };
  assert.equal(pure.lineOf(problem, "Dockerfile", 12), 9);
  assert.equal(pure.lineOf(problem, "Dockerfile", 4), 4);
  assert.equal(pure.lineOf(problem, "Dockerfile.optimized", 12), 0);
  assert.equal(pure.lineOf({}, "Dockerfile", 12), 0);
  assert.equal(pure.placeOf(problem, "Dockerfile"), "Dockerfile, line 9");
  assert.equal(pure.placeOf({ message: "x" }, "Dockerfile"), "");
});

test("a step of several lines marks them all", () => {
  const marks = pure.verdictsByLine(
    [
      { line: 2, end_line: 4, verdict: "runs" },
      { line: 5, end_line: 9, verdict: "cached" },
    ],
    6,
  );
  assert.deepEqual(
    [...marks],
    [
      [2, "runs"],
      [3, "runs"],
      [4, "runs"],
      [5, "cached"],
      [6, "cached"],
    ],
  );
});

test("a band is as wide as the steps of its stage", () => {
  assert.deepEqual(pure.bandsOf(["a", "a", "b", "a"]), [
    { name: "a", count: 2 },
    { name: "b", count: 1 },
    { name: "a", count: 1 },
  ]);
  assert.deepEqual(pure.bandsOf([]), []);
});

test("arrow keys move in a table, and stop at its edges", () => {
  assert.deepEqual(pure.nextCell("ArrowRight", 0, 1, 2, 3), [0, 2]);
  assert.deepEqual(pure.nextCell("ArrowRight", 0, 2, 2, 3), [0, 2]);
  assert.deepEqual(pure.nextCell("ArrowDown", 0, 2, 2, 3), [1, 2]);
  assert.deepEqual(pure.nextCell("ArrowUp", 0, 0, 2, 3), [0, 0]);
  assert.equal(pure.nextCell("Enter", 0, 0, 2, 3), null);
  assert.equal(pure.nextCell("ArrowUp", -1, 0, 2, 3), null);
});

const STEPS = [
  { number: 1, stage: "build", asked: false, verdict: "base" },
  { number: 2, stage: "build", asked: true, verdict: "cached" },
  { number: 3, stage: "build", asked: true, verdict: "running" },
  { number: 4, stage: "build", asked: true, verdict: "waiting" },
  { number: 5, stage: "1", asked: false, verdict: "base" },
  { number: 6, stage: "1", asked: true, verdict: "waiting" },
  { number: 7, stage: "1", asked: false, verdict: "metadata" },
];

test("a stack has its newest layer, and its last stage, on top", () => {
  const stages = pure.stagesOf(STEPS);
  assert.deepEqual(
    stages.map(({ title, slabs }) => [title, slabs.map(({ number }) => number)]),
    [
      ["Stage 1", [7, 6, 5]],
      ["Stage build", [4, 3, 2, 1]],
    ],
  );
  assert.equal(pure.stagesOf(STEPS.slice(0, 4))[0].title, "");
  assert.deepEqual(pure.stagesOf([]), []);
});

test("what waits above a step that runs has fallen, in its stage alone", () => {
  assert.deepEqual([...pure.fallen(STEPS)], [4]);
  const before = STEPS.map((step) => ({ ...step, verdict: "waiting" }));
  assert.deepEqual([...pure.fallen(before)], []);
});

test("where the cache breaks all above turns, and an exception turns back alone", () => {
  const broken = pure.turned(STEPS, new Set(), 2);
  assert.deepEqual([...broken], [2, 3, 4]);
  assert.deepEqual([...pure.turned(STEPS, broken, 3)], [2, 4]);
  assert.deepEqual([...pure.turned(STEPS, new Set([2]), 6)], [2, 6]);
  assert.deepEqual([...pure.turned(STEPS, new Set(), 99)], []);
});

test("arrow keys move in a stack as they look, and stop at its ends", () => {
  assert.deepEqual(
    ["ArrowDown", "ArrowUp", "Home", "End", "a"].map((key) => pure.nextSlab(key, 1, 3)),
    [2, 0, 0, 2, -1],
  );
  assert.equal(pure.nextSlab("ArrowDown", 2, 3), 2);
  assert.equal(pure.nextSlab("ArrowUp", 0, 3), 0);
});

test("arrow keys go round the tabs", () => {
  assert.equal(pure.nextTab("ArrowRight", 3, 4), 0);
  assert.equal(pure.nextTab("ArrowLeft", 0, 4), 3);
  assert.equal(pure.nextTab("Home", 2, 4), 0);
  assert.equal(pure.nextTab("End", 0, 4), 3);
  assert.equal(pure.nextTab("a", 0, 4), -1);
});

const tree = [
  [
    "src",
    0,
    [
      ["deep", 2, [["b.ts", 2]]],
      ["a.ts", 1],
    ],
  ],
  ["c", 3],
];

test("files are counted and found", () => {
  assert.equal(pure.countFiles(tree), 3);
  assert.deepEqual(pure.findFiles(tree, "TS src", 10), {
    found: [
      ["src/deep/b.ts", 2],
      ["src/a.ts", 1],
    ],
    count: 2,
  });
  assert.deepEqual(pure.findFiles(tree, "ts", 1), { found: [["src/deep/b.ts", 2]], count: 2 });
  assert.deepEqual(pure.findFiles(tree, "none", 1), { found: [], count: 0 });
});

test("marks in words", () => {
  assert.deepEqual(pure.marksBelow(tree), [1, 2, 3]);
  assert.equal(pure.marksText([1]), "layer 1");
  assert.equal(pure.marksText([1, 2]), "layers 1, 2");
  assert.equal(pure.marksText([1, 2, 3, 4, 5]), "5 layers");
  assert.equal(pure.marksText(["+", "~"]), "added, changed");
  assert.equal(pure.markText("-"), "removed");
  assert.equal(pure.plural(1, "file", "files"), "1 file");
  assert.equal(pure.plural(12345, "file", "files"), "12,345 files");
});

test("a line goes to another place", () => {
  const lines = ["a", "b", "c"];
  assert.deepEqual(pure.moved(lines, 0, 2), ["b", "c", "a"]);
  assert.deepEqual(pure.moved(lines, 2, 0), ["c", "a", "b"]);
  assert.deepEqual(pure.moved(lines, 1, 1), lines);
  assert.deepEqual(pure.moved(lines, 7, 0), lines);
});

test("a spare line is put in its own stage", () => {
  const lines = ["FROM a AS one", "x", "FROM b", "y"];
  assert.deepEqual(pure.putIn(lines, { text: "z", after: "FROM b" }), ["FROM a AS one", "x", "FROM b", "z", "y"]);
  assert.deepEqual(pure.putIn(lines, { text: "z", after: "gone" }), ["z", ...lines]);
});
