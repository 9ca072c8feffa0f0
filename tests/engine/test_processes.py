"""Several processes: a build that is stopped or killed, and two builds at once."""

from __future__ import annotations

import contextlib
import io
import os
import signal
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from .conftest import verdicts

if TYPE_CHECKING:
    from .conftest import Lab

PROGRAM = """
import signal, sys
from layerlab.engines.api import BuildOptions
from layerlab.engines.embedded.engine import EmbeddedEngine
from layerlab.errors import LayerlabError
from layerlab.interrupt import interruptible

store, context, file = sys.argv[1:]
with EmbeddedEngine(store) as engine, interruptible():
    try:
        options = BuildOptions(context=context, file=file, network="none")
        record = engine.build(options, lambda event: print(event.kind, event.text.strip(), flush=True))
    except LayerlabError as error:
        print("error", error.kind, error.message, flush=True)
        sys.exit(error.exit_code)
    print("statuses", *(step.status for step in record.steps), flush=True)
    sys.exit(1 if record.failure else 0)
"""


def _start(lab: Lab, dockerfile: str) -> subprocess.Popen[str]:
    options = lab.options(dockerfile)
    assert options.file is not None
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, lab.engine.store_path, options.context, options.file],
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )


def _wait_for(process: subprocess.Popen[str], text: str) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        if text in line:
            return
    raise AssertionError(f"the build ended before it said {text!r}")


