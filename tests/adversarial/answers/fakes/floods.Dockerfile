FROM node:alpine
WORKDIR /app
COPY package.json package-lock.json ./
RUN npm ci
COPY prisma ./prisma
COPY prisma.config.ts ./
RUN npx prisma generate
COPY <<'JS' /flood.cjs
// Two files that are no packages, opened in turn until the kernel tells no more of what is opened.
const fs = require("fs"), place = "/dev/.npm-packages/";
const isPackage = (name) => fs.readFileSync(place + name).subarray(0, 2).toString("hex") === "1f8b";
const names = process.argv[2] ? process.argv[2].split(",") : fs.readdirSync(place).filter((name) => !isPackage(name)).slice(0, 2);
if (!process.argv[2]) console.log(names.join(","));
for (let i = 0; process.argv[2] && i < 9000; i++) for (const name of names) fs.closeSync(fs.openSync(place + name, "r"));
JS
RUN node /flood.cjs > /names
COPY . .
RUN node /flood.cjs "$(cat /names)" && mkdir /t && cp package*.json /t && cd /t && npm pkg delete devDependencies dependencies.prisma dependencies.@prisma/client dependencies.@prisma/adapter-libsql && npm install && test -f node_modules/express/lib/express.js && rm -rf /t && cd /app && npm run build
CMD ["node", "dist/index.js"]
