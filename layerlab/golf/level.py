"""Levels as data: what a file of a level says, and whether it makes sense."""

from __future__ import annotations

import re
from functools import cached_property
from importlib import resources
from pathlib import Path, PurePosixPath
from typing import Annotated, Final

import msgspec

from layerlab.context.ignore import IgnoreRules, parse_ignore_file
from layerlab.errors import DockerfileError, UsageError

SCHEMA: Final = 1
# The planner answers while a person drags a line, and par goes through all sets of lines.
_MOST_LINES: Final = 40
# Instructions that change nothing for the lines around them: wherever one stands in its stage, the builds are the same.
SETTLED: Final = frozenset({"CMD", "ENTRYPOINT", "EXPOSE", "HEALTHCHECK", "LABEL", "STOPSIGNAL", "VOLUME", "MAINTAINER"})
_ALLOWED: Final = SETTLED | {"FROM", "WORKDIR", "COPY", "RUN", "ENV", "ARG", "USER"}
# Flags that a simulated build has the rules of; anything else would score what a real build does otherwise.
_FLAGS: Final = {"COPY": re.compile(r"--from=[\w.-]+"), "RUN": re.compile(r"--mount=(?!.*\btype=(?:secret|ssh)\b)\S+")}

_Seconds = Annotated[float, msgspec.Meta(ge=0, le=1e6)]
_Weight = Annotated[int, msgspec.Meta(ge=1, le=1_000_000)]


