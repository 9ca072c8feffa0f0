"""Trees of files as cache keys see them: names, kinds, modes, link targets, bytes; never times.

A tree is read through two narrow types: an ``Entry`` (one name in a directory) and a ``Directory`` (its entries and
its recursive digest). The build context, a stage's root filesystem and the manifest of an earlier build are all such
trees, so that one selection code serves them all and equal content has an equal digest wherever it comes from
(BuildKit: ``cache/contenthash``; "the kind of source is not in the key").
"""

from __future__ import annotations

import errno
import os
import stat
import struct
from collections.abc import Callable, Iterator, Mapping
from typing import Final, Protocol

from layerlab.sha256 import sha256

READ_SIZE: Final = 1 << 20
HOLE: Final = bytes(READ_SIZE)
_HEADER: Final = struct.Struct("<III")


class Directory(Protocol):
    """One directory of a tree."""

    def entries(self) -> Mapping[str, Entry]:
        """Entries by name, in no particular order."""
        ...

    def digest(self) -> bytes:
        """SHA-256 over everything below, the directory's own mode and owner left out."""
        ...


class Entry:
    """One name in a directory.

    ``mode`` is ``st_mode`` (kind and permissions); ``uid`` and ``gid`` count in a stage and are 0 in a build context.
    ``digest`` covers content: bytes of a file, target of a symlink, number of a device, what is below a directory.
    ``attributes``  of a directory: a digest of its extended attributes that count, empty where it has none; those of a file are content.
    """

    __slots__ = ("_attributes", "_compute", "_digest", "directory", "gid", "mode", "size", "target", "uid")

    def __init__(
        self,
        mode: int,
        *,
        uid: int = 0,
        gid: int = 0,
        size: int = 0,
        digest: bytes | Callable[[], bytes] = b"",
        target: str | None = None,
        directory: Directory | None = None,
        attributes: bytes | Callable[[], bytes] = b"",
    ) -> None:
        self.mode = mode
        self.uid = uid
        self.gid = gid
        self.size = size
        self.target = target
        self.directory = directory
        self._digest = digest if isinstance(digest, bytes) else b""
        self._compute = None if isinstance(digest, bytes) else digest
        self._attributes = attributes

    def digest(self) -> bytes:
        """Content digest, computed on first use. Raises ``OSError`` when the file cannot be read."""
        if self.directory is not None:
            return self.directory.digest()
        if self._compute is not None:
            self._digest = self._compute()
            self._compute = None
        return self._digest

    def attributes(self) -> bytes:
        """Of a directory's extended attributes, as they were when first asked for. It means nothing for anything else."""
        if not isinstance(self._attributes, bytes):
            self._attributes = self._attributes()
        return self._attributes

    def header(self) -> bytes:
        """What counts of an entry apart from name and content: 12 bytes, and for a directory its attributes."""
        packed = _HEADER.pack(self.mode, self.uid, self.gid)
        return packed if self.directory is None else packed + self.attributes()

    @property
    def is_directory(self) -> bool:
        """Whether the entry is a directory."""
        return stat.S_ISDIR(self.mode)

    @property
    def is_symlink(self) -> bool:
        """Whether the entry is a symbolic link."""
        return stat.S_ISLNK(self.mode)


def directory_digest(entries: Mapping[str, Entry]) -> bytes:
    """Recursive digest of a directory from its entries."""
    parts: list[bytes] = []
    for name in sorted(entries):
        entry = entries[name]
        parts.append(os.fsencode(name))
        parts.append(b"\0" + entry.header() + entry.digest())
    return sha256(b"".join(parts)).digest()


def context_directory_digest(rows: list[tuple[str, int, bytes]]) -> bytes:
    """``directory_digest`` for (name, mode, content digest) rows owned by 0:0; the fast path of a build context.

    The attributes of a directory stand before its digest.
    """
    rows.sort()
    return sha256(b"".join([os.fsencode(name) + b"\0" + _HEADER.pack(mode, 0, 0) + digest for name, mode, digest in rows])).digest()


def file_digest(path: str, mode: int, *, dir_fd: int | None = None, rdev: int = 0) -> bytes:
    """Content digest of one non-directory, user xattrs and file capabilities included.

    Raises ``OSError`` when it cannot be read.
    """
    sha = sha256()
    if stat.S_ISREG(mode):
        # No O_NONBLOCK games are needed: the caller has seen a regular file, and O_NOFOLLOW refuses a swapped-in link.
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=dir_fd)
        try:
            for block in blocks(descriptor):
                sha.update(block)
            attributes = _counted_xattrs(descriptor)
        finally:
            os.close(descriptor)
        if attributes:
            sha.update(attributes)
    elif stat.S_ISLNK(mode):
        sha.update(os.fsencode(os.readlink(path, dir_fd=dir_fd)))
    else:
        sha.update(b"%d" % rdev)
    return sha.digest()


