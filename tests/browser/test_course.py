"""The course's first notebook in a browser, as a learner goes through it."""

from __future__ import annotations

import re
import shutil
import zipfile
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from .jupyter import ROOT, Notebook, serving, store_of
from .test_workbench import verdicts

REOPENED = "FROM base:1\\nCOPY . .\\nRUN echo one\\n"


@pytest.mark.parametrize("alive", [True, False], ids=["with its kernel", "without"])
def test_a_notebook_that_is_opened_again(notebook: Notebook, app: Path, alive: bool) -> None:
    """With its kernel its widgets live on; without, each is the still of what it showed. Nothing says that it cannot be displayed."""
    page = notebook.page
    lesson = f"os.environ['LAYERLAB_WORK'] = {str(app.parent / 'work')!r}\n%load_ext layerlab\nlab.write('Dockerfile', '{REOPENED}')"
    notebook.open(
        store_of(app) + lesson, "%docker build -t tiny .", "lab.explore('tiny')", "bench = lab.workbench('tiny')\nbench.build()\nbench"
    )
    notebook.run()
    expect(page.get_by_role("region", name="Build of tiny")).to_be_visible()
    name = page.evaluate("jupyterapp.shell.currentWidget.context.path")
    page.evaluate("jupyterapp.commands.execute('docmanager:save')")
    expect(page.locator(".jp-mod-dirty")).to_have_count(0)
    if not alive:
        notebook.shut_down()
    page.wait_for_timeout(500)
    notebook.show(name)
    expect(page.get_by_text("RUN echo one").first).to_be_visible()
    expect(page.get_by_text("Error displaying widget")).to_have_count(0)
    expect(page.get_by_text("model not found")).to_have_count(0)
    regions = page.get_by_role("region", name="Build of tiny")
    if alive:
        expect(regions).to_be_visible()
        build = page.get_by_role("region", name="Workbench").get_by_role("button", name="Build", exact=True)
        build.click()
        expect(page.get_by_role("status").filter(has_text="nothing had to run")).to_be_visible()
    else:
        expect(regions).to_have_count(0)
        stills = page.locator(".jp-RenderedHTMLCommon ol")
        expect(stills).to_have_count(3)
        slab = stills.first.get_by_role("listitem").filter(has_text="RUN echo one")
        # A picture, not a list only: as high as the layer is large.
        assert slab.bounding_box()["height"] >= 40  # type: ignore[index]
        assert "solid" in str(slab.evaluate("element => getComputedStyle(element).borderStyle"))


def test_after_a_restart_the_notebook_goes_on(notebook: Notebook, app: Path) -> None:
    """In the course's folder each kernel knows lab and %docker from its start; files are as they were."""
    page = notebook.page
    folder = notebook.server.root / "course"
    folder.mkdir(exist_ok=True)
    (folder / "01-run-it-once.ipynb").write_text("{}", encoding="utf-8")
    second = "%docker --help\nprint(lab.session.app.joinpath('src/index.ts').read_text().count('typed before'))"
    notebook.open(store_of(app) + "lab.say('typed before')", second, folder="course")
    notebook.run()
    page.evaluate("jupyterapp.shell.currentWidget.sessionContext.session.kernel.restart()")
    notebook.wait_for_kernel()
    # The second cell alone, as somebody does who goes on where they were.
    page.evaluate(
        """() => {
            const notebook = jupyterapp.shell.currentWidget.content;
            notebook.activeCellIndex = 1;
            return jupyterapp.commands.execute('notebook:run-cell');
        }"""
    )
    notebook.wait_for_kernel()
    output = page.locator(".jp-CodeCell").nth(1).locator(".jp-OutputArea")
    expect(output).to_contain_text("%docker VERB --help")
    expect(output).to_contain_text(re.compile(r"\b1\b"))
    expect(output).not_to_contain_text("Error")


@pytest.mark.network
def test_the_first_notebook_runs_and_its_workbench_rebuilds_what_an_edit_reaches(
    browser: Browser, tmp_path: Path, real_store: Path
) -> None:
    work = tmp_path / "lab" / "root" / "work"
    surroundings = {"LAYERLAB_STORE": str(real_store), "LAYERLAB_WORK": str(work)}
    with serving(tmp_path / "lab", surroundings) as server:
        shutil.copytree(ROOT / "course", server.root / "course", ignore=shutil.ignore_patterns(".ipynb_checkpoints"))
        context = browser.new_context(viewport={"width": 1280, "height": 1000}, reduced_motion="reduce")
        notebook = Notebook(server, context.new_page())
        page = notebook.page
        page.set_default_timeout(600_000)
        notebook.show("course/01-run-it-once.ipynb")
        notebook.run()

        expect(page.get_by_text("Hello from layer land!").first).to_be_attached()
        source = page.get_by_role("textbox", name="Contents of src/index.ts")
        source.press("Control+Home")
        source.press_sequentially("// my first edit\n")
        page.get_by_role("button", name="Build", exact=True).click()
        expect(page.get_by_role("status").filter(has_text="4 steps ran, 1 cached")).to_be_visible(timeout=900_000)
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
