"""The course's first notebook in a browser, as a learner goes through it."""

from __future__ import annotations

import shutil
import zipfile
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from .jupyter import ROOT, Notebook, serving
from .test_workbench import verdicts


@pytest.mark.network
def test_the_first_notebook_runs_and_its_workbench_rebuilds_what_an_edit_reaches(
    browser: Browser, tmp_path: Path, real_store: Path
) -> None:
    work = tmp_path / "lab" / "root" / "work"
    surroundings = {"LAYERLAB_STORE": str(real_store), "LAYERLAB_WORK": str(work)}
    with serving(tmp_path / "lab", surroundings) as server:
        shutil.copytree(ROOT / "course", server.root / "course", ignore=shutil.ignore_patterns("source", ".ipynb_checkpoints"))
        context = browser.new_context(viewport={"width": 1280, "height": 1000}, reduced_motion="reduce")
        notebook = Notebook(server, context.new_page())
        page = notebook.page
        page.set_default_timeout(180_000)
        notebook.show("course/01-run-it-once.ipynb")
        notebook.run()

        expect(page.get_by_text("Hello from layer land!").first).to_be_attached()
        source = page.get_by_role("textbox", name="Contents of src/index.ts")
        source.press("Control+Home")
        source.press_sequentially("// my first edit\n")
        page.get_by_role("button", name="Build", exact=True).click()
        expect(page.get_by_role("status").filter(has_text="4 steps ran, 1 cached")).to_be_visible(timeout=300_000)
        assert verdicts(page) == ["base", "cached", "executed", "executed", "executed", "executed", "metadata"]
        assert (work / "node-app" / "src" / "index.ts").read_text(encoding="utf-8").startswith("// my first edit\n")

        with page.expect_download() as download:
            page.get_by_role("link", name="Download my work").click()
        with zipfile.ZipFile(download.value.path()) as archive:
            assert "node-app/src/index.ts" in archive.namelist()

        notebook.shut_down()
        context.close()
        assert notebook.problems == []
        assert server.complaints() == []
