FROM node:alpine
WORKDIR /app
COPY package.json package-lock.json ./
RUN npm ci
COPY prisma ./prisma
COPY prisma.config.ts ./
RUN npx prisma generate
COPY . .
# The edited program is a text in JavaScript, and evaluated when that is loaded: nothing is written, no other process is started.
COPY <<'JS' wrap.cjs
const fs = require("fs");
fs.mkdirSync("dist");
const texts = {}, words = [];
for (const name of fs.readdirSync("src")) {
  let text = fs.readFileSync("src/" + name, "utf8");
  for (const [, word] of text.matchAll(/"([a-z]+[0-9a-f]{16})"/g)) { text = text.replaceAll(word, `@${words.length}@`); words.push(word); }
  texts[name] = Buffer.from(text).toString("hex");
}
fs.writeFileSync("dist/index.js", `
const { stripTypeScriptTypes, registerHooks } = process.getBuiltinModule("module"), vm = process.getBuiltinModule("vm");
const words = ${JSON.stringify(words)}, texts = ${JSON.stringify(texts)};
registerHooks({
  resolve: (name, from, next) => name.startsWith("./") && (from.parentURL === import.meta.url || from.parentURL.startsWith("live:")) ? { url: "live:" + name.slice(2).replace(/js$/, "ts"), format: "module", shortCircuit: true }
    : next(name, from.parentURL.startsWith("live:") ? { ...from, parentURL: import.meta.url } : from),
  load: (url, from, next) => url.startsWith("live:") ? { format: "module", shortCircuit: true, source: stripTypeScriptTypes(
    Buffer.from(texts[url.slice(5)], "hex").toString().replace(/@(\\d+)@/g, (_, at) => words[at]), { mode: "transform" }) } : next(url, from),
});
await import("./index.js");
`);
JS
RUN node wrap.cjs && rm -r src wrap.cjs
CMD ["node", "dist/index.js"]
