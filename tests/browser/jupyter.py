"""JupyterLab for a browser test: a server of its own with its own folders, and a notebook open in Chromium.

Used by the tests, by ``bench/widgets.py`` and by ``docs/screenshots.py``.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import time
import urllib.request
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

import nbformat
from playwright.sync_api import Browser, ConsoleMessage, Page, Playwright
from playwright.sync_api import Error as PlaywrightError

ROOT: Final = Path(__file__).resolve().parents[2]
_CHROMIUM_ARGUMENTS: Final = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync"),
)
_SETTINGS: Final[dict[str, dict[str, object]]] = {
    "@jupyterlab/apputils-extension:notification": {"fetchNews": "false", "checkForUpdates": False, "doNotDisturbMode": True},
    "@jupyterlab/docmanager-extension:plugin": {"autosave": False},
}

# What Chromium says of requests under way, to loopback too, when any interface of the machine comes, goes or gets an address.
# JupyterLab and the widgets ask again; a test that does not get what it waits for fails by that.
_NETWORK_CHANGED: Final = "net::ERR_NETWORK_CHANGED"

# ipykernel's word in a notebook when its thread that sends output gets no turn for ten seconds. What it holds comes later.
_SLOW: Final = "IOStream.flush timed out"

# JupyterLab's own error for what it still asks a kernel (for its debugger, for a subshell) that is restarted or ended.
_KERNEL_ENDED: Final = "Canceled future for "


def store_of(app: Path) -> str:
    """Code for a kernel: use the store beside an app."""
    return f"import os\nos.environ['LAYERLAB_STORE'] = {str(app.parent / 'store')!r}\n"


def find_chromium() -> str | None:
    """The Chromium of this machine."""
    return next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


def launch(playwright: Playwright) -> Browser:
    """A Chromium without a window."""
    return playwright.chromium.launch(executable_path=find_chromium(), args=list(_CHROMIUM_ARGUMENTS))


class Server:
    """A running JupyterLab: where it answers, the folder that it shows, and what it wrote."""

    def __init__(self, url: str, root: Path, log: Path) -> None:
        self.url = url
        self.root = root
        self.log = log

    def complaints(self) -> list[str]:
        """Errors and warnings in its log, but for those that Jupyter itself always has here."""
        lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines()
        marked = [line for line in lines if line.startswith(("[E ", "[W ", "[C ")) or "Traceback" in line]
        return [line for line in marked if not any(words in line for words in _EXPECTED)]


# The server is started without a token, the notebooks were not made by it, and Jupyter's own defaults do not fit one another.
_EXPECTED: Final = ("All authentication is disabled", "is not trusted", "The websocket_ping_timeout")


@contextlib.contextmanager
def serving(base: Path, environment: Mapping[str, str] | None = None) -> Iterator[Server]:
    """Start JupyterLab as ``./lab`` configures it, on a port that the system picks, and end it with its kernels."""
    folders = {name: base / name for name in ("root", "config", "data", "runtime", "settings", "workspaces")}
    for folder in folders.values():
        folder.mkdir(parents=True)
    for plugin, values in _SETTINGS.items():
        package, name = plugin.rsplit(":", 1)
        (folders["settings"] / package).mkdir(parents=True)
        (folders["settings"] / package / f"{name}.jupyterlab-settings").write_text(json.dumps(values), encoding="utf-8")
    variables = {
        **os.environ,
        "JUPYTER_CONFIG_DIR": str(folders["config"]),
        "JUPYTER_CONFIG_PATH": str(ROOT / "jupyter-config"),
        "JUPYTER_DATA_DIR": str(folders["data"]),
        "JUPYTER_PATH": str(ROOT / "jupyter-data"),
        "JUPYTER_RUNTIME_DIR": str(folders["runtime"]),
        "JUPYTERLAB_SETTINGS_DIR": str(folders["settings"]),
        "JUPYTERLAB_WORKSPACES_DIR": str(folders["workspaces"]),
        "IPYTHONDIR": str(base / "ipython"),
        "JUPYTER_PLATFORM_DIRS": "1",
        "PYTHONPATH": str(ROOT),
        "LAYERLAB_ENGINE": "embedded",
        # Whatever notebook is opened: the working copy of this checkout is not the tests'.
        "LAYERLAB_WORK": str(base / "work"),
        **(environment or {}),
    }
    command = [
        *(sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", "--ip=127.0.0.1", "--port=0", "--IdentityProvider.token="),
        *("--ServerApp.password=", f"--ServerApp.root_dir={folders['root']}", "--ServerApp.disable_check_xsrf=True"),
        *("--LabApp.expose_app_in_browser=True", "--LabApp.extension_manager=readonly"),
    ]
    log = base / "server.log"
    with log.open("wb") as stream:
        server = subprocess.Popen(command, env=variables, stdin=subprocess.DEVNULL, stdout=stream, stderr=stream, cwd=base)
        try:
            yield Server(_address(server, folders["runtime"], log), folders["root"], log)
        finally:
            server.terminate()
            try:
                server.wait(30)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait()


def _address(server: subprocess.Popen[bytes], runtime: Path, log: Path) -> str:
    """The server's address, once it answers: its runtime file is there before it listens."""
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline and server.poll() is None:
        try:
            found = next(runtime.glob("jpserver-*.json"))
            url: str = json.loads(found.read_text(encoding="utf-8"))["url"]
            with urllib.request.urlopen(url + "api/status", timeout=5) as answer:
                answer.read()
            return url
        except (StopIteration, ValueError, OSError):
            time.sleep(0.1)
    raise RuntimeError(f"JupyterLab did not start:\n{log.read_text(encoding='utf-8', errors='replace')}")


