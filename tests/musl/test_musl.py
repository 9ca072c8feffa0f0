"""On musl the lesson goes as it does elsewhere, and good answers have full marks, with npm packages that were fetched under glibc."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from autograder.exercise.assignment import Assignment
from autograder.judge.grade import grade
from autograder.judge.prepare import prepare
from autograder.release import reference
from autograder.submission.notebook_reader import Submission
from layerlab.engines.api import BuildOptions
from layerlab.engines.embedded.engine import EmbeddedEngine
from layerlab.lesson.fetching import fetch, lock_digest
from layerlab.offline import LIST, VARIABLE, Fetched
from tests.autograder.material import APP, COURSE, ROOT, ps1, ps2
from tests.cli.test_demo import RAN

from .image import CannotComposeError, compose

pytestmark = [pytest.mark.slow, pytest.mark.network, pytest.mark.timeout(1800)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """An offline folder with the image, and with packages that a stand-in of this machine fetched."""
    place = tmp_path_factory.mktemp("musl")
    try:
        compose(place / "images" / "node-alpine")
    except CannotComposeError as error:
        pytest.skip(str(error))
    fetch(place / "fetched", lambda _: None)
    os.rename(place / "fetched" / "npm", place / "npm")
    fetched = Fetched(images={"node:alpine": "images/node-alpine"}, packages="npm", lock=lock_digest(APP))
    (place / LIST).write_bytes(msgspec.json.encode(fetched))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(VARIABLE, str(place))
        yield place
    shutil.rmtree(place, ignore_errors=True)


def test_the_image_has_musl_and_no_other_c_library(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text(
        "FROM node:alpine\n"
        "RUN node -p 'process.report.getReport().sharedObjects.join()' > /loaded && ls /lib /lib64 > /there 2>&1 || true\n"
        "RUN grep ld-musl /loaded && ! grep libc.so.6 /loaded && ! grep -e ld-linux -e libc.so.6 /there\n",
        encoding="utf-8",
    )
    with EmbeddedEngine(str(tmp_path / "store")) as engine:
        record = engine.build(BuildOptions(context=str(tmp_path), network="none"))
    assert record.failure is None, record.failure
    assert not record.stand_in


@pytest.fixture(scope="module")
def told(folder: Path) -> dict[str, Any]:
    """The JSON of ``./lab demo``."""
    env = {**os.environ, "LAYERLAB_STORE": str(folder / "demo" / "store"), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-P", "-m", "layerlab", "demo", "--json"]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=1500, check=False)
    assert done.returncode == 0, done.stderr
    record: dict[str, Any] = json.loads(done.stdout)
    return record


@pytest.mark.parametrize(("act", "ran"), RAN)
def test_an_act_of_the_lesson_runs_exactly_these_steps(told: dict[str, Any], act: str, ran: list[str]) -> None:
    record = next(item["record"] for item in told["acts"] if item["act"] == act)
    assert not record["stand_in"]
    assert [step["instruction"] for step in record["steps"] if step["status"] == "executed"] == ran


def test_the_app_serves_the_edited_greeting_and_counts_in_its_database(told: dict[str, Any]) -> None:
    assert told["served"]["greeting"] == told["served"]["expected"]
    assert json.loads(told["served"]["visits"])["visits"] == 2


@pytest.mark.parametrize("assignment", [ps1(), ps2()], ids=lambda assignment: assignment.name)
def test_the_reference_has_full_marks(folder: Path, assignment: Assignment) -> None:
    prepared = prepare(COURSE, assignment, folder / "grading", lambda _: None)
    files = {".dockerignore": "", **reference(COURSE, assignment.name).files}
    result = grade(assignment, prepared, Submission(student="ann", files=files, digest=""), "musl")
    assert result.status == "graded", result.reason
    assert [check for check in result.checks if check.status != "passed"] == []
    assert not result.stand_in
