"""A grammar of conformance cases: a build context, a Dockerfile, and builds with edits between them.

What is drawn has the form of a recorded case (``tests/conformance/README.md``), so that what is found becomes one. A case is drawn from
a seed and a number alone: the same on every machine.
"""

from __future__ import annotations

import base64
import io
import random
import tarfile
from collections.abc import Callable, Sequence
from typing import Any

Word = Callable[[], str]

_FILES = (
    *("a", "b.txt", "c.ts", "package.json", "README.md", ".hidden", "x y", "é"),
    *("src/index.ts", "src/util.ts", "src/deep/x", "src/deep/er/y", "lib/one.js", "lib/two.js", "docs/a.md", "docs/b.md", "empty/only"),
)
_LINKS = (
    ("link", "a"),
    ("dirlink", "src"),
    ("src/up", "../a"),
    ("src/side", "util.ts"),
    ("lib/abs", "/a"),
    ("dangling", "nowhere"),
    ("loop", "loop"),
)
_CONTENTS = ("one\n", "two\n", "", "three", '{"name": "app"}\n', "#!/bin/sh\necho hello\n")
_MODES = ("0644", "0644", "0644", "0755", "0600", "4755")
_SOURCES = ("*.ts", "src/*", "src/*.ts", "*/", "[ab]*", "*", "l*", "docs/?.md", "src/*/x", "*/*.ts", "s*", "no*thing", "x*", "${V:-a}")
_ODD_SOURCES = ("nothing", "$V", "lib/..", "dirlink/util.ts", "dirlink/", "missing/x", "/", "..", "a/", "lib/./one.js")
_DESTS = (
    *(
        "/x",
        "/x/",
        ".",
        "./",
        "x",
        "d/",
        "/d/e/f",
        "/d/e/",
        "/app/",
        "/app/",
        "$D/",
        "${D:-/z}",
        "/x/.",
        "../up/",
        "/app/src",
        "/tmp/t",
        "/ln/",
    ),
)
_ODD_DESTS = ("/etc/x", "/ln", "${D}", "/etc/passwd", "/x/y/z", "../up", "/bin/")
_FROM_SOURCES = ("/etc/passwd", "/etc", "/etc/host*", "/bin/sh", "/", "/tmp", "/etc/*d", "/none*")
_ODD_FROM_SOURCES = ("/none", "etc", "/ln", "/x/*", "$D", "/x", "/app")
_OWNERS = ("1000", "1000:1000", "node", "node:node", "0:0", "root", "007:1", "${U:-3}", "12:node")
_ODD_OWNERS = ("nobody", "$U", ":5", "1:", "node:nogroup", "-1")
_CHMODS = ("755", "0644", "4755", "600", "u+x", "a=rX", "go-rwx", "${M:-640}", "1777")
_ODD_CHMODS = ("9", "$M", "10000", "rwx", "u+q")
_BASES = ("base:1", "base:1", "base:1", "node:alpine", "base:2", "base:2", "scratch", "$BASE", "${BASE:-base:1}")
_COMMANDS = (
    *(
        "true",
        "echo $V > /o",
        "echo ${V:-none}-$A > /o",
        "pwd > /o",
        "id -u > /o",
        "ls > /l",
        "ls /app > /l || true",
        "cat /x > /o || true",
    ),
    *("mkdir -p /m/n && echo $A > /m/n/f", "rm -rf /x", "rm -f /d/e/f /o", "ln -sfn /d /ln", "ln -sfn /app /ln", "chmod 700 /x || true"),
    *(
        "find /app /d /x -type f 2>/dev/null | sort > /list",
        "echo more >> /o",
        "printenv A > /o; true",
        "touch /tmp/t || true",
        "mv /x /y || true",
        "umask > /o",
    ),
    *("mkdir -p /app/src && echo new > /app/src/index.ts", "rm -rf /app/src && mkdir -p /app/src", "false || echo $SHELL > /o"),
    *(
        "test ! -e /x && echo gone > /o || true",
        "cp -r /app /copy || true",
        "printf '%s' \"$0\" > /o",
        "echo a  b   c > /o",
        "ln -f /o /hard || true",
    ),
)
_MOUNTS = (
    *("type=bind,target=/in", "type=bind,source=a,target=/in", "source=a,target=/in/a", "type=bind,source=a,target=package.json"),
    *(
        "type=cache,target=/cache",
        "type=cache,target=/cache,id=other",
        "type=cache,target=/cache,sharing=locked",
        "type=cache,target=/app/c,mode=0700",
    ),
    *(
        "type=tmpfs,target=/tmp",
        "type=tmpfs,target=/t",
        "type=secret,id=s",
        "type=secret,id=s,target=/etc/s,mode=0444",
        "type=secret,id=none",
    ),
    *("type=bind,target=/in,rw", "type=secret,id=s,env=S", "type=bind,source=${V:-a},target=/in"),
)
_MOUNTED = (
    *("ls /in > /l || true", "cat /in/a > /o || true", "cat /cache/f > /o || true; echo $V >> /cache/f", "cat /run/secrets/s > /o || true"),
    *(
        "cat /etc/s > /o || true",
        "echo $V > /in/new || true",
        "touch /t/f /tmp/f; ls /t /tmp > /l || true",
        "echo ${S:-unset} > /o",
        "true",
    ),
)
_IGNORES = (
    *("*.md", "src/*", "!src/index.ts", "**/x", "# comment", "", "docs", "!docs/a.md", "!src", "!a", "Dockerfile", ".dockerignore", "x y"),
    *("lib/", "./b.txt", "b.txt/../b.txt", "?.txt", "[b-c]*", "!**/*.ts", " README.md ", "src/deep/**", "!src/deep/er", "**/*.js", "new*"),
)
_NAMES = ("one", "two", "three", "build", "a_b", "deps")
_ARGUMENTS = ("V", "A", "U")
_VALUES = ("a", "src", "1000", "v", "b.txt", "", "two words")


