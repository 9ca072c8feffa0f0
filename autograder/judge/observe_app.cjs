// Starts the trusted app, asks it for a page, ends it, and writes down which files Node loaded from node_modules meanwhile: V8 reports
// every script of a process (NODE_V8_COVERAGE, nodejs.org/api/cli.html), CommonJS or not. Only ever runs in the trusted app's own image.
"use strict";
const { spawn } = require("node:child_process");
const { createHash } = require("node:crypto");
const fs = require("node:fs");
const path = require("node:path");
const { fileURLToPath } = require("node:url");

const PORT = 3000;
const TRIES = 300;
const COVERAGE = "/coverage";

async function main() {
  const start = JSON.parse(fs.readFileSync("package.json", "utf8")).scripts.start;
  const packages = JSON.parse(fs.readFileSync("package-lock.json", "utf8")).packages;
  const app = spawn("/bin/sh", ["-c", `exec ${start}`], {
    env: { ...process.env, PORT: String(PORT), NODE_V8_COVERAGE: COVERAGE },
    stdio: "inherit",
  });
  const ended = new Promise((resolve) => app.once("exit", resolve));
  await answer();
  app.kill("SIGTERM");
  await ended;
  const loaded = new Set();
  for (const name of fs.readdirSync(COVERAGE)) {
    for (const script of JSON.parse(fs.readFileSync(path.join(COVERAGE, name), "utf8")).result) {
      const file = script.url.startsWith("file:") ? path.relative(process.cwd(), fileURLToPath(script.url)) : "";
      if (file.includes("node_modules/")) loaded.add(file);
    }
  }
  const rows = [...loaded].sort().map((file) => {
    const content = fs.readFileSync(file);
    const folder = /^.*node_modules\/(?:@[^/]+\/)?[^/]+/.exec(file)[0];
    // What no package of the lock file brought was generated here.
    const text = folder in packages ? null : content.toString("utf8");
    const digest = createHash("sha256").update(content).digest("hex");
    return { tail: file.slice(file.lastIndexOf("node_modules/") + 13), size: content.length, digest, text };
  });
  fs.writeFileSync("/loaded.json", JSON.stringify(rows));
}

async function answer() {
  for (let left = TRIES; ; left -= 1) {
    try {
      return await (await fetch(`http://127.0.0.1:${PORT}/`)).text();
    } catch (error) {
      if (left === 0) throw error;
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
  }
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
