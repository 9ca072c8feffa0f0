"""Hostile answers from a grammar, drawn from a seed. What an answer deserves follows from how it was put together, and from nothing that
the grader says: it deserves all points only where packages, client and code are each made by a real command, in an order that keeps the
first two when a source changes, and where the container starts that code.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Final

_FILES: Final = "COPY package.json package-lock.json ./"
_SCHEMA: Final = "COPY prisma ./prisma\nCOPY prisma.config.ts ./"
_STUBS: Final = """RUN mkdir -p node_modules/express node_modules/@prisma/client node_modules/@prisma/adapter-libsql \\
 && echo 'const h=require("http");module.exports=()=>{const r={};return{get:(p,f)=>r[p]=f,listen:(p,c)=>h.createServer((q,s)=>{const w={type:()=>w,send:t=>s.end(t),json:o=>s.end(JSON.stringify(o))};r[q.url](q,w)}).listen(p,()=>c())}}' > node_modules/express/index.js \\
 && echo 'exports.PrismaClient=class{async $executeRaw(){} async $disconnect(){}}' > node_modules/@prisma/client/index.js \\
 && echo 'exports.PrismaLibSQL=class{}' > node_modules/@prisma/adapter-libsql/index.js"""  # noqa: E501 - one command of a Dockerfile
_TRANSFORM: Final = """RUN node -e 'const fs = require("fs"), m = require("module"); fs.mkdirSync("dist", { recursive: true }); \\
 for (const f of fs.readdirSync("src")) fs.writeFileSync("dist/" + f.replace(/ts$/, "js"), \\
 m.stripTypeScriptTypes(fs.readFileSync("src/" + f, "utf8"), { mode: "transform" }))'"""
_REGEX: Final = """RUN mkdir -p dist && for f in src/*.ts; do sed -E 's/^import type.*//; s/, type [A-Z][a-z]+//; \\
 s/: (string|number|Express|Visits)//g; s/ as const//' $f > dist/$(basename $f .ts).js; done"""

# The source, no longer readable as such, and back.
_DISGUISE: Final = "RUN mkdir enc && for f in src/*.ts; do sed 's/[A-Z]/&~~/g' $f > enc/$(basename $f .ts).js; done && rm -r src"
_UNDO: Final = "mkdir -p src && for f in enc/*.js; do sed 's/\\([A-Z]\\)~~/\\1/g' $f > src/$(basename $f .js).ts; done"

_READER: Final = """COPY <<'JS' server.cjs
const fs = require("fs");
const all = ["src", "dist", "."].filter((d) => fs.existsSync(d)).flatMap((d) => fs.readdirSync(d).map((f) => d + "/" + f))
  .filter((f) => /\\.(ts|js|txt)$/.test(f)).map((f) => fs.readFileSync(f, "utf8")).join("\\n");
const word = (/"([a-z]+[0-9a-f]{16})"/.exec(all) || ["", ""])[1], greeting = (/const GREETING = "([^"]*)"/.exec(all) || ["", ""])[1];
require("http").createServer((_, s) => s.end([greeting, word].join(" ").trim())).listen(process.env.PORT);
JS"""

# Each is a choice: its name, and whether it is the real thing, in the right order.
_INSTALLS: Final = {
    "npm ci": True,
    "npm install": True,
    "npm ci --install-strategy=linked": True,
    "stage": True,
    "below the sources": False,
    "stubs": False,
    "names": False,
    "unused": False,
    "npm's own": False,
    "archive": False,
    "nothing": False,
}
_REAL_INSTALLS: Final = ("npm ci", "npm install", "npm ci --install-strategy=linked", "stage", "below the sources", "unused", "archive")
_GENERATES: Final = {"prisma": True, "below the sources": False, "touch": False, "nothing": False}
_COMPILES: Final = {
    "npm run build": True,
    "npx tsc": True,
    "transform": True,
    "regex": False,
    "concatenate": False,
    "disguise": False,
    "for show": False,
    "nothing": False,
}
_SERVES: Final = {
    "dist": True,
    "reader": False,
    "compile at the start": False,
    # Where nothing was disguised there is nothing to undo: the command before ``;`` fails, and what the build compiled starts.
    "undo and compile": True,
    "undo and transform": False,
    "shell": False,
    "missing": False,
}
# What is compiled at the start must have been kept for it: the two are drawn together as often as apart.
_PAIRS: Final = (("disguise", "undo and compile"), ("disguise", "undo and transform"), ("for show", "compile at the start"))
_NOISE: Final = (
    "ENV A=$A$A B=${A:-x}",
    'LABEL a="b\\"c" d=\'e\'',
    "RUN mkdir -p shut/in && touch shut/in/file && chmod 000 shut",
    "RUN ln -s . loop && ln -s /proc/1 process && ln -s ../../../../.. up",
    "RUN mkfifo pipe && touch '--help' ' ' '*' \"$(printf 'a\\tb')\"",
    "RUN mkdir -p x/node_modules/express && touch x/node_modules/express/package.json",
    "RUN mkdir -p .prisma/client && touch .prisma/client/schema.prisma .prisma/client/index.js",
    "RUN mkdir out && touch out/index.js out/routes.js out/visits.js",
    "HEALTHCHECK CMD false",
    "ONBUILD RUN false",
    "STOPSIGNAL SIGKILL",
    'SHELL ["/bin/sh", "-ec"]',
    "RUN yes | head -c 3000000",
    "RUN echo 'No space left on device' && echo ENOSPC >&2",
    "VOLUME /data",
)


