"""The whole lesson on both engines: same statuses, same cause kinds, same paths."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]

pytestmark = [pytest.mark.docker, pytest.mark.slow, pytest.mark.network]


def _demo(engine: str, store: Path) -> dict[str, Any]:
    env = {**os.environ, "LAYERLAB_STORE": str(store), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "layerlab", "demo", "--json", "--engine", engine]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=1500, check=False)
    assert done.returncode == 0, done.stderr
    record: dict[str, Any] = json.loads(done.stdout)
    return record


def _facts(told: dict[str, Any]) -> list[Any]:
    return [
        (
            act["act"],
            step["instruction"],
            step["status"],
            step["cause"] and (step["cause"]["kind"], step["cause"]["origin"], step["cause"]["paths"]),
        )
        for act in told["acts"]
        # What is graded is built by the embedded engine.
        if act["act"] != "grade"
        for step in act["record"]["steps"]
    ]


def test_the_lesson_is_the_same_on_docker(node_alpine: None, tmp_path: Path) -> None:
    subprocess.run(["docker", "builder", "prune", "--all", "--force"], capture_output=True, check=True)
    theirs = _demo("docker", tmp_path / "docker")
    ours = _demo("embedded", tmp_path / "embedded")

    assert theirs["engine"] == "docker"
    assert _facts(theirs) == _facts(ours)
    assert all(act["record"]["warnings"] == [] for act in theirs["acts"] if act["act"] != "grade")
    assert theirs["served"]["greeting"] == theirs["served"]["expected"]
    assert json.loads(theirs["served"]["visits"])["visits"] == 2
