"""The other widgets in a real browser, and accessibility of all of them in light and dark."""

from __future__ import annotations

import re
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
        "p = Prediction(lab.record.steps); p.commit([8]); c = BuildCard('app'); c.finish(lab.record, p.reveal(lab.record)); display(c)",
        "p",
        "Prediction(lab.record.steps)",
        "Question('How many?', ['one', 'two'])",
        "q = Question('How large?', unit='MB'); q.commit(3); q.reveal(3, 'It is.'); q",
        "g = Golf('10'); g.hint(); g",
        theme=theme,
    )
    notebook.run()
    page = notebook.page
    expect(page.get_by_role("region", name="Workbench")).to_be_visible()
    assert findings(notebook) == []
    for tab in ("What if", "Keys", "Builds", "Log"):
        page.get_by_role("tab", name=tab).click()
        assert findings(notebook) == []


def test_the_draft_of_a_dockerfile(notebook: Notebook, app: Path) -> None:
    notebook.open(store_of(app) + IMPORT + f"WhatIf({str(app)!r}, edits=('src/index.ts', 'package.json'), offline=True)")
    notebook.run()
    page = notebook.page
    row = page.get_by_role("row").filter(has_text="src/index.ts")
    expect(row.get_by_role("cell").first).to_have_text("4 steps")
    draft = page.get_by_role("textbox", name="Draft of Dockerfile")
    draft.press("Control+End")
    draft.press_sequentially("\nRUN one more")
    expect(row.get_by_role("cell").first).to_have_text("5 steps")
    draft.press_sequentially("\nNONSENSE")
    expect(page.get_by_role("alert").filter(has_text="unknown instruction: NONSENSE")).to_be_visible()
    expect(page.locator(".ll-bad-line")).to_have_text("NONSENSE")
    assert "NONSENSE" not in (app / "Dockerfile").read_text(encoding="utf-8")


def test_the_explorer(notebook: Notebook, app: Path) -> None:
    notebook.open(store_of(app) + IMPORT + BUILD.format(app=str(app)) + "\nLayerExplorer('100x-node')")
    notebook.run()
    page = notebook.page
    layers = page.get_by_role("list", name="Layers, newest on top").get_by_role("button")
    expect(layers).to_have_count(9)
    page.get_by_role("searchbox", name="Filter").fill("src/index.ts")
    expect(page.get_by_role("list", name="Files found").get_by_role("listitem")).to_have_text(["usr/src/app/src/index.tslayer 8"])
    page.get_by_role("searchbox", name="Filter").fill("")
    layers.filter(has_text="RUN npm run build").press("Enter")
    expect(page.get_by_text("What layer 9 adds, changes and removes")).to_be_visible()
    expect(page.get_by_role("region", name="Files")).to_contain_text("index.jsadded")
    page.get_by_role("button", name="The whole image").click()
    expect(page.get_by_role("list", name="Contents of etc")).to_contain_text("passwdlayer 1")
    page.locator("summary").filter(has_text="bin/").first.press("Enter")
    expect(page.get_by_role("list", name="Contents of bin").first).to_contain_text("shlayer 1")


LESSON = """
import os
os.environ["LAYERLAB_WORK"] = {work!r}
%load_ext layerlab
lab.write("Dockerfile", "FROM base:1\\nWORKDIR /app\\nCOPY . .\\nRUN true\\nCOPY --link README.md /readme\\nCMD true\\n")
"""


def run_below(notebook: Notebook, source: str) -> None:
    """Begin to run some code in a new last cell."""
    notebook.page.evaluate(
        """source => {
            const notebook = jupyterapp.shell.currentWidget.content;
            notebook.activeCellIndex = notebook.widgets.length - 1;
            return jupyterapp.commands.execute('notebook:insert-cell-below').then(() => {
                notebook.activeCell.model.sharedModel.setSource(source);
                void jupyterapp.commands.execute('notebook:run-cell');
            });
        }""",
        source,
    )


def test_the_explorer_says_what_is_wasted(notebook: Notebook, app: Path) -> None:
    """The files that a later layer hides, who hides them, and what would save their bytes."""
    text = "FROM base:1\\nRUN mkdir /d && echo 12345 > /d/big && echo 1 > /d/small\\nRUN rm -r /d\\n"
    setup = f"os.environ['LAYERLAB_WORK'] = {str(app.parent / 'work')!r}\n%load_ext layerlab\nlab.write('Dockerfile', '{text}')"
    notebook.open(store_of(app) + setup, "%docker build -t tiny .", "lab.explore('tiny')")
    notebook.run()
    page = notebook.page
    layers = page.get_by_role("list", name="Layers, newest on top").get_by_role("button")
    layers.filter(has_text="8B wasted").click()
    waste = page.locator(".ll-waste")
    waste.locator("summary").press("Enter")
    expect(waste).to_contain_text("The image would be 8B smaller if this RUN removed these files itself")
    files = page.get_by_role("list", name="Wasted files, the largest first").get_by_role("listitem")
    expect(files).to_have_text(["6B/d/bighidden by layer 3", "2B/d/smallhidden by layer 3"])


