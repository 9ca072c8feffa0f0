"""Layers as tar streams: from a directory in overlay form to the bytes that a diff ID is the digest of, and back.

The stream is reproducible: entries sorted by path, whole seconds, no access times, no names of users. A whiteout is
``.wh.NAME``, an opaque directory has ``.wh..wh..opq`` (OCI image-spec ``layer.md``); overlayfs keeps them as a
character device 0:0 and as the attribute ``user.overlay.opaque``.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import stat
from collections.abc import Callable, Iterator, Mapping
from typing import Final

from layerlab.context.tree import blocks
from layerlab.engines.embedded.rootfs.reading import open_file, readable
from layerlab.oci.tar_entries import BLOCK, LayerEntry, header

OVERLAY_PREFIX: Final = "user.overlay."
CAPABILITY: Final = "security.capability"
# An empty file with this attribute stands for a device that an archive has, and is one in the layer's tar: nobody's archive puts a device
# into the store, where root could open it. Podman does the same without root (containers/storage, ``user.containers.override_stat``).
DEVICE: Final = "user.layerlab.device"
# As ``note_device`` writes it: one note for each device.
_DEVICE_NOTE: Final = re.compile(rb"(char|block)-(0|[1-9][0-9]{0,9})-(0|[1-9][0-9]{0,9})\Z")
# Of the bytes after which a long hashing asks whether anybody still waits for it, the logarithm.
_PROCEED: Final = 26
_EMPTY_END: Final = bytes(2 * BLOCK)

Owners = Mapping[str, tuple[int, int]]


def walk_layer(directory: str, *, owners: Owners | None = None) -> Iterator[LayerEntry]:
    """The members of a layer directory in overlay form, sorted by path, parents before children.

    ``owners`` replaces the owners on disk (single-id mode).
    Raises ``OSError``; a directory that cannot be read is never skipped.
    """
    links: dict[tuple[int, int], str] = {}
    yield from _walk(directory, "", links, owners)


def _walk(directory: str, relative: str, links: dict[tuple[int, int], str], owners: Owners | None) -> Iterator[LayerEntry]:
    with readable(directory):
        yield from _walk_readable(directory, relative, links, owners)


def _walk_readable(directory: str, relative: str, links: dict[tuple[int, int], str], owners: Owners | None) -> Iterator[LayerEntry]:
    with os.scandir(directory) as scan:
        items = sorted(scan, key=lambda item: os.fsencode(item.name))
    for item in items:
        path = f"{relative}/{item.name}" if relative else item.name
        status = item.stat(follow_symlinks=False)
        mode = status.st_mode
        uid, gid = (status.st_uid, status.st_gid) if owners is None else owners.get(path, (0, 0))
        mtime = status.st_mtime_ns // 1_000_000_000
        permissions = stat.S_IMODE(mode)
        if stat.S_ISDIR(mode):
            xattrs = _xattrs(item.path)
            opaque = xattrs.pop(OVERLAY_PREFIX + "opaque", b"") == b"y"
            yield LayerEntry(path=path, type="dir", mode=permissions, uid=uid, gid=gid, mtime=mtime, xattrs=_exported(xattrs))
            if opaque:
                yield LayerEntry(path=path, type="opaque", mode=0)
            yield from _walk(item.path, path, links, owners)
        elif stat.S_ISCHR(mode) and status.st_rdev == 0:
            # Overlayfs makes all whiteouts of a mount one inode, so its time says nothing.
            yield LayerEntry(path=path, type="whiteout", mode=0)
            continue
        elif status.st_nlink > 1 and stat.S_IFMT(mode) in (stat.S_IFREG, stat.S_IFLNK, stat.S_IFIFO):
            first = links.setdefault((status.st_dev, status.st_ino), path)
            if first != path:
                yield LayerEntry(path=path, type="hardlink", mode=permissions, uid=uid, gid=gid, mtime=mtime, target=first)
                continue
        if stat.S_ISLNK(mode):
            yield LayerEntry(path=path, type="symlink", mode=0o777, uid=uid, gid=gid, mtime=mtime, target=os.readlink(item.path))
        elif stat.S_ISREG(mode):
            xattrs = _xattrs(item.path)
            noted = noted_device(xattrs.get(DEVICE, b"")) if not status.st_size else None
            if noted is not None:
                kind, major, minor = noted
                yield LayerEntry(path=path, type=kind, mode=permissions, uid=uid, gid=gid, mtime=mtime, major=major, minor=minor)
                continue
            yield LayerEntry(
                path=path, type="file", mode=permissions, uid=uid, gid=gid, size=status.st_size, mtime=mtime, xattrs=_exported(xattrs)
            )
        elif stat.S_ISFIFO(mode):
            yield LayerEntry(path=path, type="fifo", mode=permissions, uid=uid, gid=gid, mtime=mtime)
        elif stat.S_ISCHR(mode) or stat.S_ISBLK(mode):
            yield LayerEntry(
                path=path,
                type="char" if stat.S_ISCHR(mode) else "block",
                mode=permissions,
                uid=uid,
                gid=gid,
                mtime=mtime,
                major=os.major(status.st_rdev),
                minor=os.minor(status.st_rdev),
            )
        # A socket that a step left behind cannot be in a tar; Docker leaves it out too.


def note_device(path: str, kind: str, major: int, minor: int) -> bool:
    """Make the file that stands for a device; False where the file system has no such attributes. ``kind``: ``char`` or ``block``."""
    with open(path, "xb"):
        pass
    try:
        os.setxattr(path, DEVICE, f"{kind}-{major}-{minor}".encode("ascii"))
    except OSError:
        # Better no file than one that was never there.
        os.unlink(path)
        return False
    return True


def noted_device(note: bytes) -> tuple[str, int, int] | None:
    """Kind, major and minor number of the device that a note is for; ``None`` for what is no note."""
    match = _DEVICE_NOTE.match(note)
    return (match[1].decode("ascii"), int(match[2]), int(match[3])) if match is not None else None


def clamp_times(directory: str, newest: int) -> None:
    """Give nothing in a layer directory a time after ``newest`` (``SOURCE_DATE_EPOCH``), so that its tar is always the same."""
    with os.scandir(directory) as scan:
        items = list(scan)
    for item in items:
        if item.is_dir(follow_symlinks=False):
            clamp_times(item.path, newest)
        status = item.stat(follow_symlinks=False)
        if status.st_mtime_ns > newest * 1_000_000_000 and not (stat.S_ISCHR(status.st_mode) and status.st_rdev == 0):
            os.utime(item.path, (newest, newest), follow_symlinks=False)


def _xattrs(path: str) -> dict[str, bytes]:
    try:
        names = os.listxattr(path, follow_symlinks=False)
    except OSError as error:
        if error.errno in (errno.ENOTSUP, errno.ENOENT):
            return {}
        raise
    return {name: os.getxattr(path, name, follow_symlinks=False) for name in names} if names else {}


def _exported(xattrs: dict[str, bytes]) -> dict[str, bytes]:
    kept = {}
    for name, value in xattrs.items():
        if name == CAPABILITY:
            kept[name] = capability_of_an_image(value)
        elif name.startswith("user.") and not name.startswith(OVERLAY_PREFIX) and name != DEVICE:
            kept[name] = value
    return kept


def capability_of_an_image(value: bytes) -> bytes:
    """A file capability as an image carries it, in version 2: version 3 has the id of a namespace's root behind it."""
    if len(value) == 24 and value[3] == 3:
        return bytes([value[0], value[1], value[2], 2]) + value[4:20]
    return value