def blocks(descriptor: int) -> Iterator[bytes]:
    """The bytes of a file from its start. Holes are not read: ``HOLE`` stands for them, but for a last part that is shorter."""
    status = os.fstat(descriptor)
    if status.st_blocks * 512 >= status.st_size:
        while block := os.read(descriptor, READ_SIZE):
            yield block
        return
    position = 0
    while position < status.st_size:
        try:
            start = os.lseek(descriptor, position, os.SEEK_DATA)
        except OSError as error:
            if error.errno != errno.ENXIO:  # no more data
                raise
            start = status.st_size
        while position < start:
            length = min(READ_SIZE, start - position)
            yield HOLE[:length]
            position += length
        while position < status.st_size:
            block = os.pread(descriptor, READ_SIZE, position)
            if not block:
                return
            yield block
            position += len(block)
            if block.count(0) == len(block):
                break


def _counted_xattrs(target: int | str) -> bytes:
    try:
        names = sorted(os.listxattr(target))
    except OSError:
        return b""
    return b"".join(
        b"\0" + os.fsencode(name) + b"=" + os.getxattr(target, name)
        for name in names
        if (name.startswith("user.") and not name.startswith("user.overlay.")) or name == "security.capability"
    )


def directory_attributes(path: str) -> bytes:
    """What ``Entry.attributes`` is of a directory on disk."""
    found = _counted_xattrs(path)
    return sha256(found).digest() if found else b""


class DiskDirectory:
    """A directory of a mounted root filesystem, read when asked.

    ``owners`` gives intended owners by path relative to the root, where files on disk all belong to one id
    (single-id mode); ``modes`` the permission bits of those that have others on disk.
    """

    def __init__(
        self, path: str, relative: str = "", *, owners: Mapping[str, tuple[int, int]] | None = None, modes: Mapping[str, int] | None = None
    ) -> None:
        self.path = path
        self.relative = relative
        self.owners = owners
        self.modes = modes
        self._entries: dict[str, Entry] | None = None
        self._digest: bytes | None = None

    def entries(self) -> Mapping[str, Entry]:
        """Entries by name. Raises ``OSError``."""
        if self._entries is None:
            found: dict[str, Entry] = {}
            with os.scandir(self.path) as listing:
                for item in listing:
                    found[item.name] = self._entry(item)
            self._entries = found
        return self._entries

    def _entry(self, item: os.DirEntry[str]) -> Entry:
        status = item.stat(follow_symlinks=False)
        relative = f"{self.relative}/{item.name}" if self.relative else item.name
        owner = (status.st_uid, status.st_gid) if self.owners is None else self.owners.get(relative, (0, 0))
        mode = status.st_mode
        if self.modes and relative in self.modes:
            mode = stat.S_IFMT(mode) | self.modes[relative]
        path = item.path
        if stat.S_ISDIR(mode):
            directory = DiskDirectory(path, relative, owners=self.owners, modes=self.modes)
            return Entry(mode, uid=owner[0], gid=owner[1], directory=directory, attributes=lambda: directory_attributes(path))
        target = os.readlink(path) if stat.S_ISLNK(mode) else None
        rdev = status.st_rdev
        return Entry(
            mode, uid=owner[0], gid=owner[1], size=status.st_size, target=target, digest=lambda: file_digest(path, mode, rdev=rdev)
        )

    def digest(self) -> bytes:
        """Recursive digest; hashes every file below. Raises ``OSError``."""
        if self._digest is None:
            self._digest = directory_digest(self.entries())
        return self._digest


class StoredDirectory:
    """A directory of a tree that an earlier build wrote down as rows of (path, mode, uid, gid, digest, target).

    In the row of a directory the digest is that of its attributes.
    """

    def __init__(self) -> None:
        self._entries: dict[str, Entry] = {}

    def entries(self) -> Mapping[str, Entry]:
        """Entries by name."""
        return self._entries

    def digest(self) -> bytes:
        """Recursive digest."""
        return directory_digest(self._entries)

    def add(self, name: str, entry: Entry) -> None:
        """Put one entry in; used by ``tree_of``."""
        self._entries[name] = entry


Row = tuple[str, int, int, int, bytes, str | None]


def rows_of(directory: Directory, prefix: str = "") -> Iterator[Row]:
    """Every entry below ``directory``, parents first: what a manifest keeps."""
    pending = [(prefix, iter(sorted(directory.entries().items())))]
    while pending:
        above, entries = pending[-1]
        for name, entry in entries:
            path = f"{above}{name}"
            if entry.directory is not None:
                yield (path, entry.mode, entry.uid, entry.gid, entry.attributes(), None)
                pending.append((path + "/", iter(sorted(entry.directory.entries().items()))))
                break
            yield (path, entry.mode, entry.uid, entry.gid, entry.digest(), entry.target)
        else:
            pending.pop()


def tree_of(rows: list[Row]) -> StoredDirectory:
    """The inverse of ``rows_of``."""
    root = StoredDirectory()
    directories: dict[str, StoredDirectory] = {"": root}
    for path, mode, uid, gid, digest, target in rows:
        parent, _, name = path.rpartition("/")
        below: StoredDirectory | None = None
        if stat.S_ISDIR(mode):
            below = StoredDirectory()
            directories[path] = below
        entry = Entry(
            mode, uid=uid, gid=gid, digest=digest, target=target, directory=below, attributes=digest if below is not None else b""
        )
        directories[parent].add(name, entry)
    return root