class Line(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """One instruction.

    ``seconds``  what it takes when it runs. ``reads``: absolute paths that a RUN needs; without one of them it fails. ``makes``: those that
                 it leaves, made of all that it reads and of the variables that it names in ``uses``; where it ends in ``/``, a folder.
    ``does``     where lines of a stage are several ways to do one thing, the name of the thing: one is enough.
    ``spare``    the line is beside the Dockerfile at first, and may stay there; any other must be in it.
    """

    text: str
    seconds: _Seconds = 0.0
    reads: tuple[str, ...] = ()
    makes: tuple[str, ...] = ()
    uses: tuple[str, ...] = ()
    does: str = ""
    spare: bool = False

    @property
    def keyword(self) -> str:
        """The instruction's name, in capitals."""
        return (self.text.split(None, 1) or [""])[0].upper()

    @property
    def is_settled(self) -> bool:
        """Whether it is the same wherever it stands in its stage."""
        return self.keyword in SETTLED and "$" not in self.text


class Edit(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """What is done between two builds, and how often: ``weight`` times in the time that a score is of.

    ``files``  paths of the context whose content changes. ``arguments``: build arguments that get another value.
    """

    title: str
    weight: _Weight
    files: tuple[str, ...] = ()
    arguments: tuple[str, ...] = ()


class Level(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True, dict=True):
    """A level as its file has it.

    ``files``    the build context: path to content. ``ignore``: patterns of the ignore file.
    ``lines``    those without ``spare`` are its own Dockerfile, in this order; a line stays in the stage that it stands in here.
    ``needs``    absolute paths that the image must hold, made of the same files as by its own Dockerfile.
    ``par``      the least that any order costs, in seconds; without it, ``layerlab.golf.par`` finds it.
    ``unit``     the time that the weights are of.
    """

    title: str
    text: str
    files: dict[str, str]
    lines: tuple[Line, ...]
    edits: tuple[Edit, ...]
    needs: tuple[str, ...]
    par: _Seconds | None = None
    ignore: tuple[str, ...] = ()
    unit: str = "week"
    schema: int = SCHEMA

    @cached_property
    def by_text(self) -> dict[str, Line]:
        """Lines by their text, blanks made even."""
        return {even(line.text): line for line in self.lines}

    @cached_property
    def stages(self) -> dict[str, int]:
        """For each line, by its text made even, the number of its stage."""
        return _stages(self)

    @property
    def start(self) -> tuple[str, ...]:
        """Its own Dockerfile, line by line."""
        return tuple(line.text for line in self.lines if not line.spare)


def even(text: str) -> str:
    """An instruction with its keyword in capitals and its blanks made even, so that a typed one is known again."""
    keyword, *rest = re.split(r"[ \t]+", text.strip(" \t"))
    return " ".join([keyword.upper(), *rest])


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
    except (OSError, ValueError) as error:
        raise UsageError(f"the level {str(path)!r} cannot be read: {error}", remedy="Name a file that is a level.") from error


def shipped() -> dict[str, Level]:
    """The levels that come with layerlab, by name, in the order of play."""
    folder = resources.files("layerlab.golf") / "levels"
    names = sorted(entry.name for entry in folder.iterdir() if entry.name.endswith(".json"))
    return {name.removesuffix(".json"): decode((folder / name).read_bytes(), name) for name in names}


def _problems(level: Level) -> list[str]:
    """What is wrong, without playing it."""
    if level.schema != SCHEMA:
        return [f"its schema is {level.schema}; this layerlab knows {SCHEMA}"]
    found = [problem for line in level.lines for problem in _of_a_line(line)]
    found += _of_the_files(level)
    if len(level.lines) > _MOST_LINES:
        found.append(f"it has {len(level.lines)} lines; at most {_MOST_LINES} are played")
    if len(level.by_text) != len(level.lines):
        found.append("two of its lines are the same, so a move could not tell them apart")
    if not level.lines or level.lines[0].keyword != "FROM":
        found.append("its first line is no FROM")
    if not level.edits:
        found.append("it has no edits, so every order costs nothing")
    stages = level.stages
    for does in {line.does for line in level.lines if line.does}:
        if len({stages[even(line.text)] for line in level.lines if line.does == does}) > 1:
            found.append(f"the lines that do {does!r} are in several stages")
    return found


def _of_a_line(line: Line) -> list[str]:
    text, found = line.text, []
    if "\n" in text or "<<" in text or text.rstrip().endswith("\\") or line.keyword not in _ALLOWED:
        return [f"{text!r} is no instruction on one line, of {', '.join(sorted(_ALLOWED))}"]
    for word in text.split()[1:]:
        if not word.startswith("--"):
            break
        if line.keyword not in _FLAGS or _FLAGS[line.keyword].fullmatch(word) is None:
            found.append(f"{text!r}: {word} is not played")
    if line.keyword in SETTLED | {"FROM"} and (line.spare or line.does):
        found.append(f"{text!r} is always in its place, so it can be neither spare nor one of several ways")
    if (line.reads or line.makes or line.uses) and line.keyword != "RUN":
        found.append(f"{text!r} is no command: what it reads and makes is said by its own words")
    found += [f"{text!r}: {place!r} is no absolute path" for place in (*line.reads, *line.makes) if not _is_place(place)]
    return found


def _of_the_files(level: Level) -> list[str]:
    found = [
        f"the file {path!r} is no path within a build context" for path in level.files if not _is_place("/" + path) or path.endswith("/")
    ]
    folders = {str(folder) for path in level.files for folder in PurePosixPath(path).parents}
    found += [f"{path!r} is a file and a folder" for path in sorted(folders & set(level.files))]
    try:
        rules = IgnoreRules(parse_ignore_file("\n".join(level.ignore).encode()))
    except DockerfileError as error:
        return [*found, f"its ignore patterns: {error.message}"]
    declared = {name.partition("=")[0] for line in level.lines if line.keyword == "ARG" for name in line.text.split()[1:]}
    for edit in level.edits:
        if not edit.files and not edit.arguments:
            found.append(f"the edit {edit.title!r} changes nothing")
        found += [f"the edit {edit.title!r} changes {path}, which is not among the files" for path in edit.files if path not in level.files]
        found += [f"the edit {edit.title!r} changes {path}, which is ignored" for path in edit.files if rules.ignores(path)]
        found += [f"the edit {edit.title!r} changes {name}, which no ARG declares" for name in edit.arguments if name not in declared]
    found += [f"it needs {place!r}, which is no absolute path" for place in level.needs if not _is_place(place)]
    return found


def _is_place(path: str) -> bool:
    parts = path.rstrip("/").split("/")
    return path.startswith("/") and len(parts) > 1 and all(part not in ("", ".", "..") and "\0" not in part for part in parts[1:])


def _stages(level: Level) -> dict[str, int]:
    stage, found = -1, {}
    for text, line in level.by_text.items():
        stage += line.keyword == "FROM"
        found[text] = stage
    return found
