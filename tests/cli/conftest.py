"""A store with small base images, and a way to call the command line as a person does."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from layerlab.engines.embedded.engine import EmbeddedEngine
from tests.conformance import bases

ROOT = Path(__file__).resolve().parents[2]


class Answer(NamedTuple):
    """What a command said."""

    status: int
    out: str
    err: str

    def json(self) -> Any:
        """Standard output as one JSON document."""
        return json.loads(self.out)


Cli = Callable[..., Answer]


@pytest.fixture(scope="session")
def base_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store that has ``base:1``, ``base:2`` and ``node:alpine`` of the conformance cases."""
    place = tmp_path_factory.mktemp("store")
    with EmbeddedEngine(str(place / "store")) as engine:
        for base in bases.bases():
            layout = place / base.name.replace(":", "-")
            bases.write_layout(base, layout)
            engine.import_layout(str(layout), base.name)
    return place / "store"


@pytest.fixture
def cli(base_store: Path, tmp_path: Path) -> Cli:
    """Run ``layerlab ARGUMENTS`` in the test's directory."""

    def run(*arguments: str, environment: dict[str, str] | None = None) -> Answer:
        env = {**os.environ, "LAYERLAB_STORE": str(base_store), "PYTHONPATH": str(ROOT), "NO_COLOR": "1", **(environment or {})}
        done = subprocess.run(
            [sys.executable, "-m", "layerlab", *arguments], cwd=tmp_path, env=env, capture_output=True, text=True, timeout=360, check=False
        )
        return Answer(done.returncode, done.stdout, done.stderr)

    return run


@pytest.fixture
def app(tmp_path: Path) -> Path:
    """A small app: two sources and a Dockerfile in the order of the lesson's optimised one."""
    directory = tmp_path / "app"
    (directory / "src").mkdir(parents=True)
    (directory / "package.json").write_text("{}\n", encoding="utf-8")
    (directory / "src" / "index.ts").write_text(f"// {tmp_path}\n", encoding="utf-8")
    (directory / "Dockerfile").write_text(
        'FROM node:alpine\nWORKDIR /app\nCOPY package* .\nRUN npm install\nCOPY . .\nRUN npm run build\nCMD ["node", "dist/index.js"]\n',
        encoding="utf-8",
    )
    return directory
