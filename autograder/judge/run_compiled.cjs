// Runs files that may be compiled code, each alone, and writes down every text that comes out of it. No compiler is within its reach: a file
// sees the language and stand-ins for all else (what it imports, `process`, `require`), no text becomes code (`eval`, `new Function`,
// WebAssembly), and nothing is started or written. So what was only disguised as JavaScript comes to nothing here.
// Only ever runs in a base image of our own, in a sandbox. `vm` keeps honest code apart; what gets past it, as a promise of `import()` does,
// which is an object of this world, finds a world that is frozen and has nothing left to use.
"use strict";
const { spawnSync } = require("node:child_process");
const fs = require("node:fs");
const vm = require("node:vm");

const SECONDS = 20;
const LIMIT = 1 << 20;
const NAMES = 200;

// In the file's own world. Whatever is asked of a stand-in, it has, and gives a stand-in; functions that it is handed are called.
const world = (given) => `(() => {
  "use strict";
  const given = ${JSON.stringify(given)};
  const texts = [], waiting = [], known = new WeakSet();
  let left = 2000;
  const text = (value) => { if (texts.length < 5000) texts.push(value); };
  const look = (value, depth) => {
    if (typeof value === "string") return text(value);
    if (value === null || (typeof value !== "object" && typeof value !== "function") || depth > 6 || known.has(value) || left-- < 0) return;
    known.add(value);
    if (typeof value === "function") waiting.push([value, depth]);
    for (const key of Reflect.ownKeys(value)) {
      try { look(value[key], depth + 1); } catch {}
    }
  };
  const call = (value, depth) => {
    const given = Array.from({ length: 8 }, standIn);
    let result;
    try { result = value(...given); } catch { try { result = new value(...given); } catch { return; } }
    if (result instanceof Promise) result.then((it) => look(it, depth + 1), () => {});
    else look(result, depth + 1);
  };
  const made = (then) => {
    const all = new Proxy(function () {}, {
      get: (_, key) => key === Symbol.toPrimitive ? () => "" : key === Symbol.iterator ? () => [][Symbol.iterator]()
        : key === Symbol.asyncIterator ? undefined : key === "then" ? then : key === "prototype" ? Object.prototype : standIn(),
      set: (_, key, value) => (look(value, 0), true),
      has: () => true,
      apply: (_, self, given) => (given.forEach((one) => look(one, 0)), standIn()),
      construct: (_, given) => (given.forEach((one) => look(one, 0)), standIn()),
    });
    known.add(all);
    return all;
  };
  const settled = made(undefined);
  const standIn = () => made((done) => { if (typeof done === "function") { known.add(done); done(settled); } return standIn(); });
  const exports = {}, module = { exports };
  for (const name of ["process", "console", "require", "Buffer", "URL", "setTimeout", "setInterval", "setImmediate", "fetch", "performance"]) {
    globalThis[name] = standIn();
  }
  const process = globalThis.process;
  const environment = new Proxy({}, { get: (_, key) => Object.hasOwn(given, key) ? given[key] : standIn(), has: () => true });
  globalThis.process = new Proxy(process, { get: (all, key) => key === "env" ? environment : all[key] });
  Object.assign(globalThis, { exports, module, global: globalThis, __filename: "/app/index.js", __dirname: "/app" });
  return {
    standIn,
    look: (space) => { look(space, 0); look(module, 0); look(exports, 0); },
    turn: () => { for (const [value, depth] of waiting.splice(0)) if (left-- > 0) call(value, depth); return waiting.length > 0; },
    told: () => JSON.stringify(texts),
  };
})()`;

async function run(file, given) {
  // None of these is needed, and all could lead to a compiler.
  delete require("node:module").stripTypeScriptTypes;
  for (const name of ["getBuiltinModule", "mainModule", "binding", "_linkedBinding", "dlopen"]) delete process[name];
  const code = fs.readFileSync(file, "utf8");
  const names = new Set(["default"]);
  for (let tries = 0; tries < NAMES; tries += 1) {
    // Of an object with a prototype, all that it inherits would be there, and its constructor is of this world.
    const context = vm.createContext(Object.create(null), { codeGeneration: { strings: false, wasm: false } });
    const made = vm.runInContext(world(given), context);
    try {
      const exported = [...names];
      const strange = () => new vm.SyntheticModule(exported, function () {
        for (const name of exported) this.setExport(name, made.standIn());
      }, { context });
      const module = new vm.SourceTextModule(code, {
        context,
        importModuleDynamically: async () => {
          const found = strange();
          await found.link(() => {});
          await found.evaluate();
          return found;
        },
        identifier: "file:///app/index.js",
        initializeImportMeta: (meta) => Object.assign(meta, { url: "file:///app/index.js", filename: "/app/index.js", dirname: "/app" }),
      });
      await module.link(strange);
      // What was said before a fault counts, too.
      const fault = await Promise.race([module.evaluate().then(() => {}, (error) => error), pause(1000)]);
      if (fault) process.stderr.write("it ends with a fault\n");
      if (module.status === "evaluated") made.look(module.namespace);
      for (let turns = 0; turns < 50; turns += 1) {
        const more = made.turn();
        await pause(5);
        if (!more && turns > 5) break;
      }
      return String(made.told()).slice(0, LIMIT);
    } catch (error) {
      // A stand-in for a module has the names that the file wants of it: V8 says which one it misses.
      const name = /does not provide an export named '([^']+)'/.exec(String(error && error.message));
      if (!name || names.has(name[1])) throw error;
      names.add(name[1]);
    }
  }
  return "[]";
}

function pause(milliseconds) {
  return new Promise((resolve) => setTimeout(resolve, milliseconds));
}

function all(folder) {
  const environment = fs.readFileSync(`${__dirname}/environment.json`, "utf8");
  const flags = ["--experimental-vm-modules", "--no-warnings", "--frozen-intrinsics", "--disallow-code-generation-from-strings", "--max-old-space-size=512"];
  if (process.allowedNodeEnvironmentFlags.has("--permission")) flags.push("--permission", `--allow-fs-read=${folder}/*`, `--allow-fs-read=${__filename}`);
  const said = {};
  for (const name of fs.readdirSync(folder)) {
    const done = spawnSync(process.execPath, [...flags, __filename, `${folder}/${name}`, environment], {
      timeout: SECONDS * 1000, killSignal: "SIGKILL", maxBuffer: 2 * LIMIT, stdio: ["ignore", "pipe", "inherit"], encoding: "utf8", env: {},
    });
    try {
      said[name] = JSON.parse(done.stdout).filter((text) => typeof text === "string");
    } catch {
      said[name] = [];
    }
  }
  fs.writeFileSync("/said.json", JSON.stringify(said));
}

if (process.argv[2] === "--all") {
  all(process.argv[3]);
} else {
  run(process.argv[2], JSON.parse(process.argv[3])).then(
    (told) => process.stdout.write(told, () => process.exit(0)),
    (error) => {
      console.error(String(error && error.message));
      process.exit(1);
    },
  );
}
