"""What a level is, what it refuses, and how an order of its lines is rated."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from layerlab.errors import UsageError
from layerlab.golf.hints import hints
from layerlab.golf.level import Level, decode, load, shipped
from layerlab.golf.par import prove, with_par
from layerlab.golf.scoring import Course, instructions

LEVELS = shipped()
INSTALL = "RUN npm ci"
# The second of the levels, by hand.
BY_HAND = (
    "FROM node:alpine",
    "WORKDIR /app",
    "COPY package.json package-lock.json ./",
    INSTALL,
    "COPY . .",
    "RUN node tools/build.js",
    'CMD ["node", "dist/app.js"]',
)


@pytest.fixture
def lock_first() -> Course:
    return Course(LEVELS["02-lock-first"])


def test_there_are_a_dozen_in_order_of_play() -> None:
    assert len(LEVELS) >= 12
    assert [name[:2] for name in LEVELS] == [f"{number:02}" for number in range(1, len(LEVELS) + 1)]


@pytest.mark.parametrize("name", LEVELS)
def test_its_par_is_the_least_and_its_start_is_not(name: str) -> None:
    """No order of its lines costs less, and there is something to win."""
    level = LEVELS[name]
    found = prove(level)
    assert found.seconds == pytest.approx(level.par)
    course = Course(level)
    assert course.rate(found.lines).at_par
    start = course.rate(level.start)
    assert start.broken == ""
    assert start.total is not None
    assert level.par is not None
    assert start.total > level.par


def test_an_order_costs_what_its_edits_rebuild(lock_first: Course) -> None:
    """By hand: a source costs COPY and the build 20 times, the README 5 times; a dependency costs everything, once."""
    score = lock_first.rate(BY_HAND)
    assert score.total == 20 * (0.5 + 8) + 5 * (0.5 + 8) + 1 * (0.5 + 30 + 0.5 + 8)
    assert [[one.line for one in edit.rebuilt] for edit in score.edits] == [[5, 6], [5, 6], [3, 4, 5, 6]]
    assert score.at_par


def _without(lines: tuple[str, ...], text: str) -> tuple[str, ...]:
    return tuple(line for line in lines if line != text)


@pytest.mark.parametrize(
    ("lines", "says", "line"),
    [
        (_without(BY_HAND, INSTALL), "RUN npm ci is missing", None),
        ((*BY_HAND, INSTALL), "RUN npm ci is there twice", 8),
        ((*BY_HAND[:4], "COPY src ./src", *BY_HAND[4:]), "COPY src ./src is none of this level's lines", 5),
        ((*BY_HAND[:2], INSTALL, *_without(BY_HAND[2:], INSTALL)), "there is no /app/package.json yet", 3),
        ((*BY_HAND[:1], *BY_HAND[2:], BY_HAND[1]), "there is no /app/package.json yet", 3),
        ((*_without(BY_HAND, "COPY . .")[:5], "COPY . .", BY_HAND[-1]), "there is no /app/tools/build.js yet", 5),
        (BY_HAND[1:], "another stage", 1),
    ],
)
def test_what_a_build_would_fail_with_or_leave_out_scores_nothing(
    lock_first: Course, lines: tuple[str, ...], says: str, line: int | None
) -> None:
    score = lock_first.rate(lines)
    assert score.total is None
    assert not score.at_par
    assert says in score.broken
    assert score.line == line
    assert hints(lock_first.level, lines, score) == (score.broken,)


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        (("FROM node:alpine", "COPY a ./", "WORKDIR /v", "WORKDIR /w"), "the image lacks /w/a"),
        (("FROM node:alpine", "WORKDIR /w", "COPY a ./", "WORKDIR /v"), "the image is configured in another way"),
    ],
)
def test_an_image_that_is_not_as_it_was_scores_nothing(lines: tuple[str, ...], says: str) -> None:
    level = _level(lines=["FROM node:alpine", "WORKDIR /v", "WORKDIR /w", "COPY a ./"], needs=["/w/a"])
    assert says in Course(level).rate(lines).broken


def test_what_is_made_of_half_the_files_is_not_the_same() -> None:
    """Two folders of sources: the build that comes between them reads one."""
    level = _level(
        files={"src/a.js": "a", "src/b.js": "b"},
        lines=[
            "FROM node:alpine",
            "COPY src/a.js /src/",
            "COPY src/b.js /src/",
            {"text": "RUN make", "seconds": 1, "reads": ["/src"], "makes": ["/out"]},
        ],
        edits=[{"title": "b", "weight": 1, "files": ["src/b.js"]}],
        needs=["/out"],
    )
    score = Course(level).rate(("FROM node:alpine", "COPY src/a.js /src/", "RUN make", "COPY src/b.js /src/"))
    assert score.broken == "/out is not made of the files that it should be made of"


def test_a_hint_names_a_cause_and_not_the_answer(lock_first: Course) -> None:
    first, *_ = hints(lock_first.level, lock_first.level.start, lock_first.rate(lock_first.level.start))
    assert "RUN npm ci" in first
    assert "src/app.js changed" in first
    assert "COPY package.json" not in first
    assert hints(lock_first.level, BY_HAND, lock_first.rate(BY_HAND)) == ("No order of these lines costs less.",)


def test_a_text_that_is_typed_is_read_as_its_instructions() -> None:
    typed = "# a comment\nFROM  node:alpine\n\nRUN npm \\\n    ci\nCOPY . .\n"
    assert instructions(typed) == ("FROM node:alpine", "RUN npm ci", "COPY . .")


def _level(**changes: Any) -> Level:
    return decode(_file(**changes), "mine.json")


def _file(**changes: Any) -> bytes:
    lines = changes.pop("lines", ["FROM node:alpine", "COPY a /a"])
    found = {
        "title": "Mine",
        "text": "",
        "files": {"a": "a"},
        "lines": [{"text": line} if isinstance(line, str) else line for line in lines],
        "edits": [{"title": "a", "weight": 1, "files": ["a"]}],
        "needs": ["/a"],
        **changes,
    }
    return json.dumps(found).encode()


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"{", "is no level"),
        (b"[]", "is no level"),
        (b"\xff", "is no level"),
        (_file(schema=2), "its schema is 2; this layerlab knows 1"),
        (_file(colour="red"), "unknown field `colour`"),
        (_file(edits=[]), "each edit has a weight"),
        (_file(edits=[{"title": "a", "weight": 0, "files": ["a"]}]), "each edit has a weight"),
        (_file(edits=[{"title": "b", "weight": 1, "files": ["b"]}]), "changes b, which is not among the files"),
        (_file(lines=["FROM node:alpine", "COPY a /a", "COPY  a /a"]), "two of its lines are the same"),
        (_file(lines=["FROM node:alpine", "ONBUILD COPY a /a"]), "'ONBUILD COPY a /a' is no line of"),
        (_file(lines=["FROM node:alpine", "COPY a /a\nRUN b"]), "is no line of"),
        (_file(lines=["FROM node:alpine", ""]), "'' is no line of"),
        (_file(lines=["COPY a /a"]), "are no Dockerfile"),
        (_file(lines=[]), "are no Dockerfile"),
        (_file(lines=["FROM node:alpine", {"text": "COPY a /a", "makes": ["/a"]}]), "is no command"),
        (_file(lines=["FROM node:alpine", {"text": "RUN a", "reads": ["a"]}]), "'a' is no absolute path"),
        (_file(lines=["FROM node:alpine", {"text": "RUN a", "seconds": -1}]), "takes less than no time"),
        (_file(lines=["FROM node:alpine", {"text": "CMD a", "spare": True}]), "cannot be a spare line"),
        (_file(lines=["FROM node:alpine", *(f"RUN {number}" for number in range(41))]), "at most 40 are played"),
    ],
)
def test_a_file_that_is_no_level_is_refused_with_what_is_wrong(data: bytes, says: str, tmp_path: Path) -> None:
    (tmp_path / "mine.json").write_bytes(data)
    with pytest.raises(UsageError) as caught:
        load(tmp_path / "mine.json")
    assert says in caught.value.message
    assert caught.value.remedy


def test_a_level_that_says_no_par_gets_it() -> None:
    assert with_par(_level()).par == 0
    assert with_par(_level(par=3)).par == 3
    many = [{"text": f"RUN {number}", "seconds": 1} for number in range(30)]
    with pytest.raises(UsageError, match="too many orders to find its par"):
        with_par(_level(lines=["FROM node:alpine", "COPY a /a", *many]))


def test_a_level_of_ones_own_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "mine.json").write_bytes(_file())
    assert Course(load(tmp_path / "mine.json")).rate(("FROM node:alpine", "COPY a /a")).broken == ""
    with pytest.raises(UsageError, match="cannot be read"):
        load(tmp_path / "another.json")


@pytest.mark.parametrize("name", LEVELS)
def test_a_level_is_written_as_it_is_read(name: str) -> None:
    assert decode(msgspec.json.encode(LEVELS[name]), name) == LEVELS[name]
