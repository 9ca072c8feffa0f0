"""Members of a layer's tar: what they are, and the headers that stand before them.

A whiteout is ``.wh.NAME``, an opaque directory has ``.wh..wh..opq`` (OCI image-spec ``layer.md``). Headers say nothing of access times or
of the names of users, so that the same members are the same bytes.
"""

from __future__ import annotations

import os
from typing import Final

import msgspec

WHITEOUT: Final = ".wh."
OPAQUE: Final = ".wh..wh..opq"
BLOCK: Final = 512
# Seconds since 1970 that do not go into a header.
_LATEST: Final = 8**11


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
    return pax + body + bytes(-len(body) % BLOCK) + main


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
