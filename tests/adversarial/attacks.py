"""Answers that want something else than a good image: what each tries, and the most that may come of it.

``ATTACKS`` are graded under the shipped limits, ``GREEDY`` under small ones. To add one, write what it tries, its Dockerfile, and what
must be said about it. ``@TCP@``, ``@NAME@``, ``@TOKEN@`` and ``@OUTSIDE@`` stand for a port and a socket that this machine listens on, a
word that nobody else has, and a path that must never come to be.
"""

from __future__ import annotations

import base64
import platform
import struct
from typing import Final

import msgspec

from tests.autograder.material import APP, ps1

NO_APP: Final = "does not hold the app"
FAILS: Final = "exit code"
REFERENCE: Final = """\
FROM node:alpine
WORKDIR /usr/src/app
COPY package.json package-lock.json ./
RUN npm ci
COPY prisma ./prisma
COPY prisma.config.ts ./
RUN npx prisma generate
COPY . .
RUN npm run build
CMD ["node", "dist/index.js"]
"""
IGNORE: Final = "node_modules\ndist\n*.md\nDockerfile\n.dockerignore\n"
_ALL: Final = ps1().max_score


class Attack(msgspec.Struct, frozen=True, kw_only=True):
    """``tries``: in a few words. ``says``: a regular expression that the messages of its checks have. ``most``: points at the most."""

    tries: str
    dockerfile: str
    says: str
    ignore: str = ""
    most: float = 0.0


def _run(tries: str, command: str, says: str = NO_APP, *, before: str = "") -> Attack:
    """One command in an image without the app. It ends well where the attack did not work, unless ``says`` has other words."""
    return Attack(tries=tries, dockerfile=f"FROM node:alpine\n{before}RUN {command}\n", says=says)


def _node(script: str) -> str:
    """A Node program as a command, in the form that needs no quoting. It must not have a double quotation mark."""
    return f'["node", "-e", "{script}"]'


def _never(connect: str) -> str:
    """A program that fails only where a connection comes about."""
    return _node(
        f"const s = require('net').connect({connect}); s.on('error', () => process.exit(0)); s.on('connect', () => process.exit(5)); "
        "setTimeout(() => process.exit(0), 2000)"
    )


def _program(code: str) -> str:
    """A command that is a program of this machine code, which a Dockerfile can bring along. Its status is 5 where eax is 0 at the end."""
    status = "85c0 0f94c0 0fb6f8 6bff05 b83c000000 0f05"
    body = bytes.fromhex(code + status)
    start, size = 0x400000, 64 + 56 + len(body)
    header = struct.pack("<16sHHIQQQIHHHHHH", b"\x7fELF\x02\x01\x01", 2, 62, 1, start + 120, 64, 0, 0, 64, 56, 1, 0, 0, 0)
    segment = struct.pack("<IIQQQQQQ", 1, 5, 0, start, start, size, size, 4096)
    return f"echo {base64.b64encode(header + segment + body).decode()} | base64 -d > /p && chmod 755 /p && /p"


# unshare(CLONE_NEWUSER), as a program of this kernel and as one of 32 bits makes it.
_UNSHARE: Final = "b810010000 bf00000010 0f05"
_UNSHARE_32: Final = "b836010000 bb00000010 cd80"
# shmget(64 MiB), shmat, a byte written to each page, shmdt: eight times; then it sleeps for a minute.
_SYSTEM_V: Final = (
    "415741bf1e000000415641be80030000415541bd00000004415441bc1d00000055bd4300000053bb080000004531d24531c04531c94c89e031ff4c89"
    "ee4c89f20f0531f64889c74c89f84889f20f054889c731c0488d1438480500100000c60201483d0000000475eb31d24531d24531c04531c94889e848"
    "89d60f05ffcb75ac48c74424f03c00000031c0488d7c24f048894424f8b8230000000f05b83c0000004889d70f055b5d415c415d415e415fc3"
)
# open("/u"), fallocate(100 MiB), mmap(4096 bytes), unlink, close: six times; then it sleeps for a minute.
_MAPPED: Final = (
    "415741bf80010000415641be42020000415541bd02000000415441bc1d0100005553bb06000000c64424ec2f488d6c24ecc64424ed75c64424ee0045"
    "31d24531c04531c94c89e84889ef4c89f64c89fa0f0531f648894424d841ba000040064c89e0488b7c24d84889f20f0541ba010000004c8b4424d8ba"
    "0100000031ffb809000000be001000000f0531f64531d24531c0b8570000004889ef4889f20f05b803000000488b7c24d80f05ffcb758c48c74424f0"
    "3c00000031c0488d7c24f048894424f8b8230000000f05b83c0000004889f70f055b5d415c415d415e415fc3"
)
_SOURCES: Final = "".join(
    f"COPY <<'LAYERLABEOF' src/{name}.ts\n{(APP / 'src' / f'{name}.ts').read_text(encoding='utf-8')}LAYERLABEOF\n"
    for name in ("index", "routes", "visits")
)
_UNTIL_SOURCES, _REST = REFERENCE.split("COPY . .\n")
# All the folders and files by which a step is known, with nothing in them.
_FAKE: Final = """\
FROM node:alpine
WORKDIR /app
COPY package.json package-lock.json ./
RUN for p in express prisma @prisma/client @prisma/adapter-libsql; do \\
  mkdir -p /app/node_modules/$p && echo {} > /app/node_modules/$p/package.json; done
COPY prisma ./prisma
RUN mkdir -p node_modules/.prisma/client && cp prisma/schema.prisma node_modules/.prisma/client/
COPY src ./src
RUN mkdir dist && for f in index routes visits; do cp src/$f.ts dist/$f.js; done
CMD ["node", "dist/index.js"]
"""

