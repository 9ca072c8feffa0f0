"""The other widgets in a real browser, and accessibility of all of them in light and dark."""

from __future__ import annotations

from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect

from .jupyter import Notebook, store_of

SERIOUS = ("serious", "critical")
BUILD = "lab = Workbench({app!r}, offline=True, dockerfile='Dockerfile.optimized')\nlab.build()\nlab"
IMPORT = "from layerlab.widgets import *\n"


def findings(notebook: Notebook) -> list[str]:
    """What axe-core finds in the outputs, in words."""
    found = Axe().run(notebook.page, context=".jp-OutputArea-output")
    return [
        f"{violation['id']}: {node['html'][:200]} {node.get('failureSummary', '')}"
        for violation in found.response["violations"]
        if violation["impact"] in SERIOUS
        for node in violation["nodes"]
    ]


@pytest.mark.parametrize("theme", ["JupyterLab Light", "JupyterLab Dark", "JupyterLab Dark High Contrast"])
def test_axe(notebook: Notebook, app: Path, theme: str) -> None:
    notebook.open(
        store_of(app) + IMPORT + BUILD.format(app=str(app)),
        f"WhatIf({str(app)!r}, offline=True)",
        "LayerExplorer('100x-node')",
        "p = Prediction([s.instruction for s in lab.record.steps]); p.commit(['cached'] * 11); p.reveal(lab.record); p",
        "Prediction(['COPY . .', 'RUN npm install'])",
        "Question('How many?', ['one', 'two'])",
        "q = Question('How large?', unit='MB'); q.commit(3); q.reveal(3, 'It is.'); q",
        "g = Golf('10'); g.hint(); g",
        theme=theme,
    )
    notebook.run()
    page = notebook.page
    expect(page.get_by_role("region", name="Workbench")).to_be_visible()
    assert findings(notebook) == []
    for tab in ("What if", "Builds", "Log"):
        page.get_by_role("tab", name=tab).click()
        assert findings(notebook) == []


def test_the_draft_of_a_dockerfile(notebook: Notebook, app: Path) -> None:
    notebook.open(store_of(app) + IMPORT + f"WhatIf({str(app)!r}, edits=('src/index.ts', 'package.json'), offline=True)")
    notebook.run()
    page = notebook.page
    row = page.get_by_role("row").filter(has_text="src/index.ts")
    expect(row.get_by_role("cell").last).to_have_text("4 steps")
    draft = page.get_by_role("textbox", name="Draft of Dockerfile")
    draft.press("Control+End")
    draft.press_sequentially("\nRUN one more")
    expect(row.get_by_role("cell").last).to_have_text("5 steps")
    draft.press_sequentially("\nNONSENSE")
    expect(page.get_by_role("alert").filter(has_text="unknown instruction: NONSENSE")).to_be_visible()
    expect(page.locator(".ll-bad-line")).to_have_text("NONSENSE")
    assert "NONSENSE" not in (app / "Dockerfile").read_text(encoding="utf-8")


def test_the_explorer(notebook: Notebook, app: Path) -> None:
    notebook.open(store_of(app) + IMPORT + BUILD.format(app=str(app)) + "\nLayerExplorer('100x-node')")
    notebook.run()
    page = notebook.page
    layers = page.get_by_role("list", name="Layers, lowest first").get_by_role("button")
    expect(layers).to_have_count(10)
    page.get_by_role("searchbox", name="Filter").fill("src/index.ts")
    expect(page.get_by_role("list", name="Files found").get_by_role("listitem")).to_have_text(["usr/src/app/src/index.tslayer 8"])
    page.get_by_role("searchbox", name="Filter").fill("")
    layers.filter(has_text="RUN npm run build").press("Enter")
    expect(page.get_by_text("What layer 9 adds, changes and removes")).to_be_visible()
    expect(page.get_by_role("region", name="Files")).to_contain_text("index.jsadded")
    layers.first.click()
    expect(page.get_by_role("list", name="Contents of etc")).to_contain_text("passwdlayer 1")
    page.locator("summary").filter(has_text="bin/").first.press("Enter")
    expect(page.get_by_role("list", name="Contents of bin").first).to_contain_text("shlayer 1")


def test_a_prediction(notebook: Notebook, app: Path) -> None:
    ask = (
        "p = Prediction([s.instruction for s in lab.record.steps if s.makes_layer][1:], question='What after an edit of src/index.ts?')\np"
    )
    notebook.open(
        store_of(app) + IMPORT + BUILD.format(app=str(app)).removesuffix("\nlab"), ask, "q = Question('How many run?', ['none', 'two'])\nq"
    )
    notebook.run()
    page = notebook.page
    answers = page.get_by_role("region", name="Prediction").get_by_role("combobox")
    expect(answers).to_have_count(8)
    for number in range(8):
        answers.nth(number).select_option("cached" if number < 7 else "runs")
    page.get_by_role("region", name="Prediction").get_by_role("button", name="Commit").press("Enter")
    expect(page.get_by_text("Committed. Now run the build.")).to_be_visible()
    # The button has gone, but not the place of who uses the keyboard.
    expect(page.get_by_role("region", name="Prediction")).to_be_focused()
    page.get_by_role("radio", name="two").check()
    page.get_by_role("region", name="Question").get_by_role("button", name="Commit").press("Enter")
    expect(page.get_by_text("Committed. Now find out.")).to_be_visible()
    expect(page.get_by_role("region", name="Question")).to_be_focused()
    page.evaluate(
        """source => {
            const notebook = jupyterapp.shell.currentWidget.content;
            notebook.activeCellIndex = notebook.widgets.length - 1;
            return jupyterapp.commands.execute('notebook:insert-cell-below').then(() => {
                notebook.activeCell.model.sharedModel.setSource(source);
                return jupyterapp.commands.execute('notebook:run-cell');
            });
        }""",
        "lab.edit('src/index.ts', '//')\np.reveal(lab.build())\nq.reveal('two', 'The copy, and the build after it.')",
    )
    expect(page.get_by_text("7 of 8 right")).to_be_visible()
    expect(page.get_by_text("✓ Right. It is two. The copy, and the build after it.")).to_be_visible()
    row = page.get_by_role("region", name="Prediction").get_by_role("row").nth(7)
    expect(row).to_contain_text("src/index.ts changed")
