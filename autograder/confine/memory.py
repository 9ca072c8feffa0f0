"""How much memory the sandboxes of a submission hold, without control groups: in processes, and in what belongs to no process.

Shared memory counts where it is kept and where it is mapped: a limit that is met too early only for who shares half of what is allowed.
"""

from __future__ import annotations

import contextlib
import os
import resource
import select
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Final, Self

from autograder.confine.processes import number_inside
from layerlab.errors import ExecutorError

_ANSWER_SECONDS: Final = 0.05
_SILENCE_SECONDS: Final = 60.0
_TRIES: Final = 5
_SYSTEM_V: Final = Path("/proc/sysvipc/shm")


class Uncountable(Exception):  # noqa: N818 - a verdict, not a fault of the program
    """Something was hidden where it cannot be measured. The message says what, in words that follow "it"."""


def resident(processes: Iterable[int], enough: int) -> int:
    """Bytes of memory that processes hold. Pages that several of them share are told apart only above ``enough``: it takes time."""
    processes = list(processes)
    total = sum(map(_resident, processes))
    return total if total <= enough else sum(map(_proportional, processes))


def _resident(process: int) -> int:
    """Bytes that a process holds, 0 when it has gone."""
    try:
        with open(f"/proc/{process}/statm", encoding="ascii") as stream:
            return int(stream.read().split()[1]) * resource.getpagesize()
    except (OSError, IndexError, ValueError):
        return 0


def _proportional(process: int) -> int:
    """The same with shared pages shared out; all of them where the kernel does not say."""
    try:
        with open(f"/proc/{process}/smaps_rollup", encoding="ascii", errors="replace") as stream:
            return next(int(line.split()[1]) << 10 for line in stream if line.startswith("Pss:"))
    except (OSError, StopIteration, IndexError, ValueError):
        return _resident(process)


class _Helper:
    """A process inside one namespace, which answers with a size when it is asked. Nobody waits for it long."""

    def __init__(self, process: int) -> None:
        self._child = subprocess.Popen(
            [sys.executable, "-I", "-S", str(Path(__file__).with_name("shared_memory.py")), str(process)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,
        )
        self._asked = 0.0
        self._size = 0

    def size(self) -> int:
        """The newest size that is known. Raises ``ExecutorError`` for a helper that has none, or keeps silent for too long."""
        assert self._child.stdin is not None
        assert self._child.stdout is not None
        now = time.monotonic()
        if not self._asked:
            self._asked = now
            with contextlib.suppress(BrokenPipeError):
                self._child.stdin.write(b"\n")
        if select.select([self._child.stdout], [], [], _ANSWER_SECONDS)[0]:
            answer = os.read(self._child.stdout.fileno(), 200).strip()
            if not answer.isdigit():
                raise ExecutorError(f"the shared memory of a sandbox cannot be measured: {answer.decode(errors='replace') or 'no answer'}")
            self._asked, self._size = 0.0, int(answer)
        elif now - self._asked > _SILENCE_SECONDS:
            raise ExecutorError("the shared memory of a sandbox cannot be measured: no answer")
        return self._size

    def end(self) -> None:
        """End it."""
        self._child.kill()
        self._child.communicate()


class SystemV(contextlib.AbstractContextManager["SystemV"]):
    """System V shared memory and message queues of sandboxes, by a helper in each of their namespaces."""

    def __init__(self) -> None:
        self._helpers: dict[str, _Helper] = {}
        self._failures: dict[str, int] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for name in list(self._helpers):
            self._helpers.pop(name).end()

    def size(self, processes: Iterable[int]) -> int:
        """Bytes in all namespaces of these processes. Raises ``ExecutorError`` where this machine lets nobody look into one."""
        if not _SYSTEM_V.exists():
            return 0
        spaces: dict[str, int] = {}
        # The first process of a sandbox lives as long as that; any other may be gone before a helper has found it.
        for process in sorted(processes, key=number_inside):
            with contextlib.suppress(OSError):
                spaces.setdefault(os.readlink(f"/proc/{process}/ns/ipc"), process)
        spaces.pop(os.readlink("/proc/self/ns/ipc"), None)
        # A helper would keep what is in its namespace when all else has gone.
        for gone in self._helpers.keys() - spaces.keys():
            self._helpers.pop(gone).end()
        return sum(self._ask(name, process) for name, process in spaces.items())

    def _ask(self, name: str, process: int) -> int:
        if name not in self._helpers:
            self._helpers[name] = _Helper(process)
        try:
            return self._helpers[name].size()
        except ExecutorError:
            self._helpers.pop(name).end()
            # The process may have ended meanwhile, and been one of several.
            self._failures[name] = self._failures.get(name, 0) + 1
            if self._failures[name] >= _TRIES:
                raise
            return 0