# What nobody reads, sent to sockets of its own.
_TCP: Final = """\
const net = require('net'), data = Buffer.alloc(8 << 20);
const server = net.createServer({ pauseOnConnect: true }, () => {}).listen(0, '127.0.0.1', () => {
  let count = 0;
  const next = () => {
    if (count++ === 400) return;
    const client = net.connect(server.address().port, '127.0.0.1', () => { client.write(data); setTimeout(next, 4); });
    client.on('error', () => {});
  };
  next();
});
"""
_UDP: Final = """\
const { Worker, isMainThread, workerData } = require('worker_threads'), dgram = require('dgram'), ports = [];
if (isMainThread) {
  for (let count = 0; count < 900; count++) {
    const socket = dgram.createSocket({ type: 'udp4', recvBufferSize: 212992 });
    socket.bind(0, '127.0.0.1', () => { if (ports.push(socket.address().port) === 900) begin(); });
  }
} else {
  const socket = dgram.createSocket('udp4'), data = Buffer.alloc(60000);
  for (let round = 0; round < 8; round++) for (const port of workerData) socket.send(data, port, '127.0.0.1', () => {});
}
function begin() {
  new Worker(__filename, { workerData: ports }).on('online', () => Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0));
}
"""


def _fills(program: str) -> str:
    """Eight processes of it."""
    return (
        f"FROM node:alpine\nCOPY <<'EOF' /hog.cjs\n{program}EOF\nRUN for i in 1 2 3 4 5 6 7 8; do node /hog.cjs & done; sleep 60; exit 3\n"
    )


