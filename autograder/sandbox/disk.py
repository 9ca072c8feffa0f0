"""How much the commands of one submission write: to disk, and to file systems that are memory."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import stat
import tempfile
import time
from collections.abc import Callable, Container, Iterable, Iterator
from typing import Final

from autograder.sandbox.memory_use import Uncountable
from layerlab.engines.embedded.rootfs.messages import Weight
from layerlab.engines.embedded.rootfs.sizes import BLOCK, LEAST, TooDeepError, tree_size

# What the kernel needs for one file of a tmpfs and its name.
_INODE: Final = 1 << 10
_TOO_DEEP: Final = "nested folders until no path leads to the last of them"
_ESCAPED: Final = re.compile(rb"\\([0-3][0-7]{2})")
_TRIES: Final = 20
_MOMENT: Final = 0.01
# A mapping of a file that has no name any more: address, device, inode. What it was called tells nothing: a file can be called anything.
_MAPPED: Final = re.compile(r"(\S+) \S+ \S+ ([0-9a-f]+):([0-9a-f]+) (\d+) +/.* \(deleted\)")
_ROOM: Final = 64 << 20
# A disk that fails, a server of files that does not answer, no files left to open in this process: nothing that a command does brings
# these about.
_MACHINES_TROUBLE: Final = frozenset((errno.EIO, errno.EMFILE, errno.ENOTCONN, errno.ETIMEDOUT, errno.EHOSTDOWN))


class DiskUse:
    """Bytes that the commands of a submission have written, all its steps together.

    While a command runs, free space is asked for first, which costs nothing. Other submissions use the same disk, so only where more
    than ``limit`` bytes have gone is it looked up who wrote them. ``directory``: where the commands write. ``scarce``: whether the disk
    was seen to be full or nearly so, whoever filled it. ``measure``: measures a directory where this process may not look into it.
    ``file_limit``: no file can be larger.
    """

    def __init__(self, directory: str, limit: int, file_limit: int = 1 << 62) -> None:
        self.directory = directory
        self.measure: Callable[[str], int] | None = None
        self._limit = limit
        self._file_limit = file_limit
        self.scarce = False
        self._free = self._available()
        self._earlier = 0
        self._places: dict[str, int] = {}

    def opened(self, places: Iterable[str]) -> None:
        """A command begins, and may write to these directories. What is in them already is not its work."""
        for place in places:
            self._places[place] = self._size(place)

    @property
    def left(self) -> int:
        """Bytes that may still be written, at least 0."""
        return max(0, self._limit - self._earlier)

    def closed(self, places: Iterable[str]) -> bool:
        """The command has ended. Whether that was too much, be it in holes, which no disk feels and every reader does."""
        written = 0
        for place in places:
            if place in self._places:
                written += self._size(place) - self._places.pop(place)
        return self.written(written)

    def written(self, size: int) -> bool:
        """So many bytes more were written. Whether that is too much, with all before."""
        self._earlier += size
        return self._earlier > self._limit

    def exceeded(self, processes: Iterable[int]) -> bool:
        """Whether it is more than the limit, with what these processes write now. Raises ``Uncountable``."""
        if self._gone() <= self._limit:
            return False
        processes = list(processes)
        now = self._earlier + self.now() + sum(unlinked(processes))
        known, unknown = mapped(processes)
        if now + known > self._limit:
            return True
        if now + known + unknown * self._file_limit > self._limit:
            raise Uncountable(f"maps {unknown} files that have no name and cannot be measured, and the disk has lost more than is allowed")
        return False

    def now(self) -> int:
        """Bytes that the commands which run at the moment have written so far, where files are. Raises ``Uncountable``, ``OSError``."""
        return sum(self._size(place) - before for place, before in list(self._places.items()))

    def held(self, processes: Iterable[int]) -> int:
        """Bytes that these processes have as files now, be it in memory, or on disk without a name. Raises ``Uncountable``, ``OSError``."""
        processes = list(processes)
        # With what has no name and is in memory.
        return self.now() + memory_files(processes) + unlinked(processes)[1] + mapped(processes)[0]

    def probe(self) -> None:
        """Try whether there is room: free space does not tell of a user's quota."""
        try:
            with tempfile.TemporaryFile(dir=self.directory) as stream:
                stream.write(bytes(1 << 20))
        except OSError:
            self.scarce = True

    def _size(self, place: str) -> int:
        """``size_of``, and where a command has taken permissions away, by who has them still. Raises ``Uncountable``, ``OSError``."""
        try:
            return size_of(place)
        except PermissionError:
            if self.measure is None:
                raise
            return self.measure(place)

    def _gone(self) -> int:
        return self._free - self._available()

    def _available(self) -> int:
        status = os.statvfs(self.directory)
        if status.f_bavail * status.f_frsize < _ROOM:
            self.scarce = True
        return status.f_bavail * status.f_frsize + status.f_favail * LEAST