class Notebook:
    """One page with one notebook. ``problems`` are errors of the page and requests that left the machine."""

    def __init__(self, server: Server, page: Page) -> None:
        self.server = server
        self.page = page
        self.problems: list[str] = []
        page.set_default_timeout(60_000)
        page.on("pageerror", lambda error: self._note(f"page error: {error}"))
        page.on("console", self._hear)
        page.on("request", lambda request: self._see(request.url))

    def _hear(self, message: ConsoleMessage) -> None:
        if message.type == "error" and not message.text.endswith(_NETWORK_CHANGED):
            self._note(message.text)

    def _note(self, text: str) -> None:
        if _KERNEL_ENDED not in text:
            self.problems.append(text)

    def _see(self, url: str) -> None:
        if url.startswith("http") and not url.startswith(self.server.url):
            self.problems.append(f"outside request: {url}")

    def open(self, *sources: str, theme: str = "JupyterLab Light", folder: str = "") -> None:
        """Write the cells to a fresh notebook, in a folder of the server's, open it alone and wait for its kernel."""
        name = f"{folder}{'/' if folder else ''}lesson-{time.monotonic_ns()}.ipynb"
        cells = [nbformat.v4.new_code_cell(source) for source in sources]
        kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
        nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": kernel}), self.server.root / name)
        self.show(name, theme=theme)

    def show(self, name: str, *, theme: str = "JupyterLab Light") -> None:
        """Open a notebook that is in the server's folder, alone, and wait for its kernel."""
        page = self.page
        address = f"{self.server.url}lab/workspaces/t{time.monotonic_ns()}/tree/{name}?reset"
        try:
            page.goto(address)
        except PlaywrightError as error:
            if _NETWORK_CHANGED not in str(error):
                raise
            page.goto(address)
        page.wait_for_function("window.jupyterapp && document.querySelector('.jp-Notebook')")
        page.evaluate("jupyterapp.restored")
        self.theme(theme)
        self.wait_for_kernel()

    def theme(self, name: str) -> None:
        """Change the theme. The server keeps the choice for the next page, so each test makes its own."""
        self.page.evaluate("theme => jupyterapp.commands.execute('apputils:change-theme', {theme})", name)
        # JupyterLab's <body> has no height, so it never counts as visible.
        self.page.wait_for_selector(f"body[data-jp-theme-name='{name}']", state="attached")
        self.page.wait_for_selector("#jupyterlab-splash", state="detached")

    def wait_for_kernel(self) -> None:
        """Wait until the kernel is there and idle."""
        self.page.wait_for_function(
            """() => {
                const session = jupyterapp.shell.currentWidget?.sessionContext;
                return session?.isReady && session.session?.kernel?.status === 'idle';
            }"""
        )

    def run(self) -> None:
        """Run all cells, and check that none raised."""
        self.page.evaluate("jupyterapp.commands.execute('notebook:run-all-cells')")
        self.page.wait_for_function(
            """() => [...jupyterapp.shell.currentWidget.content.widgets]
                .every(cell => cell.model.type !== 'code' || cell.model.executionCount !== null)"""
        )
        self.wait_for_kernel()
        kinds = ("application/vnd.jupyter.stderr", "application/vnd.jupyter.error")
        texts = self.page.locator(", ".join(f".jp-OutputArea-output[data-mime-type='{kind}']" for kind in kinds)).all_inner_texts()
        words = [line for text in texts for line in text.splitlines() if line.strip()]
        slow = words.count(_SLOW)
        if slow < len(words):
            raise AssertionError("\n".join(texts))
        if slow:
            warnings.warn(f"the kernel waited {slow} times ten seconds until its output was sent: this machine is slow", stacklevel=2)

    def shut_down(self) -> None:
        """End the kernel."""
        self.page.evaluate("window.jupyterapp?.commands.execute('notebook:shutdown-kernel').catch(() => 0)")
