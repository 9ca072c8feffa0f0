"""Watching over a running container: its lock, its ports, its log, the signals that others ask for, and how it ended.

The same in the foreground, where the command line does it, and for ``run -d``, where ``shim`` does it in a process of its own.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator

from layerlab.engines.embedded.containers.creation import started
from layerlab.engines.embedded.containers.log import LogWriter
from layerlab.engines.embedded.containers.ports import Forwarder
from layerlab.engines.embedded.containers.store import KILLED, ContainerRow, ContainerState, ContainerStore, now
from layerlab.engines.embedded.executors.base import Executor, Running
from layerlab.engines.embedded.snapshotters import Snapshotter

_END = b"end\n"


class Task:
    """The command of a container. What is waited for also goes to its log."""

    def __init__(self, running: Running, log: LogWriter) -> None:
        self._running = running
        self._log = log
        self.status: int | None = None

    def wait(self, output: Callable[[bytes], None]) -> int:
        """Pass on what it writes until it ends. Returns the exit status (128 + signal when killed)."""

        def both(block: bytes) -> None:
            self._log.write(block)
            output(block)

        self.status = self._running.wait(both)
        return self.status

    def stop(self) -> None:
        """End it from another thread than the one that waits: ``wait`` returns soon. Harmless when it has ended."""
        self._running.stop()

    def kill(self) -> None:
        """End it now; harmless when it has ended."""
        self._running.kill()


@contextlib.contextmanager
def running_task(row: ContainerRow, *, containers: ContainerStore, snapshotter: Snapshotter, executor: Executor) -> Iterator[Task]:
    """Run a container for the length of the block; on exit it is killed, and how it ended is written down.

    The caller starts it in a thread that lives as long: the kernel kills the sandbox when that thread ends.
    Raises ``UsageError`` for a port that is taken, ``StepFailedError`` for a command that is not in the image.
    """
    with contextlib.ExitStack() as stack:
        stack.enter_context(containers.held(row))
        stack.enter_context(Forwarder(row.ports))
        with containers.store.guarded():
            log = stack.enter_context(LogWriter(containers.path(row, "log")))
        running = stack.enter_context(
            started(row, store=containers.store, worker=snapshotter.worker, snapshotter=snapshotter, executor=executor)
        )
        state = ContainerState(started=now())
        containers.put_state(row, state)
        stack.enter_context(_controlled(containers.path(row, "control"), running))
        command = Task(running, log)
        try:
            yield command
        finally:
            running.kill()
            status = command.status if command.status is not None else KILLED
            containers.put_state(row, ContainerState(started=state.started, finished=now(), exit_status=status))


@contextlib.contextmanager
def _controlled(path: str, running: Running) -> Iterator[None]:
    """Do what others write into the control pipe, in a thread. A pipe cannot reach the wrong process, as a process id can."""
    # Open for writing too, so that it does not end with its last writer.
    descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)

    def serve() -> None:
        while (line := _line(descriptor)) != _END:
            with contextlib.suppress(ValueError, OSError):
                number = int(line)
                if number == signal.SIGKILL:
                    running.stop()
                else:
                    running.signal(number)

    thread = threading.Thread(target=serve, name="control", daemon=True)
    thread.start()
    try:
        yield
    finally:
        os.write(descriptor, _END)
        thread.join()
        os.close(descriptor)


def _line(descriptor: int) -> bytes:
    line = b""
    while not line.endswith(b"\n"):
        line += os.read(descriptor, 1)
    return line
