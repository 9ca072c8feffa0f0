FROM node:alpine
WORKDIR /app
COPY package.json package-lock.json ./
RUN npm ci
COPY prisma ./prisma
COPY prisma.config.ts ./
RUN npx prisma generate
COPY . .
RUN npm run build && mkdir -p /other && cp -r src /other/src
COPY <<'JS' server.cjs
const fs = require("fs"), { stripTypeScriptTypes } = require("module");
fs.mkdirSync("/tmp/dist", { recursive: true });
for (const file of fs.readdirSync("/other/src"))
  fs.writeFileSync("/tmp/dist/" + file.replace(/ts$/, "mjs"), stripTypeScriptTypes(fs.readFileSync("/other/src/" + file, "utf8"), { mode: "transform" }).replace(/\.js"/g, '.mjs"'));
fs.symlinkSync("/app/node_modules", "/tmp/node_modules");
import("/tmp/dist/index.mjs");
JS
CMD ["node", "server.cjs"]