def write_tar(directory: str, entries: Iterator[LayerEntry], write: Callable[[bytes], object]) -> int:
    """Write a layer's tar stream through ``write``. Returns the bytes of its regular files. Raises ``OSError``.

    A file whose size changed since it was listed raises ``OSError`` (EAGAIN) rather than corrupt the stream.
    """
    total = 0
    for entry in entries:
        write(header(entry))
        if entry.type != "file" or not entry.size:
            continue
        total += entry.size
        left = entry.size
        descriptor = open_file(os.path.join(directory, entry.path))
        try:
            for block in blocks(descriptor):
                write(block[:left])
                left -= min(left, len(block))
                if not left:
                    break
        finally:
            os.close(descriptor)
        if left:
            raise OSError(errno.EAGAIN, "file shrank while its layer was read", entry.path)
        write(bytes(-entry.size % BLOCK))
    write(_EMPTY_END)
    return total


def diff_id(directory: str, *, owners: Owners | None = None, proceed: Callable[[], object] = lambda: None) -> tuple[str, int, int]:
    """(diff ID, bytes of regular files, length of the tar) of a layer directory. Raises ``OSError``.

    ``proceed`` is called again and again, and ends it with what it raises.
    """
    sha = hashlib.sha256()
    length = 0

    def count(block: bytes) -> None:
        nonlocal length
        if length >> _PROCEED != (length + len(block)) >> _PROCEED:
            proceed()
        length += len(block)
        sha.update(block)

    size = write_tar(directory, walk_layer(directory, owners=owners), count)
    return f"sha256:{sha.hexdigest()}", size, length
