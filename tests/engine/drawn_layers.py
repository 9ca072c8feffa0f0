"""Layer directories in overlay form, drawn: few paths, so that layers meet."""

from __future__ import annotations

import contextlib
import os
import stat
import struct
from pathlib import Path

from hypothesis import strategies as st

_PATHS = ("a", "b", "a/x", "a/y", "a/x/p", "a/x/q", "b/x")
_KINDS = ("file", "link", "directory", "opaque", "whiteout", "read-only")
# What only a step leaves behind, and no layer has.
_LEFT = (
    *("socket", "untellable attribute", "old", "far", "pipe", "hidden", "closed", "attribute", "overlay attribute"),
    *("device note", "note of nothing", "device with more", "capability", "read at some time"),
)
# Version 3: two words of each of the sets, and the root of the namespace that it is for.
_CAPABILITY = bytes.fromhex("0100000300200000000000000000000000000000")
_ATTRIBUTES = {
    "attribute": "user.a",
    "untellable attribute": "user.a=b",
    "overlay attribute": "user.overlay.origin",
    "device note": "user.layerlab.device",
}


def _entries(kinds: tuple[str, ...]) -> st.SearchStrategy[list[tuple[str, str, int]]]:
    return st.lists(st.tuples(st.sampled_from(_PATHS), st.sampled_from(kinds), st.integers(0, 3)), max_size=5)


ENTRIES = _entries(_KINDS)
STEPS = _entries(_KINDS + _LEFT)
LAYERS = st.lists(ENTRIES, max_size=3)


def write_layer(place: Path, entries: list[tuple[str, str, int]]) -> str:
    """A layer in overlay form: later entries stand where nothing else is yet."""
    place.mkdir()
    closed: list[tuple[Path, int]] = []
    for path, kind, number in entries:
        target = place / path
        parents = [place / parent for parent in reversed(Path(path).parents[:-1])]
        if os.path.lexists(target) or any(os.path.lexists(parent) and not parent.is_dir() for parent in parents):
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        if kind == "file":
            target.write_text(f"{number}", encoding="utf-8")
            target.chmod(0o600 + number)
        elif kind == "link":
            target.symlink_to(f"to-{number}")
        elif kind == "whiteout":
            os.mknod(target, stat.S_IFCHR, os.makedev(0, 0))
        elif kind == "socket":
            os.mknod(target, stat.S_IFSOCK | 0o600)
        elif kind == "pipe":
            os.mkfifo(target)
        elif kind == "hidden":
            target = target.with_name(f".wh.{target.name}")
            if os.path.lexists(target):
                continue
            target.touch(mode=0)
        elif kind in ("old", "far", "read at some time"):
            target.touch()
        elif kind == "capability":
            target.touch()
            with contextlib.suppress(PermissionError):
                # Some kernels and file systems let root alone do that.
                os.setxattr(target, "security.capability", _CAPABILITY + struct.pack("<I", 4242 + number))
        elif kind in ("note of nothing", "device with more"):
            target.touch()
            note = (b"char-01-3", b"smuggled", b"block-8-0x", b"char-1-3\n")[number] if kind == "note of nothing" else b"char-1-3"
            os.setxattr(target, "user.layerlab.device", note)
            os.setxattr(target, "user.b", b"%d" % number)
            with contextlib.suppress(PermissionError):
                os.setxattr(target, "security.capability", _CAPABILITY + struct.pack("<I", number))
        elif kind in _ATTRIBUTES:
            target.write_bytes(b"x" if kind == "device note" else b"")
            os.setxattr(target, _ATTRIBUTES[kind], b"char-1-3" if kind == "device note" else b"%d" % number)
        else:
            target.mkdir(mode=0o750 + number)
            if kind in ("read-only", "closed"):
                closed.append((target, 0o550 if kind == "read-only" else 0o300))
            if kind == "opaque":
                os.setxattr(target, "user.overlay.opaque", b"y")
        moment = {"old": -(10**9), "far": 10**10}.get(kind, 0) * 10**9
        read = number * 10**9 if kind == "read at some time" else 0
        os.utime(target, ns=(read, moment + number * 1_000), follow_symlinks=False)
    for folder, _, _ in os.walk(place, topdown=False):
        os.utime(folder, ns=(0, len(entries) * 7_000))
    for target, mode in closed:
        target.chmod(mode)
    return str(place)
