"""The Workbench in a real browser, as a learner uses it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, expect

from .jupyter import Notebook, store_of

expect.set_options(timeout=180_000)


def cell(app: Path, options: str = "") -> str:
    return store_of(app) + f"from layerlab.widgets import Workbench\nlab = Workbench({str(app)!r}, offline=True{options})\nlab"


def steps(page: Page, card: str = "Workbench") -> Locator:
    """The slabs of a stack as they are drawn: the newest on top."""
    return page.get_by_role("region", name=card).get_by_role("list", name="Build steps, newest on top").get_by_role("listitem")


def verdicts(page: Page, card: str = "Workbench") -> list[str | None]:
    """In the order of the Dockerfile."""
    return [step.get_attribute("data-verdict") for step in reversed(steps(page, card).all())]


def build(page: Page, said: str) -> None:
    page.get_by_role("button", name="Build", exact=True).click()
    expect(page.get_by_role("status").filter(has_text=said)).to_be_visible()


def replace_line(editor: Locator, number: int, text: str) -> None:
    """Type over one line by keyboard. ``press`` takes the focus each time, so that no key goes astray."""
    editor.press("Control+Home")
    for _ in range(number - 1):
        editor.press("ArrowDown")
    editor.press("Home")
    editor.press("Shift+End")
    editor.press_sequentially(text)
    expect(editor.locator(".cm-line").nth(number - 1)).to_have_text(text)


def test_edit_and_build(notebook: Notebook, app: Path) -> None:
    notebook.open(cell(app))
    notebook.run()
    page = notebook.page
    build(page, "5 steps ran, 0 cached")
    build(page, "nothing had to run, 5 cached")
    page.get_by_label("Build with").select_option("Dockerfile.optimized")
    build(page, "8 steps ran, 0 cached")
    source = page.get_by_role("textbox", name="Contents of src/index.ts")
    source.press("Control+Home")
    source.press_sequentially("// edited\n")
    build(page, "2 steps ran, 6 cached")
    assert (app / "src" / "index.ts").read_text(encoding="utf-8").startswith("// edited\n")
    assert verdicts(page) == ["base", *["cached"] * 6, "executed", "executed", "metadata", "metadata"]
    slab = steps(page).filter(has_text=re.compile(r"^8COPY"))
    expect(slab).to_contain_text("changed here")
    expect(slab).to_contain_text("src/index.ts")
    page.get_by_role("tab", name="Builds").click()
    columns = page.get_by_role("region", name="Builds side by side").get_by_role("columnheader")
    expect(columns).to_have_count(5)
    expect(columns.nth(4)).to_contain_text("2 ran")


def test_an_error_stands_at_its_line(notebook: Notebook, app: Path) -> None:
    notebook.open(cell(app))
    notebook.run()
    page = notebook.page
    editor = page.get_by_role("textbox", name="Contents of Dockerfile")
    alert = page.get_by_role("alert").filter(has_text="Dockerfile, line")
    replace_line(editor, 7, "RUNN npm install")
    expect(alert).to_contain_text("Dockerfile, line 7: unknown instruction: RUNN (did you mean RUN?)")
    expect(page.locator(".ll-bad-line")).to_have_text("RUNN npm install")
    expect(editor).to_have_attribute("aria-invalid", "true")
    page.get_by_role("button", name="Build", exact=True).click()
    expect(page.get_by_role("status").filter(has_text="Not built: see the error.")).to_be_visible()

    replace_line(editor, 7, "RUN echo about to fail; exit 3")
    build(page, "Step 4 failed")
    expect(alert).to_contain_text("exit code: 3")
    expect(alert).to_contain_text("about to fail")
    expect(page.locator(".ll-bad-line")).to_have_text("RUN echo about to fail; exit 3")
    assert verdicts(page)[3] == "failed"

    # What is typed next is told instead, and the build's error marks no line any more: the lines have moved.
    replace_line(editor, 2, "WORKDIRR /app")
    expect(alert).to_contain_text("Dockerfile, line 2: unknown instruction: WORKDIRR")
    expect(page.locator(".ll-bad-line")).to_have_text("WORKDIRR /app")
    replace_line(editor, 2, "WORKDIR /app")
    expect(alert).to_contain_text("exit code: 3")
    expect(page.locator(".ll-bad-line")).to_have_count(0)

    replace_line(editor, 7, "RUN npm install")
    build(page, "Built 100x-node")
    expect(alert).to_have_count(0)
    expect(page.locator(".ll-bad-line")).to_have_count(0)


def test_stop(notebook: Notebook, app: Path) -> None:
    notebook.open(cell(app))
    notebook.run()
    page = notebook.page
    replace_line(page.get_by_role("textbox", name="Contents of Dockerfile"), 7, "RUN echo begun; sleep 300")
    page.get_by_role("button", name="Build", exact=True).click()
    expect(page.get_by_role("status").filter(has_text="Step 4 runs")).to_be_visible()
    page.get_by_role("tab", name="Log").click()
    expect(page.get_by_role("log")).to_contain_text("begun")
    page.get_by_role("tab", name="Layers").click()
    page.get_by_role("button", name="Stop").click()
    expect(page.get_by_role("status").filter(has_text="Stopped.")).to_be_visible()
    assert verdicts(page)[:6] == ["base", "executed", "executed", "stopped", "skipped", "skipped"]
    replace_line(page.get_by_role("textbox", name="Contents of Dockerfile"), 7, "RUN npm install")
    build(page, "3 steps ran, 2 cached")


def test_the_matrix_follows_the_typing(notebook: Notebook, app: Path) -> None:
    notebook.open(cell(app))
    notebook.run()
    page = notebook.page
    page.get_by_role("tab", name="What if").click()
    table = page.get_by_role("table", name="What an edit makes the next build run again")
    row = table.get_by_role("row").filter(has_text="src/index.ts")
    expect(row.get_by_role("cell")).to_have_text(["4 steps", "✓cached", "↻runs", "↻runs", "↻runs", "↻runs"])
    replace_line(page.get_by_role("textbox", name="Contents of Dockerfile"), 5, "COPY package.json .")
    expect(row.get_by_role("cell")).to_have_text(["nothing", "✓cached", "✓cached", "✓cached", "✓cached", "✓cached"])
    expect(table.get_by_role("columnheader").nth(3)).to_contain_text("COPY package.json .")


def test_the_matrix_says_what_an_edit_costs_and_by_keyboard_why(notebook: Notebook, app: Path) -> None:
    """In seconds of the last time; each sign tells its step and its cause when the arrow keys come to it."""
    text = "FROM base:1\nCOPY package.json .\nRUN sleep 1.2\nCOPY src src\nRUN sleep 0.3\n"
    (app / "Dockerfile").write_text(text, encoding="utf-8")
    notebook.open(cell(app, ", edits=('src/index.ts', 'package.json')"))
    notebook.run()
    page = notebook.page
    build(page, "4 steps ran, 0 cached")
    page.get_by_role("tab", name="What if").click()
    table = page.get_by_role("table", name="What an edit makes the next build run again")
    costs = table.locator(".ll-cost")
    expect(costs).to_have_text([re.compile(r"^\d+(\.\d)? s → \d+(\.\d)? s$")] * 2)
    sources, packages = ([float(each) for each in re.findall(r"[\d.]+", text)] for text in costs.all_inner_texts())
    assert sources[1] <= sources[0] - 1.2
    assert packages[0] == packages[1] == sources[0]
    table.get_by_role("button").first.focus()
    for key in ("ArrowRight", "ArrowRight", "ArrowDown"):
        page.keyboard.press(key)
    expect(table.get_by_role("button").nth(6)).to_be_focused()
    told = page.get_by_role("tabpanel", name="What if").locator(".ll-told")
    expect(told).to_contain_text("4. COPY src src — runs: Nothing of its own changed; it builds on step 2")


@pytest.mark.parametrize("width", [640, 1000])
def test_the_matrix_fits(notebook: Notebook, app: Path, width: int) -> None:
    """Fourteen steps in two stages and thirty files: on a page of 1000 pixels nothing is to be scrolled, on a narrow one the names stay."""
    steps = [f"COPY src/f{number}.ts /app/" if number % 2 else f"RUN echo {number}" for number in range(1, 12)]
    text = "\n".join(["FROM base:1 AS build", *steps, "FROM base:1", "WORKDIR /app", "COPY --from=build /app ./", "RUN echo last", ""])
    (app / "Dockerfile").write_text(text, encoding="utf-8")
    for number in range(30):
        (app / "src" / f"f{number}.ts").write_text(f"// {number}\n", encoding="utf-8")
    page = notebook.page
    page.set_viewport_size({"width": width, "height": 900})
    edits = tuple(f"src/f{number}.ts" for number in range(30))
    notebook.open(
        store_of(app) + f"from layerlab.widgets import WhatIf\nWhatIf({str(app)!r}, edits={edits!r}, editable=False, offline=True)"
    )
    page.evaluate("jupyterapp.shell.collapseLeft()")
    notebook.run()
    rows = page.get_by_role("table", name="What an edit makes the next build run again").get_by_role("row")
    # The stages, the steps, and the files.
    expect(rows).to_have_count(32)
    region = page.get_by_role("region", name="What-if matrix")
    whole, seen = region.evaluate("element => [element.scrollWidth, element.clientWidth]")
    if width == 1000:
        assert whole <= seen
    region.evaluate("element => { element.scrollLeft = 1000; }")
    name = rows.nth(5).get_by_role("rowheader")
    assert name.bounding_box()["x"] >= region.bounding_box()["x"] - 1  # type: ignore[index]
    expect(page.get_by_text("? undecided: it depends on step")).to_be_visible()


def test_the_keys_follow_the_typing(notebook: Notebook, app: Path) -> None:
    notebook.open(cell(app))
    notebook.run()
    page = notebook.page
    build(page, "5 steps ran, 0 cached")
    page.get_by_role("tab", name="Keys").click()
    chain = page.get_by_role("list", name="Cache keys, newest on top").get_by_role("listitem")
    expect(chain).to_have_count(7)
    expect(chain.filter(has_text="new key")).to_have_count(0)
    source = page.get_by_role("textbox", name="Contents of src/index.ts")
    source.press("Control+Home")
    source.press_sequentially("x")
    expect(chain.filter(has_text="new key")).to_have_count(4)
    expect(chain.filter(has_text="same key")).to_have_count(2)
    copy = chain.filter(has_text=re.compile(r"^3COPY")).get_by_role("button")
    copy.focus()
    expect(copy).to_have_accessible_description(re.compile(r"Step before.*Instruction.*Files.*→ Key [0-9a-f]{64}"))
    source.press("Control+z")
    expect(chain.filter(has_text="new key")).to_have_count(0)


def test_keyboard_only(notebook: Notebook, app: Path) -> None:
    notebook.open(cell(app))
    notebook.run()
    page = notebook.page
    button = page.get_by_role("button", name="Build", exact=True)
    button.focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("status").filter(has_text="5 steps ran")).to_be_visible()
    # Building takes the focus from nobody, and Stop, which can no longer be pressed, is passed over.
    expect(button).to_be_focused()
    page.keyboard.press("Tab")
    expect(page.get_by_role("combobox", name="File", exact=True)).to_be_focused()
    page.keyboard.press("Tab")
    editor = page.get_by_role("textbox", name="Contents of src/index.ts")
    expect(editor).to_be_focused()
    expect(editor).to_have_accessible_description(re.compile("press Escape, then Tab, to leave"))
    page.keyboard.press("Tab")
    expect(editor).to_be_focused()
    page.keyboard.press("Escape")
    page.keyboard.press("Tab")
    expect(page.get_by_role("combobox", name="Build with")).to_be_focused()
    editor.press("Control+Enter")
    expect(page.get_by_role("status").filter(has_text="4 steps ran, 1 cached")).to_be_visible()
    first = page.get_by_role("tab", name="Layers")
    first.press("ArrowRight")
    expect(page.get_by_role("tab", name="What if")).to_be_focused()
    expect(page.get_by_role("tabpanel", name="What if")).to_be_visible()
    expect(page.get_by_role("tabpanel", name="Layers")).to_be_hidden()


def test_the_kernel_stays_free_and_cells_can_drive_it(notebook: Notebook, app: Path) -> None:
    drive = "record = lab.build()\nlab.edit('src/index.ts', '// from a cell\\n')\nassert len(lab.build().executed) == 4\nlen(lab.matrix())"
    notebook.open(cell(app), drive)
    notebook.run()
    page = notebook.page
    expect(page.get_by_role("status").filter(has_text="4 steps ran, 1 cached")).to_be_visible()
    expect(page.get_by_role("textbox", name="Contents of src/index.ts")).to_have_text("// from a cell")


def test_a_page_that_is_opened_again_shows_the_same(notebook: Notebook, app: Path) -> None:
    notebook.open(cell(app))
    notebook.run()
    page = notebook.page
    build(page, "5 steps ran, 0 cached")
    source = page.get_by_role("textbox", name="Contents of src/index.ts")
    source.press("Control+Home")
    source.press_sequentially("// kept\n")
    build(page, "4 steps ran, 1 cached")
    # A second view of the same widget, made from its state.
    page.evaluate(
        """() => {
            const cell = jupyterapp.shell.currentWidget.content.widgets[0];
            const outputs = cell.model.outputs.toJSON();
            cell.model.outputs.clear();
            cell.model.outputs.fromJSON(outputs);
        }"""
    )
    expect(page.get_by_role("status").filter(has_text="4 steps ran, 1 cached")).to_have_count(1)
    expect(source.locator(".cm-line").first).to_have_text("// kept")
    assert verdicts(page).count("executed") == 4


def test_no_complaints_in_the_servers_log(notebook: Notebook, app: Path) -> None:
    notebook.open(cell(app))
    notebook.run()
    build(notebook.page, "5 steps ran")
    assert notebook.server.complaints() == []


@pytest.mark.parametrize("end", ["session.kernel.restart()", "shutdown()"])
def test_without_its_kernel_it_takes_no_typing(notebook: Notebook, app: Path, end: str) -> None:
    notebook.open(cell(app))
    notebook.run()
    page = notebook.page
    source = page.get_by_role("textbox", name="Contents of src/index.ts")
    source.press("Control+Home")
    page.evaluate(f"jupyterapp.shell.currentWidget.sessionContext.{end}")
    if end == "shutdown()":
        # Nothing tells of this before something is sent.
        source.press_sequentially("x")
    expect(
        page.get_by_role("status").filter(
            has_text="This view has lost its kernel. What was typed before is saved; run the cell again to go on."
        )
    ).to_be_visible()
    expect(page.get_by_role("button", name="Build", exact=True)).to_be_disabled()
    before = source.inner_text()
    for editor in (source, page.get_by_role("textbox", name="Contents of Dockerfile")):
        expect(editor).to_have_attribute("aria-readonly", "true")
        editor.press_sequentially("lost")
        expect(editor).not_to_contain_text("lost")
    assert source.inner_text() == before


@pytest.mark.network
def test_the_real_app(notebook: Notebook, app: Path, real_store: Path) -> None:
    """The lesson on the real app: real packages, the real compiler, and an edit that runs two steps."""
    where = f"import os\nos.environ['LAYERLAB_STORE'] = {str(real_store)!r}\nfrom layerlab.widgets import Workbench\n"
    notebook.open(where + f"lab = Workbench({str(app)!r}, dockerfile='Dockerfile.optimized')\nlab")
    notebook.run()
    page = notebook.page
    button = page.get_by_role("button", name="Build", exact=True)
    button.click()
    expect(page.get_by_role("status").filter(has_text="Built 100x-node")).to_be_visible(timeout=1_200_000)
    source = page.get_by_role("textbox", name="Contents of src/index.ts")
    source.press("Control+Home")
    source.press_sequentially("// edited\n")
    button.click()
    expect(page.get_by_role("status").filter(has_text="2 steps ran, 6 cached")).to_be_visible(timeout=360_000)
    assert verdicts(page) == ["base", *["cached"] * 6, "executed", "executed", "metadata", "metadata"]
