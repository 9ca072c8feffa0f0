"""Keeping a student's commands within memory and number of processes, and files within a size.

Control groups are not to be had for an ordinary user everywhere, so a thread looks at what runs in sandboxes a few times a second and
ends all of it when it is too much; the step then fails as one that was killed. The size of a file is the kernel's to limit.
"""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import threading
from collections.abc import Iterator
from typing import Final

from autograder.assignment import Limits
from autograder.processes import sandboxed

_INTERVAL: Final = 0.25


def limit_files(limits: Limits) -> None:
    """Limit the size of any file that this process and those that it starts write. It cannot be undone."""
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    wanted = limits.file_bytes if hard == resource.RLIM_INFINITY else min(limits.file_bytes, hard)
    resource.setrlimit(resource.RLIMIT_FSIZE, (wanted, wanted))


@contextlib.contextmanager
def watched(limits: Limits) -> Iterator[list[str]]:
    """For the length of the block, end what uses too much. The list gets a sentence each time."""
    done = threading.Event()
    told: list[str] = []

    def look() -> None:
        while not done.wait(_INTERVAL):
            found = sandboxed()
            memory = sum(map(_resident, found))
            if memory > limits.memory_bytes:
                told.append(f"it used {memory >> 20} MiB of memory; at most {limits.memory_bytes >> 20} are allowed")
            elif len(found) > limits.processes:
                told.append(f"it ran {len(found)} processes at once; at most {limits.processes} are allowed")
            else:
                continue
            for process in found:
                with contextlib.suppress(OSError):
                    os.kill(process, signal.SIGKILL)

    thread = threading.Thread(target=look, name="watch", daemon=True)
    thread.start()
    try:
        yield told
    finally:
        done.set()
        thread.join()


def _resident(process: int) -> int:
    """Bytes of memory that a process holds, 0 when it has gone."""
    try:
        with open(f"/proc/{process}/statm", encoding="ascii") as stream:
            return int(stream.read().split()[1]) * resource.getpagesize()
    except (OSError, IndexError, ValueError):
        return 0
