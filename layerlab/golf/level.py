"""Levels as data: what a file of a level says, and whether it makes sense."""

from __future__ import annotations

import re
from functools import cached_property
from importlib import resources
from pathlib import Path
from typing import Final

import msgspec

from layerlab.dockerfile import parse
from layerlab.dockerfile.ast import Dockerfile
from layerlab.errors import DockerfileError, UsageError

SCHEMA: Final = 1
# The planner answers while a person drags a line, and par goes through all sets of lines.
_MOST_LINES: Final = 40
# Instructions that change nothing for the lines around them: wherever one stands in its stage, the builds are the same.
SETTLED: Final = frozenset({"CMD", "ENTRYPOINT", "EXPOSE", "HEALTHCHECK", "LABEL", "STOPSIGNAL", "VOLUME", "MAINTAINER"})
_ALLOWED: Final = SETTLED | {"FROM", "WORKDIR", "COPY", "RUN", "ENV", "ARG", "USER"}


class Line(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """One instruction.

    ``seconds``  what it takes when it runs. ``reads``: absolute paths that a RUN needs; without one of them it fails. ``makes``: those that
                 it leaves, made of all that it reads and of the variables that it names in ``uses``.
    ``does``     where two lines are two ways to do one thing, the name of the thing: either counts.
    ``spare``    the line is beside the Dockerfile at first, and may stay there; any other must be in it.
    """

    text: str
    seconds: float = 0.0
    reads: tuple[str, ...] = ()
    makes: tuple[str, ...] = ()
    uses: tuple[str, ...] = ()
    does: str = ""
    spare: bool = False

    @property
    def keyword(self) -> str:
        """The instruction's name, in capitals."""
        return (self.text.split(None, 1) or [""])[0].upper()


class Edit(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """What is done between two builds, and how often: ``weight`` times in the time that a score is of.

    ``files``  paths of the context whose content changes. ``arguments``: build arguments that get another value.
    """

    title: str
    weight: int
    files: tuple[str, ...] = ()
    arguments: tuple[str, ...] = ()


class Level(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True, dict=True):
    """A level as its file has it.

    ``files``    the build context: path to content. ``ignore``: patterns of the ignore file.
    ``lines``    those without ``spare`` are the Dockerfile at first, in this order.
    ``needs``    absolute paths that the image must hold, as the Dockerfile at first has them.
    ``par``      the least that any order costs, in seconds; without it, ``layerlab.golf.par`` finds it.
    ``unit``     the time that the weights are of.
    """

    title: str
    text: str
    files: dict[str, str]
    lines: tuple[Line, ...]
    edits: tuple[Edit, ...]
    needs: tuple[str, ...]
    par: float | None = None
    ignore: tuple[str, ...] = ()
    unit: str = "week"
    schema: int = SCHEMA

    @cached_property
    def by_text(self) -> dict[str, Line]:
        """Lines by their text, white space made even."""
        return {even(line.text): line for line in self.lines}

    @property
    def start(self) -> tuple[str, ...]:
        """The Dockerfile at first, line by line."""
        return tuple(line.text for line in self.lines if not line.spare)

    @property
    def spares(self) -> tuple[str, ...]:
        """The lines beside it."""
        return tuple(line.text for line in self.lines if line.spare)


def even(text: str) -> str:
    """An instruction with its white space made even, so that a typed one is known again."""
    return re.sub(r"\s+", " ", re.sub(r"\\\n", " ", text)).strip()


def decode(data: bytes, file: str) -> Level:
    """A level from the bytes of its file. Raises ``UsageError`` that says what is wrong, and where."""
    try:
        level = msgspec.json.decode(data, type=Level)
    except msgspec.MsgspecError as error:
        raise UsageError(f"{file} is no level: {error}", remedy="docs/golf.md says what a level has.") from error
    for problem in _problems(level):
        raise UsageError(f"{file} is no level that can be played: {problem}", remedy="docs/golf.md says what a level has.")
    return level


def load(path: Path) -> Level:
    """A level of one's own. Raises ``UsageError``."""
    try:
        return decode(path.read_bytes(), str(path))
    except OSError as error:
        raise UsageError(f"the level {path} cannot be read: {error.strerror}", remedy="Name a file that is a level.") from error


def shipped() -> dict[str, Level]:
    """The levels that come with layerlab, by name, in the order of play."""
    folder = resources.files("layerlab.golf") / "levels"
    names = sorted(entry.name for entry in folder.iterdir() if entry.name.endswith(".json"))
    return {name.removesuffix(".json"): decode((folder / name).read_bytes(), name) for name in names}


def _problems(level: Level) -> list[str]:
    found: list[str] = []
    if level.schema != SCHEMA:
        return [f"its schema is {level.schema}; this layerlab knows {SCHEMA}"]
    if not level.edits or any(edit.weight < 1 or not (edit.files or edit.arguments) for edit in level.edits):
        found.append("each edit has a weight of 1 or more, and changes a file or an argument; and there is one at least")
    if len(level.lines) > _MOST_LINES:
        found.append(f"it has {len(level.lines)} lines; at most {_MOST_LINES} are played")
    if len(level.by_text) != len(level.lines):
        found.append("two of its lines are the same: a move could not tell them apart")
    for line in level.lines:
        # Also what is not written as one line.
        if "\n" in line.text or line.keyword not in _ALLOWED:
            found.append(f"{line.text!r} is no line of {', '.join(sorted(_ALLOWED))}")
        if line.spare and line.keyword in SETTLED | {"FROM"}:
            found.append(f"{line.text!r} cannot be a spare line")
        if line.seconds < 0:
            found.append(f"{line.text!r} takes less than no time")
        if (line.reads or line.makes or line.uses) and line.keyword != "RUN":
            found.append(f"{line.text!r} is no command, so it reads and makes what is said by its words alone")
        wrong = [place for place in (*line.reads, *line.makes) if not place.startswith("/")]
        found.extend(f"{line.text!r}: {place!r} is no absolute path" for place in wrong)
    for edit in level.edits:
        found.extend(
            f"the edit {edit.title!r} changes {path}, which is not among the files" for path in edit.files if path not in level.files
        )
    if not found and not _parsed(level).stages:
        found.append("its lines are no Dockerfile")
    return found


def _parsed(level: Level) -> Dockerfile:
    try:
        return parse("\n".join(level.start) + "\n")
    except DockerfileError as error:
        raise UsageError(f"the lines of the level {level.title!r} are no Dockerfile: {error.message}", remedy="Correct them.") from error
