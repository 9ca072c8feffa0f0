"""Finding and ending the processes of sandboxes: what descends from this process and has a network and a process list of its own."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterable, Iterator


def sandboxed() -> frozenset[int]:
    """Process ids of all that runs in a sandbox of this process.

    The grader's probe enters the network of a sandbox, and nothing else of it: it is not to be ended with what runs there, or its silence
    would be taken for trouble of the grader.
    """
    own = {name: os.readlink(f"/proc/self/ns/{name}") for name in ("net", "pid")}
    found = set()
    for process in _descendants(os.getpid()):
        with contextlib.suppress(OSError):
            if all(os.readlink(f"/proc/{process}/ns/{name}") != here for name, here in own.items()):
                found.add(process)
    return frozenset(found)


def end(processes: Iterable[int]) -> None:
    """Kill processes of sandboxes and all that they start meanwhile.

    The first process of a pid namespace takes all others with it (``pid_namespaces(7)``), however quickly they multiply.
    """
    found = list(processes)
    first = [process for process in found if number_inside(process) == 1]
    for process in first or found:
        with contextlib.suppress(OSError):
            os.kill(process, signal.SIGKILL)


@contextlib.contextmanager
def stopped(processes: Iterable[int]) -> Iterator[None]:
    """For the length of the block, these processes do not run."""
    found = list(processes)
    _signal(found, signal.SIGSTOP)
    try:
        yield
    finally:
        _signal(found, signal.SIGCONT)


def _signal(processes: Iterable[int], number: int) -> None:
    for process in processes:
        with contextlib.suppress(OSError):
            os.kill(process, number)


def number_inside(process: int) -> int:
    """The process id that a process has in its own pid namespace, 0 when it has gone."""
    try:
        with open(f"/proc/{process}/status", encoding="utf-8", errors="replace") as stream:
            return next((int(line.split()[-1]) for line in stream if line.startswith("NSpid:")), 0)
    except (OSError, ValueError):
        return 0


def _descendants(process: int) -> list[int]:
    found: list[int] = []
    waiting = [process]
    while waiting:
        parent = waiting.pop()
        with contextlib.suppress(OSError):
            for task in os.listdir(f"/proc/{parent}/task"):
                with contextlib.suppress(OSError), open(f"/proc/{parent}/task/{task}/children", encoding="ascii") as stream:
                    children = [int(word) for word in stream.read().split()]
                    found += children
                    waiting += children
    return found
