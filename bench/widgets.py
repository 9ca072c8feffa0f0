"""How quick the widgets are: from a keystroke to the matrix, and from running its cell to a Workbench that can be used.

    .venv/bin/python bench/widgets.py [--rounds 60] [--no-browser]

The first is timed in Python, from the message of the page to the matrix being handed to it, on the lesson's app with eight edits. The
second is timed in Chromium, from the moment that the cell is run, imports included, until there is an editor and Build can be pressed.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import statistics
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from layerlab.engines.embedded.engine import EmbeddedEngine  # noqa: E402
from layerlab.widgets import Workbench  # noqa: E402
from tests.conformance import bases  # noqa: E402


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--no-browser", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="layerlab-bench-") as folder:
        place = Path(folder)
        app = place / "app"
        shutil.copytree(ROOT / "node-app", app, ignore=shutil.ignore_patterns("node_modules", "dist", "*.db"))
        with EmbeddedEngine(str(place / "store")) as engine:
            for base in bases.bases():
                layout = place / base.name.replace(":", "-")
                bases.write_layout(base, layout)
                engine.import_layout(str(layout), base.name)
            times, size = keystrokes(app, engine, options.rounds)
        _print(f"keystroke to matrix ({size})", times, "ms", 30)
        if not options.no_browser:
            _print("running the cell to Workbench usable", usable(place, app), "s", 1)
    print(f"{os.cpu_count()} cores, load average {os.getloadavg()[0]:.1f}")


def keystrokes(app: Path, engine: EmbeddedEngine, rounds: int) -> tuple[list[float], str]:
    """Milliseconds for each of many edits of the Dockerfile, and the size of the matrix."""
    lab = Workbench(str(app), engine=engine, dockerfile="Dockerfile.optimized", offline=True)
    lab.build()
    text = lab.files["Dockerfile.optimized"]
    sent = threading.Event()
    lab.observe(lambda _change: sent.set(), "what_if")
    times = []
    for number in range(rounds):
        # Another instruction each time, so that no answer is that of the time before.
        typed = text.replace("RUN npm run build", f"RUN npm run build {number}")
        sent.clear()
        started = time.perf_counter()
        lab.receive({"type": "edit", "files": {"Dockerfile.optimized": typed}, "dockerfile": "Dockerfile.optimized"})
        if not sent.wait(10):
            raise RuntimeError("no matrix came")
        times.append((time.perf_counter() - started) * 1000)
    size = f"{len(lab.what_if['rows'])} edits × {len(lab.what_if['columns'])} steps"
    lab.close()
    return times, size


def usable(place: Path, app: Path) -> list[float]:
    """Seconds from running the cell until Build can be pressed, in five fresh pages with fresh kernels."""
    from playwright.sync_api import sync_playwright

    from tests.browser.jupyter import Notebook, launch, serving

    code = f"import os\nos.environ['LAYERLAB_STORE'] = {str(place / 'store')!r}\nfrom layerlab.widgets import Workbench\n"
    code += f"Workbench({str(app)!r}, offline=True)"
    script = """() => new Promise(done => {
        const ran = performance.now();
        const look = () => {
            const button = document.querySelector('.ll-workbench button.ll-primary');
            const editor = document.querySelector('.ll-workbench .cm-content');
            if (button && !button.disabled && editor) done((performance.now() - ran) / 1000);
            else requestAnimationFrame(look);
        };
        jupyterapp.commands.execute('notebook:run-all-cells');
        look();
    })"""
    times: list[float] = []
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(serving(place / "lab"))
        browser = launch(stack.enter_context(sync_playwright()))
        for _ in range(5):
            page = browser.new_page()
            notebook = Notebook(server, page)
            notebook.open(code)
            found: Any = page.evaluate(script)
            times.append(float(found))
            notebook.shut_down()
            page.close()
        browser.close()
    return times


def _print(what: str, times: list[float], unit: str, target: float) -> None:
    verdict = "met" if statistics.median(times) <= target else "MISSED"
    print(f"{what:45} median {statistics.median(times):6.2f} {unit}, most {max(times):6.2f} {unit}, target {target:g} {unit}: {verdict}")


if __name__ == "__main__":
    main()
