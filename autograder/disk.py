"""How much the commands of one submission write: to disk, and to file systems that are memory."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable
from typing import Final

from layerlab.engines.embedded.executors.base import Root

_BLOCK: Final = 512


class DiskUse:
    """Bytes that the commands of a submission have written, all its steps together.

    Free space is asked for first, which costs nothing. Other submissions use the same disk, so only where more than ``limit`` bytes
    have gone is it looked up who wrote them. ``directory``: anywhere on the file system.
    """

    def __init__(self, directory: str, limit: int) -> None:
        self._directory = directory
        self._limit = limit
        self._free = self._available()
        self._earlier = 0
        self._places: dict[str, int] = {}

    def opened(self, root: Root) -> None:
        """A command begins to write to ``root``. A whole tree has the image in it, which is not what the command wrote."""
        self._places[root.tree or root.upper] = _size(root.tree) if root.tree else 0

    def closed(self, root: Root) -> None:
        """The command has ended."""
        place = root.tree or root.upper
        before = self._places.pop(place, 0)
        if self._gone() > self._limit:
            self._earlier += _size(place) - before

    def exceeded(self) -> bool:
        """Whether it is more than the limit."""
        if self._gone() <= self._limit:
            return False
        return self._earlier + sum(_size(place) - before for place, before in list(self._places.items())) > self._limit

    def _gone(self) -> int:
        return self._free - self._available()

    def _available(self) -> int:
        status = os.statvfs(self._directory)
        return status.f_bavail * status.f_frsize


def _size(tree: str) -> int:
    """Bytes on disk below a directory. What cannot be looked into counts as more than any limit: a step may take the permissions away."""
    total = 0
    hidden = False

    def unreadable(error: OSError) -> None:
        nonlocal hidden
        hidden = hidden or isinstance(error, PermissionError)

    for folder, _, files in os.walk(tree, onerror=unreadable):
        for name in files:
            with contextlib.suppress(OSError):
                total += os.lstat(os.path.join(folder, name)).st_blocks * _BLOCK
    return 1 << 62 if hidden else total


def memory_files(processes: Iterable[int]) -> int:
    """Bytes in those file systems of a sandbox that are memory (``/dev``, ``/dev/shm``, mounts of type tmpfs); the host's do not count."""
    process = max(processes, default=0)
    hosts = set(_memory_mounts("self"))
    return sum(size for device, size in _memory_mounts(str(process)).items() if device not in hosts)


def _memory_mounts(process: str) -> dict[int, int]:
    """The file systems of type tmpfs that a process sees: device number to bytes in use."""
    found = {}
    with contextlib.suppress(OSError), open(f"/proc/{process}/mountinfo", encoding="utf-8", errors="surrogateescape") as stream:
        for line in stream:
            before, _, after = line.partition(" - ")
            if after.split(" ", 1)[0] != "tmpfs":
                continue
            words = before.split(" ")
            device = os.makedev(*map(int, words[2].split(":")))
            target = words[4].encode("utf-8", "surrogateescape").decode("unicode_escape", "surrogateescape")
            path = f"/proc/{process}/root{target}"
            with contextlib.suppress(OSError, ValueError):
                # Another mount may lie over it, and a sandbox that is being made still has the host's root.
                if os.stat(path).st_dev == device:
                    status = os.statvfs(path)
                    found[device] = (status.f_blocks - status.f_bfree) * status.f_frsize
    return found