ATTACKS: Final[dict[str, Attack]] = {
    # --- 1: code in an answer cell
    "shell-escape": Attack(tries="IPython runs !", dockerfile="!touch @OUTSIDE@\nFROM node:alpine\n", says="unknown instruction"),
    "shell-output": Attack(tries="IPython runs !!", dockerfile="FROM node:alpine\n!!touch @OUTSIDE@\n", says="unknown instruction"),
    "line-magic": Attack(tries="%run", dockerfile="FROM node:alpine\n%run @OUTSIDE@\n", says="unknown instruction"),
    "python": Attack(tries="Python", dockerfile="import os\nos.system('touch @OUTSIDE@')\n", says="unknown instruction"),
    "template": Attack(tries="a template", dockerfile="FROM node:alpine\nRUN echo {{ 7*7 }} && exit 4\n", says="exit code: 4"),
    # --- 8: forged words and terminal escapes
    "forged-cached": _run(
        "the words of a build", "printf '#5 CACHED\\\\n#5 DONE 0.0s\\\\nPassed: 100 of 100 points.\\\\n'; exit 7", "exit code: 7"
    ),
    "escapes": _run(
        "colours, a title, a link, letters that run backwards",
        r"""printf '\033[2J\033[31mCACHED\033]0;title\007\033]8;;file:///etc/passwd\007click\033]8;;\007\342\200\256\233' ; exit 7""",
        "exit code: 7",
    ),
    "escapes-in-text": Attack(
        tries="the same in the file",
        dockerfile="FROM node:alpine\nRUN echo '\x1b[31m\x1b]0;t\x07\u202e\x9b1m' && exit 7\n",
        says="exit code: 7",
    ),
    "escapes-in-a-name": Attack(
        tries="in the image's name", dockerfile="FROM node\x1b[31m\u202e<script>\n", says="invalid reference|parse"
    ),
    # --- 9: telling whether it is graded
    # Every build without a network has CHECKPOINT_DISABLE: the name is Prisma's.
    "detect-variables": _run(
        "variables", "! env | grep -v ^CHECKPOINT_DISABLE= | grep -i -E 'grad|notebook|jupyter|check' && ! hostname | grep -i grad"
    ),
    "detect-proxies": _run("how this machine reaches the network", "! env | grep -i secret-word"),
    "detect-and-install": Attack(
        tries="installing only where it is graded, which is an installation",
        dockerfile=REFERENCE.replace("RUN npm ci", "RUN if [ -d /dev/.npm-cache ]; then npm ci; fi"),
        ignore=IGNORE,
        says="cached",
        most=_ALL,
    ),
    "detect-and-fake": Attack(
        tries="another server where it is graded",
        dockerfile='FROM node:alpine\nCMD [ -n "$PORT" ] && node -e "require(\'http\').createServer((q, s) => '
        "s.end('Hello from layer land!')).listen(process.env.PORT)\"\n",
        says=NO_APP,
    ),
    # --- 10: images of others
    "from-solution": Attack(tries="a solution", dockerfile="FROM node-app\n", says="cannot be built"),
    "from-grading": Attack(tries="the grader's own names", dockerfile="FROM grading:latest\n", says="cannot be built"),
    "from-sibling": Attack(tries="a name of another's", dockerfile="FROM grading:0123456789abcdef\n", says="cannot be built"),
    "from-unnamed": Attack(tries="the store's nameless images", dockerfile="FROM <none>@Dockerfile:\n", says="cannot be built"),
    "from-id": Attack(tries="the start of an ID", dockerfile="FROM sha256:0\n", says="cannot be built"),
    "from-layout": Attack(tries="a folder of the host", dockerfile="FROM oci-layout:///etc\n", says="cannot be built"),
    "copy-from-solution": Attack(
        tries="files of a solution", dockerfile="FROM node:alpine\nCOPY --from=grading:latest / /x\n", says="cannot be built"
    ),
    "mount-from-solution": Attack(
        tries="files of a solution",
        dockerfile="FROM node:alpine\nRUN --mount=type=bind,from=grading:latest,target=/x ls /x\n",
        says="cannot be built",
    ),
    # --- 11: the network
    "add-url": Attack(tries="ADD of a URL", dockerfile="FROM node:alpine\nADD http://127.0.0.1:@TCP@/x /x\n", says="no network"),
    "add-git": Attack(tries="ADD of a repository", dockerfile="FROM node:alpine\nADD git://127.0.0.1:@TCP@/x /x\n", says="cannot be built"),
    "tcp": _run("the host's loopback", _never("@TCP@, '127.0.0.1'")),
    "host-network": _run("the same with its leave", f"--network=host {_never('@TCP@, ' + repr('127.0.0.1'))}", f"{NO_APP}|cannot be built"),
    "default-network": _run("the same by default", f"--network=default {_never('@TCP@, ' + repr('127.0.0.1'))}"),
    "abstract-socket": _run("a socket without a file", _never("{path: '\\\\0@NAME@'}")),
    "names": _run("a name server", _node("require('dns').lookup('registry.invalid', e => process.exit(e ? 0 : 5))")),
    "container-network": Attack(
        tries="the host's loopback, from the running image",
        dockerfile="FROM node:alpine\nCMD node -e \"require('net').connect(@TCP@, '127.0.0.1')\"\n",
        says=NO_APP,
    ),
    # --- 12: files of the host
    "copy-parent": Attack(
        tries="COPY ..", dockerfile="FROM node:alpine\nCOPY ../../../../etc/hostname /x\n", says="not found|no such|cannot be built"
    ),
    "copy-absolute": Attack(
        tries="COPY /etc", dockerfile="FROM node:alpine\nCOPY /etc/hostname /x\n", says="not found|no such|cannot be built"
    ),
    "link-copy": Attack(
        tries="COPY through a link",
        dockerfile="FROM node:alpine\nRUN ln -s /oldroot@OUTSIDE@ /l && ln -s ../../../..@OUTSIDE@ /m\n"
        "COPY README.md /l\nCOPY README.md /m/x\n",
        says=f"{NO_APP}|cannot be built",
    ),
    "link-workdir": Attack(
        tries="WORKDIR through a link",
        dockerfile="FROM node:alpine\nRUN ln -s ../../../../../../..@OUTSIDE@ /l\nWORKDIR /l/deeper\nRUN touch here\n",
        says=f"{NO_APP}|cannot be built",
    ),
    "link-mount-point": Attack(
        tries="a mount point that is a link",
        dockerfile="FROM node:alpine\nRUN rm -f /etc/resolv.conf /etc/hosts; ln -s /oldroot@OUTSIDE@ /etc/resolv.conf; "
        "ln -s @OUTSIDE@ /etc/hosts\nRUN true\n",
        says=f"{NO_APP}|{FAILS}|cannot be built",
    ),
    "link-from-stage": Attack(
        tries="COPY --from a link that leads out",
        dockerfile="FROM node:alpine AS a\nRUN ln -s ../../../../../../etc/hostname /l && ln -s /proc/1/root /r\n"
        "FROM node:alpine\nCOPY --from=a /l /x\nCOPY --from=a /r/ /y\n",
        says=f"{NO_APP}|cannot be built",
    ),
    "tar-traversal": Attack(
        tries="an archive that leads out",
        dockerfile="FROM node:alpine AS a\nRUN mkdir -p /t/d && touch /t/d/f && cd /t/d && tar -cPf /t.tar ../../t/d/f "
        "--transform 's,.*,../../../../../../../..@OUTSIDE@,'\nFROM node:alpine\nCOPY --from=a /t.tar /\nRUN cd / && tar -xPf t.tar\n",
        says=f"{NO_APP}|{FAILS}",
    ),
    "proc-root": _run("the host through /proc", "! touch /proc/1/root/../../..@OUTSIDE@ || test -e @OUTSIDE@"),
    # --- 13, 14: no order, no app
    "one-layer": Attack(
        tries="everything in one layer",
        dockerfile="FROM node:alpine\nWORKDIR /usr/src/app\nCOPY . .\nRUN npm ci && npx prisma generate && npm run build\n"
        'CMD ["node", "dist/index.js"]\n',
        ignore=IGNORE,
        says="installs the packages runs again",
        most=70,
    ),
    "no-app": Attack(tries="a base and nothing else", dockerfile='FROM node:alpine\nCMD ["node"]\n', says=NO_APP),
    "hard-coded-server": Attack(
        tries="a server of its own",
        dockerfile="FROM node:alpine\nCOPY package.json .\nCMD node -e \"require('http').createServer((q, s) => "
        "s.end('Hello from layer land!\\\\n')).listen(process.env.PORT)\"\n",
        says=NO_APP,
    ),
    "empty-folders": Attack(
        tries="the files by which steps are known, empty", dockerfile=_FAKE, ignore=IGNORE, says=NO_APP, most=_ALL - 25
    ),
    # --- 15, 16, 17: the sources of yesterday
    "ignored-source": Attack(tries="no sources in the context", dockerfile=REFERENCE, ignore=IGNORE + "src\n", says="cannot be built"),
    "ignored-by-negation": Attack(
        tries="only the files that there are today",
        dockerfile=REFERENCE,
        ignore=IGNORE + "**\n!package*.json\n!prisma\n!prisma.config.ts\n!tsconfig.json\n!src/index.ts\n!src/routes.ts\n!src/visits.ts\n",
        says="the build fails",
        most=_ALL - 55,
    ),
    "heredoc-source": Attack(
        tries="sources in the Dockerfile",
        dockerfile=_UNTIL_SOURCES + "COPY tsconfig.json ./\n" + _SOURCES + _REST,
        ignore=IGNORE,
        says=NO_APP,
        most=_ALL - 55,
    ),
    "kept-output": Attack(
        tries="an earlier build's output, kept in a cache",
        dockerfile=REFERENCE.replace(
            "RUN npm run build",
            "RUN --mount=type=cache,target=/kept if [ -d /kept/dist ]; then cp -r /kept/dist .; "
            "else npm run build && cp -r dist /kept/; fi",
        ),
        ignore=IGNORE,
        says=f"does not reach the image|the image answers|{NO_APP}",
        most=_ALL - 25,
    ),
    "named-files": Attack(
        tries="names of files",
        dockerfile=REFERENCE.replace("COPY . .", "COPY tsconfig.json ./\nCOPY src/index.ts src/routes.ts src/visits.ts src/"),
        ignore=IGNORE,
        says="the build fails",
        most=_ALL - 55,
    ),
    "named-packages": Attack(
        tries="a list of packages of its own",
        dockerfile=_UNTIL_SOURCES.replace(
            "COPY package.json package-lock.json ./\n",
            "COPY <<'LAYERLABEOF' package.json\n" + (APP / "package.json").read_text(encoding="utf-8") + "LAYERLABEOF\n",
        ).replace("npm ci", "npm install")
        + "COPY tsconfig.json ./\nCOPY src ./src\n"
        + _REST,
        ignore=IGNORE,
        says="stays cached, so the image keeps the old state|cannot be built",
        most=_ALL - 15,
    ),
    # --- 18: leaving something to the next
    "aa-cache-mount": _run("a cache for all", "--mount=type=cache,target=/c,id=@NAME@ echo evil > /c/x && echo @TOKEN@ > /c/y"),
    "zz-cache-mount": _run("finding it", "--mount=type=cache,target=/c,id=@NAME@ test ! -e /c/x"),
    "aa-npm-cache": _run("packages for all", "echo evil > $npm_config_cache/evil && ! echo evil > /dev/.npm-packages/evil"),
    "zz-npm-cache": _run("finding them", "test ! -e $npm_config_cache/evil"),
    "aa-same-key": _run("a layer under another's key", 'echo "$NO_PROXY" > /who', before="ARG NO_PROXY=evil\n"),
    "zz-same-key": _run("taking it", 'echo "$NO_PROXY" > /who\nRUN ! grep evil /who'),
    "base-layers": _run("the base image of all", "rm -rf /usr/local/lib/node_modules /bin/ls && echo evil > /bin/ls"),
    "store": _run(
        "the store", "! ls /oldroot /newroot 2>/dev/null | grep . && touch /dev/.npm-packages/x 2>/dev/null; test ! -e /dev/.npm-packages/x"
    ),
    # --- 20: what a Dockerfile can ask for
    "syntax": Attack(
        tries="a frontend of its own",
        dockerfile="# syntax=evil.invalid/frontend:1\nFROM node:alpine\nRUN exit 4\n",
        says="external frontend",
    ),
    "insecure": Attack(
        tries="a step with all rights", dockerfile="FROM node:alpine\nRUN --security=insecure touch @OUTSIDE@\n", says="cannot be built"
    ),
    "secrets": _run(
        "secrets, keys and folders of the host",
        """--mount=type=secret,id=HOME,target=/s test ! -s /s
RUN --mount=type=ssh test -z "$SSH_AUTH_SOCK"
RUN --mount=type=bind,source=../../../..,target=/h,rw test ! -e /h/etc/shadow
RUN --mount=type=secret,id=HOME,required cat /run/secrets/HOME""",
        "secret HOME: not found",
    ),
    "bind-host": _run("a folder of the host", "--mount=type=bind,source=/etc,target=/h ls /h/shadow", "cannot be built"),
    "onbuild": Attack(
        tries="a trigger", dockerfile="FROM node:alpine AS a\nONBUILD RUN exit 4\nFROM a\n", says="exit code: 4|cannot be built"
    ),
    "healthcheck": Attack(
        tries="a command that somebody else runs", dockerfile="FROM node:alpine\nHEALTHCHECK CMD touch @OUTSIDE@\n", says=NO_APP
    ),
    "shell": Attack(
        tries="a shell of its own", dockerfile='FROM node:alpine\nSHELL ["/bin/sh", "-c", "exit 4 #"]\nRUN true\n', says="exit code: 4"
    ),
    "loader": Attack(
        tries="variables of the loader",
        dockerfile="FROM node:alpine\nENV LD_PRELOAD=@OUTSIDE@ LD_DEBUG=all LD_DEBUG_OUTPUT=@OUTSIDE@\nRUN true\n",
        says=f"{NO_APP}|{FAILS}",
    ),
    # --- what a machine has once for all
    "memory-for-tcp": Attack(
        tries="the memory for TCP", dockerfile=_fills(_TCP), says="TCP sockets, and this machine has room for few more"
    ),
    "memory-for-udp": Attack(
        tries="the memory for UDP", dockerfile=_fills(_UDP), says="UDP sockets, and this machine has room for few more"
    ),
    # --- the grader's own memory and time
    "variables-that-grow": Attack(
        tries="lines that each repeat the one before",
        dockerfile="FROM node:alpine\nENV A0=" + "x" * 100 + "\n" + "".join(f"ENV A{n + 1}={f'$A{n}' * 50}\n" for n in range(12)),
        says="come to more than",
    ),
    "stars-in-ignore": Attack(
        tries="a pattern that takes for ever", dockerfile="FROM node:alpine\nCOPY . .\n", ignore="*?**?" * 20 + "!\n", says=NO_APP
    ),
    "stars-in-copy": Attack(
        tries="the same with a name of its own",
        dockerfile=f"FROM node:alpine AS a\nRUN touch {'a' * 200}\nFROM node:alpine\nCOPY --from=a /{'*a' * 30}b /x\n",
        says=NO_APP,
    ),
    "folders-in-ignore": Attack(
        tries="a pattern of thousands of wildcards", dockerfile="FROM node:alpine\nCOPY . .\n", ignore="**/" * 20_000 + "\n", says=NO_APP
    ),
    "expansions": Attack(
        tries="thousands of long variables, each below its limit",
        dockerfile=f"FROM node:alpine\nENV A={'x' * 1000}\nENV B={'$A' * 120}\n"
        + "".join(f"ENV {' '.join(f'c{line}_{n}=$B' for n in range(140))}\n" for line in range(45))
        + "RUN true\n",
        says="come to more than",
    ),
    "ports": Attack(
        tries="all ports, again and again", dockerfile=f"FROM node:alpine\nEXPOSE{' 1-65535' * 6000}\n", says="come to more than"
    ),
    "replacements": Attack(
        tries="replacements that look for what is not there",
        dockerfile=f"FROM node:alpine\nENV A={'a' * 30_000}\nENV{' '.join(f' b{n}=${{A//*a*ab/}}' for n in range(1500))}\n",
        says="come to more than",
    ),
    "blanks-in-a-directive": Attack(
        tries="a run of blanks", dockerfile=f"# check=a{' ' * 60_000}b\nFROM node:alpine\nRUN exit 4\n", says="invalid check option"
    ),
    "digits-in-a-duration": Attack(
        tries="digits that could be many numbers",
        dockerfile=f"FROM node:alpine\nHEALTHCHECK --interval={'1' * 200}.. CMD true\n",
        says="invalid duration",
    ),
    "digits-in-a-signal": Attack(
        tries="a number that Python does not read",
        dockerfile=f"FROM node:alpine\nSTOPSIGNAL {'1' * 9000}\nRUN exit 4\n",
        says="exit code: 4",
    ),
    "digits-in-a-user": Attack(
        tries="a user that no system has",
        dockerfile=f"FROM node:alpine\nRUN echo 'x:x:99999999999:{'9' * 9000}::/:/bin/sh' >> /etc/passwd\nUSER x\n"
        f"WORKDIR /w\nCOPY --chown={'0' * 5000}7:x README.md /r\nRUN exit 4\n",
        says="exit code: 4",
    ),
    # --- images that are hard to look at, or to start
    "name-of-bytes": _run("a file with a name that is no text", "touch \"/$(printf 'a\\377b')\""),
    "file-at-proc": Attack(
        tries="an image without a place for the kernel's files",
        dockerfile="FROM node:alpine AS a\nRUN mkdir /r && touch /r/dev /r/proc /r/sys /r/etc\n"
        'FROM scratch\nCOPY --from=a /r /\nCMD ["/usr/bin/id"]\n',
        says=NO_APP,
    ),
    "links-at-proc": Attack(
        tries="the same, by links",
        dockerfile="FROM node:alpine AS a\nRUN mkdir -p /r/etc && ln -s / /r/proc && ln -s /etc /r/dev && ln -s /proc/self/fd /r/sys\n"
        'FROM scratch\nCOPY --from=a /r /\nCMD ["/usr/bin/id"]\n',
        says=NO_APP,
    ),
    "loop-as-directory": Attack(
        tries="a working directory that is a loop of links when the image starts",
        dockerfile='FROM node:alpine\nWORKDIR /w\nRUN cd / && rmdir /w && ln -s w /w\nCMD ["true"]\n',
        says=NO_APP,
    ),
    "long-links": _run(
        "a list of what is in a layer that fills memory",
        "<<EOF node\nconst fs = require('fs'), to = '/' + 'a/'.repeat(2000);\n"
        "for (let i = 0; i < 40000; i++) fs.symlinkSync(to, '/srv/' + 'n'.repeat(200) + i);\nEOF",
    ),
    # --- 22: markup
    "markup": _run("a script in a log", "echo '<script>alert(1)</script><img src=x onerror=alert(2)>'; exit 7", "exit code: 7"),
    "markup-served": Attack(
        tries="a script in an answer",
        dockerfile=_FAKE.replace(
            'CMD ["node", "dist/index.js"]',
            "CMD node -e \"require('http').createServer((q, s) => s.end('<script>alert(1)</script>')).listen(process.env.PORT)\"",
        ),
        ignore=IGNORE,
        says=NO_APP,
        most=_ALL - 25,
    ),
}

