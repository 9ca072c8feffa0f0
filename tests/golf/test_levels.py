"""What a level is, what it refuses, and how an order of its lines is rated."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from layerlab.errors import UsageError
from layerlab.golf.hints import hints
from layerlab.golf.level import Level, decode, load, shipped
from layerlab.golf.par import prove, proven
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
        ((*BY_HAND, INSTALL), "RUN npm ci appears twice", 8),
        ((*BY_HAND[:4], "COPY src ./src", *BY_HAND[4:]), "COPY src ./src is not one of this level's lines", 5),
        ((*BY_HAND[:2], INSTALL, *_without(BY_HAND[2:], INSTALL)), "there is no /app/package.json yet", 3),
        ((*BY_HAND[:1], *BY_HAND[2:], BY_HAND[1]), "RUN npm ci would run in /, not in /app", 3),
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
    assert score.broken == "/out is built from other files than by the level's own Dockerfile"


def test_a_hint_names_a_cause_and_not_the_answer(lock_first: Course) -> None:
    first, *_ = hints(lock_first.level, lock_first.level.start, lock_first.rate(lock_first.level.start))
    assert "RUN npm ci" in first
    assert "src/app.js changed" in first
    assert "COPY package.json" not in first
    assert hints(lock_first.level, BY_HAND, lock_first.rate(BY_HAND)) == ("No order of these lines costs less.",)


@pytest.mark.parametrize(
    ("typed", "found"),
    [
        ("# a comment\nFROM  node:alpine\n\nrun npm \\\n    ci\nCOPY . .\n", ("FROM node:alpine", "RUN npm ci", "COPY . .")),
        # Nothing stands between two parts of a line, and a blank may stand behind the backslash.
        ("RUN npm\\\nci\nRUN npm \\ \n# in between\nci\n", ("RUN npmci", "RUN npm ci")),
        ("RUN n\\\npm ci", ("RUN npm ci",)),
        ("RUN npm\x0bci\nRUN npm\u2028ci\nRUN npm\u00a0ci", ("RUN npm\x0bci", "RUN npm\u2028ci", "RUN npm\u00a0ci")),
        ("", ()),
    ],
)
def test_a_text_that_is_typed_is_read_as_docker_reads_it(typed: str, found: tuple[str, ...]) -> None:
    assert instructions(typed) == found


@pytest.mark.parametrize("blanks", ["\n", "\r", "\x0b", "\u2028", "\u00a0"])
def test_only_blanks_may_differ_between_words(lock_first: Course, blanks: str) -> None:
    assert lock_first.rate(tuple(line.replace(" ", "   ") for line in BY_HAND)).at_par
    for number in range(len(BY_HAND)):
        lines = list(BY_HAND)
        lines[number] += blanks
        assert lock_first.rate(tuple(lines)).total is None


@pytest.mark.parametrize(
    ("name", "line", "after"),
    [
        ("09-two-stages", "WORKDIR /build", "RUN node tools/build.js"),
        ("12-the-whole-house", "WORKDIR /build", "RUN --mount=type=cache,target=/root/.npm npm ci --prefer-offline"),
        ("04-a-new-version", "WORKDIR /app", 'RUN echo "$VERSION" > version.txt'),
    ],
)
def test_where_a_command_runs_counts(name: str, line: str, after: str) -> None:
    level = LEVELS[name]
    lines = list(prove(level).lines)
    lines.remove(line)
    lines.insert(lines.index(after) + 1, line)
    assert "would run in /, not in" in Course(level).rate(tuple(lines)).broken


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        (["COPY a /x", "COPY b /x/y"], "/x is a file, and nothing can be put below it"),
        (["COPY d /d", "COPY b /d/c"], ""),
        (["COPY a /x", "WORKDIR /x"], "/x is a file"),
        (["COPY d /x", {"text": "RUN m", "makes": ["/x"]}], "/x is a folder, and a file cannot be put in its place"),
        (["COPY a /x", "USER 5", {"text": "RUN --mount=type=tmpfs,target=/x m", "reads": ["/x/c"], "makes": ["/m"]}], "would fail"),
        ([{"text": "RUN --mount=type=cache,target=/c m", "makes": ["/c/m"]}], "do not make /c/m, which it needs"),
    ],
)
def test_what_a_build_refuses_no_level_has(lines: list[Any], says: str) -> None:
    needs = ["/c/m"] if "/c/m" in says else []
    level = _level(files={"a": "a", "b": "b", "d/c": "c"}, lines=["FROM node:alpine", *lines], needs=needs)
    with pytest.raises(UsageError, match=says) if says else contextlib.nullcontext():
        Course(level)


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
        (_file(edits=[]), "it has no edits"),
        (_file(edits=[{"title": "a", "weight": 1}]), "the edit 'a' changes nothing"),
        (_file(edits=[{"title": "a", "weight": 0, "files": ["a"]}]), "Expected `int` >= 1"),
        (_file(edits=[{"title": "a", "weight": 10**400, "files": ["a"]}]), "is no level"),
        (_file(edits=[{"title": "V", "weight": 1, "arguments": ["V"]}]), "changes V, which no ARG declares"),
        (_file(ignore=["a"]), "changes a, which is ignored"),
        (_file(ignore=["["]), "its ignore patterns: syntax error in pattern"),
        (_file(files={"a": "", "a/b": ""}), "'a' is a file and a folder"),
        (_file(files={"a": "", "../b": ""}), "the file '../b' is no path within a build context"),
        (_file(needs=["a"]), "it needs 'a', which is no absolute path"),
        (_file(needs=["/"]), "it needs '/', which is no absolute path"),
        (_file(par=-3), "is no level"),
        (_file(edits=[{"title": "b", "weight": 1, "files": ["b"]}]), "changes b, which is not among the files"),
        (_file(lines=["FROM node:alpine", "COPY a /a", "COPY  a /a"]), "two of its lines are the same"),
        (_file(lines=["FROM node:alpine", "ONBUILD COPY a /a"]), "'ONBUILD COPY a /a' is no instruction"),
        (_file(lines=["FROM node:alpine", "COPY a /a\nRUN b"]), "is no instruction on one line"),
        (_file(lines=["FROM node:alpine", "RUN b \\"]), "is no instruction on one line"),
        (_file(lines=["FROM node:alpine", "COPY <<E /a"]), "is no instruction on one line"),
        (_file(lines=["FROM node:alpine", ""]), "'' is no instruction"),
        (_file(lines=["COPY a /a"]), "its first line is no FROM"),
        (_file(lines=["ARG T", "FROM node:$T", "COPY a /a"]), "its first line is no FROM"),
        (_file(lines=[]), "its first line is no FROM"),
        (_file(lines=["FROM node:alpine", "COPY --link a /a"]), "--link is not played"),
        (_file(lines=["FROM node:alpine", "COPY --exclude=b a /a"]), "--exclude=b is not played"),
        (_file(lines=["FROM node:alpine", "COPY --from=busybox:1 a /a"]), "--from=busybox:1 is not played"),
        (_file(lines=["FROM node:alpine", "RUN --mount=type=secret,id=a,required b"]), "is not played"),
        (_file(lines=["FROM --platform=plan9/mips node:alpine", "COPY a /a"]), "is not played"),
        (
            _file(lines=["FROM a", {"text": "RUN a", "does": "a"}, "FROM b", {"text": "RUN b", "does": "a"}]),
            "the lines that do 'a' are in several stages",
        ),
        (_file(lines=["FROM node:alpine", {"text": "COPY a /a", "makes": ["/a"]}]), "is no command"),
        (_file(lines=["FROM node:alpine", {"text": "RUN a", "reads": ["a"]}]), "'a' is no absolute path"),
        (_file(lines=["FROM node:alpine", {"text": "RUN a", "seconds": -1}]), "Expected `float` >= 0.0"),
        (_file(lines=["FROM node:alpine", {"text": "CMD a", "spare": True}]), "can be neither spare nor one of several ways"),
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
    assert proven(_level()).par == 0
    assert proven(_level(par=0)).par == 0
    with pytest.raises(UsageError, match="says that its par is 3; it is 0"):
        proven(_level(par=3))
    many = [{"text": f"RUN {number}", "seconds": 1} for number in range(30)]
    with pytest.raises(UsageError, match="it has too many orders"):
        proven(_level(lines=["FROM node:alpine", "COPY a /a", *many]))


@pytest.mark.parametrize(
    ("lines", "needs", "says"),
    [
        (["FROM node:alpine", "COPY b /a"], ["/a"], "cannot be played: 2: "),
        (["FROM node:alpine", "COPY a /b"], ["/a"], "its own lines do not make /a, which it needs"),
        (["FROM node:alpine", {"text": "RUN x", "reads": ["/x"]}], [], "RUN x would fail: there is no /x yet"),
        (["FROM one AS node:alpine", "COPY a /a"], ["/a"], "cannot be played"),
        (
            ["FROM a AS one", "COPY a /a", "FROM a", "COPY ./a /a", "COPY --from=one /a /b"],
            ["/a"],
            "the same step, which a build runs once",
        ),
        (["FROM a", "COPY a /a", "RUN --mount=from=busybox,target=/m m"], ["/a"], "golf has no files from elsewhere"),
    ],
)
def test_a_level_that_cannot_be_played_says_why(lines: list[Any], needs: list[str], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        proven(_level(lines=lines, needs=needs))


def test_a_stage_that_nothing_needs_costs_nothing() -> None:
    """The tool can be mounted from the stage, or from the context, which takes longer: then nobody needs the stage."""
    tool = {"reads": ["/kit/t", "/w"], "makes": ["/m"], "does": "m"}
    level = _level(
        files={"t": "t", "w": "w"},
        lines=[
            "FROM b:1 AS kit",
            {"text": "COPY t /kit/t", "seconds": 2},
            "FROM b:1",
            "COPY w /w",
            {"text": "RUN --mount=type=bind,from=kit,source=/kit/t,target=/kit/t make", "seconds": 5, **tool},
            {"text": "RUN --mount=type=bind,source=t,target=/kit/t make", "seconds": 6, "spare": True, **tool},
        ],
        edits=[{"title": "t", "weight": 3, "files": ["t"]}],
        needs=["/m"],
    )
    assert prove(level).seconds == 18


def test_a_level_of_ones_own_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "mine.json").write_bytes(_file())
    assert Course(load(tmp_path / "mine.json")).rate(("FROM node:alpine", "COPY a /a")).broken == ""
    for name in ("another.json", "\0.json"):
        with pytest.raises(UsageError, match="cannot be read"):
            load(tmp_path / name)


@pytest.mark.parametrize("name", LEVELS)
def test_a_level_is_written_as_it_is_read(name: str) -> None:
    assert decode(msgspec.json.encode(LEVELS[name]), name) == LEVELS[name]
