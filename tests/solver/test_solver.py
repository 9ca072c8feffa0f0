"""What is cached, what runs and what is an error, decided without an engine."""

from __future__ import annotations

from pathlib import Path

import pytest

from .lab import Lab

APP = "FROM base:1\nWORKDIR /app\nCOPY package.json ./\nRUN npm install\nCOPY . .\nRUN npm run build\n"


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    made = Lab(tmp_path)
    made.write({"package.json": "{}", "src/index.ts": "1", "README.md": "read me"})
    return made


def test_a_second_build_runs_nothing(lab: Lab) -> None:
    assert lab.build(APP) == ["WORKDIR /app", "COPY package.json ./", "RUN npm install", "COPY . .", "RUN npm run build"]
    assert lab.build(APP) == []


@pytest.mark.parametrize(
    ("edited", "runs"),
    [
        ("src/index.ts", ["COPY . .", "RUN npm run build"]),
        ("package.json", ["COPY package.json ./", "RUN npm install", "COPY . .", "RUN npm run build"]),
    ],
)
def test_what_an_edit_costs(lab: Lab, edited: str, runs: list[str]) -> None:
    lab.build(APP)
    lab.write({edited: "another"})
    assert lab.build(APP) == runs


def test_a_file_that_comes_back_hits_again(lab: Lab) -> None:
    lab.build(APP)
    lab.write({"src/index.ts": "2"})
    lab.build(APP)
    lab.write({"src/index.ts": "1"})
    assert lab.build(APP) == []


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("RUN echo a", "RUN  echo a"),
        ("COPY package.json ./", "COPY ./package.json ."),
        ("ENV A=1\nRUN env", "ENV A 1\nRUN env"),
        ("RUN echo \\\n  a", "RUN echo   a"),
        ("COPY --chown=0:0 README.md /", "COPY --chown=root:root README.md /"),
    ],
)
def test_the_same_in_other_words_is_the_same_step(lab: Lab, before: str, after: str) -> None:
    assert len(lab.build(f"FROM base:1\n{before}\n")) == 1
    assert lab.build(f"FROM base:1\n{after}\n") == []


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("ARG A=1\nRUN env", "ARG A=2\nRUN env"),
        ("ENV A=1 B=2\nRUN env", "ENV B=2 A=1\nRUN env"),
        ("COPY package.json /a", "COPY package.json /b"),
        ("COPY README.md /", "COPY --chown=1 README.md /"),
        ("USER 1\nRUN id", "USER 2\nRUN id"),
    ],
)
def test_what_a_command_can_tell_is_another_step(lab: Lab, before: str, after: str) -> None:
    lab.build(f"FROM base:1\n{before}\n")
    assert lab.build(f"FROM base:1\n{after}\n") != []


@pytest.mark.parametrize("text", ["ARG TAG\nFROM base:1\nRUN echo\n", "FROM base:1\nRUN echo\nARG TAG\nLABEL tag=$TAG\n"])
def test_an_argument_that_no_command_sees_costs_nothing(lab: Lab, text: str) -> None:
    assert lab.build(text, TAG="1") == ["RUN echo"]
    assert lab.build(text, TAG="2") == []


def test_a_stage_that_is_not_built_leaves_its_copies_undecided(lab: Lab) -> None:
    text = "FROM base:1 AS build\nRUN make\nFROM base:1\nCOPY --from=build /out /out\nRUN test -e /out\n"
    assert lab.verdicts(text) == ["RUN run", "COPY undecided", "RUN undecided"]
    lab.cache.contents["/out"] = "the same"
    assert lab.build(text) == ["RUN make", "COPY --from=build /out /out", "RUN test -e /out"]
    lab.write({"src/index.ts": "2"})
    assert lab.build(text) == []


@pytest.mark.parametrize("before", ["", "RUN make\n", "RUN make\nFROM base:1\nCOPY --from=0 /o /o\n"])
@pytest.mark.parametrize(
    ("source", "message"),
    [("missing", "not found"), ("loop", "too many symlinks"), ("loop/f", "too many symlinks"), ("../missing", "not found")],
)
def test_a_source_that_cannot_be_had_is_its_steps_error(lab: Lab, before: str, source: str, message: str) -> None:
    """Whether or not the steps before it are built, and with its line."""
    (lab.place / "loop").symlink_to("loop")
    text = f"FROM base:1\n{before}COPY {source} /x\n"
    failed = next(decided for decided in lab.plan(text).steps if decided.error is not None)
    assert failed.error is not None
    assert failed.step.keyword == "COPY"
    assert message in failed.error.message
    assert failed.error.line == text.count("\n")


@pytest.mark.parametrize(
    ("sources", "message"),
    [
        ("lnk", '"/lnk": not found'),
        ("l*", '"/lnk": not found'),
        (". lnk", "lstat /gone: no such file or directory"),
        # What a pattern matches is looked for though another source holds it.
        (". l*", '"/lnk": not found'),
        ("src/* src/lnk", '"/src/lnk": not found'),
    ],
)
def test_a_link_that_leads_nowhere(lab: Lab, sources: str, message: str) -> None:
    """As a daemon says it, beside a source that holds the link and without."""
    for place in (lab.place, lab.place / "src"):
        (place / "lnk").symlink_to("gone")
    (failed,) = [decided for decided in lab.plan(f"FROM base:1\nCOPY {sources} /x/\n").steps if decided.error is not None]
    assert failed.error is not None
    assert failed.error.message.endswith(message)
