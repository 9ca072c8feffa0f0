"""From text to instructions: the table is ``cases/parse.toml``; here-documents have ``cases/heredocs.toml``."""

from __future__ import annotations

import time
import tomllib
from pathlib import Path
from typing import Any

import pytest

from layerlab.dockerfile import Instruction, parse, parse_instruction
from layerlab.errors import DockerfileError

CASES = Path(__file__).parent / "cases"
PARSE = tomllib.loads((CASES / "parse.toml").read_text(encoding="utf-8"))["case"]
HEREDOCS = tomllib.loads((CASES / "heredocs.toml").read_text(encoding="utf-8"))["case"]

TWENTY_LINES = """\
# syntax=docker/dockerfile:1
ARG NODE=20
FROM node:${NODE} AS deps
WORKDIR /app
COPY package.json package-lock.json ./
RUN --mount=type=cache,target=/root/.npm \\
    npm ci --no-audit

FROM deps AS build
ENV NODE_ENV=production \\
    LANG="C.UTF-8"
COPY --chown=node:node . .
RUN npm run build && \\
    npm prune
FROM node:${NODE}-slim
COPY --from=build /app/dist /app/dist
COPY <<EOF /etc/motd
hello
EOF
EXPOSE 3000/tcp
CMD ["node", "/app/dist/index.js"]
"""


def row(instruction: Instruction) -> list[str]:
    pairs = [name if value is None else f"{name}={value}" for name, value in instruction.pairs]
    return [instruction.keyword, instruction.form, *instruction.args, *pairs]


@pytest.mark.parametrize("case", PARSE, ids=lambda case: case["name"])
def test_table(case: dict[str, Any]) -> None:
    text = case["text"] if case.get("whole") else f"FROM base\n{case['text']}"
    dockerfile = parse(text)
    instructions = dockerfile.stages[0].instructions
    assert [row(instruction) for instruction in instructions] == case["expect"]
    if "flags" in case:
        assert [[f"--{flag.name}={flag.value}" for flag in instruction.flags] for instruction in instructions] == case["flags"]
    if "lines" in case:
        assert [[instruction.line, instruction.end_line] for instruction in instructions] == case["lines"]
    if "escape" in case:
        assert dockerfile.escape == case["escape"]
    if case.get("whole"):
        assert dockerfile.syntax == case.get("syntax")


@pytest.mark.parametrize("case", HEREDOCS, ids=lambda case: case["name"])
def test_heredocs(case: dict[str, Any]) -> None:
    dockerfile = parse(f"FROM base\n{case['text']}\nCMD after")
    (instruction, after) = dockerfile.stages[0].instructions
    found = [[doc.name, doc.content, doc.expand, doc.chomp, doc.file_descriptor] for doc in instruction.heredocs]
    assert found == case["expect"]
    assert after.args == ("after",)
    assert instruction.end_line == after.line - 1 - case["text"].endswith("\n")


def test_the_body_as_written_stays_available() -> None:
    """A RUN with more than the marker hands the body to the shell with its tabs."""
    (run,) = parse("FROM base\nRUN cat <<-E\n\ta\n\tE\n").stages[0].instructions
    assert run.heredocs[0].content == "a\n"
    assert run.heredocs[0].raw == "\ta\n"


def test_stages() -> None:
    dockerfile = parse("ARG V=1\nFROM --platform=$BUILDPLATFORM base:$V AS Build-1\nRUN a\nfrom build-1 as build-1\nRUN b\nRUN c\n", "D")
    assert [row(argument) for argument in dockerfile.meta_args] == [["ARG", "shell", "V=1"]]
    first, second = dockerfile.stages
    assert (first.index, first.base, first.name, first.platform) == (0, "base:$V", "build-1", "$BUILDPLATFORM")
    assert (second.index, second.base, second.name, second.platform) == (1, "build-1", "build-1", None)
    assert [len(stage.instructions) for stage in dockerfile.stages] == [1, 2]
    assert first.from_instruction.original == "FROM --platform=$BUILDPLATFORM base:$V AS Build-1"
    assert dockerfile.file == "D"


def test_original_is_the_joined_line() -> None:
    (copy,) = parse("FROM base\n  copy --link \\\n# note\n  a \\\n  b  \n").stages[0].instructions
    assert copy.original == "copy --link   a   b"
    assert (copy.line, copy.end_line, copy.column) == (2, 5, 3)


def test_a_flag_knows_its_place() -> None:
    (run,) = parse("FROM base\nRUN --network=none \\\n \\\n\t--mount=target=/x true").stages[0].instructions
    assert [(flag.name, flag.line, flag.column) for flag in run.flags] == [("network", 2, 5), ("mount", 4, 2)]
    assert run.flag("network") == "none"
    assert run.flag_values("mount") == ("target=/x",)


def test_byte_order_mark() -> None:
    assert parse(b"\xef\xbb\xbf# escape=`\nFROM base\n").escape == "`"
    assert parse("\ufeffFROM base").stages[0].base == "base"


def test_bytes_that_are_not_utf8() -> None:
    with pytest.raises(DockerfileError, match="not valid UTF-8") as caught:
        parse("FROM base\nRUN é".encode() + b"\xff\n", "D")
    assert (caught.value.file, caught.value.line, caught.value.column) == ("D", 2, 6)


def test_overlong_line() -> None:
    with pytest.raises(DockerfileError, match="dockerfile line greater than max allowed size of 65535") as caught:
        parse("FROM base\nLABEL a=" + "x" * 65536)
    assert caught.value.line == 2
    parse("FROM base\nLABEL a=" + "x" * 60000)


def test_trigger_of_onbuild() -> None:
    (onbuild,) = parse("FROM base\nONBUILD COPY <<E /x\nhello\nE").stages[0].instructions
    copy = parse_instruction(onbuild.args[0], "Child", 7)
    assert row(copy) == ["COPY", "shell", "<<E", "/x"]
    assert copy.heredocs[0].content == "hello\n"
    assert (copy.line, copy.end_line) == (7, 7)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("RUN a\nRUN b", "onbuild trigger should be a single expression"),
        ("FROM x", "FROM isn't allowed as an ONBUILD trigger"),
        ("RUNN a", r"unknown instruction: RUNN \(did you mean RUN\?\)"),
        ("# nothing", "onbuild trigger should be a single expression"),
    ],
)
def test_bad_trigger(text: str, message: str) -> None:
    with pytest.raises(DockerfileError, match=message) as caught:
        parse_instruction(text, "Child", 7)
    assert (caught.value.file, caught.value.line) == ("Child", 7)


def test_quick_enough_for_every_key_stroke() -> None:
    """Twenty lines take about 0.1 ms; the bound only catches something grown quadratic."""
    best = 1.0
    for _ in range(20):
        started = time.perf_counter()
        parse(TWENTY_LINES)
        best = min(best, time.perf_counter() - started)
    assert best < 0.005
