"""The course's questions, by id. Their answers, and what is told after a build has answered, stand here and in no notebook.

A file is a part of the course: a table for each question. ``question`` is what is asked. With ``choices`` one of them is the
``answer``, and ``why`` its reason; without, it is a prediction, and the build answers. ``happened`` (Markdown) is told afterwards.
"""

from __future__ import annotations

import tomllib
from functools import cache
from importlib import resources
from typing import Annotated

import msgspec

from layerlab.errors import UsageError

_Id = Annotated[str, msgspec.Meta(pattern=r"\A[a-z0-9]+(-[a-z0-9]+)*\Z")]


class Asked(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A question; see the module."""

    question: str
    choices: tuple[str, ...] = ()
    answer: str = ""
    why: str = ""
    happened: str = ""

    def __post_init__(self) -> None:
        if self.choices and self.answer not in self.choices:
            raise ValueError(f"the answer {self.answer!r} is not among the choices")
        if not self.choices and self.answer:
            raise ValueError("the build gives the answer of a prediction")


def question(name: str) -> Asked:
    """The question with this id. Raises ``UsageError`` where there is none."""
    found = questions().get(name)
    if found is None:
        raise UsageError(
            f"the course has no question {name!r}",
            remedy="A question of your own is a sentence, and to choose from has its choices: lab.ask('How many?', ['one', 'two']).",
        )
    return found


@cache
def questions() -> dict[str, Asked]:
    """All questions of the course."""
    found: dict[str, Asked] = {}
    for part in sorted(resources.files(__package__).iterdir(), key=lambda part: part.name):
        if part.name.endswith(".toml"):
            found |= msgspec.convert(tomllib.loads(part.read_text(encoding="utf-8")), dict[_Id, Asked])
    return found


def is_id(text: str) -> bool:
    """Whether a text can only be the id of a question: what is asked has blanks."""
    return " " not in text.strip()