def size_of(tree: str) -> int:
    """Bytes below a directory: see ``tree_size``. Raises ``Uncountable`` for folders that are nested too deeply, ``OSError``."""
    try:
        return tree_size(tree)
    except TooDeepError:
        raise Uncountable(_TOO_DEEP) from None
    except OSError as error:
        if error.errno == errno.ESTALE:
            # It went, on a file system of the network.
            return 0
        raise


def size_answered(answer: Weight) -> int:
    """What a worker says of a directory. Raises ``Uncountable``."""
    if answer.deep:
        raise Uncountable(_TOO_DEEP)
    return answer.size


def is_the_machines(error: BaseException) -> bool:
    """Whether it is the machine's fault, or one of ours, that something could not be measured, and not that of what is measured."""
    if isinstance(error, OSError):
        return error.errno in _MACHINES_TROUBLE
    # Folders nested too deep are a command's work. No command makes anything else of Python's.
    return not isinstance(error, RecursionError)


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
                        found[status.st_dev, status.st_ino] = status.st_blocks * BLOCK
    return sum(memory.values()), sum(disk.values())


def mapped(processes: Iterable[int]) -> tuple[int, int]:
    """Files on disk that are mapped, though they have no name and nobody holds them open: bytes, and how many have a size unknown.

    Only root may look at what is mapped as a file (``/proc/PID/map_files``); a page of a file says nothing of how long that is.
    """
    sizes: dict[tuple[int, str], int] = {}
    unknown: set[tuple[int, str]] = set()
    processes = list(processes)
    # Shared memory and the like lie on file systems of the kernel's own, which are mounted nowhere; ``memory_files`` counts the others.
    disks = {device for device, _, _ in _mounts("self")}
    disks |= {device for process in processes for device, kind, _ in _mounts(str(process)) if kind != "tmpfs"}
    for process in processes:
        held = _held(process)
        with contextlib.suppress(OSError), open(f"/proc/{process}/maps", encoding="utf-8", errors="surrogateescape") as stream:
            for line in stream:
                match = _MAPPED.match(line)
                if match is None or match[4] in held:
                    continue
                identity = os.makedev(int(match[2], 16), int(match[3], 16)), match[4]
                if identity[0] not in disks:
                    continue
                try:
                    sizes[identity] = os.stat(f"/proc/{process}/map_files/{match[1]}").st_blocks * BLOCK
                except FileNotFoundError:
                    continue
                except OSError:
                    unknown.add(identity)
    return sum(sizes.values()), len(unknown - sizes.keys())


def _held(process: int) -> set[str]:
    """Inode numbers of the files that a process has open."""
    found = set()
    with contextlib.suppress(OSError):
        for number in os.listdir(f"/proc/{process}/fd"):
            with contextlib.suppress(OSError):
                found.add(str(os.stat(f"/proc/{process}/fd/{number}").st_ino))
    return found


