"""Makes the pictures of ``docs/images`` from real builds of the lesson's app, in Chromium without a window.

Run by hand: ``.venv/bin/python docs/screenshots.py [--store DIR] [--all DIR]``. The first run installs the app's packages, which takes
about a minute; with ``--store`` later runs find them. ``--all`` writes each picture of the course to a folder, at 1000 and 1600 pixels
and in both themes, to be looked at.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from playwright.sync_api import Browser, Locator, Page, expect, sync_playwright  # noqa: E402

from docs.apng import animated  # noqa: E402
from tests.browser.jupyter import Notebook, Server, launch, serving  # noqa: E402

_MINUTES = 10 * 60_000
_THEMES = {"light": "JupyterLab Light", "dark": "JupyterLab Dark"}
# A frame each so many milliseconds of a build; the last one stays.
_FRAME = 120
_STAYS = 3500

_SETUP = "%load_ext layerlab\nlab.reset()\nlab.write('Dockerfile', open({optimised!r}).read())\n"
_TINY = "lab.write('../tiny/Dockerfile', 'FROM node:alpine\\nRUN head -c 10000000 /dev/urandom > /big\\nRUN rm /big\\n')\n"


def main() -> None:
    """Make the pictures of the README; with ``--all`` every picture there is."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--store", type=Path)
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "images")
    parser.add_argument("--all", type=Path, metavar="DIR")
    options = parser.parse_args()
    with contextlib.ExitStack() as stack:
        place = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="layerlab-screenshots-")))
        store = (options.store or place / "store").resolve()
        variables = {"LAYERLAB_STORE": str(store), "LAYERLAB_WORK": str(place / "work")}
        server = stack.enter_context(serving(place / "lab", variables))
        browser = launch(stack.enter_context(sync_playwright()))
        options.out.mkdir(parents=True, exist_ok=True)
        _readme(browser, server, options.out)
        for width in (1000, 1600) if options.all is not None else ():
            for theme in _THEMES:
                folder = options.all / f"{width}-{theme}"
                folder.mkdir(parents=True, exist_ok=True)
                _every(browser, server, folder, width, theme)
        browser.close()
    for folder in filter(None, (options.out, options.all)):
        for picture in sorted(folder.rglob("*.png")):
            print(f"{picture.stat().st_size / 1000:6.0f} kB  {picture}")


@contextlib.contextmanager
def _opened(browser: Browser, server: Server, width: int, theme: str, *cells: str, motion: bool = False):  # type: ignore[no-untyped-def]
    page = browser.new_page(viewport={"width": width, "height": 1600}, reduced_motion="no-preference" if motion else "reduce")
    notebook = Notebook(server, page)
    page.set_default_timeout(_MINUTES)
    optimised = str(ROOT / "node-app" / "Dockerfile.optimized")
    notebook.open(_SETUP.format(optimised=optimised), *cells, theme=_THEMES[theme])
    page.evaluate("jupyterapp.shell.collapseLeft()")
    notebook.run()
    yield notebook, page
    notebook.shut_down()
    page.close()
    for problem in notebook.problems:
        print("problem of the page:", problem)


def _readme(browser: Browser, server: Server, out: Path) -> None:
    edit = "lab.say(f'Hello at {lab.now()}!')"
    with _opened(browser, server, 1200, "light", "%docker build -t 100x-node .", edit, motion=True) as (notebook, page):
        _film(notebook, page, out / "rebuild.png")
    with _opened(browser, server, 1200, "light", "%docker build -t 100x-node .", "lab.workbench()") as (notebook, page):
        bench = page.locator(".ll-workbench")
        source = page.get_by_role("textbox", name="Contents of src/index.ts")
        source.press("Control+Home")
        source.press_sequentially(f"// Edited on {time.strftime('%d %B, %H:%M:%S')}.\n")
        page.get_by_role("button", name="Build", exact=True).click()
        expect(page.get_by_role("status").filter(has_text="2 steps ran, 6 cached")).to_be_visible()
        bench.screenshot(path=out / "workbench-light.png")
        page.get_by_role("tab", name="What if").click()
        page.get_by_role("tabpanel", name="What if").screenshot(path=out / "matrix.png")
        page.get_by_role("tab", name="Layers").click()
        notebook.theme(_THEMES["dark"])
        bench.screenshot(path=out / "workbench-dark.png")


def _film(notebook: Notebook, page: Page, target: Path) -> None:
    """One rebuild, as it is seen."""
    _begin(page, "%docker build -t 100x-node .")
    card = page.get_by_role("region", name="Build of 100x-node").last
    expect(card.locator("[data-verdict=cached]").first).to_be_visible()
    frames: list[bytes] = []
    times: list[int] = []
    last = time.monotonic()
    while True:
        # Only the picture of the stack: what changes in size below it would make frames of different sizes.
        frame = _of_one_size(page, card)
        now = time.monotonic()
        if frames and frame == frames[-1]:
            times[-1] += int(1000 * (now - last))
        else:
            frames.append(frame)
            times.append(max(20, int(1000 * (now - last))))
        last = now
        if card.get_by_text("Built 100x-node").count() and len(frames) > 2 and not card.locator("[data-verdict=running]").count():
            break
        page.wait_for_timeout(_FRAME)
    page.wait_for_timeout(600)
    frames.append(_of_one_size(page, card))
    times.append(_STAYS)
    target.write_bytes(animated(frames, times))
    notebook.wait_for_kernel()


def _of_one_size(page: Page, card: Locator) -> bytes:
    card.scroll_into_view_if_needed()
    box = card.bounding_box()
    assert box is not None
    return page.screenshot(clip={"x": box["x"], "y": box["y"], "width": box["width"], "height": 660})


def _begin(page: Page, source: str) -> None:
    """Begin to run some code in a new last cell, at the top of what is seen."""
    page.evaluate(
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


def _every(browser: Browser, server: Server, folder: Path, width: int, theme: str) -> None:
    cells = (
        "%docker build -t 100x-node .",
        "first = lab.last_build()\nlab.say(f'Hello at {lab.now()}!')\nguess = lab.predict('one-line-optimised')\nguess",
        "guess.commit([9])",
        "%docker build -t 100x-node .",
        "lab.side_by_side(naive=first, optimised=lab.last_build())",
        "lab.what_if('src/index.ts', 'prisma/schema.prisma', 'package.json', 'README.md')",
        "lab.explore('100x-node')",
        "lab.workbench()",
        _TINY + "%docker build -t tiny ../tiny",
        "lab.union('tiny', '/big', '/etc/shells')",
        "address = lab.registry()\n%docker tag tiny $address/tiny\nlab.push(f'{address}/tiny')",
        "lab.golf('10')",
    )
    with _opened(browser, server, width, theme, *cells) as (_, page):
        explorer = page.locator(".ll-explorer")
        explorer.get_by_role("button").nth(3).click()
        for name, css in (
            ("build", ".ll-build >> nth=1"),
            ("prediction", ".ll-prediction"),
            ("matrix", ".ll-whatif"),
            ("explorer", ".ll-explorer"),
            ("workbench", ".ll-workbench"),
            ("golf", ".ll-golf"),
        ):
            page.locator(css).screenshot(path=folder / f"{name}.png")
        page.get_by_role("tab", name="Keys").click()
        page.get_by_role("tabpanel", name="Keys").screenshot(path=folder / "keys.png")
        outputs = page.locator(".jp-RenderedHTMLCommon")
        for number, picture in enumerate(outputs.all()):
            picture.screenshot(path=folder / f"picture-{number}.png")


if __name__ == "__main__":
    main()