def test_a_prediction_by_keyboard_and_the_card_of_its_build(notebook: Notebook, app: Path) -> None:
    """Where the cache breaks all above turns; an exception is taken back; the build's card says who was right, and only then why."""
    cells = [store_of(app) + LESSON.format(work=str(app.parent / "work")), "%docker build -t tiny ."]
    notebook.open(*cells, 'lab.say("other words")\nlab.predict("one-line")')
    notebook.run()
    page = notebook.page
    card = page.get_by_role("region", name="Prediction")
    slab = {name: card.get_by_role("button", name=name) for name in ("WORKDIR", "COPY . .", "RUN true", "COPY --link")}
    # The keyboard comes to the stack once, at its top, and moves in it by arrows. CMD and FROM are no switches.
    slab["COPY --link"].focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    expect(slab["COPY . ."]).to_be_focused()
    page.keyboard.press("Space")
    assert {name: each.get_attribute("aria-pressed") for name, each in slab.items()} == {
        "WORKDIR": "false",
        "COPY . .": "true",
        "RUN true": "true",
        "COPY --link": "true",
    }
    page.keyboard.press("ArrowUp")
    page.keyboard.press("ArrowUp")
    page.keyboard.press("Enter")
    expect(slab["COPY --link"]).to_have_attribute("aria-pressed", "false")
    assert card.get_by_role("button", pressed=True).count() == 2
    whole = page.locator("body").inner_text() + page.content()
    assert "so it was reused" not in whole
    card.get_by_role("button", name="Commit: 2 of 4 run").press("Enter")
    expect(card.get_by_text("Committed. Now build.")).to_be_visible()
    expect(card).to_be_focused()

    run_below(notebook, "%docker build -t tiny .")
    built = page.get_by_role("region", name="Build of tiny").last
    expect(built.get_by_text("Your prediction: 4 of 4 right. So far in the course: 4 of 4.")).to_be_visible()
    rows = built.get_by_role("listitem")
    expect(rows.filter(has_text=re.compile(r"^3COPY"))).to_contain_text("you: runs, right")
    expect(rows.filter(has_text=re.compile(r"^3COPY"))).to_contain_text("changed here")
    expect(rows.filter(has_text=re.compile(r"^5COPY"))).to_contain_text("you: cached, right")
    expect(page.get_by_text("so it was reused")).to_be_visible()
    # Of the question its words and the score are left: one card for each build.
    expect(card.get_by_text("4 of 4 right. The build below says it step by step.")).to_be_visible()
    expect(card.get_by_role("listitem")).to_have_count(0)


def test_the_card_of_a_build_follows_it(notebook: Notebook, app: Path) -> None:
    """What is reused stands at once, what runs has its clock and its last line, what waits above it has fallen."""
    lesson = LESSON.replace("RUN true", "RUN echo begun; sleep 4").format(work=str(app.parent / "work"))
    notebook.open(store_of(app) + lesson)
    notebook.run()
    page = notebook.page
    run_below(notebook, "%docker build -t tiny .")
    built = page.get_by_role("region", name="Build of tiny")
    running = built.locator("[data-verdict=running]")
    expect(running).to_contain_text("begun")
    expect(running).to_contain_text(re.compile(r"[123]\.\d s"))
    expect(built.locator("[data-fallen]")).to_contain_text("COPY --link")
    # It moves for those who did not ask for less.
    for motion, name in (("no-preference", "ll-grow"), ("reduce", "none")):
        page.emulate_media(reduced_motion=motion)  # type: ignore[arg-type]
        expect(running.get_by_role("button")).to_have_css("animation-name", name)
    expect(built.get_by_role("status")).to_contain_text("Step 4 runs")
    expect(built.get_by_role("status")).to_contain_text("Built tiny")
    expect(built.locator("[data-fallen]")).to_have_count(0)
    # By keyboard: the facts of a layer are told, to a screen reader as its description.
    slab = built.get_by_role("button", name="COPY --link")
    slab.focus()
    expect(slab).to_have_accessible_description(re.compile("Cache key"))
    page.keyboard.press("End")
    expect(built.get_by_role("button", name="FROM base:1")).to_be_focused()
    built.get_by_text("As docker build prints it").click()
    expect(built.get_by_text("[+] Building")).to_be_visible()


def test_a_question_marks_the_choices_when_it_is_answered(notebook: Notebook, app: Path) -> None:
    """Nothing of the answer is in the page before."""
    notebook.open(store_of(app) + LESSON.format(work=str(app.parent / "work")), 'q = lab.ask("own-layers")\nq')
    notebook.run()
    page = notebook.page
    card = page.get_by_role("region", name="Question")
    assert "FROM takes over layers" not in page.content()
    states = page.evaluate(
        """() => jupyterapp.shell.currentWidget.content.widgets.map(cell => JSON.stringify(cell.model.toJSON())).join()"""
    )
    assert "FROM takes over layers" not in states
    page.get_by_role("radio", name="4").check()
    card.get_by_role("button", name="Commit").press("Enter")
    expect(page.get_by_text("Committed. Now find out.")).to_be_visible()
    expect(card).to_be_focused()
    run_below(notebook, "lab.reveal(q)")
    expect(card.get_by_text("✕ Not quite.")).to_be_visible()
    expect(card.locator("[data-right=true]")).to_have_text("5")
    told = page.locator(".jp-RenderedMarkdown").filter(has_text="FROM takes over layers")
    expect(told).to_contain_text("You said 4. It is 5.")
    expect(told).to_contain_text("So far in the course: 0 of 1.")
