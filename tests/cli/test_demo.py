"""The demo is the project's smoke test: the lesson on the real app, with real npm."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from autograder.classroom import grading
from autograder.demo import play
from autograder.sandbox.sandbox import NotIsolatedError
from layerlab.errors import ExecutorError
from layerlab.lesson.demo import Setting

from .conftest import ROOT

ACTS = ["naive-first", "naive-again", "naive-edit", "optimized-first", "optimized-again", "optimized-edit", "grade"]
# Which steps an act runs.
RAN = [
    ("naive-first", ["WORKDIR /app", "COPY . .", "RUN npm install", "RUN npx prisma generate", "RUN npm run build"]),
    ("naive-again", []),
    ("naive-edit", ["COPY . .", "RUN npm install", "RUN npx prisma generate", "RUN npm run build"]),
    ("optimized-again", []),
    ("optimized-edit", ["COPY . .", "RUN npm run build"]),
]


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The JSON of ``./lab demo``."""
    env = {**os.environ, "LAYERLAB_STORE": str(tmp_path_factory.mktemp("demo") / "store"), "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-m", "layerlab", "demo", "--json"], env=env, capture_output=True, text=True, timeout=1500, check=False
    )
    assert done.returncode == 0, done.stderr
    record: dict[str, Any] = json.loads(done.stdout)
    return record


def _statuses(told: dict[str, Any], act: str) -> dict[str, str]:
    record = next(item["record"] for item in told["acts"] if item["act"] == act)
    return {step["instruction"]: step["status"] for step in record["steps"]}


@pytest.mark.slow
@pytest.mark.network
def test_the_acts_come_in_the_order_of_the_lesson(told: dict[str, Any]) -> None:
    assert [item["act"] for item in told["acts"]] == ACTS


@pytest.mark.slow
@pytest.mark.network
@pytest.mark.parametrize(("act", "ran"), RAN)
def test_an_act_runs_exactly_these_steps(told: dict[str, Any], act: str, ran: list[str]) -> None:
    assert [instruction for instruction, status in _statuses(told, act).items() if status == "executed"] == ran


@pytest.mark.slow
@pytest.mark.network
@pytest.mark.parametrize("act", ["naive-edit", "optimized-edit"])
def test_an_edit_is_named_as_the_cause(told: dict[str, Any], act: str) -> None:
    record = next(item["record"] for item in told["acts"] if item["act"] == act)
    copy, *below = [step for step in record["steps"] if step["status"] == "executed"]
    assert (copy["cause"]["kind"], copy["cause"]["paths"]) == ("file", ["src/index.ts"])
    for step in below:
        assert (step["cause"]["kind"], step["cause"]["origin"]) == ("parent", copy["number"])
        assert "src/index.ts" in step["cause"]["text"]


@pytest.mark.slow
@pytest.mark.network
def test_the_app_that_was_built_serves_the_edited_greeting(told: dict[str, Any]) -> None:
    assert told["served"]["greeting"] == told["served"]["expected"]
    assert json.loads(told["served"]["visits"])["visits"] == 2


@pytest.mark.slow
@pytest.mark.network
def test_a_stand_in_is_called_one(told: dict[str, Any]) -> None:
    for item in told["acts"][:-1]:
        assert all("stand-in" in text for text in item["record"]["stand_in"])


@pytest.mark.slow
@pytest.mark.network
def test_it_ends_with_two_submissions_that_are_graded(told: dict[str, Any]) -> None:
    """The good one scores full; the naive one loses what it rebuilds needlessly, and what it does not serve."""
    record = told["acts"][-1]["record"]
    lost = {
        row["student"]: {check["id"] for check in row["checks"] if check["points"] < check["max_points"]} for row in record["submissions"]
    }
    assert lost == {"good": set(), "naive": {"edit-source", "edit-unrelated", "serves"}}
    assert [row["status"] for row in record["submissions"]] == ["graded", "graded"]


@pytest.mark.parametrize(
    ("trouble", "ends"),
    [(NotIsolatedError("nothing isolates"), True), (ExecutorError("the worker was killed"), False)],
    ids=["a machine that grades nobody", "a worker that died"],
)
def test_only_a_machine_that_isolates_nothing_ends_it_well(
    trouble: ExecutorError, ends: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Other trouble of grading is an error of the demo's."""

    def grade_class(*_words: Any, **_more: Any) -> None:
        raise trouble

    monkeypatch.setattr(grading, "grade_class", grade_class)
    said: list[str] = []
    setting = Setting(number=8, store=str(tmp_path / "store"), say=said.append)
    with contextlib.nullcontext() if ends else pytest.raises(ExecutorError, match="the worker was killed"):
        assert play(setting) is None
    assert any("Not on this machine: nothing isolates" in line for line in said) == ends


def test_the_course_s_app_keeps_what_the_lesson_relies_on() -> None:
    app = Path(ROOT) / "node-app"
    assert "resolved" not in (app / "package-lock.json").read_text(encoding="utf-8")
    assert (app / "src" / "index.ts").read_text(encoding="utf-8").count('const GREETING = "') == 1
    optimised = (app / "Dockerfile.optimized").read_text(encoding="utf-8").splitlines()
    assert optimised.index("COPY . .") + 1 == optimised.index("RUN npm run build")
    naive = (app / "Dockerfile").read_text(encoding="utf-8").splitlines()
    assert naive.index("RUN npx prisma generate") < naive.index("RUN npm run build")
    assert 'CMD ["node", "index.js"]' in naive


@pytest.mark.slow
@pytest.mark.network
def test_the_lesson_s_own_optimised_file_builds_though_prisma_s_download_is_out_of_reach(tmp_path: Path) -> None:
    """It copies no prisma.config.ts before it generates, so Prisma wants to download an engine; on the stand-in it is told not to."""
    dockerfile = tmp_path / "Dockerfile"
    dockerfile.write_text(
        "FROM node:alpine\nWORKDIR /usr/src/app\nCOPY package* .\nCOPY ./prisma .\nRUN npm install\nRUN npx prisma generate\n"
        'COPY . .\nRUN npm run build\nEXPOSE 3000\nCMD ["node", "dist/index.js"]\n',
        encoding="utf-8",
    )
    env = {**os.environ, "LAYERLAB_STORE": str(tmp_path / "store"), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "layerlab", "build", "--json", "-f", str(dockerfile), str(ROOT / "node-app")]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=1500, check=False)

    assert done.returncode == 0, done.stderr
    statuses = {step["instruction"]: step["status"] for step in json.loads(done.stdout)["steps"]}
    assert statuses["RUN npx prisma generate"] == "executed"
    assert statuses["RUN npm run build"] == "executed"
