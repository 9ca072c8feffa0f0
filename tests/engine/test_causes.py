"""Why a step missed: one scenario for every kind of cause; and a plan says what the next build then does."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from layerlab.engines.embedded.engine import EmbeddedEngine
from layerlab.errors import LayerlabError

from .conftest import Lab, MakeLab, missed, verdicts

if TYPE_CHECKING:
    from collections.abc import Mapping

APP = "FROM base:1\nWORKDIR /app\nCOPY package.json .\nRUN cat package.json > installed\nCOPY . .\nRUN cat src/index.ts > built\n"


class Scenario(NamedTuple):
    """What changes between two builds, and the causes: (instruction's start, kind, origin's start, paths, words)."""

    change: Callable[[Lab], Any]
    causes: list[tuple[str, str, str, tuple[str, ...], str]]
    before: str = APP
    after: str | None = None
    options_before: Mapping[str, Any] = {}
    options: Mapping[str, Any] = {}


def _nothing(_lab: Lab) -> None:
    pass


def _edit(path: str, content: str = "edited") -> Callable[[Lab], Any]:
    return lambda lab: lab.file(path, content)


def _forget(lab: Lab) -> None:
    store = Path(lab.engine.store.path)
    lab.engine.close()
    shutil.rmtree(store / "records")
    (store / "records").mkdir()
    lab.engine = EmbeddedEngine(lab.engine.store_path)


def _other_base(lab: Lab) -> None:
    layouts = lab.directory / "layout"
    from .conftest import _bases

    _bases().write_layout(next(base for base in _bases().bases() if base.name == "base:2"), layouts)
    lab.engine.import_layout(str(layouts), "base:2")


BUILT = "RUN cat src/index.ts"
SCENARIOS = {
    "a file": Scenario(
        _edit("src/index.ts"),
        [
            ("COPY . .", "file", "COPY . .", ("src/index.ts",), "src/index.ts changed"),
            (BUILT, "parent", "COPY . .", (), "builds on step 5 (COPY . .)"),
        ],
    ),
    "a new file": Scenario(
        _edit("src/new.ts"),
        [("COPY . .", "file", "COPY . .", ("src/new.ts",), "src/new.ts is new"), (BUILT, "parent", "COPY . .", (), "src/new.ts is new")],
    ),
    "a removed file": Scenario(
        lambda lab: (lab.context / "README.md").unlink(),
        [("COPY . .", "file", "COPY . .", ("README.md",), "README.md is gone"), (BUILT, "parent", "COPY . .", (), "")],
    ),
    "a renamed file": Scenario(
        lambda lab: (lab.context / "README.md").rename(lab.context / "READ.md"),
        [("COPY . .", "file", "COPY . .", ("READ.md", "README.md"), "READ.md is new"), (BUILT, "parent", "COPY . .", (), "")],
    ),
    "a mode": Scenario(
        lambda lab: (lab.context / "README.md").chmod(0o755),
        [("COPY . .", "mode", "COPY . .", ("README.md",), "mode"), (BUILT, "parent", "COPY . .", (), "")],
    ),
    "a chain from the top": Scenario(
        _edit("package.json"),
        [
            ("COPY package.json", "file", "COPY package.json", ("package.json",), "package.json changed"),
            ("RUN cat package.json", "parent", "COPY package.json", (), "nothing of its own changed"),
            ("COPY . .", "file", "COPY . .", ("package.json",), "package.json changed"),
            (BUILT, "parent", "COPY package.json", (), ""),
        ],
    ),
    "an instruction": Scenario(
        _nothing,
        [(BUILT, "instruction", BUILT, (), "the instruction changed from")],
        after=APP.replace("> built", "> built2"),
    ),
    "an inserted line": Scenario(
        _nothing,
        [
            ("RUN echo new", "instruction", "RUN echo new", (), "line 3 is new"),
            ("COPY package.json", "parent", "RUN echo new", (), "line 3 is new"),
            ("RUN cat package.json", "parent", "RUN echo new", (), ""),
            ("COPY . .", "parent", "RUN echo new", (), ""),
            (BUILT, "parent", "RUN echo new", (), ""),
        ],
        after=APP.replace("COPY package", "RUN echo new\nCOPY package"),
    ),
    "an argument": Scenario(
        _nothing,
        [("RUN true", "argument", "RUN true", (), "V is '2' and was '1'")],
        before="FROM base:1\nARG V\nRUN true\n",
        options_before={"build_args": {"V": "1"}},
        options={"build_args": {"V": "2"}},
    ),
    "an argument in a path": Scenario(
        _nothing,
        [("COPY src /b", "instruction", "COPY src /b", (), "COPY src /a")],
        before="FROM base:1\nARG V\nCOPY src /$V\n",
        options_before={"build_args": {"V": "a"}},
        options={"build_args": {"V": "b"}},
    ),
    "the environment": Scenario(
        _nothing,
        [("RUN true", "environment", "RUN true", (), "A is '2' and was '1'")],
        before="FROM base:1\nENV A=1\nRUN true\n",
        after="FROM base:1\nENV A=2\nRUN true\n",
    ),
    "the order of the environment": Scenario(
        _nothing,
        [("RUN true", "environment", "RUN true", (), "another order")],
        before="FROM base:1\nENV A=1 B=2\nRUN true\n",
        after="FROM base:1\nENV B=2 A=1\nRUN true\n",
    ),
    "the user": Scenario(
        _nothing,
        [("RUN true", "user", "RUN true", (), "USER is 'node' and was 'root'")],
        before="FROM base:1\nRUN true\n",
        after="FROM base:1\nUSER node\nRUN true\n",
    ),
    "the user who owns a WORKDIR": Scenario(
        _nothing,
        [("WORKDIR /w", "user", "WORKDIR /w", (), "owns the directory")],
        before="FROM base:1\nUSER node\nWORKDIR /w\n",
        after="FROM base:1\nUSER 1000\nWORKDIR /w\n",
    ),
    "the working directory": Scenario(
        _nothing,
        [("RUN true", "workdir", "RUN true", (), "working directory is '/w/' and was '/w'")],
        before="FROM base:1\nWORKDIR /w\nRUN true\n",
        after="FROM base:1\nWORKDIR /w/\nRUN true\n",
    ),
    "the base": Scenario(
        _other_base,
        [("COPY src", "base", "FROM base:2", (), "other layers"), ("COPY package", "parent", "FROM base:2", (), "FROM base:2")],
        before="FROM base:1\nCOPY src /s\nCOPY package.json /p\n",
        after="FROM base:2\nCOPY src /s\nCOPY package.json /p\n",
    ),
    "a source stage": Scenario(
        _edit("src/index.ts"),
        [
            ("COPY src /src", "file", "COPY src /src", ("src/index.ts",), ""),
            ("COPY --from=a", "source-stage", "COPY --from=a", ("src/index.ts",), "stage a now gives other content"),
        ],
        before="FROM base:1 AS a\nCOPY src /src\nFROM base:1\nCOPY --from=a /src /dst\n",
    ),
    "no cache": Scenario(
        _nothing, [("RUN true", "no-cache", "RUN true", (), "switched off")], before="FROM base:1\nRUN true\n", options={"no_cache": True}
    ),
    "a pruned record": Scenario(
        _forget, [("RUN true", "pruned", "RUN true", (), "removed from the store")], before="FROM base:1\nRUN true\n"
    ),
    "a line moved": Scenario(
        _nothing,
        [("RUN echo 2", "instruction", "RUN echo 2", (), ""), ("RUN echo 1", "parent", "RUN echo 2", (), "")],
        before="FROM base:1\nRUN echo 1\nRUN echo 2\n",
        after="FROM base:1\nRUN echo 2\nRUN echo 1\n",
    ),
    "what does not count": Scenario(
        lambda lab: (lab.file("README.md", "readme"), lab.file("ignored", "x")),
        [],
        after="# a comment\n" + APP + "CMD x\nLABEL a=b\nEXPOSE 1\n",
    ),
}


def _fill(lab: Lab) -> None:
    lab.file("package.json", "{}")
    lab.file("src/index.ts", "index")
    lab.file("README.md", "readme")
    lab.file(".dockerignore", "ignored")


@pytest.mark.parametrize("scenario", SCENARIOS.values(), ids=SCENARIOS.keys())
def test_causes(lab: Lab, scenario: Scenario) -> None:
    _fill(lab)
    lab.build(scenario.before, **scenario.options_before)
    scenario.change(lab)
    planned = lab.plan(scenario.after, **scenario.options) if "FROM base:1 AS a" not in scenario.before else None
    record = lab.build(scenario.after or scenario.before, **scenario.options)
    steps = missed(record)
    assert [step.instruction for step in steps] == [
        next(step.instruction for step in record.steps if step.instruction.startswith(start)) for start, *_ in scenario.causes
    ]
    for step, (_, kind, origin, paths, words) in zip(steps, scenario.causes, strict=True):
        assert step.cause is not None
        assert (step.cause.kind, step.cause.paths) == (kind, paths), step.cause
        assert record.steps[step.cause.origin - 1].instruction.startswith(origin), step.cause
        assert words.lower() in step.cause.text.lower()
        assert step.cause.text.endswith(".")
    if planned is not None:
        assert [(step.status, step.cause) for step in planned.steps] == [(step.status, step.cause) for step in record.steps]


def test_the_first_build_and_a_failed_one(lab: Lab) -> None:
    _fill(lab)
    first = lab.build(APP)
    assert {step.cause.kind for step in missed(first) if step.cause} == {"no-record"}
    broken = APP.replace("> built", "> built; exit 1")
    assert [step.cause.kind for step in missed(lab.try_build(broken)) if step.cause] == ["instruction"]
    assert [step.cause.kind for step in missed(lab.try_build(broken)) if step.cause] == ["failed-before"]


def test_going_back_finds_everything_again(lab: Lab) -> None:
    _fill(lab)
    lab.build(APP)
    lab.file("src/index.ts", "other")
    assert verdicts(lab.build(APP)).count("executed") == 2
    lab.file("src/index.ts", "index")
    back = lab.build(APP)
    assert verdicts(back) == ["cached"] * 5
    assert missed(back) == []


def test_a_plan_waits_where_the_truth_depends_on_a_stage(lab: Lab) -> None:
    _fill(lab)
    dockerfile = "FROM base:1 AS a\nCOPY src /s\nRUN cat /s/index.ts > /o\nFROM base:1\nCOPY --from=a /o /o\nRUN cat /o\n"
    lab.build(dockerfile)
    lab.file("src/index.ts", "other")
    planned = lab.plan(dockerfile)
    assert verdicts(planned) == ["executed", "executed", "undecided", "undecided"]
    assert planned.steps[4].waits_for == 3
    assert lab.plan(dockerfile, edits=("src/index.ts",)).edits == ("src/index.ts",)
    assert verdicts(lab.build(dockerfile)) == ["executed"] * 4


@pytest.mark.parametrize("step", ["ADD https://host.example/a.tgz /a.tgz", "COPY --from=elsewhere:1 /o /o"])
def test_an_edit_costs_nothing_of_what_comes_from_elsewhere(lab: Lab, step: str) -> None:
    """Also where nothing else was to run, so that all counts as built from the start."""
    _fill(lab)
    dockerfile = f"FROM base:1\n{step}\nRUN cat /o\n"
    assert verdicts(lab.plan(dockerfile)) == ["undecided", "undecided"]
    assert verdicts(lab.plan(dockerfile, edits=("README.md",))) == ["cached", "cached"]
    assert verdicts(lab.plan(f"{dockerfile}COPY README.md .\n", edits=("README.md",))) == ["cached", "cached", "executed"]


def test_without_the_cache_an_edit_is_planned_as_it_is_built(lab: Lab) -> None:
    _fill(lab)
    dockerfile = "FROM base:1\nCOPY README.md .\nRUN cat README.md\n"
    assert verdicts(lab.plan(dockerfile, edits=("src/index.ts",), no_cache=True)) == ["executed", "executed"]


def test_a_plan_does_not_wait_for_a_base_image_to_run(lab: Lab) -> None:
    """A stage of nothing but an image that is not here is that image."""
    planned = lab.plan("FROM elsewhere:1 AS a\nFROM base:1\nCOPY --from=a /o /o\nRUN cat /o\n")
    copied, ran = planned.steps[2:]
    assert (copied.status, copied.waits_for, copied.open_question) == ("undecided", None, "what is in an image whose layers are not here")
    assert (ran.status, ran.waits_for) == ("undecided", 3)


@pytest.mark.parametrize(
    ("step", "message"),
    [
        ("COPY gone /g", '"/gone": not found'),
        ("COPY --parents src/./gone /g/", '"/gone": not found'),
        ("COPY . gone /g/", "lstat /gone: no such file or directory"),
        ("RUN --mount=type=bind,source=gone,target=/g true", '"/gone": not found'),
    ],
)
def test_a_plan_does_not_wait_with_what_is_missing_in_any_case(lab: Lab, step: str, message: str) -> None:
    """Whatever the stage gives, the build fails there; what an edit would cost is refused with the same words."""
    _fill(lab)
    dockerfile = f"FROM base:1 AS a\nCOPY src /s\nRUN cat /s/index.ts > /o\nFROM base:1\nCOPY --from=a /o /o\n{step}\n"
    for edits in ((), ("src/index.ts",)):
        with pytest.raises(LayerlabError) as error:
            lab.plan(dockerfile, edits=edits)
        assert message in error.value.message
        assert error.value.line == 6


def test_a_plan_with_assumed_edits_changes_nothing(lab: Lab) -> None:
    _fill(lab)
    lab.build(APP)
    planned = lab.plan(APP, edits=("src/index.ts",))
    assert verdicts(planned) == ["cached", "cached", "cached", "executed", "executed"]
    assert planned.steps[4].cause is not None
    assert planned.steps[4].cause.paths == ("src/index.ts",)
    assert verdicts(lab.plan(APP, edits=("ignored",))) == ["cached"] * 5
    assert verdicts(lab.build(APP)) == ["cached"] * 5


# --- a plan and a build never disagree ------------------------------------------------------------------------------

NAMES = ["package.json", "src/index.ts", "src/lib/a.ts", "README.md", "ignored/x", "notes.md"]
_edits = st.one_of(
    st.tuples(st.just("write"), st.sampled_from(NAMES), st.sampled_from(["1", "2", "three"])),
    st.tuples(st.just("remove"), st.sampled_from(NAMES[2:]), st.just("")),
    st.tuples(st.just("mode"), st.sampled_from(NAMES), st.sampled_from(["600", "755"])),
    st.tuples(st.just("touch"), st.sampled_from(NAMES), st.just("")),
)
DOCKERFILES = [
    "FROM base:1\nCOPY package.json /p\nRUN true\nCOPY . /all\nRUN true\n",
    "FROM base:1\nCOPY src /s\nCOPY *.md /m/\n",
    "FROM base:1\nCOPY --exclude=*.md . /x\nRUN --mount=type=bind,source=src,target=/b true\n",
    "FROM base:1\nCOPY --link package.json /p\nCOPY --parents src/*.ts /q/\n",
]


@pytest.fixture
def shared(make_lab: MakeLab) -> Lab:
    """One lab for all examples of a property: the cache only grows."""
    made = make_lab()
    _fill(made)
    made.file(".dockerignore", "ignored\n*.tmp\n!README.md\n")
    return made


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(edits=st.lists(_edits, max_size=4), dockerfile=st.sampled_from(DOCKERFILES))
def test_a_plan_is_what_the_build_then_does(shared: Lab, edits: list[tuple[str, str, str]], dockerfile: str) -> None:
    for what, name, value in edits:
        path = shared.context / name
        if what == "write":
            shared.file(name, value)
        elif path.exists():
            if what == "remove":
                path.unlink()
            elif what == "mode":
                path.chmod(int(value, 8))
            else:
                path.touch()
    planned = shared.plan(dockerfile)
    record = shared.build(dockerfile)
    assert [(s.instruction, s.status, s.cause) for s in planned.steps] == [(s.instruction, s.status, s.cause) for s in record.steps]
    assert set(verdicts(shared.plan(dockerfile))) == {"cached"}


# Each has PLACE as a place of its own.
STAGES = [
    (
        "FROM base:1 AS a\nWORKDIR PLACE\nCOPY package.json .\nRUN cat package.json > /o\n"
        "FROM base:1\nWORKDIR PLACE\nCOPY --from=a /o /o\nCOPY . .\nRUN cat /o > p\n"
    ),
    (
        "FROM base:1 AS a\nWORKDIR PLACE\nCOPY src src\nRUN echo same > /o\n"
        "FROM a AS b\nCOPY package.json .\nRUN cat package.json > /p\n"
        "FROM base:1\nWORKDIR PLACE\nCOPY --from=a /o /o\nRUN cat /o\nCOPY --from=b /p /p\nCOPY src src\nRUN cat /p\n"
    ),
    (
        "FROM base:1 AS a\nWORKDIR PLACE\nRUN --mount=type=bind,target=/c cat /c/package.json > /o\n"
        "FROM base:1\nWORKDIR PLACE\nRUN --mount=type=bind,from=a,target=/a cat /a/o\nCOPY *.md .\nCOPY --from=a --link /o /p\n"
    ),
]


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(dockerfile=st.sampled_from(STAGES), edited=st.sampled_from(NAMES), built=st.booleans())
def test_what_an_edit_would_cost_is_what_it_costs(shared: Lab, dockerfile: str, edited: str, built: bool) -> None:
    """Of files that were built and of files that never were: what is said to run runs, and what is said to be cached is."""
    _fill(shared)
    dockerfile = dockerfile.replace("PLACE", f"/w{random.SystemRandom().getrandbits(48):x}")
    shared.file(edited, "before")
    if built:
        shared.build(dockerfile)
    planned = shared.plan(dockerfile, edits=(edited,))
    shared.build(dockerfile)
    shared.file(edited, f"after {random.SystemRandom().getrandbits(48):x}")
    record = shared.build(dockerfile)
    assert [step.number for step in planned.steps] == [step.number for step in record.steps]
    for said, done in zip(planned.steps, record.steps, strict=True):
        assert said.status in ("undecided", done.status), (verdicts(planned), verdicts(record))


def test_a_step_that_waits_runs_in_any_case_where_its_own_files_change(lab: Lab) -> None:
    """Or where what it builds on runs; and never before it was built is it less certain."""
    _fill(lab)
    dockerfile = STAGES[0].replace("PLACE", "/w")
    for _ in range(2):
        planned = lab.plan(dockerfile, edits=("package.json",))
        #                            WORKDIR   COPY        RUN         WORKDIR   COPY --from  COPY . .    RUN
        assert verdicts(planned) == ["cached", "executed", "executed", "cached", "undecided", "executed", "executed"]
        assert planned.steps[6].waits_for == 4
        assert planned.steps[7].cause is not None
        assert planned.steps[7].cause.paths == ("package.json",)
        assert planned.steps[8].cause is not None
        assert planned.steps[8].cause.origin == 8
        planned = lab.plan(dockerfile, edits=("README.md",))
        assert verdicts(planned) == ["cached", "cached", "cached", "cached", "cached", "executed", "executed"]
        lab.build(dockerfile)


def test_an_edit_that_was_taken_back_is_no_cause(lab: Lab) -> None:
    """One edit is undone, which an earlier build has; another is new, and it alone made the steps run."""
    for manifest, source in (("1", "1"), ("2", "1"), ("1", "2")):
        lab.file("package.json", manifest)
        lab.file("src/index.ts", source)
        record = lab.build(APP.replace("COPY . .", "COPY src src"))
    copied, built = missed(record)
    assert (copied.instruction, built.instruction) == ("COPY src src", "RUN cat src/index.ts > built")
    assert built.cause is not None
    assert "src/index.ts changed" in built.cause.text
    assert "package.json" not in built.cause.text


def test_a_step_of_two_stages_is_planned_once(lab: Lab) -> None:
    """As it is built: by then the second has it in the cache."""
    lab.file("f", "1")
    dockerfile = "FROM base:1 AS a\nCOPY f /f\nRUN echo 1 > /a\nFROM base:1\nCOPY f /f\nCOPY --from=a /a /b\n"
    planned, built = lab.plan(dockerfile), lab.build(dockerfile)
    assert verdicts(planned) == ["executed", "executed", "cached", "undecided"]
    assert verdicts(built) == ["executed", "executed", "cached", "executed"]
