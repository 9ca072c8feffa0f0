"""``check`` where nothing isolates a build, as on Binder: plans, labelled as such, and no points. Grading still refuses."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from autograder import notebook
from autograder.notebook import Exercise
from autograder.planned import LABEL, planned
from autograder.sandbox.sandbox import NotIsolatedError
from layerlab.engines.embedded.engine import EmbeddedEngine
from tests.autograder.material import APP, COURSE
from tests.conformance import bases

IGNORE = (APP / ".dockerignore").read_text(encoding="utf-8")
NAIVE = {"Dockerfile": (APP / "Dockerfile").read_text(encoding="utf-8"), ".dockerignore": ""}
OPTIMISED = {"Dockerfile": (APP / "Dockerfile.optimized").read_text(encoding="utf-8"), ".dockerignore": IGNORE}


@pytest.fixture(autouse=True)
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A student's own store, with a base image."""
    monkeypatch.setenv("LAYERLAB_STORE", str(tmp_path / "store"))
    base = next(base for base in bases.bases() if base.name == "node:alpine")
    bases.write_layout(base, tmp_path / "base")
    with EmbeddedEngine(str(tmp_path / "store")) as engine:
        engine.import_layout(str(tmp_path / "base"), "node:alpine")
        yield


@pytest.mark.parametrize(
    ("name", "files", "words"),
    [
        ("edit-source", OPTIMISED, "line 14, COPY . .; line 15, RUN npm run build would run. The packages stay cached."),
        ("edit-source", NAIVE, "The packages would be installed again: Nothing of its own changed; it builds on step 3"),
        ("edit-dependency", OPTIMISED, "After an edit of package.json and package-lock.json line"),
        ("edit-dependency", {"Dockerfile": "FROM node:alpine\nRUN npm ci\n"}, "The packages would not be installed again, and they must."),
        ("edit-unrelated", OPTIMISED, "After an edit of README.md nothing would run."),
        ("edit-source", {"Dockerfile": "FROM node:alpine\nCOPY . .\n"}, "No step seems to install the packages."),
        ("serves", OPTIMISED, "This check looks at a built image."),
    ],
)
def test_what_a_plan_says_of_a_check(name: str, files: dict[str, str], words: str) -> None:
    said = planned(name, APP, files)
    assert said.startswith(LABEL)
    assert words in said


def test_a_notebook_on_a_machine_that_isolates_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The answer's cell shows its plan, a check what is planned, and neither says points."""

    def refuse(*_: object) -> None:
        raise NotIsolatedError("nothing on this machine can isolate a student's build")

    monkeypatch.setattr(notebook, "prepare", refuse)
    exercise = Exercise(COURSE, "ps1", tmp_path / "place")
    for file, text in NAIVE.items():
        exercise.take(file, text)
    shown = capsys.readouterr().out
    assert LABEL in shown
    assert "RUN npm install" in shown
    assert "runs" in shown
    assert exercise.check("edit-source") is None
    told = capsys.readouterr().out
    assert told.startswith(LABEL)
    assert "points" not in told
    # What is wrong with a Dockerfile has its line, and no folder that is gone.
    exercise.take("Dockerfile", "FROM node:alpine\nRUNN\n")
    assert "\nDockerfile:2:1: error" in capsys.readouterr().out
