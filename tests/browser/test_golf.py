"""Cache golf in a real browser: with buttons, with keys alone, by dragging, and typed."""

from __future__ import annotations

import pytest
from playwright.sync_api import Locator, Page, expect

from .jupyter import Notebook

IMPORT = "from layerlab.widgets import Golf\n"
PACKAGES = "COPY package.json package-lock.json ./"


@pytest.fixture
def page(notebook: Notebook) -> Page:
    notebook.open(IMPORT + "Golf('02')")
    notebook.run()
    expect(score(notebook.page)).to_contain_text("1,001 s a week. Par is 251.5 s a week.")
    return notebook.page


def score(page: Page) -> Locator:
    return page.get_by_role("region", name="Cache golf").locator(".ll-golf-score")


def lines(page: Page) -> list[str]:
    return page.get_by_role("list", name="Lines").locator("li > code").all_inner_texts()


def test_at_par_with_buttons(page: Page) -> None:
    page.get_by_role("button", name=f"Put in: {PACKAGES}").click()
    # It stands below FROM, and belongs below WORKDIR. A click does not wait for the answer to the last.
    page.get_by_role("button", name=f"Move line 2 down: {PACKAGES}").click()
    page.get_by_role("button", name="Move line 5 up: RUN npm ci").click()
    expect(score(page)).to_contain_text("★ 251.5 s a week: par.")
    expect(page.get_by_role("combobox", name="Level").locator("option:checked")).to_contain_text("★")
    page.get_by_role("button", name="Undo").click()
    expect(score(page)).not_to_contain_text("★")
    page.get_by_role("button", name="Start again").click()
    expect(score(page)).to_contain_text("1,001 s")


def test_with_keys_alone_the_focus_stays_on_the_line(page: Page) -> None:
    page.get_by_role("button", name=f"Put in: {PACKAGES}").press("Enter")
    # The line takes the focus with it.
    expect(page.locator("li.ll-golf-line", has_text=PACKAGES).locator("button:focus")).to_have_count(1)
    page.keyboard.press("Alt+ArrowDown")
    expect(page.locator("li.ll-golf-line[data-text]").nth(2).locator("button:focus")).to_have_count(1)
    page.get_by_role("button", name="Move line 5 up: RUN npm ci").focus()
    page.keyboard.press("Alt+ArrowUp")
    expect(page.get_by_role("button", name="Move line 4 up: RUN npm ci")).to_be_focused()
    expect(score(page)).to_contain_text("★")


def test_a_line_is_dragged(page: Page) -> None:
    page.get_by_role("button", name=f"Put in: {PACKAGES}").click()
    page.locator("li.ll-golf-line", has_text=PACKAGES).drag_to(page.locator("li.ll-golf-line", has_text="WORKDIR /app"))
    expect(score(page)).to_contain_text("1,001.5 s")
    page.locator("li.ll-golf-line", has_text="RUN npm ci").drag_to(page.locator("li.ll-golf-line", has_text="COPY . ."))
    expect(score(page)).to_contain_text("★")


def test_a_hint_names_a_cause(page: Page) -> None:
    page.get_by_role("button", name="Hint").click()
    hints = page.get_by_role("region", name="Cache golf").locator(".ll-golf-hints")
    expect(hints).to_contain_text("RUN npm ci, runs again for nothing")
    expect(hints).not_to_contain_text(PACKAGES)


def test_what_would_fail_is_said_at_its_line(page: Page) -> None:
    page.get_by_role("button", name="Move line 4 up: RUN npm ci").click()
    expect(score(page)).to_contain_text("✕ Line 3: RUN npm ci would fail: there is no /app/package.json yet")
    expect(page.locator(".ll-golf-line[data-broken]")).to_contain_text("RUN npm ci")


def test_lines_are_typed(page: Page) -> None:
    page.get_by_role("button", name="Type").click()
    text = page.get_by_role("textbox", name="The lines as text")
    expect(text).to_be_focused()
    text.fill(f'FROM node:alpine\nWORKDIR /app\n{PACKAGES}\nRUN npm ci\nCOPY . .\nRUN node tools/build.js\nCMD ["node", "dist/app.js"]')
    text.press("Control+Enter")
    expect(score(page)).to_contain_text("★")
    page.get_by_role("button", name="Move", exact=True).click()
    assert lines(page)[2] == PACKAGES
