"""Files drawn at random, by both: ``python -m tests.linter.drawn [--cases N] [--seed SEED]`` asks the daemon of ``DOCKER_HOST``.

Lines of ``cases.json`` are mixed with lines made here. Each difference is printed with its file; the exit status is 1 if there is any.
"""

from __future__ import annotations

import argparse
import json
import random
import secrets
import sys
from typing import Any

from tests.linter.ours import answer
from tests.linter.record import CASES, ask

_OPTIONS = (
    *("", "", "", "# check=experimental=all\n", "# check=skip=all\n", "# check=error=true\n", "# check=skip=UndefinedVar,FromAsCasing\n"),
    *("#!/bin/x\n# check=skip=StageNameCasing\n", "# escape=`\n# check=experimental=CopyIgnoredFile\n"),
)
# Not scratch: a mount without from= is of that stage, then.
_NAMES = ("a", "b", "A", "Builder", "base", "context", "linux-base")
_WORDS = ("${W:w}", "a", "./a", "dir/x", ".", "/", "$v", "${v}", "${W:-w}", "$TARGETARCH", "$HOME", "b*", "a/", "../a", "${VV}", "$PATH")
_KEYS = ("v", "W", "TOKEN", "my_key", "PUBLIC_KEY", "AUTH_FILE", "PATHS", "VV", "V")
_IGNORE = ("a\n", "*\n", ".*\n", "*\n!a\n", "dir\n", "b*\n!b1\n", "**/x\n", "")


def _stage(draw: random.Random, names: list[str]) -> str:
    """A FROM on something that can be had: without a registry, that is nothing or a stage."""
    flag = draw.choice(("", "", "", "--platform=$TARGETPLATFORM ", "--platform=linux/amd64 ", "--platform=$BUILDPLATFORM "))
    base = draw.choice(("scratch", "scratch", "$BASE", "${BASE:-scratch}", "${NONE:-scratch}", *names, *names))
    name = ""
    if draw.random() < 0.6:
        names.append(draw.choice(_NAMES))
        name = f" {draw.choice(('AS', 'AS', 'as', 'As'))} {names[-1]}"
    return f"{draw.choice(('FROM', 'FROM', 'FROM', 'from', 'From'))} {flag}{base}{name}\n"


def _instruction(draw: random.Random) -> str:
    word, other, key = draw.choice(_WORDS), draw.choice(_WORDS), draw.choice(_KEYS)
    line = draw.choice(
        (
            *(f"COPY {word} /x", f"COPY {word} {other} /x/", f"ADD {word} /x", f"ENV {key}={word}", f"ENV {key} {word}", f"ARG {key}"),
            *(f"ARG {key}={word} x={other}", f"LABEL {key}={word} l={other}", f"LABEL {key} {word}", f"WORKDIR {word}", "WORKDIR rel"),
            *("CMD run", 'CMD ["run"]', "ENTRYPOINT run", 'ENTRYPOINT ["run"]', "HEALTHCHECK NONE", "HEALTHCHECK CMD x", "MAINTAINER me"),
            *("EXPOSE 80/TCP", "EXPOSE 1:2", "EXPOSE ${p:-80}", 'SHELL ["/bin/sh"]', f"USER {word}", f"VOLUME {word}", "ONBUILD CMD x"),
            *(f"RUN --mount=type=cache,target=/{word} x", f"RUN x {word}", f"COPY <<E /d\n{word}\nE", f"COPY --chown={word} a /x"),
        )
    )
    if draw.random() < 0.15:
        keyword, _, rest = line.partition(" ")
        line = f"{draw.choice((keyword.lower(), keyword.title()))} {rest}"
    if draw.random() < 0.1 and "<<" not in line:
        line = line.replace(" ", " \\\n\n  ", 1)
    comment = f"# {draw.choice((*_KEYS, 'x', ''))} says\n" if draw.random() < 0.15 else ""
    return f"{comment}{line}\n"


def draw_case(draw: random.Random) -> dict[str, Any]:
    """A file, perhaps with an ignore file and a build argument."""
    text = draw.choice(_OPTIONS)
    text += "".join(draw.choice(("ARG BASE=scratch\n", "ARG BASE\n", "ARG W=1\n", "arg TOKEN\n")) for _ in range(draw.randrange(3)))
    names: list[str] = []
    for _ in range(draw.randrange(1, 4)):
        text += _stage(draw, names) + "".join(_instruction(draw) for _ in range(draw.randrange(6)))
    case: dict[str, Any] = {"name": "drawn", "dockerfile": text, "dockerignore": draw.choice(_IGNORE)}
    if "$BASE" in text or draw.random() < 0.2:
        case["build_args"] = {"BASE": "scratch"}
    return case


def main() -> int:
    """See above."""
    parser = argparse.ArgumentParser(prog="python -m tests.linter.drawn", description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--cases", type=int, default=100)
    parser.add_argument("--seed", default=secrets.token_hex(4))
    arguments = parser.parse_args()
    print(f"seed {arguments.seed}", flush=True)
    assert CASES.exists()
    different = 0
    for number in range(arguments.cases):
        case = draw_case(random.Random(f"{arguments.seed}-{number}"))
        theirs, ours = ask(case), answer(case)
        if theirs != ours:
            different += 1
            print(f"--- {number}\n{json.dumps(case)}\n{case['dockerfile']}\ndocker: {theirs}\nours:   {ours}", flush=True)
    print(f"{arguments.cases} drawn, {different} different")
    return 1 if different else 0


if __name__ == "__main__":
    sys.exit(main())