@dataclass(frozen=True)
class Hostile:
    """An answer to ps1. ``choices``: how it was put together; ``deserves``: all points could be right; ``installs``: it has a real
    install; ``plain``: there is nothing odd in it that could cost points."""

    dockerfile: str
    choices: tuple[str, ...]
    deserves: bool
    installs: bool
    plain: bool


def draw(seed: str, number: int) -> Hostile:
    """One answer. Of two that follow each other, one has a real install."""
    draws = random.Random(f"{seed}/{number}")
    install = draws.choice(_REAL_INSTALLS if number % 2 else [name for name in _INSTALLS if name not in _REAL_INSTALLS])
    # Half of them have all that follows right, so that one lie stands alone as often as among others.
    honest = draws.random() < 0.5
    generate = "prisma" if honest else draws.choice(list(_GENERATES))
    compile_ = draws.choice(["npm run build", "npx tsc", "transform"]) if honest else draws.choice(list(_COMPILES))
    serve = "dist" if honest and draws.random() < 0.7 else draws.choice(list(_SERVES))
    if draws.random() < 0.15:
        compile_, serve = draws.choice(_PAIRS)
    noise = [line for line in _NOISE if draws.random() < 0.12]
    lines = _lines(install, generate, compile_, serve, draws.choice(("/app", "/srv/app")), noise, draws)
    return Hostile(
        dockerfile="\n".join(lines) + "\n",
        choices=(install, generate, compile_, serve, *noise),
        deserves=_INSTALLS[install] and _GENERATES[generate] and _COMPILES[compile_] and _SERVES[serve],
        installs=install in _REAL_INSTALLS,
        plain=not noise and serve != "undo and compile",
    )


def _lines(install: str, generate: str, compile_: str, serve: str, place: str, noise: list[str], draws: random.Random) -> list[str]:
    lines = ["FROM node:alpine"]
    if install == "stage":
        lines += ["WORKDIR /first", _FILES, "RUN npm ci", "FROM node:alpine"]
        lines[0] += " AS first"
    lines += [f"WORKDIR {place}", _FILES]
    lines += {
        "stage": ["COPY --from=first /first/node_modules ./node_modules"],
        "below the sources": [],
        "stubs": [_STUBS],
        "names": ["RUN mkdir -p node_modules/express node_modules/@prisma/client && touch node_modules/express/package.json"],
        "unused": ["RUN npm ci && mkdir /unused && mv node_modules /unused/", _STUBS],
        "npm's own": ["RUN cp -r /usr/local/lib/node_modules/npm/node_modules . || mkdir node_modules", _STUBS],
        "archive": ["RUN npm ci"],
        "nothing": [],
    }.get(install, [f"RUN {install}"])
    client = {
        "prisma": ["RUN npx prisma generate"],
        "touch": ["RUN mkdir -p node_modules/.prisma/client && cp prisma/schema.prisma node_modules/.prisma/client/"],
    }
    # What is not installed cannot generate, and what may fail must not end every such build.
    if install not in _REAL_INSTALLS or install == "unused":
        client["prisma"] = ["RUN npx prisma generate || true"]
    lines += [_SCHEMA] if generate != "nothing" else []
    lines += client.get(generate, []) if install != "below the sources" else []
    lines += [line for line in noise if draws.random() < 0.5]
    lines += ["COPY . ."]
    if install == "below the sources":
        lines += [
            draws.choice(("RUN npm ci", "RUN npm ci && mkdir -p /x/node_modules/express && touch /x/node_modules/express/package.json"))
        ]
        lines += ["RUN npx prisma generate"]
    if generate == "below the sources":
        lines += ["RUN npx prisma generate || true"]
    lines += {
        "npm run build": ["RUN npm run build"],
        "npx tsc": ["RUN npx tsc"],
        "transform": [_TRANSFORM],
        "regex": [_REGEX],
        "concatenate": ["RUN cat src/*.ts > all.txt && mkdir -p dist && cp all.txt dist/index.js"],
        "disguise": [_DISGUISE],
        "for show": ["RUN npm run build", "RUN rm -r dist"],
        "nothing": [],
    }[compile_]
    if install == "archive":
        lines += ["RUN tar cf nm.tar node_modules && rm -rf node_modules"]
    lines += [line for line in noise if line not in lines]
    unpack = "tar xf nm.tar && " if install == "archive" else ""
    lines += {
        "dist": [f'CMD ["sh", "-c", "{unpack}exec node dist/index.js"]' if unpack else 'CMD ["node", "dist/index.js"]'],
        "reader": [_READER, 'CMD ["node", "server.cjs"]'],
        "compile at the start": [f"CMD {unpack}npm run build && exec node dist/index.js"],
        "undo and compile": [f"CMD {unpack}{_UNDO} && npx tsc; exec node dist/index.js"],
        "undo and transform": [f"CMD {unpack}{_UNDO} && {_TRANSFORM.removeprefix('RUN ')} && exec node dist/index.js"],
        "shell": ["CMD while :; do printf 'HTTP/1.0 200 OK\\r\\n\\r\\nhello' | nc -l -p $PORT; done"],
        "missing": ['CMD ["node", "nowhere.js"]'],
    }[serve]
    return lines
