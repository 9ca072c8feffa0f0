"""How much memory the sandboxes of a submission hold, without control groups: in processes, and in what belongs to no process.

Shared memory counts where it is kept and where it is mapped: a limit that is met too early only for who shares half of what is allowed.
"""

from __future__ import annotations

import contextlib
import os
import resource
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Final, Self

from layerlab.errors import ExecutorError

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


class SystemV(contextlib.AbstractContextManager["SystemV"]):
    """System V shared memory and message queues of sandboxes, by a helper in each of their namespaces."""

    def __init__(self) -> None:
        self._helpers: dict[str, subprocess.Popen[str]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for name in list(self._helpers):
            self._end(name)

    def size(self, processes: Iterable[int]) -> int:
        """Bytes in all namespaces of these processes. Raises ``ExecutorError`` where this machine lets nobody look into one."""
        if not _SYSTEM_V.exists():
            return 0
        own = os.readlink("/proc/self/ns/ipc")
        spaces: dict[str, int] = {}
        for process in processes:
            with contextlib.suppress(OSError):
                spaces.setdefault(os.readlink(f"/proc/{process}/ns/ipc"), process)
        spaces.pop(own, None)
        # A helper would keep what is in its namespace when all else has gone.
        for gone in self._helpers.keys() - spaces.keys():
            self._end(gone)
        return sum(self._ask(name, process) for name, process in spaces.items())

    def _ask(self, name: str, process: int) -> int:
        helper = self._helpers.get(name)
        if helper is None:
            helper = self._helpers[name] = subprocess.Popen(
                [sys.executable, "-I", "-S", str(Path(__file__).with_name("shared_memory.py")), str(process)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
            )
        assert helper.stdin is not None
        assert helper.stdout is not None
        try:
            helper.stdin.write("\n")
            helper.stdin.flush()
            answer = helper.stdout.readline().strip()
        except OSError:
            answer = ""
        if answer.isdigit():
            return int(answer)
        self._end(name)
        # It may have ended, or still be on its way into its namespace.
        with contextlib.suppress(OSError):
            if os.readlink(f"/proc/{process}/ns/ipc") == name:
                raise ExecutorError(f"the shared memory of a sandbox cannot be measured: {answer or 'no answer'}")
        return 0

    def _end(self, name: str) -> None:
        helper = self._helpers.pop(name)
        helper.kill()
        helper.communicate()
