"""A small app with a store of its own, and widgets on it without a browser or a kernel."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from layerlab.engines.embedded.engine import EmbeddedEngine
from layerlab.widgets import Workbench
from tests.conformance import bases

DOCKERFILE = "FROM base:1\nWORKDIR /app\nCOPY package.json .\nRUN echo install\nCOPY . .\nRUN echo build\nCMD true\n"


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with the small base images, to be copied."""
    return bases.make_store(tmp_path_factory.mktemp("widgets"))


@pytest.fixture
def engine(tmp_path: Path, template: Path) -> Iterator[EmbeddedEngine]:
    """An engine whose store has base images and nothing built."""
    shutil.copytree(template, tmp_path / "store", symlinks=True)
    with EmbeddedEngine(str(tmp_path / "store")) as made:
        yield made


@pytest.fixture
def app(tmp_path: Path) -> Path:
    """An app in the order of the lesson's optimised Dockerfile."""
    directory = tmp_path / "app"
    (directory / "src").mkdir(parents=True)
    (directory / "src" / "index.ts").write_text("// one\n", encoding="utf-8")
    (directory / "package.json").write_text("{}\n", encoding="utf-8")
    (directory / "README.md").write_text("read\n", encoding="utf-8")
    (directory / ".dockerignore").write_text("*.md\nDockerfile*\n", encoding="utf-8")
    (directory / "Dockerfile").write_text(DOCKERFILE, encoding="utf-8")
    (directory / "Dockerfile.other").write_text("FROM base:1\nRUN echo other\n", encoding="utf-8")
    return directory


@pytest.fixture
def lab(app: Path, engine: EmbeddedEngine) -> Iterator[Workbench]:
    """A Workbench on the app."""
    made = Workbench(str(app), tag="app", engine=engine, offline=True, network="none")
    yield made
    made.close()


def until(true: Callable[[], bool], seconds: float = 20) -> None:
    """Wait for something that another thread does."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it did not come about"
        time.sleep(0.01)
