"""How much memory the sandboxes of a submission hold, without control groups: in processes, and in what belongs to none (``unseen``).

Shared memory counts where it is kept and where it is mapped: a limit that is met too early only for who shares half of what is allowed.
"""

from __future__ import annotations

import contextlib
import os
import select
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final, NamedTuple, Self

from autograder.sandbox.processes import number_inside
from layerlab.errors import ExecutorError

_ANSWER_SECONDS: Final = 0.05
_SILENCE_SECONDS: Final = 60.0
_TRIES: Final = 5
_SYSTEM_V: Final = Path("/proc/sysvipc/shm")
# Of ``/proc/PID/task``, beside one for each thread.
_LINKS: Final = 2
_EPOLL: Final = "anon_inode:[eventpoll]"
# What the kernel needs for a thread, its stack with all else, and for an open file of the smaller kinds.
_THREAD: Final = 24 << 10
_FILE: Final = 1 << 10


class Uncountable(Exception):  # noqa: N818 - a verdict, not a fault of the program
    """Something was hidden where it cannot be measured. The message says what, in words that follow "it"."""


class Held(NamedTuple):
    """Bytes of memory of processes: their own pages (those of programs and libraries among them), pages of shared memory, pages in swap,
    and what the kernel keeps for them: page tables, threads, open files."""

    private: int = 0
    shared: int = 0
    swapped: int = 0
    kernel: int = 0


def resident(processes: Iterable[int], enough: int) -> Held:
    """What processes hold. Pages that several of them share are told apart only above ``enough``: it takes time."""
    found = {process: _resident(process) for process in processes}
    total = _summed(found.values())
    return total if sum(total) <= enough else _summed(_proportional(process, held) for process, held in found.items())


def threads(processes: Iterable[int]) -> int:
    """How many threads processes have, one each at least."""
    count = 0
    for process in processes:
        with contextlib.suppress(OSError):
            count += max(1, os.stat(f"/proc/{process}/task").st_nlink - _LINKS)
    return count


def watches(processes: Iterable[int], enough: int) -> int:
    """Files that processes wait for by epoll, counted until there are more than ``enough``. Of one that lets nobody look: the most that
    are possible with as many open files (known since Linux 6.2)."""
    count = 0
    for process in processes:
        try:
            count += _watches(process, enough - count)
        except PermissionError:
            with contextlib.suppress(OSError):
                count += (os.stat(f"/proc/{process}/fd").st_size // 2) ** 2
        except OSError:
            continue
        if count > enough:
            break
    return count


def _watches(process: int, enough: int) -> int:
    count = 0
    with os.scandir(f"/proc/{process}/fd") as scan:
        for item in scan:
            with contextlib.suppress(FileNotFoundError):
                if os.readlink(item.path) != _EPOLL:
                    continue
                with open(f"/proc/{process}/fdinfo/{item.name}", encoding="ascii", errors="replace") as stream:
                    count += sum(line.startswith("tfd:") for line in stream)
            if count > enough:
                break
    return count


def _summed(all_held: Iterable[Held]) -> Held:
    return Held(*map(sum, zip(Held(), *all_held, strict=True)))


def _resident(process: int) -> Held:
    """What a process holds, nothing when it has gone."""
    try:
        with open(f"/proc/{process}/status", encoding="utf-8", errors="surrogateescape") as stream:
            # The kernel escapes what is in a name, so that has no line of its own.
            lines = dict(line.split(":", 1) for line in stream if ":" in line)
        # Since Linux 6.2 this is the number of open files; before it is 0.
        files = os.stat(f"/proc/{process}/fd").st_size
    except OSError:
        return Held()
    return Held(
        private=_bytes(lines, "RssAnon", "RssFile"),
        shared=_bytes(lines, "RssShmem", "HugetlbPages"),
        swapped=_bytes(lines, "VmSwap"),
        kernel=_bytes(lines, "VmPTE") + int(lines.get("Threads", "0")) * _THREAD + files * _FILE,
    )


def _proportional(process: int, held: Held) -> Held:
    """The same with shared pages shared out; all of them where the kernel does not say."""
    try:
        with open(f"/proc/{process}/smaps_rollup", encoding="ascii", errors="replace") as stream:
            lines = dict(line.split(":", 1) for line in stream if ":" in line)
    except OSError:
        return held
    if "Pss_Anon" not in lines:
        return held
    return Held(
        private=_bytes(lines, "Pss_Anon", "Pss_File"),
        shared=_bytes(lines, "Pss_Shmem", "Shared_Hugetlb", "Private_Hugetlb"),
        swapped=_bytes(lines, "SwapPss"),
        kernel=held.kernel,
    )


def _bytes(lines: Mapping[str, str], *names: str) -> int:
    return sum(int(lines[name].split()[0]) << 10 for name in names if name in lines)


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
        waiting = select.poll()
        waiting.register(self._child.stdout, select.POLLIN)
        if waiting.poll(_ANSWER_SECONDS * 1000):
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
    """System V shared memory, message queues and semaphores of sandboxes, by a helper in each of their namespaces."""

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
