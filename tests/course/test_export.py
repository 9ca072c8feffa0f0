"""A notebook that was run and exported reads well where there is no kernel and no network, with the commands that people type."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest

from layerlab.engines.embedded.engine import EmbeddedEngine
from tests.browser.jupyter import serving
from tests.conformance import bases

from .running import surroundings

_CELLS = (
    "%load_ext layerlab",
    'lab.write("../tiny/Dockerfile", "FROM base:1\\nRUN echo one > /one\\nLABEL a=b\\n")',
    'from layerlab.widgets import Workbench, WhatIf\nfresh = Workbench("../tiny", tag="fresh")\nfresh.matrix()[0][0]',
    "fresh",
    "%docker build -t tiny ../tiny",
    'guess = lab.predict("<b>What</b> now?", context="../tiny")\nguess',
    "guess.commit([2])\n%docker build -t tiny ../tiny",
    'asked = lab.ask("How many?", ["one", "two"])\nlab.reveal(asked, "two", "Because.")',
    'lab.explore("tiny")',
    'bench = Workbench("../tiny", tag="tiny")\nbench.build()\nbench',
    'WhatIf("../tiny", edits=("Dockerfile",))',
)
_NAME = "lesson.ipynb"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with a notebook that was not run yet, and an engine for its kernel."""
    place = tmp_path_factory.mktemp("export")
    with surroundings(place, "embedded"), EmbeddedEngine(str(place / "store")) as engine:
        if not engine.host.executor:
            pytest.skip("nothing on this machine can run a build step")
        base = next(base for base in bases.bases() if base.name == "base:1")
        bases.write_layout(base, place / "layout")
        engine.import_layout(str(place / "layout"), "base:1")
        nbformat.write(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in _CELLS]), place / _NAME)
        yield place


@pytest.fixture(scope="module")
def saved(place: Path) -> Path:
    """The notebook after it was run and saved with the state of its widgets."""
    nbconvert(place, "notebook", "--execute", "--output", "saved.ipynb", _NAME)
    path = place / "saved.ipynb"
    assert "application/vnd.jupyter.widget-state+json" in nbformat.read(path, as_version=4).metadata.widgets
    return path


def nbconvert(place: Path, to: str, *arguments: str) -> None:
    """``jupyter nbconvert --to ...``, as it is typed, with no settings but those that ``./lab`` has put into .venv."""
    command = [str(Path(sys.executable).parent / "jupyter"), "nbconvert", "--to", to, *arguments]
    variables = {name: value for name, value in os.environ.items() if not name.startswith("JUPYTER")}
    done = subprocess.run(command, cwd=place, env=variables, capture_output=True, text=True, timeout=900, check=False)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr


def reads_well(page: str) -> None:
    """Everything that the widgets showed is there as text, and nothing waits for a script."""
    text = re.sub(r"<style.*?</style>|<script.*?</script>", "", page, flags=re.DOTALL)
    assert not re.findall(r'<script type="application/vnd\.jupyter\.widget-view\+json">', page)
    assert "Error displaying widget" not in text
    for words in (
        "RUN echo one",
        "✓ cached",
        "no verdict",
        "It is two. Because.",
        "you: runs (wrong)",
        "tiny: ",
        "nothing had been built",
    ):
        assert words in text
    # What a learner or a file says is text in the page, not markup.
    assert "<b>What</b> now?" not in text
    assert "&lt;b&gt;What&lt;/b&gt; now?" in text
    captions = re.findall("<caption>(.*?)</caption>", text)
    assert captions.count("What an edit makes the next build of Dockerfile run again") == 2
    assert len(captions) == 3


def test_run_and_exported_in_one_go(place: Path) -> None:
    nbconvert(place, "html", "--execute", _NAME)
    reads_well((place / "lesson.html").read_text(encoding="utf-8"))


def test_exported_after_it_was_saved_with_the_state_of_its_widgets(place: Path, saved: Path) -> None:
    nbconvert(place, "html", saved.name)
    reads_well((place / "saved.html").read_text(encoding="utf-8"))


def test_exported_after_it_was_saved_without(place: Path, saved: Path) -> None:
    notebook = nbformat.read(saved, as_version=4)
    del notebook.metadata["widgets"]
    nbformat.write(notebook, place / "plain.ipynb")
    nbconvert(place, "html", "plain.ipynb")
    reads_well((place / "plain.html").read_text(encoding="utf-8"))


def test_exported_from_the_menu_of_jupyterlab(saved: Path, tmp_path: Path) -> None:
    with serving(tmp_path / "lab") as server:
        (server.root / saved.name).write_bytes(saved.read_bytes())
        with urllib.request.urlopen(f"{server.url}nbconvert/html/{saved.name}", timeout=180) as answer:
            reads_well(answer.read().decode("utf-8"))


def test_the_markdown_export_has_them_too(place: Path, saved: Path) -> None:
    nbconvert(place, "markdown", saved.name)
    text = (place / "saved.md").read_text(encoding="utf-8")
    assert "RUN echo one" in text
    assert "It is two. Because." in text
