"""A notebook that was run and exported reads well where there is no kernel and no network."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest
from nbconvert import HTMLExporter, MarkdownExporter

from layerlab.engines.embedded.engine import EmbeddedEngine
from tests.conformance import bases

from .running import run, surroundings

_CELLS = (
    "%load_ext layerlab",
    'lab.write("../tiny/Dockerfile", "FROM base:1\\nRUN echo one > /one\\nLABEL a=b\\n")\n%docker build -t tiny ../tiny',
    'guess = lab.predict("<b>What</b> now?", context="../tiny")\nguess',
    "%docker build -t tiny ../tiny\nlab.reveal(guess)",
    'asked = lab.ask("How many?", ["one", "two"])\nlab.reveal(asked, "two", "Because.")',
    'lab.explore("tiny")',
    'from layerlab.widgets import Workbench, WhatIf\nbench = Workbench("../tiny", tag="tiny")\nbench.build()\nbench',
    'WhatIf("../tiny", edits=("Dockerfile",))',
)


@pytest.fixture
def notebook(tmp_path: Path) -> Iterator[nbformat.NotebookNode]:
    with surroundings(tmp_path, "embedded"), EmbeddedEngine(str(tmp_path / "store")) as engine:
        if not engine.host.executor:
            pytest.skip("nothing on this machine can run a build step")
        base = next(base for base in bases.bases() if base.name == "base:1")
        bases.write_layout(base, tmp_path / "layout")
        engine.import_layout(str(tmp_path / "layout"), "base:1")
        path = tmp_path / "export.ipynb"
        nbformat.write(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in _CELLS]), path)
        yield run(path)


def test_what_widgets_show_is_in_the_exported_page_as_text(notebook: nbformat.NotebookNode) -> None:
    page, _ = HTMLExporter().from_notebook_node(notebook)
    text = re.sub(r"<style.*?</style>|<script.*?</script>", "", page, flags=re.DOTALL)

    assert "widgets" not in notebook.metadata
    assert "Error displaying widget" not in text
    assert "application/vnd.jupyter.widget-view" not in text
    for words in ("RUN echo one", "✓ cached", "no verdict", "It is two. Because.", "Cause"):
        assert words in text
    # What a learner or a file says is text in the page, not markup.
    assert "<b>What</b> now?" not in text
    assert "&lt;b&gt;What&lt;/b&gt; now?" in text
    assert text.count("<table") >= 4


def test_the_markdown_export_has_them_too(notebook: nbformat.NotebookNode) -> None:
    text, _ = MarkdownExporter().from_notebook_node(notebook)
    assert "RUN echo one" in text
    assert "It is two. Because." in text
