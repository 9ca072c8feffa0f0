"""What the fuzzers are made of: what is a difference, what explains one, and what is drawn. No engine runs here."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from tests.conformance import bases
from tests.conformance.cases import Image, Row, Settings
from tests.conformance.outcome import Outcome

from .ancestry import Outline
from .compared import RAISED, Found, Guarded, differ
from .draw import THEMES, draw_case
from .known import reason
from .stores import in_the_end

_STAGES = """\
FROM base:1 AS one
RUN a
FROM base:1 AS two
RUN b
FROM one AS three
COPY x /x
COPY --from=two /y /y
RUN c
FROM base:1
RUN d
"""


def _row(text: str, stage: str = "", index: str = "2/9", *, cached: bool = False, error: bool = False) -> Row:
    return Row(instruction=text, stage=stage, index=index, cached=cached, error=error)


def _case(text: str, **context: Any) -> dict[str, Any]:
    return {"name": "x", "context": context, "dockerfile": text, "steps": [{"edit": []}]}


def _compare(text: str, left: Outcome, right: Outcome, **context: Any) -> list[tuple[Found, str]]:
    case = _case(text, **context)
    return [(found, reason(case, found)) for found in differ(case, [left], [right])]


# --- what stands on what ------------------------------------------------------------------------------------------------


def test_a_step_stands_on_its_stage_on_the_stage_below_and_on_what_it_copies_from() -> None:
    rows = [
        *(_row("RUN a", "one"), _row("RUN b", "two"), _row("COPY x /x", "three"), _row("COPY --from=two /y /y", "three", "3/9")),
        *(_row("RUN c", "three", "4/9"), _row("RUN d", "stage-3")),
    ]
    outline = Outline(_STAGES)
    above = {row.instruction: [other.instruction for other in outline.above(row, rows)] for row in rows}
    assert above == {
        "RUN a": [],
        "RUN b": [],
        "COPY x /x": ["RUN a"],
        "COPY --from=two /y /y": ["COPY x /x", "RUN a", "RUN b"],
        "RUN c": ["COPY x /x", "COPY --from=two /y /y", "RUN a", "RUN b"],
        "RUN d": [],
    }
    assert [row.instruction for row in outline.above(rows[3], rows, sources=True)] == ["RUN b"]
    linked = _row("COPY --chmod=600 --link --from=two /y /y", "three", "3/9")
    assert [row.instruction for row in outline.above(linked, rows)] == ["RUN b"]


@pytest.mark.parametrize(
    ("text", "begins"),
    [
        ("FROM scratch\nWORKDIR /a\n", True),
        ("FROM base:1\nWORKDIR /a\n", False),
        ("FROM scratch AS x\nENV A=1\nFROM x\nWORKDIR /a\n", True),
        ("FROM scratch AS x\nCOPY a /a\nFROM x\nWORKDIR /a\n", False),
    ],
)
def test_a_workdir_of_scratch_may_be_shown_as_run(text: str, begins: bool) -> None:
    stage = "stage-1" if text.count("FROM") > 1 else ""
    rows = [_row("WORKDIR /a", stage, "1/1", cached=cached) for cached in (False, True)]
    ((found, why),) = _compare(text, Outcome(rows=rows[:1]), Outcome(rows=rows[1:]))
    assert found.kind == "verdicts"
    assert bool(why) is begins


def test_no_row_at_all_beside_a_workdir_is_a_difference() -> None:
    row = _row("WORKDIR /a", "", "1/1", cached=True)
    ((_, why),) = _compare("FROM scratch\nWORKDIR /a\n", Outcome(rows=[]), Outcome(rows=[row]))
    assert why == ""


# --- builds that fail ---------------------------------------------------------------------------------------------------


def test_what_the_failed_step_stands_on_is_compared_and_nothing_else() -> None:
    left = [_row("RUN a", "one", cached=True), _row("RUN b", "two"), _row("COPY x /x", "three"), _row("RUN c", "three", "4/9", error=True)]
    right = [_row("RUN a", "one"), _row("COPY x /x", "three"), _row("RUN c", "three", "4/9", error=True)]
    text = _STAGES.replace("COPY --from=two /y /y\n", "")
    ((found, why),) = _compare(text, Outcome(rows=left, error="exit code: 1"), Outcome(rows=right, error="exit code: 1"))
    assert [row.instruction for pair in found.pairs for row in pair if row] == ["RUN a", "RUN a"]
    assert why == ""


def test_a_step_that_one_finished_in_a_failed_build_is_no_difference_later() -> None:
    case = _case("FROM base:1 AS one\nRUN a\nFROM base:1\nRUN b\nCOPY --from=one /a /a\n")
    case["steps"] *= 2
    failed = _row("RUN b", "stage-1", error=True)
    docker = [Outcome(rows=[_row("RUN a", "one"), failed], error="exit code: 1")]
    ours = [Outcome(rows=[failed], error="exit code: 1")]
    docker.append(Outcome(rows=[_row("RUN a", "one", cached=True), _row("RUN b", "stage-1")]))
    ours.append(Outcome(rows=[_row("RUN a", "one"), _row("RUN b", "stage-1")]))
    (found,) = differ(case, docker, ours)
    assert found.build == 2
    assert reason(case, found)


@pytest.mark.parametrize(
    ("step", "wanted", "actual", "explained"),
    [
        ("COPY a b /d/", '"/a": not found', '"/b": not found', True),
        ("COPY [a, x y, /d/]", '"/a": not found', '"/x y": not found', True),
        ("COPY /a //b /d/", '"/b": not found', '"/a": not found', True),
        ("COPY ./a lib/../b /d/", '"/b": not found', '"/a": not found', True),
        # A pattern is not missing: that what it matches is, is a difference.
        ("COPY a dirlink/* /d/", '"/dirlink/b": not found', '"/a": not found', False),
        ("COPY a /d/", '"/a": not found', '"/b": not found', False),
        ("COPY src src/nothing /f/x", "cannot copy to non-directory: /f/x: not a directory", '"/src/nothing": not found', True),
        (
            "ADD [t.tar, src/*/x, /d/]",
            "failed to solve: linkat f d/o: no such file or directory",
            "lstat /src: no such file or directory",
            True,
        ),
        (
            "ADD [src/*/x, t.tar, /d/]",
            "failed to solve: linkat f d/o: no such file or directory",
            "lstat /src: no such file or directory",
            False,
        ),
        ("COPY lib src/nothing /f/x", "cannot copy to non-directory: /f/x: not a directory", '"/src/nothing": not found', False),
    ],
)
def test_of_two_faults_of_one_step_docker_may_tell_of_the_other(step: str, wanted: str, actual: str, explained: bool) -> None:
    row = _row(step, error=True)
    prefix = "failed to solve: failed to compute cache key: failed to calculate checksum of ref x::y: "
    wanted = wanted if "directory" in wanted else prefix + wanted
    found = _compare(
        f"FROM base:1\n{step}\n", Outcome(rows=[row], error=wanted), Outcome(rows=[row], error=actual), **{"src/f": "", "lib/f": ""}
    )
    assert [bool(why) for _, why in found] == [explained]


def test_an_exception_of_the_engine_is_a_difference() -> None:
    class Broken:
        name, engine, like, lacks = "embedded", "28.5.2-containerd", "28", {}  # type: ignore[var-annotated]

        def start(self) -> None:
            pass

        def build(self, *_: Any, **__: Any) -> Outcome:
            raise RecursionError("too deep")

    outcome = Guarded(Broken()).build(Path(), Settings(), want_image=False)
    ((found, why),) = _compare("FROM base:1\n", Outcome(rows=[], error="exit code: 1"), outcome)
    assert found.kind == "raised"
    assert found.summary == f"{RAISED}RecursionError"
    assert "too deep" in found.details
    assert why == ""


# --- the classic store --------------------------------------------------------------------------------------------------


def _member(path: str, kind: str = "file", **more: Any) -> dict[str, Any]:
    return {"path": path, "type": kind, "mode": "0755" if kind == "dir" else "0644", "uid": 0, "gid": 0, **more}


def _image(*layers: list[dict[str, Any]]) -> Image:
    base = next(base for base in bases.bases() if base.name == "base:1")
    return Image(history=[], config={}, layers=list(layers), os="linux", architecture="amd64", top={"base": [base.diff_id]})


def test_what_is_there_in_the_end_has_directories_contents_and_what_went() -> None:
    passwd = {"path": "etc/passwd", "type": "whiteout"}
    image = _image(
        [_member("d", "dir"), _member("d/f", sha256="1", size=1), _member("d/g", "hardlink", target="d/f"), passwd],
        [{"path": "d", "type": "opaque"}, _member("d", "dir", mode="0700"), _member("d/new", sha256="2", size=1)],
    )
    (layer,) = in_the_end(image, words=True).layers
    assert layer == [_member("d", "dir", mode="0700"), _member("d/new", sha256="2", size=1), passwd]


def test_a_layer_may_repeat_what_is_below_it() -> None:
    (layer,) = in_the_end(_image([_member("etc", "dir")]), words=True).layers
    assert layer == []


# --- what is drawn ------------------------------------------------------------------------------------------------------


def test_a_case_is_drawn_from_its_seed_and_number_and_every_theme_is_some_cases() -> None:
    cases = [draw_case("s", number) for number in range(100)]
    assert cases == [draw_case("s", number) for number in range(100)]
    assert {theme for case in cases for theme in THEMES if theme in case["description"]} == set(THEMES)


def test_nothing_is_drawn_for_an_older_engine_that_it_reads_in_another_way() -> None:
    newer = re.compile(r"--exclude|--unpack|--parents|ONBUILD|##}|env=|--chmod=(?!\d)|EXPOSE 70000|EXPOSE 1:2")
    for number in range(200):
        case = draw_case("s", number, older=True)
        texts = [case["dockerfile"], *(step.get("build", {}).get("dockerfile", "") for step in case["steps"])]
        assert not [found for text in texts for found in newer.findall(text)], f"seed s, case {number}"


def test_a_theme_can_be_left_out() -> None:
    cases = [draw_case("s", number, without=["excludes", "secrets"]) for number in range(100)]
    assert not [case for case in cases if "--exclude" in case["dockerfile"] or "type=secret" in case["dockerfile"]]


@pytest.mark.parametrize(
    ("wanted", "actual", "same"),
    [
        ("failed to walk /var/lib/m/app: lstat /var/lib/m/app: no such file or directory", '"/app/src": not found', True),
        ("failed to walk /var/lib/m/app/a: lstat /var/lib/m/app/a: no such file or directory", '"/app/a/b/c": not found', True),
        ("failed to walk /var/lib/m/app: lstat /var/lib/m/app: no such file or directory", '"/lib/src": not found', False),
        ("failed to walk /var/lib/m/app: lstat /var/lib/m/app: no such file or directory", '"/app": not found', False),
        (
            "failed to solve: link /f /d/ln: no such file or directory",
            "cannot unpack t.tar: linkat f d/ln: no such file or directory: it",
            True,
        ),
        (
            "failed to solve: link /f /d/ln: no such file or directory",
            "cannot unpack t.tar: linkat f d/other: no such file or directory",
            False,
        ),
        ("failed to solve: link /f /d/ln: no such file or directory", "cannot unpack t.tar: linkat f d/ln: operation not permitted", False),
    ],
)
def test_older_words_for_the_same_are_no_difference(wanted: str, actual: str, same: bool) -> None:
    row = _row("ADD t.tar /x", error=True)
    found = _compare("FROM base:1\nADD t.tar /x\n", Outcome(rows=[row], error=wanted), Outcome(rows=[row], error=actual))
    assert [bool(why) for _, why in found] == [same]


@pytest.mark.parametrize(
    ("context", "step", "actual", "same"),
    [
        ({"src/l": {"symlink": "gone"}}, "COPY src* /", "/src/l", True),
        ({}, "RUN ln -s gone /d/l", "/d/l", True),
        ({"src/l": {"symlink": "gone"}}, "COPY src* /", "/src/f", False),
    ],
)
def test_of_a_link_to_nothing_the_older_engine_names_where_it_leads(context: dict[str, Any], step: str, actual: str, same: bool) -> None:
    row = _row(step, error=True)
    wanted = 'failed to solve: failed to compute cache key: failed to calculate checksum of ref x::y: "/src/gone": not found'
    texts = (wanted, f'failed to compute cache key: failed to calculate checksum of the build context: "{actual}": not found')
    left, right = (Outcome(rows=[row], error=text) for text in texts)
    assert [bool(why) for _, why in _compare(f"FROM base:1\n{step}\n", left, right, **context)] == [same]
    newest = Outcome(rows=[row], error=f"failed to build: {wanted}")
    assert [bool(why) for _, why in _compare(f"FROM base:1\n{step}\n", newest, right, **context)] == [False]


def test_rows_of_two_stages_of_one_name_stand_in_any_order() -> None:
    rows = [_row("RUN a", "base", "1/2"), _row("RUN b", "base", "1/2"), _row("RUN c", "base", "2/2")]
    text = "FROM base:1 AS base\nRUN a\nFROM base:1 AS base\nRUN b\nRUN c\n"
    assert _compare(text, Outcome(rows=rows), Outcome(rows=[rows[1], rows[0], rows[2]])) == []
    assert _compare(text, Outcome(rows=rows), Outcome(rows=[rows[1], rows[1], rows[2]])) != []
