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

import msgspec

from layerlab.context.tree import blocks
from layerlab.engines.embedded.rootfs.reading import open_file, readable

WHITEOUT: Final = ".wh."
OPAQUE: Final = ".wh..wh..opq"
OVERLAY_PREFIX: Final = "user.overlay."
CAPABILITY: Final = "security.capability"
# An empty file with this attribute stands for a device that an archive has, and is one in the layer's tar: nobody's archive puts a device
# into the store, where root could open it. Podman does the same without root (containers/storage, ``user.containers.override_stat``).
DEVICE: Final = "user.layerlab.device"
# As ``note_device`` writes it: one note for each device.
_DEVICE_NOTE: Final = re.compile(rb"(char|block)-(0|[1-9][0-9]{0,9})-(0|[1-9][0-9]{0,9})\Z")
_BLOCK: Final = 512
# Seconds since 1970 that do not go into a header.
_LATEST: Final = 8**11
# Of the bytes after which a long hashing asks whether anybody still waits for it, the logarithm.
_PROCEED: Final = 26
_EMPTY_END: Final = bytes(2 * _BLOCK)

Owners = Mapping[str, tuple[int, int]]


class LayerEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One member of a layer.

    ``type``  ``file dir symlink hardlink fifo char block whiteout opaque``; ``path`` has no leading slash and names what
    is hidden for a whiteout. ``size`` in bytes, ``mtime`` in whole seconds.
    """

    path: str
    type: str
    mode: int
    uid: int = 0
    gid: int = 0
    size: int = 0
    mtime: int = 0
    target: str = ""
    major: int = 0
    minor: int = 0
    xattrs: dict[str, bytes] = msgspec.field(default_factory=dict)


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
        write(bytes(-entry.size % _BLOCK))
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


_TYPE_FLAGS: Final = {"file": b"0", "hardlink": b"1", "symlink": b"2", "char": b"3", "block": b"4", "dir": b"5", "fifo": b"6"}


def header(entry: LayerEntry) -> bytes:
    """The ustar header of an entry, after a PAX header where ustar cannot say it all (POSIX.1-2017 pax)."""
    name = entry.path
    kind = entry.type
    mode = entry.mode
    if kind == "whiteout":
        parent, _, last = name.rpartition("/")
        name = f"{parent}/{WHITEOUT}{last}" if parent else WHITEOUT + last
        kind = "file"
    elif kind == "opaque":
        name = f"{name}/{OPAQUE}"
        kind = "file"
    elif kind == "dir":
        name += "/"
    raw_name, raw_target = os.fsencode(name), os.fsencode(entry.target)
    extra: list[tuple[bytes, bytes]] = []
    if len(raw_name) > 100 or not raw_name.isascii():
        extra.append((b"path", raw_name))
    if len(raw_target) > 100 or not raw_target.isascii():
        extra.append((b"linkpath", raw_target))
    if entry.size >= 1 << 33:
        extra.append((b"size", b"%d" % entry.size))
    if entry.uid >= 1 << 21:
        extra.append((b"uid", b"%d" % entry.uid))
    if entry.gid >= 1 << 21:
        extra.append((b"gid", b"%d" % entry.gid))
    if not 0 <= entry.mtime < _LATEST:
        extra.append((b"mtime", b"%d" % entry.mtime))
    if entry.type != "opaque" and os.path.basename(entry.path).startswith(WHITEOUT):
        # Of a name like that neither the file nor its whiteout may look like what deletes something else.
        extra.append((b"comment", b"a file"))
    extra.extend((b"SCHILY.xattr." + os.fsencode(key), value) for key, value in sorted(entry.xattrs.items()))
    flag = _TYPE_FLAGS[kind]
    size = entry.size if kind == "file" else 0
    main = _ustar(raw_name[:100], mode, entry.uid, entry.gid, size, entry.mtime, flag, raw_target[:100], entry.major, entry.minor)
    if not extra:
        return main
    body = b"".join(_pax_record(key, value) for key, value in extra)
    pax = _ustar(b"PaxHeaders.0/" + raw_name[-80:].lstrip(b"/"), 0o644, 0, 0, len(body), 0, b"x", b"", 0, 0)
    return pax + body + bytes(-len(body) % _BLOCK) + main


def _pax_record(key: bytes, value: bytes) -> bytes:
    rest = b" " + key + b"=" + value + b"\n"
    length = len(rest) + len(str(len(rest)))
    if len(str(length)) + len(rest) != length:
        length = len(str(length)) + len(rest)
    return b"%d" % length + rest


def _octal(value: int, width: int) -> bytes:
    limit = 8 ** (width - 1)
    return b"%0*o\0" % (width - 1, value if 0 <= value < limit else 0)


def _ustar(name: bytes, mode: int, uid: int, gid: int, size: int, mtime: int, flag: bytes, target: bytes, major: int, minor: int) -> bytes:
    parts = [
        name.ljust(100, b"\0"),
        _octal(mode, 8),
        _octal(uid, 8),
        _octal(gid, 8),
        _octal(size, 12),
        _octal(max(mtime, 0), 12),
        b"        ",
        flag,
        target.ljust(100, b"\0"),
        b"ustar\x0000",
        bytes(64),
        _octal(major, 8),
        _octal(minor, 8),
        bytes(167),
    ]
    block = b"".join(parts)
    checksum = b"%06o\0 " % sum(block)
    return block[:148] + checksum + block[156:]
