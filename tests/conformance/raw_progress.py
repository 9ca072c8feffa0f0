"""BuildKit's raw progress and the outline of a Dockerfile, read for the recordings, without a line of layerlab.

What judges layerlab must not read with layerlab's own readers: a mistake of theirs would be on both sides. Rule: ``client/graph.go`` of
BuildKit (a vertex is named by its digest, and said again whenever something of it changes).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import msgspec

from .cases import Row

_FILES = ("RUN", "COPY", "ADD", "WORKDIR")
_LATER = ("started", "completed", "cached", "error")
# A name is "[STAGE I/N] TEXT", "[I/N] TEXT" or the name of what is no step; I is padded to the width of N.
_NAME = re.compile(r"^\[([^\]]*?)\s*(\d+)/(\d+)\] (.*)$", re.DOTALL)
# "linux/amd64 ", where several platforms may be asked for (BUILDKIT_MULTI_PLATFORM); no stage is called so.
_PLATFORM = re.compile(r"^[a-z0-9]+/[^ ]+ ?")
_HEREDOC = re.compile(r"\d*<<(-?)([\"']?)([^<\"']+)\2")


class Written(msgspec.Struct, frozen=True):
    """A stage as the file has it: its name in lower case or empty, its base, and its instructions with blanks as they are."""

    name: str
    base: str
    instructions: tuple[str, ...]


def rows(text: str, *, interrupted: bool = False) -> list[Row]:
    """The steps in the order in which they were first heard of, but those that never began and those that were given up.

    ``interrupted``: of a build that failed, where a step that was running when a source of the next one was not found is told of as
    cached in between; what was running is what ran then.
    """
    vertexes: dict[str, dict[str, Any]] = {}
    for document in _documents(text):
        for vertex in document.get("vertexes") or []:
            known = vertexes.setdefault(vertex["digest"], {})
            known["name"] = vertex.get("name") or known.get("name", "")
            first = known.get("error", "")
            known.update({key: vertex[key] for key in _LATER if vertex.get(key)})
            if first and "context canceled" not in first:
                # A step that failed is told of once more when the build gives it up.
                known["error"] = first
            if interrupted and vertex.get("started") and not vertex.get("cached"):
                known["ran"] = True
    found = []
    for vertex in vertexes.values():
        step = _NAME.match(vertex["name"])
        error = vertex.get("error", "")
        if step is None or not vertex.get("completed") or not vertex.get("started") or "context canceled" in error:
            continue
        stage, position, total, instruction = step.groups()
        if instruction.startswith("FROM "):
            continue
        found.append(
            Row(
                instruction=instruction,
                stage=_PLATFORM.sub("", stage),
                index=f"{position}/{total}",
                cached=bool(vertex.get("cached")) and not error and not vertex.get("ran"),
                error=bool(error),
            )
        )
    return found


def stages(text: str) -> list[Written]:
    """The stages of a Dockerfile that BuildKit has accepted."""
    escape = "`" if re.match(r"(?i)(?:#.*\n)*#\s*escape\s*=\s*`", text) else "\\"
    found: list[tuple[str, str, list[str]]] = []
    for line in _instructions(text.replace("\r\n", "\n").split("\n"), escape):
        words = line.split()
        if words[0].upper() == "FROM":
            words = [word for word in words if not word.startswith("--")]
            found.append((words[3].lower() if len(words) > 3 else "", words[1], []))
        elif found:
            found[-1][2].append(line)
    return [Written(name, base, tuple(instructions)) for name, base, instructions in found]


def makes_files(instruction: str) -> bool:
    """Whether an instruction makes a layer."""
    return instruction.split(maxsplit=1)[0].upper() in _FILES


def _documents(text: str) -> Iterator[dict[str, Any]]:
    """The JSON documents of a client's output, one on a line or spread over many, between lines of other words."""
    decoder = json.JSONDecoder()
    at = 0
    while (at := text.find("{", at)) >= 0:
        if at and text[at - 1] != "\n":
            at += 1
            continue
        try:
            document, at = decoder.raw_decode(text, at)
        except ValueError:
            at += 1
            continue
        yield document


def _instructions(lines: list[str], escape: str) -> Iterator[str]:
    rest = iter(lines)
    for line in rest:
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        whole = line.lstrip()
        while whole.rstrip().endswith(escape):
            whole = whole.rstrip()[: -len(escape)]
            following = next(rest, None)
            while following is not None and (not following.strip() or following.lstrip().startswith("#")):
                following = next(rest, None)
            if following is None:
                break
            whole += following
        yield whole.strip()
        if whole.upper().removeprefix("ONBUILD ").split(maxsplit=1)[:1] in (["RUN"], ["COPY"], ["ADD"]):
            for word in whole.split():
                if (marker := _HEREDOC.fullmatch(word)) is None:
                    continue
                for body in rest:
                    if (body.lstrip("\t") if marker[1] else body) == marker[3]:
                        break