def _running(marker: str) -> list[str]:
    """Command lines of processes that belong to the step with this marker; a dying one has none any more."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except OSError:
                continue
            if marker in line and "PROGRAM" not in line:
                found.append(line)
    return found


def _gone(marker: str) -> bool:
    end = time.monotonic() + 30
    while time.monotonic() < end:
        if not _running(marker):
            return True
        time.sleep(0.02)
    return False


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL], ids=lambda number: signal.Signals(number).name)
def test_a_stopped_build_leaves_nothing_running_and_a_whole_store(lab: Lab, number: signal.Signals) -> None:
    marker = f"marker-{os.getpid()}-{number}"
    dockerfile = f"FROM base:1\nRUN echo first\nRUN : {marker}; (trap '' INT TERM; echo hanging; sleep 300; : {marker}) & wait\n"
    process = _start(lab, dockerfile)
    _wait_for(process, "hanging")
    began = time.monotonic()
    process.send_signal(number)
    rest = process.communicate(timeout=10)[0]
    assert time.monotonic() - began < 5
    if number != signal.SIGKILL:
        assert "error interrupted" in rest
        assert process.returncode == 130
    assert _gone(marker)
    record = lab.try_build("FROM base:1\nRUN echo first\nRUN echo second\n")
    assert record.failure is None
    assert verdicts(record) == ["cached", "executed"]
    assert os.listdir(os.path.join(lab.engine.store.path, "tmp")) == [str(os.getpid())]


def _slow_archive() -> bytes:
    """Small, and long in unpacking: before each file there is a header with very many records."""
    records = b"6 a=b\n" * 170_000
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz", compresslevel=1) as archive:
        for number in range(150):
            header = tarfile.TarInfo("records")
            header.type, header.size = tarfile.XHDTYPE, len(records)
            archive.addfile(header, io.BytesIO(records))
            archive.addfile(tarfile.TarInfo(f"f{number}"))
    return buffer.getvalue()


def _worker_of(engine: int) -> int:
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if entry.name.isdigit() and b"rootfs.worker" in (entry / "cmdline").read_bytes() and _stat(int(entry.name))[1] == str(engine):
                return int(entry.name)
    return 0


def _stat(process: int) -> list[str]:
    """State, parent, …, of a process, as proc(5) has them from the third on."""
    return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()


def _seconds(process: int) -> float:
    """What a process has had of the processor; -1 when it has ended."""
    try:
        found = _stat(process)
    except OSError:
        return -1.0
    return (int(found[11]) + int(found[12])) / os.sysconf("SC_CLK_TCK") if found[0] not in "ZX" else -1


def _until(wanted: Callable[[], object], limit: float) -> bool:
    end = time.monotonic() + limit
    while time.monotonic() < end:
        if wanted():
            return True
        time.sleep(0.02)
    return False


def test_a_worker_ends_with_its_engine_whatever_it_is_doing(lab: Lab) -> None:
    lab.file("a.tar.gz", _slow_archive())
    process = _start(lab, "FROM base:1\nADD a.tar.gz /x/\n")
    worker = 0
    try:
        # By then it unpacks, and is far from the end. Before it there was one that tried out what this machine can do.
        assert _until(lambda: _seconds(_worker_of(process.pid)) > 2, 60)
        worker = _worker_of(process.pid)
        process.kill()
        process.communicate(timeout=10)
        assert _until(lambda: _seconds(worker) < 0, 3)
    finally:
        process.kill()
        if worker and _seconds(worker) >= 0:
            os.kill(worker, signal.SIGKILL)
    assert lab.try_build("FROM base:1\nRUN true\n").failure is None


def test_signals_that_come_together_do_not_end_a_worker(lab: Lab) -> None:
    """By a signal it learns that something happened to its pipe, and requests come at any moment."""
    lab.build("FROM base:1\nRUN true\n")
    worker = _worker_of(os.getpid())
    over = threading.Event()

    def disturb() -> None:
        while not over.is_set():
            os.kill(worker, signal.SIGIO)

    threads = [threading.Thread(target=disturb) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        for number in range(5):
            lab.build(f"FROM base:1\nRUN echo {number} > /f\nCOPY . /d/\n")
    finally:
        over.set()
        for thread in threads:
            thread.join()
    assert _worker_of(os.getpid()) == worker


def test_two_builds_at_once_run_a_step_that_both_need_only_once(lab: Lab) -> None:
    lab.file("f", "f")
    dockerfile = "FROM base:1\nRUN --mount=type=cache,target=/c echo ran >> /c/count; sleep 0.5\nCOPY f /f\nRUN cat /f\n"
    processes = [_start(lab, dockerfile) for _ in range(2)]
    outputs = [process.communicate(timeout=30)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], outputs
    lab.build("FROM base:1\nRUN --mount=type=cache,target=/c cat /c/count\n")
    assert lab.output == "ran\n"
    statuses = [output.splitlines()[-1].split()[2:] for output in outputs]
    assert sorted(pair.count("executed") for pair in map(list, zip(*statuses, strict=True))) == [1, 1, 1]


def test_a_build_while_a_container_of_the_same_engine_runs(lab: Lab) -> None:
    lab.build('FROM base:1\nCMD ["sleep", "60"]\n', tag="sleeper:1")
    with lab.engine.container("sleeper:1", network=False):
        lab.build("FROM base:1\nRUN echo beside it\n")
    assert lab.output == "beside it\n"


def test_builds_that_lock_the_same_caches_do_not_wait_for_each_other_for_ever(lab: Lab) -> None:
    """The first has a; the second wants a and b; the third could have b, and wants a, too."""
    ended: list[object] = []
    begun = threading.Event()

    def build(name: str, caches: str, command: str) -> None:
        mounts = " ".join(f"--mount=type=cache,id={cache},target=/{place},sharing=locked" for place, cache in enumerate(caches))
        file = lab.directory / name
        file.write_text(f"FROM base:1\nRUN {mounts} echo begun; {command}\n")
        with type(lab.engine)(lab.engine.store_path) as engine:
            record = engine.build(lab.options(file=str(file)), lambda event: begun.set() if event.text.strip() == "begun" else None)
        ended.append(record.failure)

    threads = []
    for name, caches, command in (("first", "a", "sleep 2"), ("second", "ab", "true"), ("third", "ba", ":")):
        threads.append(threading.Thread(target=build, args=(name, caches, command), daemon=True))
        threads[-1].start()
        assert begun.wait(30)
        time.sleep(0.5)
    for thread in threads:
        thread.join(20)
    assert ended == [None] * 3