def draw_case(seed: str, number: int, *, commands: bool = True) -> dict[str, Any]:
    """The case of that number. ``commands``: whether it may have RUN."""
    return _Drawing(random.Random(f"{seed}/{number}"), commands=commands).case(f"drawn-{seed}-{number}")


class _Drawing:
    def __init__(self, draw: random.Random, *, commands: bool) -> None:
        self._draw = draw
        self._commands = commands
        self._context: dict[str, Any] = {}
        self._stages: list[_Stage] = []
        self._meta: list[str] = []

    def case(self, name: str) -> dict[str, Any]:
        """The whole case."""
        self._make_context()
        self._make_stages()
        case: dict[str, Any] = {"name": name, "description": "drawn at random", "context": dict(self._context), "dockerfile": self._text()}
        if self._chance(0.35):
            case["dockerignore"] = self._ignore()
        if self._chance(0.3):
            case["build"] = {"args": self._arguments()}
        steps: list[dict[str, Any]] = [{"edit": []}]
        steps += [self._step() for _ in range(self._draw.randint(1, 5))]
        for step in steps:
            if self._chance(0.6):
                step["image"] = None
        case["steps"] = steps
        return case

    def _chance(self, probability: float) -> bool:
        return self._draw.random() < probability

    def _one(self, words: Sequence[Any], odd: Sequence[Any] = (), *, often: float = 0.03) -> Any:
        """One of the words; seldom one of the odd ones, most of which are errors."""
        return self._draw.choice(odd if odd and self._chance(often) else words)

    # --- context ----------------------------------------------------------------------------------------------------

    def _make_context(self) -> None:
        for path in _FILES:
            if self._chance(0.6):
                self._context[path] = self._entry()
        for path, target in _LINKS:
            if self._chance(0.03 if target in ("nowhere", path) else 0.15):
                self._context[path] = {"symlink": target}
        if self._chance(0.15):
            self._context["t.tar"] = {"content_b64": base64.b64encode(self._archive()).decode()}
        self._context.setdefault("a", "one\n")

    def _entry(self) -> Any:
        content, mode = self._one(_CONTENTS), self._one(_MODES)
        return content if mode == "0644" else {"content": content, "mode": mode}

    def _archive(self) -> bytes:
        buffer = io.BytesIO()
        with tarfile.open(
            fileobj=buffer, mode=self._one(("w", "w:gz", "w:bz2", "w:xz")), format=self._one((tarfile.GNU_FORMAT, tarfile.PAX_FORMAT))
        ) as archive:
            for number in range(self._draw.randint(1, 5)):
                info = tarfile.TarInfo(self._one(("f", "d/f", "d/e/g", "./h", "../out", "/abs", "d", "ln", "ln/f")))
                info.mode = int(self._one(("644", "755", "4755")), 8)
                info.uid = info.gid = self._one((0, 0, 1000))
                kind = self._one(("file", "file", "dir", "symlink", "hardlink"))
                data = b""
                if kind == "file":
                    data = b"%d\n" % number
                    info.size = len(data)
                elif kind == "dir":
                    info.type, info.mode = tarfile.DIRTYPE, 0o755
                else:
                    info.type = tarfile.SYMTYPE if kind == "symlink" else tarfile.LNKTYPE
                    info.linkname = self._one(("f", "d", "/etc", "nowhere", ".."))
                archive.addfile(info, io.BytesIO(data))
        return buffer.getvalue()

    def _ignore(self) -> str:
        return "".join(
            f"{self._one(_IGNORES, ('*', 'src', 'a', '**', '!', '[', 'link'), often=0.05)}\n" for _ in range(self._draw.randint(1, 5))
        )

    # --- Dockerfile -------------------------------------------------------------------------------------------------

    def _make_stages(self) -> None:
        if self._chance(0.4):
            self._meta.append(
                self._one(("ARG BASE=base:1", "ARG BASE=base:2", "ARG BASE", "ARG V=a", "ARG BASE=node:alpine V=src", "ARG A"))
            )
        if any("BASE" in line for line in self._meta) and self._chance(0.2):
            self._meta.append("ARG OTHER=$BASE")
        for _ in range(self._one((1, 1, 1, 2, 2, 3, 4))):
            self._stages.append(self._stage())

    def _stage(self) -> _Stage:
        known = [stage.name for stage in self._stages if stage.name]
        base = self._one(known) if known and self._chance(0.4) else self._one(_BASES)
        if "$" in base and not any("BASE" in line for line in self._meta) and ":-" not in base:
            base = "base:1"
        free = [word for word in _NAMES if word not in known]
        name = self._one(free) if free and self._chance(0.75) else ""
        scratch = base == "scratch"
        stage = _Stage(base, name, scratch, [])
        for _ in range(self._draw.randint(1, 7)):
            text = self._instruction(stage)
            stage.instructions.append(text)
            stage.made += [
                path for path in ("/o", "/l", "/m", "/list", "/app", "/d", "/x") if f"> {path}" in text or text.endswith(f" {path}")
            ]
        return stage

    def _instruction(self, stage: _Stage) -> str:
        kinds: list[Callable[[], str]] = [
            self._copy,
            self._copy,
            self._copy,
            self._add,
            self._workdir,
            self._metadata,
            self._metadata,
            self._argument,
        ]
        if self._commands and not stage.scratch:
            kinds += [self._run] * 4
        text: str = self._one(kinds)()
        if self._chance(0.04) and not text.startswith(("ONBUILD", "MAINTAINER")) and "<<" not in text:
            text = f"ONBUILD {text}"
        if self._chance(0.05):
            keyword, _, rest = text.partition(" ")
            text = f"{keyword.lower()} {rest}"
        if self._chance(0.04) and "<<" not in text and '["' not in text:
            text = text.replace(" ", " \\\n    ", 1)
        return text

    def _copy(self) -> str:
        if self._chance(0.12):
            return self._document("COPY")
        flags = []
        if self._chance(0.3) and (self._stages or self._chance(0.3)):
            return self._copy_from()
        if self._chance(0.15):
            flags.append(f"--chown={self._one(_OWNERS, _ODD_OWNERS)}")
        if self._chance(0.15):
            flags.append(f"--chmod={self._one(_CHMODS, _ODD_CHMODS)}")
        if self._chance(0.08):
            flags.append("--link")
        if self._chance(0.01):
            flags.append("--parents")
        if self._chance(0.06):
            flags.append(f"--exclude={self._one(('*.ts', 'src/deep', '**/x', 'a', '!a', 'src/*'))}")
        return self._paths("COPY", flags, [self._source() for _ in range(self._one((1, 1, 1, 2, 3)))])

    def _source(self) -> str:
        if self._chance(0.25):
            return "."
        if self._chance(0.6):
            path: str = self._one(sorted(self._context))
            # A directory of its way, or the file itself.
            above = path.split("/")
            return self._one(("", "", "./", "src/../" if any(name.startswith("src/") for name in self._context) else "", "/")) + "/".join(
                above[: self._draw.randint(1, len(above))]
            )
        source: str = self._one(_SOURCES, _ODD_SOURCES, often=0.1)
        return source

    def _copy_from(self) -> str:
        known = [stage.name for stage in self._stages if stage.name]
        numbers = [str(number) for number in range(len(self._stages))]
        origin = self._one([*known, *known, *numbers, "base:2"])
        made = [path for stage in self._stages if stage.name == origin for path in stage.made] or ["/etc/passwd"]
        flags = [f"--from={origin}"]
        if self._chance(0.1):
            flags.append(f"--chown={self._one(_OWNERS, _ODD_OWNERS)}")
        if self._chance(0.1):
            flags.append("--link")
        return self._paths(
            "COPY", flags, [self._one((*_FROM_SOURCES, *made, *made), _ODD_FROM_SOURCES) for _ in range(self._one((1, 1, 2)))]
        )

    def _add(self) -> str:
        if self._chance(0.2):
            return self._document("ADD")
        flags = [f"--chown={self._one(_OWNERS, _ODD_OWNERS)}"] if self._chance(0.15) else []
        if "t.tar" in self._context and self._chance(0.7):
            if self._chance(0.15):
                flags.append("--unpack=false")
            return self._paths("ADD", flags, ["t.tar"])
        return self._paths("ADD", flags, [self._source() for _ in range(self._one((1, 1, 2)))])

    def _paths(self, keyword: str, flags: list[str], sources: list[str]) -> str:
        destination = self._one(_DESTS, _ODD_DESTS)
        if len(sources) > 1 and not destination.endswith(("/", ".")) and self._chance(0.8):
            destination += "/"
        words = [*sources, destination]
        if any(" " in word for word in words) or self._chance(0.08):
            quoted = ", ".join('"' + word + '"' for word in words)
            return " ".join([keyword, *flags, f"[{quoted}]"])
        return " ".join([keyword, *flags, *words])

    def _document(self, keyword: str) -> str:
        marker = self._one(("EOF", '"EOF"', "-EOF", "E"))
        body = self._one(("text\n", "value $V\n", "\tindented\n", "a\nb ${A:-x}\n", ""))
        flag = (
            f"--chmod={self._one(_CHMODS, _ODD_CHMODS)} "
            if self._chance(0.2)
            else f"--chown={self._one(_OWNERS, _ODD_OWNERS)} "
            if self._chance(0.1)
            else ""
        )
        return f"{keyword} {flag}<<{marker} {self._one(_DESTS, _ODD_DESTS)}\n{body}{marker.strip('-').strip(chr(34))}"

    def _run(self) -> str:
        if self._chance(0.25):
            mounts = " ".join(f"--mount={self._one(self._mounts())}" for _ in range(self._one((1, 1, 2))))
            return f"RUN {mounts} {self._one(_MOUNTED)}"
        if self._chance(0.08):
            return f'RUN ["/bin/sh", "-c", "{self._one(("echo exec > /o", "true", "echo $V > /o"))}"]'
        if self._chance(0.1):
            marker = self._one(("EOF", '"EOF"', "-EOF"))
            first = self._one(("", "", "#!/bin/sh\n"))
            return f"RUN <<{marker}\n{first}{self._one(_COMMANDS)}\n{self._one(_COMMANDS)}\n{marker.strip('-').strip(chr(34))}"
        command: str = self._one(_COMMANDS)
        if self._chance(0.15):
            command += f" && {self._one(_COMMANDS)}"
        if self._chance(0.03):
            command = f"--network=none {command}"
        return f"RUN {command}"

    def _mounts(self) -> list[str]:
        stages = [stage.name or str(number) for number, stage in enumerate(self._stages)]
        return [
            *_MOUNTS,
            *(f"from={name},source=/,target=/in" for name in stages),
            *(f"from={name},source=/x,target=/in" for name in stages),
        ]

    def _workdir(self) -> str:
        return f"WORKDIR {self._one(('/app', '/app', 'sub', '/x', '..', '/', '$D', '/d/e', './a/../b', '/app/'))}"

    def _argument(self) -> str:
        return str(
            self._one(
                (
                    *(
                        "ARG V",
                        "ARG V=a",
                        "ARG V=src",
                        "ARG A=1",
                        "ARG A=$V",
                        "ARG A=2 V=$A",
                        "ARG U=1000",
                        "ARG M=644",
                        "ARG D=/app",
                        "ARG BASE",
                    ),
                    *(
                        "ENV V=a",
                        "ENV A=x$V",
                        "ENV D=/d/e U=0",
                        "ENV A=1 V=${A}2",
                        "ENV PATH=$PATH:/more",
                        'ENV A="two words"',
                        "ENV A b c",
                        "ENV M=700",
                    ),
                    *("ENV V=${A:+set}", "ENV A=${V#a}", "ENV A=${V%%c}", "ENV A=${V/a/b}", "ENV A='$V'", "ENV A=\\$V"),
                )
            )
        )

    def _metadata(self) -> str:
        return str(
            self._one(
                (
                    *(
                        "LABEL l=1",
                        "LABEL l=$V m='x y'",
                        "LABEL l 2",
                        "CMD run",
                        'CMD ["run", "it"]',
                        "CMD [broken",
                        "ENTRYPOINT go",
                        'ENTRYPOINT ["go"]',
                    ),
                    *(
                        "EXPOSE 80",
                        "EXPOSE 80/udp 443",
                        "EXPOSE 8000-8002/tcp",
                        "EXPOSE 1:2",
                        "VOLUME /v",
                        'VOLUME ["/v", "/w"]',
                        "VOLUME ${D:-/v}",
                    ),
                    *(
                        "USER node",
                        "USER 1000:1000",
                        "USER ${U:-0}",
                        "USER root",
                        "STOPSIGNAL SIGTERM",
                        "STOPSIGNAL 9",
                        "MAINTAINER me",
                        "HEALTHCHECK NONE",
                    ),
                    *(
                        "HEALTHCHECK --interval=5s CMD true",
                        'HEALTHCHECK CMD ["true"]',
                        'SHELL ["/bin/sh", "-e", "-c"]',
                        "ONBUILD RUN echo later > /later",
                    ),
                    *("ONBUILD COPY a /later", "ONBUILD ENV V=later", "# a comment", "EXPOSE ${A:-90}/tcp"),
                ),
                (
                    "EXPOSE",
                    "USER nobody",
                    "VOLUME $D",
                    "EXPOSE $A",
                    "USER $U",
                    "EXPOSE 70000",
                    "STOPSIGNAL x",
                    "LABEL l",
                    "CMD",
                    "SHELL sh",
                    "RUNN x",
                ),
            )
        )

    def _text(self) -> str:
        lines = [*self._meta]
        for stage in self._stages:
            lines += [f"FROM {stage.base}{f' AS {stage.name}' if stage.name else ''}", *stage.instructions]
        return "\n".join(lines) + "\n"

    # --- edits ------------------------------------------------------------------------------------------------------

    def _step(self) -> dict[str, Any]:
        step: dict[str, Any] = {"edit": []}
        build: dict[str, Any] = {}
        for _ in range(self._one((0, 1, 1, 1, 2))):
            step["edit"] += self._edit()
        if self._chance(0.4):
            self._mutate()
            build["dockerfile"] = self._text()
        if self._chance(0.15):
            build["args"] = self._arguments()
        if self._chance(0.08):
            build["target"] = self._one([stage.name for stage in self._stages if stage.name] or [""], ("missing",))
        if self._chance(0.06):
            build["no_cache"] = True
        elif self._chance(0.06):
            build["no_cache_filter"] = [self._one([stage.name for stage in self._stages if stage.name] or ["missing"])]
        if self._chance(0.2):
            build["secrets"] = {"s": self._one(("open", "sesame"))}
        if self._chance(0.06):
            build["labels"] = {"l": self._one(("1", "2"))}
        if build:
            step["build"] = build
        return step

    def _arguments(self) -> dict[str, str]:
        names = self._draw.sample((*_ARGUMENTS, "BASE"), self._one((1, 1, 2)))
        return {name: self._one(("base:1", "base:2")) if name == "BASE" else self._one(_VALUES) for name in names}

    def _edit(self) -> list[dict[str, Any]]:
        files = sorted(path for path, entry in self._context.items() if not (isinstance(entry, dict) and "symlink" in entry))
        path = self._one(files)
        kind = self._one(
            (
                "write",
                "write",
                "append",
                "append",
                "delete",
                "chmod",
                "touch",
                "rename",
                "symlink",
                "new",
                "new",
                "ignore",
                "hardlink",
                "dir",
            )
        )
        if kind == "write":
            return [{"op": "write", "path": path, "content": self._one(_CONTENTS)}]
        if kind == "append":
            return [{"op": "append", "path": path, "content": "more\n"}]
        if kind == "delete" and len(files) > 2:
            del self._context[path]
            return [{"op": "delete", "path": path}]
        if kind == "chmod":
            return [{"op": "chmod", "path": path, "mode": self._one(_MODES)}]
        new = self._one((*(name for name in _FILES if self._free(name)), f"src/new{len(self._context)}.ts", f"n{len(self._context)}"))
        if kind == "rename":
            self._context[new] = self._context.pop(path)
            return [{"op": "rename", "path": path, "to": new}]
        if kind == "symlink":
            self._context[new] = {"symlink": "a"}
            return [{"op": "symlink", "path": new, "target": self._one(("a", "src", "../a", "nowhere"))}]
        if kind == "hardlink":
            self._context[new] = self._context[path]
            return [{"op": "hardlink", "path": new, "target": path}]
        if kind == "dir":
            return [{"op": "mkdir", "path": f"dir{len(self._context)}-{self._draw.randrange(10**6)}"}]
        if kind == "new":
            self._context[new] = "new"
            return [{"op": "write", "path": new, "content": self._one(_CONTENTS)}]
        if kind == "ignore":
            return [{"op": "write", "path": ".dockerignore", "content": self._ignore()}]
        return [{"op": "touch", "path": path}]

    def _free(self, path: str) -> bool:
        """Whether a file may be made there: nothing has the name, no name above it is something else."""
        above = path.split("/")
        return path not in self._context and not any("/".join(above[:depth]) in self._context for depth in range(1, len(above)))

    def _mutate(self) -> None:
        stage = self._one(self._stages)
        place = self._draw.randrange(len(stage.instructions) + 1)
        kind = self._one(("insert", "insert", "delete", "replace", "swap", "respell"))
        # A stage is drawn with the stages before it.
        later = self._stages[self._stages.index(stage) :]
        self._stages = self._stages[: self._stages.index(stage)]
        if kind == "insert":
            stage.instructions.insert(place, self._instruction(stage))
        elif kind == "respell":
            stage.instructions = [
                line.replace(" ", "  ", 1) if "<<" not in line and '["' not in line else line for line in stage.instructions
            ]
        elif stage.instructions:
            place = min(place, len(stage.instructions) - 1)
            if kind == "delete" and len(stage.instructions) > 1:
                del stage.instructions[place]
            elif kind == "replace":
                stage.instructions[place] = self._instruction(stage)
            else:
                stage.instructions.insert(0, stage.instructions.pop(place))
        self._stages += later


class _Stage:
    def __init__(self, base: str, name: str, scratch: bool, instructions: list[str]) -> None:
        self.base = base
        self.name = name
        self.scratch = scratch
        self.instructions = instructions
        # Paths that it very likely has.
        self.made: list[str] = []
