"""Whatever fails while a step becomes a layer: the engine can go on, and each layer of the store has the content of its digest."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
from collections.abc import Callable
from typing import Any

import pytest

from layerlab.engines.embedded.engine import EmbeddedEngine
from layerlab.engines.embedded.rootfs.messages import Commit, Lay, LetGo, PrepareRun, Remove, Request, Tidy
from layerlab.engines.embedded.store import Store
from layerlab.engines.embedded.workers import WorkerProcess
from layerlab.errors import BuildInterruptedError, LayerlabError, StoreError
from layerlab.interrupt import Stop
from tests.engine.conftest import Lab

# The times make the layer the same in each run.
SAME = "echo {text} > /etc/hostname; touch -d 2020-01-01 /etc/hostname /etc"
_SECONDS = 30


def check_store(lab: Lab) -> None:
    """Each layer has its directory with its content, and there is no other."""
    store = lab.engine.store
    assert sorted({name.split(".")[0] for name in os.listdir(f"{store.path}/s")}) == sorted(str(row.number) for row in store.layer_rows())
    assert lab.engine.verify(lambda _text: None).damaged == ()


def build_in_time(lab: Lab, dockerfile: str) -> str:
    """What a build says, which must not wait for anything that is gone."""
    stop = Stop()
    timer = threading.Timer(_SECONDS, stop.request)
    timer.start()
    said: list[str] = []
    try:
        record = lab.engine.build(lab.options(dockerfile), lambda event: said.append(event.text if event.kind == "log" else ""), stop)
    except BuildInterruptedError:
        pytest.fail(f"the build waited for {_SECONDS} s")
    finally:
        timer.cancel()
    assert record.failure is None
    return "".join(said)


def _killed(process: subprocess.Popen[bytes]) -> None:
    os.kill(process.pid, signal.SIGKILL)
    process.wait()


def _interrupted(_process: subprocess.Popen[bytes]) -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize("happens", [_killed, _interrupted], ids=["the worker is killed", "Ctrl-C"])
@pytest.mark.parametrize("kind", [PrepareRun, Lay, LetGo, Commit, Tidy, Remove])
def test_a_worker_that_is_lost(
    each_lab: Lab, monkeypatch: pytest.MonkeyPatch, kind: type[Request[Any]], happens: Callable[[subprocess.Popen[bytes]], None]
) -> None:
    lab = each_lab
    lab.build("FROM base:1\nRUN true\n")
    send, left = WorkerProcess._send, [kind]

    def lost(process: subprocess.Popen[bytes], request: Request[Any]) -> None:
        if type(request) in left:
            left.remove(type(request))
            happens(process)
        send(process, request)

    dockerfile = "FROM base:1\nRUN echo made > /made\nRUN cat /made\n"
    with monkeypatch.context() as patch:
        patch.setattr(WorkerProcess, "_send", staticmethod(lost))
        with contextlib.suppress(LayerlabError, KeyboardInterrupt):
            lab.engine.build(lab.options(dockerfile))
    assert left == []
    build_in_time(lab, dockerfile)
    assert build_in_time(lab, f"{dockerfile}RUN cat /made /made\n") == "made\nmade\n"
    # What the lost worker was about to remove.
    lab.engine.prune(1 << 40, lambda _text: None)
    check_store(lab)


@pytest.mark.parametrize("name", ["register_layer", "put_record"])
@pytest.mark.parametrize("twice", [False, True], ids=["new layer", "layer that is there"])
def test_a_disk_that_is_full_when_a_layer_gets_its_name(lab: Lab, monkeypatch: pytest.MonkeyPatch, name: str, twice: bool) -> None:
    """The directory of a layer never passes to another image, nor is it removed when its number belongs to somebody else."""
    if twice:
        lab.build(f"FROM base:1\nRUN {SAME.format(text='mine')} # first\n")

    def full(*_arguments: Any, **_options: Any) -> Any:
        raise StoreError("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(Store, name, full)
        record = lab.try_build(f"FROM base:1\nRUN {SAME.format(text='mine')}\n")
        assert record.failure is not None
        assert record.failure.message == "the disk is full"
    lab.build("FROM base:1\nRUN echo another > /other\n")
    said = build_in_time(lab, f"FROM base:1\nRUN {SAME.format(text='mine')}\nRUN cat /etc/hostname; ls /other 2>/dev/null; true\n")
    assert said.endswith("mine\n")
    check_store(lab)


def test_what_was_discarded_is_removed_once(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """By then another build may have the number: here it takes it between the two moments at which something could be removed."""
    step = SAME.format(text="mine")
    lab.build(f"FROM base:1\nRUN {step} # first\n")
    settle = WorkerProcess.settle
    others: list[Any] = []

    def full(*_arguments: Any, **_options: Any) -> Any:
        raise StoreError("the disk is full")

    def settled(worker: WorkerProcess) -> None:
        if worker is lab.engine.worker and not others:
            monkeypatch.undo()
            with EmbeddedEngine(lab.engine.store_path) as other:
                others.append(other.build(lab.options("FROM base:1\nRUN echo other > /other\n")))
        settle(worker)

    monkeypatch.setattr(Store, "put_record", full)
    monkeypatch.setattr(WorkerProcess, "settle", settled)
    assert lab.try_build(f"FROM base:1\nRUN {step}\n").failure is not None
    assert others[0].failure is None
    check_store(lab)


def test_two_threads_with_one_engine(lab: Lab) -> None:
    lab.build("FROM base:1\nRUN true\n")
    process = lab.engine.worker._process
    assert process is not None
    before = len(os.listdir(f"/proc/{process.pid}/fd"))
    wrong: list[str] = []

    def work(name: str) -> None:
        for number in range(8):
            file = lab.directory / f"Dockerfile-{name}"
            file.write_text(f"FROM base:1\nRUN echo {name} {number} > /made\nRUN cat /made\n")
            record = lab.engine.build(lab.options(file=str(file)))
            if record.failure is not None or record.steps[-1].log != f"{name} {number}\n":
                wrong.append(f"{name} {number}: {record.failure} {record.steps[-1].log}")

    threads = [threading.Thread(target=work, args=(name,)) for name in ("one", "two")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    check_store(lab)
    assert len(os.listdir(f"/proc/{process.pid}/fd")) <= before + 1
