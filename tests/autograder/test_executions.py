"""The same command on the same files runs once for all students, whatever the keys; anything else runs for itself.

Each command here writes a time into the image: two images with one time share one run.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from autograder.sandbox.sandbox import Sandbox
from layerlab.engines.api import BuildOptions
from layerlab.engines.embedded.engine import EmbeddedEngine
from layerlab.engines.embedded.rootfs.messages import Remove
from layerlab.errors import ExecutorError, StepBusyError
from layerlab.model import BuildRecord

COMMAND = "RUN cat a.txt > /stamp; date +%N >> /stamp"


@pytest.fixture(scope="module")
def grading(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """A store with a base image, and an npm cache with nothing in it."""
    place = tmp_path_factory.mktemp("executions")
    for name in ("index-v5", "content-v2"):
        (place / "cache" / "_cacache" / name).mkdir(parents=True)
    with Sandbox(str(place / "cache")) as sandbox, sandbox.engine(str(place / "store")) as engine:
        try:
            engine.make_executor()
        except ExecutorError as error:
            pytest.skip(str(error))
        engine.bases.resolve("node:alpine", offline=True)
    yield str(place / "store"), str(place / "cache")
    with EmbeddedEngine(str(place / "store")) as engine:
        engine.worker.ask(Remove(paths=["s"]))


def _context(place: Path, lines: str, **files: str) -> Path:
    place.mkdir()
    (place / "Dockerfile").write_text(f"FROM node:alpine\n{lines}\n")
    for name, text in {"a.txt": "one\n", "b.txt": "two\n", **{f"{key}.txt": text for key, text in files.items()}}.items():
        (place / name).write_text(text)
    (place / ".dockerignore").write_text("Dockerfile\n.dockerignore\n")
    return place


def _build(grading: tuple[str, str], context: Path) -> BuildRecord:
    store, cache = grading
    with Sandbox(cache) as sandbox, sandbox.engine(store) as engine:
        record = engine.build(BuildOptions(context=str(context), offline=True))
    assert record.failure is None, record.failure
    return record


def _commands(record: BuildRecord) -> list[tuple[str, str | None]]:
    return [(step.status, step.diff_id) for step in record.steps if step.instruction.startswith("RUN")]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        pytest.param("COPY a.txt b.txt ./", "COPY *.txt ./", id="a pattern"),
        pytest.param("COPY a.txt b.txt ./", "COPY . .", id="everything"),
        pytest.param("COPY a.txt b.txt ./", "COPY a.txt .\nCOPY b.txt .", id="two layers for one"),
        pytest.param("COPY a.txt b.txt ./", "ADD a.txt b.txt ./", id="ADD"),
    ],
)
def test_other_keys_and_the_same_files_run_once(grading: tuple[str, str], tmp_path: Path, first: str, second: str) -> None:
    head = f"WORKDIR /work/{tmp_path.name}"
    one = _build(grading, _context(tmp_path / "one", f"{head}\n{first}\n{COMMAND}"))
    two = _build(grading, _context(tmp_path / "two", f"{head}\n{second}\n{COMMAND}"))
    assert _commands(one) == _commands(two)
    # It is no hit: the cache has no record under this key. From now on it has.
    assert [status for status, _ in _commands(two)] == ["executed"]
    assert [status for status, _ in _commands(_build(grading, tmp_path / "two"))] == ["cached"]


@pytest.mark.parametrize(
    ("first", "second", "files"),
    [
        pytest.param("COPY . .", "COPY . .", {"a": "other\n"}, id="another content"),
        pytest.param("COPY a.txt .", "COPY . .", {}, id="one file more"),
        pytest.param("COPY a.txt .", "COPY --chmod=755 a.txt .", {}, id="another mode"),
        pytest.param("COPY a.txt .", "COPY --chown=1000 a.txt .", {}, id="another owner"),
        pytest.param("COPY . .", "COPY . .\nRUN rm b.txt", {}, id="a file removed"),
        pytest.param("COPY a.txt .", "COPY a.txt .\nRUN touch -d @0 a.txt", {}, id="another time of a file, by a command"),
        pytest.param("COPY a.txt .", "COPY a.txt .\nENV X=1", {}, id="another environment"),
        pytest.param("COPY a.txt .", "COPY a.txt .\nUSER 1000", {}, id="another user"),
        pytest.param("ARG X=1\nCOPY a.txt .", "ARG X=2\nCOPY a.txt .", {}, id="another argument"),
    ],
)
def test_what_differs_runs_for_itself(grading: tuple[str, str], tmp_path: Path, first: str, second: str, files: dict[str, str]) -> None:
    head, command = f"WORKDIR /work/{tmp_path.name}", COMMAND.replace("/stamp", "/tmp/stamp")
    one = _build(grading, _context(tmp_path / "one", f"{head}\n{first}\n{command}"))
    two = _build(grading, _context(tmp_path / "two", f"{head}\n{second}\n{command}", **files))
    assert _commands(one)[-1][1] != _commands(two)[-1][1]


def test_with_a_mount_nothing_is_shared(grading: tuple[str, str], tmp_path: Path) -> None:
    command = COMMAND.replace("RUN", "RUN --mount=type=tmpfs,target=/scratch")
    records = [
        _build(grading, _context(tmp_path / name, f"WORKDIR /mounts\nCOPY {what} ./\n{command}"))
        for name, what in (("one", "a.txt b.txt"), ("two", "*.txt"))
    ]
    assert _commands(records[0]) != _commands(records[1])


def test_two_at_the_same_time_run_it_once(grading: tuple[str, str], tmp_path: Path) -> None:
    """The second waits for the first, and neither waits for ever, though each has what the other wants next."""
    stages = ("FROM node:alpine AS {0}\nWORKDIR /{0}\nCOPY {2} ./\nRUN sleep 1; date +%N > stamp", "COPY --from={0} /{0}/stamp /{0}")
    records: dict[str, BuildRecord] = {}

    def build(name: str, order: tuple[str, str], what: str) -> None:
        first, second = (stages[0].format(stage, "", what) for stage in order)
        last = "\n".join(stages[1].format(stage) for stage in order)
        context = _context(tmp_path / name, "")
        (context / "Dockerfile").write_text(f"{first}\n{second}\nFROM node:alpine\n{last}\n")
        records[name] = _build(grading, context)

    threads = [
        threading.Thread(target=build, args=("one", ("left", "right"), "a.txt b.txt")),
        threading.Thread(target=build, args=("two", ("right", "left"), "*.txt")),
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=180)
    assert sorted(records) == ["one", "two"], "they wait for each other"
    assert sorted(_commands(records["one"]), key=str) == sorted(_commands(records["two"]), key=str)


def test_who_has_no_patience_is_told_that_a_step_is_another_ones(grading: tuple[str, str], tmp_path: Path) -> None:
    """And nothing is lost: what was made before stays cached, and later the step is found done."""
    lines = "WORKDIR /busy\nCOPY a.txt .\nRUN sleep 3; date +%N > stamp"
    first, second = _context(tmp_path / "one", lines), _context(tmp_path / "two", lines)
    records: list[BuildRecord] = []
    thread = threading.Thread(target=lambda: records.append(_build(grading, first)))
    thread.start()
    time.sleep(1)
    store, cache = grading
    with Sandbox(cache, patience=0.2) as sandbox, sandbox.engine(store) as engine, pytest.raises(StepBusyError):
        engine.build(BuildOptions(context=str(second), offline=True))
    thread.join()
    later = _build(grading, second)
    assert [status for status, _ in _commands(later)] == ["cached"]
    assert [layer for _, layer in _commands(later)] == [layer for _, layer in _commands(records[0])]
