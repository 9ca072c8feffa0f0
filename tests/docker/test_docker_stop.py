"""Stopping a Docker build from another thread, as the Workbench does, and the what-if matrix with Docker."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from layerlab.engines.api import BuildOptions, Event
from layerlab.engines.docker.engine import DockerEngine
from layerlab.errors import BuildInterruptedError, UsageError
from layerlab.interrupt import Stop

pytestmark = pytest.mark.docker


def options_of(directory: Path, dockerfile: str) -> BuildOptions:
    (directory / "Dockerfile").write_text(dockerfile, encoding="utf-8")
    return BuildOptions(context=str(directory))


@pytest.fixture
def context(tmp_path: Path) -> Path:
    """A build context that no other test has."""
    directory = tmp_path / "context"
    directory.mkdir()
    (directory / "file").write_text(str(tmp_path), encoding="utf-8")
    return directory


def test_stop(docker_engine: DockerEngine, context: Path) -> None:
    stop = Stop()
    asked: list[float] = []

    def watch(event: Event) -> None:
        if not asked and event.kind == "log" and "begun" in event.text:
            asked.append(time.monotonic())
            threading.Thread(target=stop.request).start()

    options = options_of(context, "FROM base:1\nCOPY file /\nRUN echo begun; sleep 60\n")
    with pytest.raises(BuildInterruptedError):
        docker_engine.build(options, watch, stop)
    assert asked
    assert time.monotonic() - asked[0] < 20
    record = docker_engine.build(options_of(context, "FROM base:1\nCOPY file /\nRUN true\n"))
    assert [step.status for step in record.steps] == ["base", "cached", "executed"]


def test_matrix(docker_engine: DockerEngine, context: Path) -> None:
    options = options_of(context, "FROM base:1\nCOPY file /\nRUN cat /file\n")
    docker_engine.build(options)
    edits = ("file", "other")
    assert docker_engine.forecast(options, edits).plan == docker_engine.plan(options)
    assert docker_engine.forecast(options, edits).matrix == docker_engine.matrix(options, edits)
    assert docker_engine.matrix(options, edits) == tuple((edit, docker_engine.plan(options, (edit,))) for edit in edits)
    with pytest.raises(UsageError, match="plans"):
        docker_engine.build(BuildOptions(context=str(context), dockerfile_text="FROM base:1\n"))
