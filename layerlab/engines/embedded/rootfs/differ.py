"""The differ: what of a finished layer directory is no change of what lies below goes, before it becomes a layer.

An upper directory holds all that a step wrote, equal or not. Rule: BuildKit ``util/overlay/overlay_linux.go`` (``Changes``,
``sameDirent``), which makes the layers of containerd's image store: an entry with the mode, owner, size, time and bytes of the one below is
not in the layer, nor is a directory that is the same and holds no change; in the place of an opaque directory stand whiteouts of what it
hides. Unlike there, the extended attributes of users count, and the steps that follow see what the layer has: a new name of an old file
is another file.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Callable, Iterator
from typing import Final

from layerlab.engines.embedded.rootfs.copying import counted_names
from layerlab.engines.embedded.rootfs.layer_tar import OVERLAY_PREFIX
from layerlab.engines.embedded.rootfs.reading import changeable, open_file, readable

_OPAQUE: Final = OVERLAY_PREFIX + "opaque"
_BLOCK: Final = 1 << 20

SameOwner = Callable[[str, os.stat_result, os.stat_result], bool]


def drop_unchanged(layer: str, lowers: list[str], same_owner: SameOwner | None = None) -> None:
    """Take out of the layer directory ``layer`` what is as in ``lowers`` (overlay form, lowest first). Nothing may be mounted on it.

    ``same_owner`` compares the owners of a path, above and below; without it those on disk count. Raises ``OSError``.
    """
    if lowers:
        _Differ(layer, same_owner or _same_owner).reduce(layer, "", lowers[::-1], opaque=False)


def _same_owner(_path: str, upper: os.stat_result, lower: os.stat_result) -> bool:
    return (upper.st_uid, upper.st_gid) == (lower.st_uid, lower.st_gid)


class _Differ:
    def __init__(self, layer: str, same_owner: SameOwner) -> None:
        self._layer = layer
        self._same_owner = same_owner

    def reduce(self, directory: str, relative: str, below: list[str], *, opaque: bool) -> None:
        """``below``: the directories of that path, topmost first. ``opaque``: they are hidden, so what is missing above was deleted."""
        with contextlib.ExitStack() as stack:
            stack.enter_context(changeable(directory))
            for place in below:
                stack.enter_context(readable(place))
            with os.scandir(directory) as scan:
                items = list(scan)
            names = set()
            for item in items:
                names.add(item.name)
                self._entry(item, f"{relative}/{item.name}" if relative else item.name, below, opaque=opaque)
            if opaque:
                for name in _visible(below) - names:
                    os.mknod(f"{directory}/{name}", stat.S_IFCHR, os.makedev(0, 0))

    def _entry(self, item: os.DirEntry[str], path: str, below: list[str], *, opaque: bool) -> None:
        status = item.stat(follow_symlinks=False)
        found = list(_entries(below, item.name))
        if stat.S_ISCHR(status.st_mode) and status.st_rdev == 0:
            if not found:
                os.unlink(item.path)
            return
        if not stat.S_ISDIR(status.st_mode):
            if found and self._same(path, item.path, status, *found[0]):
                os.unlink(item.path)
            return
        hides = opaque or _take_opaque(item.path)
        directories = [place for place, lower in found if stat.S_ISDIR(lower.st_mode)]
        if directories:
            self.reduce(item.path, path, directories, opaque=hides)
            if self._same(path, item.path, status, *found[0]):
                with readable(item.path):
                    empty = not os.listdir(item.path)
                if empty:
                    os.rmdir(item.path)

    def _same(self, path: str, place: str, upper: os.stat_result, place_below: str, lower: os.stat_result) -> bool:
        if (upper.st_mode, upper.st_rdev) != (lower.st_mode, lower.st_rdev) or not self._same_owner(path, upper, lower):
            return False
        if not stat.S_ISDIR(upper.st_mode) and (upper.st_size, upper.st_mtime_ns) != (lower.st_size, lower.st_mtime_ns):
            return False
        if stat.S_ISLNK(upper.st_mode):
            return os.readlink(place) == os.readlink(place_below)
        if stat.S_ISDIR(upper.st_mode):
            with readable(place), readable(place_below):
                return _attributes(place) == _attributes(place_below)
        return not stat.S_ISREG(upper.st_mode) or _same_file(place, place_below)


def _entries(below: list[str], name: str) -> Iterator[tuple[str, os.stat_result]]:
    """What the merged view of ``below`` has under a name, topmost first: one entry, or directories that are merged."""
    for directory in below:
        place = f"{directory}/{name}"
        try:
            status = os.lstat(place)
        except (FileNotFoundError, NotADirectoryError):
            continue
        if stat.S_ISCHR(status.st_mode) and status.st_rdev == 0:
            return
        yield place, status
        if not stat.S_ISDIR(status.st_mode) or _is_opaque(place):
            return


def _visible(below: list[str]) -> set[str]:
    names = {name for directory in below for name in os.listdir(directory)}
    return {name for name in names if next(_entries(below, name), None) is not None}


def _is_opaque(path: str) -> bool:
    try:
        return os.getxattr(path, _OPAQUE) == b"y"
    except OSError:
        return False


def _take_opaque(path: str) -> bool:
    """Whether a directory is opaque; it is not any more."""
    if not _is_opaque(path):
        return False
    os.removexattr(path, _OPAQUE)
    return True


def _attributes(path: str | int) -> list[tuple[str, bytes]]:
    return [(name, os.getxattr(path, name)) for name in sorted(counted_names(path))]


def _same_file(left: str, right: str) -> bool:
    with contextlib.ExitStack() as stack:
        descriptors = []
        for path in (left, right):
            descriptors.append(open_file(path))
            stack.callback(os.close, descriptors[-1])
        if _attributes(descriptors[0]) != _attributes(descriptors[1]):
            return False
        while True:
            blocks = [os.read(descriptor, _BLOCK) for descriptor in descriptors]
            if blocks[0] != blocks[1]:
                return False
            if not blocks[0]:
                return True