def memory_files(processes: Iterable[int]) -> int:
    """Bytes in what a sandbox has as files and is memory (``/dev``, ``/dev/shm``, mounts of type tmpfs, files without a name).

    The host's own do not count. Raises ``Uncountable`` where a folder without permissions hides one.
    """
    hosts = {device for device, _, _ in _mounts("self")}
    views: dict[tuple[str, int, int], int] = {}
    processes = list(processes)
    for process in processes:
        with contextlib.suppress(OSError):
            # A process may have mounts that the others do not see, and in a root of its own (chroot) it does not see theirs.
            root = os.stat(f"/proc/{process}/root/")
            views[os.readlink(f"/proc/{process}/ns/mnt"), root.st_dev, root.st_ino] = process
    found: dict[int, int] = {}
    for process in views.values():
        found |= _memory_mounts(str(process), hosts)
    return sum(found.values()) + unlinked(processes)[0]


def _mounts(process: str) -> Iterator[tuple[int, str, str]]:
    """The mounts that a process sees: device number, type, and place as the kernel writes it."""
    with contextlib.suppress(OSError), open(f"/proc/{process}/mountinfo", encoding="utf-8", errors="surrogateescape") as stream:
        for line in stream:
            before, _, after = line.partition(" - ")
            words = before.split(" ")
            yield os.makedev(*map(int, words[2].split(":"))), after.split(" ", 1)[0], words[4]


def _memory_mounts(process: str, hosts: Container[int]) -> dict[int, int]:
    """The file systems of type tmpfs that a process sees, but for those of the host: device number to bytes in use.

    Raises ``Uncountable`` for one that no path leads to, again and again.
    """
    for _ in range(_TRIES):
        found, lost = _look_at_memory_mounts(process, hosts)
        if not lost:
            break
        # A sandbox that gets its root at this moment, or folders above a mount that are being renamed: a moment later the path is right.
        time.sleep(_MOMENT)
    else:
        raise Uncountable("keeps moving the folders above a file system in memory, so that it cannot be measured")
    return found


def _look_at_memory_mounts(process: str, hosts: Container[int]) -> tuple[dict[int, int], bool]:
    """What is found at one look, and whether no path led to something."""
    found, lost = {}, False
    for device, kind, place in _mounts(process):
        if kind == "tmpfs" and device not in hosts:
            try:
                # Another mount may lie over it, and a sandbox that is being made still has the host's root. While it gets its own, the path
                # leads to one and then to the other: a descriptor stays with what it is of.
                held = _opened(process, place)
            except PermissionError:
                # A process that cannot be looked into at all has just gone, or is not the student's.
                if os.access(f"/proc/{process}/root/", os.X_OK):
                    raise Uncountable(
                        "has a file system in memory below a folder without permissions, where it cannot be measured"
                    ) from None
                continue
            except (FileNotFoundError, NotADirectoryError, ProcessLookupError):
                lost |= os.path.exists(f"/proc/{process}/root/")
                continue
            try:
                if os.fstat(held).st_dev == device:
                    status = os.fstatvfs(held)
                    # A file without a byte takes memory, too, of a kind that no limit of the file system counts.
                    names = (status.f_files - status.f_ffree) * _INODE
                    found[device] = (status.f_blocks - status.f_bfree) * status.f_frsize + names
            finally:
                os.close(held)
    return found, lost


def _opened(process: str, place: str) -> int:
    """A descriptor of what is at a place as mountinfo writes it. Raises ``OSError``.

    Folder by folder, for a place may be longer than a path; a link that somebody put there is not followed.
    """
    # Bytes that would end a word stand as three octal digits, and all others as they are (proc(5)).
    path = _ESCAPED.sub(lambda match: bytes((int(match[1], 8),)), os.fsencode(place))
    held = os.open(f"/proc/{process}/root/", os.O_PATH | os.O_CLOEXEC)
    for name in filter(None, path.split(b"/")):
        try:
            below = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=held)
        finally:
            os.close(held)
        held = below
    return held
