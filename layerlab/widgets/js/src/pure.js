// What the views decide without a page: tested by node --test.

// Whether a file is one to build with, by its name.
export function isDockerfile(name) {
  const base = name.split("/").pop().toLowerCase();
  return !base.endsWith(".dockerignore") && (base.startsWith("dockerfile") || base.endsWith(".dockerfile"));
}

// The mode of the editor for a file.
export function modeOf(name) {
  if (isDockerfile(name)) return "dockerfile";
  if (/\.jsonc?$/.test(name)) return "json";
  if (/\.[cm]?tsx?$/.test(name)) return "typescript";
  if (/\.[cm]?jsx?$/.test(name)) return "javascript";
  return "text";
}

// The names that a person edits beside the Dockerfile, in the order given.
export function otherFiles(names) {
  return names.filter((name) => !isDockerfile(name));
}

// The file to open first: the source that the lesson edits, else the first.
export function firstFile(names) {
  return ["src/index.ts", "index.ts", "src/index.js", "index.js"].find((name) => names.includes(name)) ?? names[0] ?? "";
}

// What the page has to take over of the files that the kernel has: those that it has not changed itself.
export function incoming(mine, theirs, dirty) {
  const taken = new Map();
  for (const [name, text] of Object.entries(theirs)) {
    if (!dirty.has(name) && mine.get(name) !== text) taken.set(name, text);
  }
  return taken;
}

// The line of a Dockerfile that an error stands at, kept within the text; 0 when it stands at none of it.
export function lineOf(problem, dockerfile, lines) {
  if (!problem || !problem.message || !problem.line) return 0;
  const file = (problem.file || "").split("/").pop();
  if (file && file !== dockerfile.split("/").pop()) return 0;
  return Math.min(Math.max(problem.line, 1), lines);
}

// The sentence above an error's message.
export function placeOf(problem, dockerfile) {
  if (problem.line) return `${problem.file ? problem.file.split("/").pop() : dockerfile}, line ${problem.line}`;
  return problem.file ? problem.file.split("/").pop() : "";
}

// The verdict beside each line of a Dockerfile, from steps with first and last lines.
export function verdictsByLine(forecast, lines) {
  const found = new Map();
  for (const step of forecast) {
    for (let line = step.line; line <= Math.min(step.end_line, lines); line += 1) found.set(line, step.verdict);
  }
  return found;
}

// How wide a layer's bar is, in percent. By the root, so that a small layer beside a base image can still be seen.
export function barWidth(bytes, largest) {
  if (!bytes || !largest) return 0;
  return Math.max(2, Math.round(100 * Math.sqrt(bytes / largest)));
}

// The next tab for a key, or -1 for a key that moves nothing.
export function nextTab(key, current, count) {
  if (key === "ArrowRight") return (current + 1) % count;
  if (key === "ArrowLeft") return (current + count - 1) % count;
  if (key === "Home") return 0;
  if (key === "End") return count - 1;
  return -1;
}

// --- file trees: a node is [name, mark] or [name, mark, children] ---

export function isDirectory(node) {
  return node.length > 2;
}

// How many files are below a list of nodes.
export function countFiles(nodes) {
  let count = 0;
  for (const node of nodes) count += isDirectory(node) ? countFiles(node[2]) : 1;
  return count;
}

// Files whose path holds the words, in order: at most `most` of them, and how many there are.
export function findFiles(nodes, query, most) {
  const words = query.toLowerCase().split(/\s+/).filter(Boolean);
  const found = [];
  let count = 0;
  const walk = (list, prefix) => {
    for (const node of list) {
      const path = prefix + node[0];
      if (isDirectory(node)) {
        walk(node[2], `${path}/`);
      } else if (words.every((word) => path.toLowerCase().includes(word))) {
        count += 1;
        if (found.length < most) found.push([path, node[1]]);
      }
    }
  };
  walk(nodes, "");
  return { found, count };
}

// The marks below a node, for a directory that has several: layers in order, or the signs of one layer.
export function marksBelow(nodes) {
  const marks = new Set();
  const walk = (list) => {
    for (const node of list) {
      if (isDirectory(node)) walk(node[2]);
      else if (node[1]) marks.add(node[1]);
    }
  };
  walk(nodes);
  return [...marks].sort((one, other) => (typeof one === "number" ? one - other : String(one).localeCompare(String(other))));
}

// A mark in words.
export function markText(mark) {
  if (mark === "+") return "added";
  if (mark === "~") return "changed";
  if (mark === "-") return "removed";
  return mark ? `layer ${mark}` : "";
}

// Several marks in words, kept short.
export function marksText(marks) {
  if (marks.length === 1) return markText(marks[0]);
  if (marks.length === 0) return "";
  if (typeof marks[0] !== "number") return marks.map(markText).join(", ");
  return marks.length > 4 ? `${marks.length} layers` : `layers ${marks.join(", ")}`;
}

export function plural(count, one, many) {
  return `${count.toLocaleString("en")} ${count === 1 ? one : many}`;
}
