"""The process behind ``run -d``: there is no daemon, so each container that runs by itself has a shim of its own.

``launch`` starts it and waits until the container's command runs, or tells why it does not. It is in a session of its own and no
child of its caller, it ends with the container, and the container ends with it.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from typing import Final

import msgspec

from layerlab.engines.embedded.containers.store import ContainerRow, ContainerStore
from layerlab.engines.embedded.containers.task import running_task
from layerlab.engines.embedded.host import find_host
from layerlab.engines.embedded.snapshotters import Snapshotter
from layerlab.engines.embedded.store import Store
from layerlab.engines.embedded.workers import WorkerProcess
from layerlab.errors import BaseImageError, DockerfileError, ExecutorError, LayerlabError, StepFailedError, StoreError, UsageError
from layerlab.interrupt import interruptible

_START: Final = "import sys; sys.path[:] = {path!r}; from layerlab.engines.embedded.containers.shim import main; main(*sys.argv[1:])"


class _Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What the shim tells its caller: an empty ``kind`` when the command runs, else an error."""

    kind: str = ""
    message: str = ""
    remedy: str | None = None
    exit_status: int = 0


def launch(store_path: str, row: ContainerRow) -> None:
    """Start the shim of a new container. ``store_path`` is the directory that holds the stores.

    Raises what keeps the container from starting: ``UsageError``, ``StepFailedError``, ``StoreError``, ``ExecutorError``.
    """
    read, write = os.pipe()
    try:
        code = _START.format(path=sys.path)
        command = [sys.executable, "-I", "-S", "-c", code, store_path, row.id, str(write)]
        first = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            pass_fds=(write,),
            cwd="/",
            start_new_session=True,
        )
    except BaseException:
        os.close(read)
        raise
    finally:
        os.close(write)
    with open(read, "rb") as stream:
        answer = stream.read()
    first.wait()
    if not answer:
        raise ExecutorError("the supervisor of the container ended before it had started it", remedy="Run it without -d to see more.")
    outcome = msgspec.json.decode(answer, type=_Outcome)
    if outcome.kind:
        raise _error(outcome)


def _error(outcome: _Outcome) -> LayerlabError:
    if outcome.kind == StepFailedError.kind:
        return StepFailedError(outcome.message, exit_status=outcome.exit_status, remedy=outcome.remedy)
    classes: tuple[type[LayerlabError], ...] = (UsageError, StoreError, DockerfileError, BaseImageError, ExecutorError)
    return next((one for one in classes if one.kind == outcome.kind), ExecutorError)(outcome.message, remedy=outcome.remedy)


def main(store_path: str, identity: str, report: str) -> None:
    """Be the shim of a container. ``report`` is the descriptor that the outcome of the start goes to."""
    # The caller waits for this process and must not have it as a child: the one that works is the child of one that has ended.
    if os.fork():
        os._exit(0)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    descriptor = int(report)
    os.set_inheritable(descriptor, False)
    try:
        _watch(store_path, identity, descriptor)
    except LayerlabError as error:
        status = error.exit_status if isinstance(error, StepFailedError) else 0
        _tell(descriptor, _Outcome(kind=error.kind, message=error.message, remedy=error.remedy, exit_status=status))
    except OSError as error:
        _tell(descriptor, _Outcome(kind=ExecutorError.kind, message=f"the container cannot be started: {error}"))
    except KeyboardInterrupt:
        # SIGTERM: the container was ended in order.
        _tell(descriptor, _Outcome(kind=ExecutorError.kind, message="the supervisor was stopped"))


def _watch(store_path: str, identity: str, descriptor: int) -> None:
    host = find_host(store_path)
    store = Store(os.path.join(store_path, host.directory))
    worker = WorkerProcess(store.path, host.worker, host.snapshotter)
    containers = ContainerStore(store, worker)
    row = containers.find(identity)
    running = False
    try:
        with (
            interruptible(),
            running_task(
                row,
                containers=containers,
                snapshotter=Snapshotter(store, worker, host.snapshotter),
                executor=host.make_executor(worker),
            ) as command,
        ):
            running = True
            # Its work is done, and a container may run for days.
            worker.close()
            _tell(descriptor, _Outcome())
            command.wait(lambda _block: None)
    finally:
        if row.remove or not running:
            containers.discard(row)
        worker.close()


def _tell(descriptor: int, outcome: _Outcome) -> None:
    """Say it once: the first outcome counts, and who waits for it goes on then."""
    try:
        os.write(descriptor, msgspec.json.encode(outcome))
        os.close(descriptor)
    except OSError:
        return
