"""How much the commands of one submission write: to disk, and to file systems that are memory."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import tempfile
from collections.abc import Iterable
from typing import Final

_BLOCK: Final = 512
# What a file counts at least, empty or not: a disk runs out of files, too.
_LEAST: Final = 4096
_ROOM: Final = 64 << 20
# A disk that fails, a server of files that does not answer, no files left to open in this process: nothing that a command does brings
# these about.
_MACHINES_TROUBLE: Final = frozenset((errno.EIO, errno.EMFILE, errno.ENOTCONN, errno.ETIMEDOUT, errno.EHOSTDOWN))


class DiskUse:
    """Bytes that the commands of a submission have written, all its steps together.

    While a command runs, free space is asked for first, which costs nothing. Other submissions use the same disk, so only where more
    than ``limit`` bytes have gone is it looked up who wrote them. ``directory``: where the commands write. ``scarce``: whether the disk
    was seen to be full or nearly so, whoever filled it.
    """

    def __init__(self, directory: str, limit: int) -> None:
        self.directory = directory
        self._limit = limit
        self.scarce = False
        self._free = self._available()
        self._earlier = 0
        self._places: dict[str, int] = {}

    def opened(self, places: Iterable[str]) -> None:
        """A command begins, and may write to these directories. What is in them already is not its work."""
        for place in places:
            self._places[place] = size_of(place)

    def closed(self, places: Iterable[str]) -> bool:
        """The command has ended. Whether that was too much, be it in holes, which no disk feels and every reader does."""
        written = 0
        for place in places:
            if place in self._places:
                written += size_of(place) - self._places.pop(place)
        return self.written(written)

    def written(self, size: int) -> bool:
        """So many bytes more were written. Whether that is too much, with all before."""
        self._earlier += size
        return self._earlier > self._limit

    def exceeded(self, processes: Iterable[int]) -> bool:
        """Whether it is more than the limit, with what these processes write now."""
        if self._gone() <= self._limit:
            return False
        now = sum(size_of(place) - before for place, before in list(self._places.items()))
        return self._earlier + now + sum(unlinked(processes)) > self._limit

    def probe(self) -> None:
        """Try whether there is room: free space does not tell of a user's quota."""
        try:
            with tempfile.TemporaryFile(dir=self.directory) as stream:
                stream.write(bytes(1 << 20))
        except OSError:
            self.scarce = True

    def _gone(self) -> int:
        return self._free - self._available()

    def _available(self) -> int:
        status = os.statvfs(self.directory)
        if status.f_bavail * status.f_frsize < _ROOM:
            self.scarce = True
        return status.f_bavail * status.f_frsize + status.f_favail * _LEAST


def size_of(tree: str) -> int:
    """Bytes below a directory, as they are on disk or as a reader sees them, whichever is more; each name of a file counts, since a
    copy may have each as a file of its own.

    What cannot be looked into counts as more than any limit: a step may take permissions away, or nest folders until no path leads there.
    Raises ``OSError`` for trouble of the machine (``is_the_machines``).
    """
    total = 0
    folders = [tree]
    while folders:
        try:
            with os.scandir(folders.pop()) as entries:
                for entry in entries:
                    status = entry.stat(follow_symlinks=False)
                    if stat.S_ISDIR(status.st_mode):
                        folders.append(entry.path)
                    total += max(status.st_blocks * _BLOCK, status.st_size if stat.S_ISREG(status.st_mode) else 0, _LEAST)
        except (FileNotFoundError, NotADirectoryError):
            # It went while we looked.
            continue
        except OSError as error:
            if error.errno == errno.ESTALE:
                # It went, too, on a file system of the network.
                continue
            if is_the_machines(error):
                raise
            return 1 << 62
    return total


def is_the_machines(error: BaseException) -> bool:
    """Whether it is the machine's fault that something could not be measured, and not that of what is measured."""
    return isinstance(error, OSError) and error.errno in _MACHINES_TROUBLE


def unlinked(processes: Iterable[int]) -> tuple[int, int]:
    """Bytes of files that have no name and are held open: in memory (``memfd_create``) and on disk. No tree shows them."""
    memory: dict[tuple[int, int], int] = {}
    disk: dict[tuple[int, int], int] = {}
    for process in processes:
        with contextlib.suppress(OSError):
            for number in os.listdir(f"/proc/{process}/fd"):
                path = f"/proc/{process}/fd/{number}"
                with contextlib.suppress(OSError):
                    target = os.readlink(path)
                    if not target.endswith(" (deleted)"):
                        continue
                    status = os.stat(path)
                    if stat.S_ISREG(status.st_mode) and status.st_nlink == 0:
                        found = memory if target.startswith("/memfd:") else disk
                        found[status.st_dev, status.st_ino] = status.st_blocks * _BLOCK
    return sum(memory.values()), sum(disk.values())


def memory_files(processes: Iterable[int]) -> int:
    """Bytes in what a sandbox has as files and is memory (``/dev``, ``/dev/shm``, mounts of type tmpfs, files without a name).

    The host's own do not count.
    """
    hosts = set(_memory_mounts("self"))
    views: dict[str, int] = {}
    processes = list(processes)
    for process in processes:
        with contextlib.suppress(OSError):
            # A process may have mounts that the others do not see.
            views[os.readlink(f"/proc/{process}/ns/mnt")] = process
    found: dict[int, int] = {}
    for process in views.values():
        found |= _memory_mounts(str(process))
    return sum(size for device, size in found.items() if device not in hosts) + unlinked(processes)[0]


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
