"""Drawn builds do what was planned, alike in an overlay and in a copied tree.

One seed, until long runs of fresh ones find nothing: ``LAYERLAB_DRAWN_SEED`` and ``LAYERLAB_DRAWN`` (how many) say otherwise.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from layerlab.engines.embedded.engine import EmbeddedEngine

ROOT = Path(__file__).parents[2]


def _modes(*words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tests.differential.modes", "--cases", os.environ.get("LAYERLAB_DRAWN", "20"), *words]
    return subprocess.run(command, cwd=ROOT, env={**os.environ, **variables}, capture_output=True, text=True, check=False)


def test_drawn_builds_do_what_was_planned_in_each_mode(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with EmbeddedEngine(str(tmp_path / "store")) as engine:
        snapshotter, executor = engine.host.snapshotter, engine.host.executor
    if not executor:
        pytest.skip("nothing on this machine can run a build step")
    seed = os.environ.get("LAYERLAB_DRAWN_SEED", "s3")
    first = _modes("--seed", seed, "--out", str(tmp_path / "out"))
    assert first.returncode == 0, f"seed {seed}\n{first.stdout}\n{first.stderr}"
    said = first.stdout.splitlines()[-1]
    if snapshotter == "overlay":
        second = _modes("--seed", seed, "--against", str(tmp_path / "out"), LAYERLAB_SNAPSHOTTER="copy")
        assert second.returncode == 0, f"seed {seed}\n{second.stdout}\n{second.stderr}"
        said = second.stdout.splitlines()[-1]
    with capsys.disabled():
        print(f"\n{said}")