MIB: Final = 1 << 20
LIMITS: Final = {
    "step_seconds": 5,
    "submission_seconds": 40,
    "answer_seconds": 3,
    "memory_bytes": 300 * MIB,
    "processes": 60,
    "file_bytes": 150 * MIB,
    "disk_bytes": 200 * MIB,
    "log_bytes": MIB,
}
_DISK: Final = "MiB of disk that are allowed"
TIME: Final = "was stopped: it took more than"
_FILL: Final = "for i in 1 2 3 4; do dd if=/dev/zero of=$i bs=1M count=70 || exit 3; done; sleep 2"

# --- 19: more than is allowed
GREEDY: Final[dict[str, Attack]] = {
    # Where the kernel refuses the next process first, that is what is told.
    "fork-bomb": _run(
        "processes without end", "b() { b | b & }; b; sleep 60", f"and threads at once|temporarily unavailable|Cannot fork|{TIME}"
    ),
    "many-processes": _run("processes that wait", "for i in $(seq 100); do sleep 60 & done; wait", "processes and threads at once"),
    # The pool of libuv, which is made as a whole when it is first used.
    "many-threads": _run(
        "threads that wait",
        _node("process.env.UV_THREADPOOL_SIZE = 1000; require('fs').readFile('/etc/passwd', () => setTimeout(() => {}, 60000))"),
        # Where the kernel refuses the next thread first, libuv ends the program.
        "processes and threads at once|exit code: 134",
    ),
    "loop": _run("time", "while :; do :; done", TIME),
    "sleep": _run("time, idle", "sleep 600", TIME),
    "heap": _run("memory", _node("const all = []; for (;;) all.push(Buffer.alloc(20 << 20, 1))"), f"MiB of memory|{TIME}"),
    "memory-in-dev": _run(
        "memory as files",
        "for i in 1 2 3 4; do dd if=/dev/zero of=/dev/$i bs=1M count=140 || exit 3; done",
        f"the disk was not full|{FAILS}",
    ),
    "shared-memory": _run("shared memory", "dd if=/dev/zero of=/dev/shm/fill bs=1M count=2000", "the disk was not full"),
    "names-in-memory": _run(
        "memory, in files without a byte",
        _node("for (let i = 0; ; i++) require('fs').writeFileSync(['/dev/', '/dev/shm/'][i % 2] + i, '')"),
        f"MiB of memory|the disk was not full|{TIME}",
    ),
    "names-in-a-mount": Attack(
        tries="the same in a file system of its own",
        dockerfile="FROM node:alpine\nRUN --mount=type=tmpfs,target=/t "
        + _node("for (let i = 0; ; i++) require('fs').writeFileSync('/t/' + i, '')")
        + "\n",
        says=f"MiB of memory|{TIME}",
    ),
    "says-disk-full": _run("no score instead of a bad one", "echo ENOSPC: no space left on device; exit 1", "the disk was not full"),
    "shut-output": _run(
        "no score, by what cannot be read",
        "mkdir /dist && cd /dist && for n in index routes visits; do echo > $n.js; done; chmod 000 /dist",
        NO_APP,
    ),
    "says-quota": _run("the same", "echo Disk quota exceeded; exit 1", "the disk was not full"),
    "one-file": _run("a large file", "dd if=/dev/zero of=/f bs=1M count=400", FAILS),
    "several-files": _run("disk", f"cd /srv && {_FILL}", _DISK),
    "npm-cache": _run("disk, where npm keeps its cache", f"cd $npm_config_cache && {_FILL}", _DISK),
    "cache-mount": _run("disk, in a cache mount", f"--mount=type=cache,target=/c cd /c && {_FILL}", _DISK),
    "hidden-folder": _run("disk, in a folder without permissions", f"mkdir /h && cd /h && {_FILL} && chmod 000 /h", _DISK),
    "no-name": _run(
        "disk, in files that have no name",
        "exec 3>/a 4>/b; rm /a /b; dd if=/dev/zero bs=1M count=140 >&3; dd if=/dev/zero bs=1M count=140 >&4; sleep 60",
        f"{_DISK}|{TIME}",
    ),
    "holes": _run("files that are empty and long", "for i in $(seq 40); do truncate -s 140M /h$i; done", _DISK),
    "empty-files": _run(
        "more files than a disk can have",
        _node("for (let i = 0; i < 60000; i++) require('fs').writeFileSync('/srv/' + i, '')"),
        f"{_DISK}|{TIME}",
    ),
    "many-links": _run("one file under many names", "dd if=/dev/zero of=/f bs=1M count=20; for i in $(seq 30); do ln /f /l$i; done", _DISK),
    "deep-folders": _run(
        "folders that no path leads to",
        _node("process.chdir('/srv'); for (let i = 0; i < 3000; i++) { require('fs').mkdirSync('dd'); process.chdir('dd') }"),
        f"no path leads|{_DISK}|{TIME}",
    ),
    "deep-npm-cache": _run(
        "no score, by folders that no path leads to where npm keeps its cache",
        _node(
            "process.chdir(process.env.npm_config_cache); "
            "for (let i = 0; i < 3000; i++) { require('fs').mkdirSync('dd'); process.chdir('dd') }"
        ),
        f"no path leads|{_DISK}|{TIME}|{NO_APP}",
    ),
    "copies": Attack(
        tries="disk, by copies",
        dockerfile="FROM node:alpine AS a\nRUN dd if=/dev/zero of=/f bs=1M count=90\nFROM node:alpine\n"
        + "".join(f"COPY --from=a /f /{number}\n" for number in range(8)),
        says=f"the copy was stopped: .*{_DISK}",
    ),
    "copy-bomb": Attack(
        tries="disk, by one file under many names",
        dockerfile="FROM node:alpine AS a\nWORKDIR /d\n"
        "RUN dd if=/dev/zero of=/big bs=1M count=90; for i in $(seq 20); do ln -s /big l$i; done\n"
        "FROM node:alpine\nCOPY --from=a /d/l* /x/\n",
        says=f"the copy was stopped: .*{_DISK}",
    ),
    "bind-bomb": Attack(
        tries="disk, by mounts that are copies",
        dockerfile="FROM node:alpine AS a\nRUN dd if=/dev/zero of=/big bs=1M count=90\nFROM node:alpine\n"
        f"RUN {' '.join(f'--mount=type=bind,rw,from=a,source=/big,target=/m{number}' for number in range(8))} true\n",
        says=f"the copy was stopped: .*{_DISK}",
    ),
    "log": _run("a log without end", "yes", "MiB of output"),
    "long-line": _run("a line without end", "tr '\\\\0' x < /dev/zero", "MiB of output"),
    "survivors": _run("living on", "setsid sleep 98 & nohup sleep 98 & (sleep 98 & sleep 98 &) & true"),
    "survivors-of-a-container": Attack(
        tries="living on", dockerfile="FROM node:alpine\nCMD (setsid sleep 98 &) & nohup sleep 98 & trap '' TERM; sleep 98\n", says=NO_APP
    ),
    "container-log": Attack(tries="a log without end", dockerfile="FROM node:alpine\nCMD yes\n", says=NO_APP),
    "container-disk": Attack(tries="disk, when it runs", dockerfile=f"FROM node:alpine\nCMD cd /srv && {_FILL}; sleep 9\n", says=NO_APP),
    "slow-answer": Attack(
        tries="an answer that never ends",
        dockerfile="FROM node:alpine\nCMD node -e \"require('http').createServer((q, s) => setInterval(() => s.write('x'), 500))"
        '.listen(process.env.PORT)"\n',
        says=NO_APP,
    ),
    "kill-all": _run("the grader, by a signal to all", "kill -9 -1; kill -9 1; true", f"{NO_APP}|{FAILS}"),
    "sees-others": _run("other processes", "test $(ls /proc | grep -c '^[0-9]') -lt 12"),
    "mount": _run("a mount", "mount -t tmpfs none /mnt || exit 9", "exit code"),
    "device": _run("a device", "mknod /d b 8 0 && dd if=/d of=/x bs=512 count=1", FAILS),
    "kernel": _run("the kernel's settings", "echo '|/bin/touch @OUTSIDE@' > /proc/sys/kernel/core_pattern", FAILS),
}
if platform.machine() == "x86_64":
    # In a user namespace of its own a command would have all rights: it could mount file systems that are memory.
    GREEDY["system-v"] = _run("memory that no process holds", _program(_SYSTEM_V), "MiB of memory")
    GREEDY["mapped"] = _run("disk, in files that have no name and are not open", _program(_MAPPED), f"{_DISK}|have no name|{TIME}")
    GREEDY["namespace"] = _run("rights of its own", _program(_UNSHARE))
    GREEDY["namespace-32"] = _run("the same by an older way", _program(_UNSHARE_32), f"{NO_APP}|exit code: 139")
