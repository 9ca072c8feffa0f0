"""A Docker daemon for the tests: the one that ``DOCKER_HOST`` names, which ``./lab test --docker`` brings up and stops.

Only ``base:1``, ``base:2`` and images of the tests' own are made there; ``node:alpine`` is replaced on a private daemon alone.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from layerlab.engines.api import BuildOptions
from layerlab.engines.docker.client import DockerError, find_builder, probe
from layerlab.engines.docker.engine import DockerEngine
from layerlab.engines.embedded.engine import EmbeddedEngine
from layerlab.model import BuildRecord
from tests.conformance import bases
from tests.docker.private import PRIVATE

_BUNDLE = "/etc/ssl/certs/ca-certificates.crt"

Engine = DockerEngine | EmbeddedEngine


@pytest.fixture(scope="session")
def daemon() -> str:
    """The daemon's address, with the base images loaded and an empty build cache."""
    host = os.environ.get("DOCKER_HOST")
    if not host:
        pytest.skip("no Docker daemon: run ./lab test --docker, or set DOCKER_HOST")
    problem = probe()
    if problem is not None:
        pytest.skip(f"no Docker daemon: {problem.message}")
    try:
        find_builder()
    except DockerError as error:
        pytest.skip(f"nothing to build with: {error.message}")
    for base in bases.bases():
        if base.name.startswith("base:"):
            changes = [f"--change=ENV {item}" for item in base.config["Env"]]
            subprocess.run(["docker", "import", *changes, "-", base.name], input=base.layer, capture_output=True, check=True)
    return host


@pytest.fixture
def docker_engine(daemon: str, tmp_path: Path) -> Iterator[DockerEngine]:
    """Docker, with nothing remembered."""
    with DockerEngine(str(tmp_path / "docker-state")) as engine:
        yield engine


@pytest.fixture
def embedded_engine(tmp_path: Path) -> Iterator[EmbeddedEngine]:
    """The embedded engine with the same base images."""
    with EmbeddedEngine(str(tmp_path / "store")) as engine:
        if not engine.host.executor:
            pytest.skip("nothing on this machine can run a build step")
        for base in bases.bases():
            layout = tmp_path / base.name.replace(":", "-")
            bases.write_layout(base, layout)
            engine.import_layout(str(layout), base.name)
        yield engine


@pytest.fixture
def app(tmp_path: Path) -> Path:
    """A small app. Its text has the test's own path in it, so that no build of another test has its layers."""
    directory = tmp_path / "app"
    (directory / "src").mkdir(parents=True)
    (directory / "package.json").write_text(f'{{"name": "{tmp_path}"}}\n', encoding="utf-8")
    (directory / "src" / "index.ts").write_text("export {};\n", encoding="utf-8")
    (directory / "Dockerfile").write_text(
        f"FROM base:1\nARG VERSION=1\nWORKDIR {tmp_path}/app\nCOPY package* ./\nRUN echo install > installed\nCOPY . .\n"
        'RUN cat src/*.ts > built\nCMD ["cat", "built"]\n',
        encoding="utf-8",
    )
    return directory


@pytest.fixture(scope="session")
def node_alpine(daemon: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    """``node:alpine`` of the private daemon: the stand-in with this machine's certificates, which ``docker build`` gives to no step."""
    if not os.environ.get(PRIVATE):
        pytest.skip("the demo needs a node:alpine that reaches the package registry from here: run ./lab test --docker")
    place = tmp_path_factory.mktemp("node")
    (place / "context").mkdir()
    bundle = next(path for path in (os.environ.get("NODE_EXTRA_CA_CERTS", _BUNDLE), _BUNDLE) if path)
    (place / "context" / "bundle.crt").write_bytes(Path(bundle).read_bytes())
    (place / "context" / "Dockerfile").write_text(
        f"FROM node:alpine\nCOPY bundle.crt {_BUNDLE}\n"
        f"ENV NODE_EXTRA_CA_CERTS={_BUNDLE} SSL_CERT_FILE={_BUNDLE} PRISMA_SCHEMA_ENGINE_BINARY=/bin/sh\n",
        encoding="utf-8",
    )
    with EmbeddedEngine(str(place / "store")) as engine:
        record = engine.build(BuildOptions(context=str(place / "context"), tag="node:alpine", offline=True))
        assert record.failure is None, record.failure
        engine.save(("node:alpine",), str(place / "node.tar"))
    subprocess.run(["docker", "load", "--input", str(place / "node.tar")], capture_output=True, check=True)


def facts(record: BuildRecord) -> list[tuple[Any, ...]]:
    """What two engines must agree on: verdicts, kinds of causes, where the chain began, and paths."""
    return [
        (
            re.sub(r"\s+", " ", step.instruction),
            step.index,
            step.status,
            (step.cause.kind, step.cause.origin, step.cause.paths) if step.cause is not None else None,
        )
        for step in record.steps
    ]
