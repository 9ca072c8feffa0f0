"""A question of a quiz as its author wrote it down: a build context, what is done to it between builds, and which build is predicted.

Only data is here. ``question_play`` plays it and says what is true, ``exercises/build.py`` shows it to learners: both from these records,
so that what is asked and what is graded cannot differ.
"""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Annotated, Final

import msgspec

from layerlab.dockerfile import parse
from layerlab.solver.graph import Step, build_graph
from layerlab.solver.ops import DEFAULT_PATH, BaseImage

DOCKERFILE: Final = "Dockerfile"
IGNORE: Final = ".dockerignore"

_Points = Annotated[float, msgspec.Meta(gt=0)]
_Name = Annotated[str, msgspec.Meta(pattern=r"\A[a-z][a-z0-9-]{0,30}\Z")]
_Mode = Annotated[str, msgspec.Meta(pattern=r"\A[0-7]{3}\Z")]


class _Change(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="do"):
    """Something that is done to one path of the build context. ``path`` is relative to it and stays inside."""

    path: str

    def __post_init__(self) -> None:
        if not inside(self.path):
            raise ValueError(f"{self.path!r} is not a path inside the build context")


class Write(_Change, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="write"):
    """A file, new or not, gets this text."""

    text: str


class Replace(_Change, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="replace"):
    """A text that stands in a file once gives way to another."""

    old: str
    new: str


class Touch(_Change, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="touch"):
    """A file or folder gets another time."""


class Chmod(_Change, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="chmod"):
    """A file or folder gets other permissions: three octal digits."""

    mode: _Mode


class Remove(_Change, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="remove"):
    """A file goes."""


Change = Write | Replace | Touch | Chmod | Remove


class Turn(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Changes, and then a build with these build arguments."""

    changes: tuple[Change, ...] = ()
    arguments: dict[str, str] = {}


class Question(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One question. First everything is built once; then come the ``turns``, and the build of the last one is predicted.

    ``app``         whether the build context begins with the files of the lesson's app; ``files`` (path to text) are there besides.
    ``dockerfile``  and ``ignore``: lines. Without ``ignore`` there is no ``.dockerignore``.
    ``text``        what the learner reads above the listing; ``read``: where the matter is taught.
    """

    id: _Name
    title: str
    text: str
    points: _Points
    read: str
    dockerfile: tuple[str, ...]
    ignore: tuple[str, ...] = ()
    app: bool = False
    files: dict[str, str] = {}
    arguments: dict[str, str] = {}
    turns: Annotated[tuple[Turn, ...], msgspec.Meta(min_length=1)]

    def __post_init__(self) -> None:
        wrong = [path for path in self.files if not inside(path)]
        if wrong:
            raise ValueError(f"{self.id}: {wrong[0]!r} is not a path inside the build context")

    def last_dockerfile(self) -> str:
        """The Dockerfile of the build that is predicted. Raises ``ValueError`` for a change that does not fit."""
        text = joined(self.dockerfile)
        for turn in self.turns:
            for change in turn.changes:
                if change.path == DOCKERFILE:
                    text = changed(change, text)
        return text


def inside(path: str) -> bool:
    """Whether a path is relative and leads nowhere else."""
    parts = PurePosixPath(path).parts
    return bool(parts) and not path.startswith("/") and ".." not in parts


def joined(lines: tuple[str, ...]) -> str:
    """Lines as the text of a file."""
    return "".join(f"{line}\n" for line in lines)


def changed(change: Change, text: str) -> str:
    """The text of a file after a change. Raises ``ValueError`` where what is to be replaced does not stand there once."""
    if isinstance(change, Write):
        return change.text
    if isinstance(change, Replace):
        if text.count(change.old) != 1:
            raise ValueError(f"{change.path} has {change.old!r} {text.count(change.old)} times; it can be replaced where it stands once")
        return text.replace(change.old, change.new)
    return text


def base_image(name: str) -> BaseImage:
    """A base image that is nowhere: a plan needs its identity and its environment, and the same on every machine."""
    config = {"architecture": "amd64", "os": "linux", "config": {"Env": [f"PATH={DEFAULT_PATH}"]}}
    return BaseImage(name, (f"sha256:{'0' * 64}",), config)


def steps_to_predict(question: Question) -> tuple[Step, ...]:
    """The steps of the predicted build that have to be answered: all but FROM, of the stages that are needed.

    Raises ``DockerfileError`` and ``ValueError`` for a question that is wrong.
    """
    graph = build_graph(parse(question.last_dockerfile()), base_image, build_args=question.turns[-1].arguments)
    return tuple(step for step in graph.steps if step.keyword != "FROM")


def listed(question: Question, verdicts: tuple[str, ...] = ()) -> str:
    """The lines of an answer cell: number, verdict (left out in what learners start with) and, as a comment, the instruction."""
    steps = steps_to_predict(question)
    rows = [f"{step.number} {word}".rstrip() for step, word in zip(steps, verdicts or [""] * len(steps), strict=True)]
    width = max(16, *map(len, rows)) + 2
    return "".join(f"{row:<{width}}# {step.instruction}\n" for row, step in zip(rows, steps, strict=True))
