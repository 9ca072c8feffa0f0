"""Makes the pictures of ``docs/images`` from real builds of the lesson's app, in Chromium without a window.

Run by hand: ``.venv/bin/python docs/screenshots.py [--store DIR] [--out DIR]``. The first run installs the app's packages, which takes
about a minute; with ``--store`` later runs find them.
"""

from __future__ import annotations

import argparse
import contextlib
import shutil
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from playwright.sync_api import Page, expect, sync_playwright  # noqa: E402

from tests.browser.jupyter import Notebook, launch, serving  # noqa: E402

_MINUTES = 10 * 60_000
_WORKBENCH = "from layerlab.widgets import Workbench\nlab = Workbench('node-app', dockerfile='Dockerfile.optimized')\nlab"
_WHAT_IF = "from layerlab.widgets import WhatIf\nWhatIf('node-app', dockerfile='Dockerfile.optimized', editable=False)"
_EXPLORER = "from layerlab.widgets import LayerExplorer\nLayerExplorer('100x-node')"
_PREDICTION = (
    "from layerlab.widgets import BuildCard, Prediction\n"
    "asked = Prediction(lab.record.steps)\nasked.commit([8])\ncard = BuildCard('100x-node')\n"
    "card.finish(lab.record, asked.reveal(lab.record))\ncard"
)


def main() -> None:
    """Make all pictures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--store", type=Path)
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "images")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as stack:
        place = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="layerlab-screenshots-")))
        store = (options.store or place / "store").resolve()
        server = stack.enter_context(serving(place / "lab", {"LAYERLAB_STORE": str(store)}))
        shutil.copytree(ROOT / "node-app", server.root / "node-app", ignore=shutil.ignore_patterns("node_modules", "dist", "*.db"))
        browser = launch(stack.enter_context(sync_playwright()))
        page = browser.new_page(viewport={"width": 1340, "height": 1500}, reduced_motion="reduce")
        notebook = Notebook(server, page)
        notebook.open(_WORKBENCH)
        # The picture is of the widgets: the notebook's cells and side bar are put away.
        page.evaluate("jupyterapp.shell.collapseLeft()")
        notebook.run()
        _build(page, 1)
        source = page.get_by_role("textbox", name="Contents of src/index.ts")
        source.press("Control+Home")
        # Its text is new each time: with a store that is kept, an edit of yesterday would come from the cache.
        source.press_sequentially(f"// Edited on {time.strftime('%d %B, %H:%M:%S')}.\n")
        _build(page, 2)
        page.locator(".ll-workbench").screenshot(path=options.out / "workbench-light.png")
        for tab in ("What if", "Builds", "Log"):
            page.get_by_role("tab", name=tab).click()
            if options.out != ROOT / "docs" / "images":
                page.locator(".ll-workbench").screenshot(path=options.out / f"tab-{tab.split()[0].lower()}.png")
        page.get_by_role("tab", name="Layers").click()
        notebook.theme("JupyterLab Dark")
        page.locator(".ll-workbench").screenshot(path=options.out / "workbench-dark.png")
        notebook.theme("JupyterLab Light")
        for name, css, source_text in (("matrix", ".ll-whatif", _WHAT_IF), ("explorer", ".ll-explorer", _EXPLORER)):
            _show(page, notebook, source_text)
            if name == "explorer":
                page.locator(".ll-layer").last.click()
                expect(page.locator(".ll-subtitle")).to_contain_text("What layer")
            page.locator(css).screenshot(path=options.out / f"{name}.png")
        notebook.shut_down()
        browser.close()
        for problem in notebook.problems:
            print("problem of the page:", problem)
    for picture in sorted(options.out.glob("*.png")):
        print(f"{picture.stat().st_size / 1000:6.0f} kB  {picture}")


def _build(page: Page, number: int) -> None:
    page.get_by_role("button", name="Build", exact=True).click()
    expect(page.locator(".ll-build-name")).to_have_count(number, timeout=_MINUTES)
    expect(page.get_by_role("button", name="Build", exact=True)).to_be_enabled(timeout=_MINUTES)


def _show(page: Page, notebook: Notebook, source: str) -> None:
    """Run some code in the last cell."""
    page.evaluate(
        """source => {
            const notebook = jupyterapp.shell.currentWidget.content;
            notebook.activeCellIndex = notebook.widgets.length - 1;
            return jupyterapp.commands.execute('notebook:insert-cell-below').then(() => {
                notebook.activeCell.model.sharedModel.setSource(source);
                return jupyterapp.commands.execute('notebook:run-cell');
            });
        }""",
        source,
    )
    notebook.wait_for_kernel()


if __name__ == "__main__":
    main()
