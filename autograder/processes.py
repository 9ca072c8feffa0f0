"""Finding the processes of sandboxes: what descends from this process and has a network of its own."""

from __future__ import annotations

import contextlib
import os


def sandboxed() -> frozenset[int]:
    """Process ids of all that runs in a sandbox of this process."""
    own = os.readlink("/proc/self/ns/net")
    found = set()
    for process in _descendants(os.getpid()):
        with contextlib.suppress(OSError):
            if os.readlink(f"/proc/{process}/ns/net") != own:
                found.add(process)
    return frozenset(found)


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
