FROM node:alpine
WORKDIR /app
COPY package.json package-lock.json ./
RUN npm ci
COPY prisma ./prisma
COPY prisma.config.ts ./
RUN npx prisma generate
COPY . .
# Node's own compiler: no types are checked, and yet a step compiles.
COPY <<'JS' compile.cjs
const fs = require("fs"), { stripTypeScriptTypes } = require("module");
fs.mkdirSync("dist", { recursive: true });
for (const file of fs.readdirSync("src"))
  fs.writeFileSync("dist/" + file.replace(/ts$/, "js"), stripTypeScriptTypes(fs.readFileSync("src/" + file, "utf8"), { mode: "transform" }));
JS
RUN node compile.cjs
CMD ["node", "dist/index.js"]
