"""Paths inside a root filesystem: symbolic links are followed as a process chrooted into it would follow them.

Nothing of an image may lead outside its root (``/etc/resolv.conf -> /home/you/x`` must not write there), so every path that
comes from a Dockerfile or an image goes through ``resolve`` before it is touched. The tree must not change meanwhile; it
does not, as no step runs while the worker looks at it.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterator
from typing import Final, NamedTuple

from layerlab.errors import ImagePathError

# What only the names and links of an image can bring about.
OF_THE_TREE: Final = (errno.ELOOP, errno.ENAMETOOLONG, errno.ENOTDIR, errno.EISDIR, errno.EILSEQ)
_LINK_LIMIT: Final = 255
# Parts of links that are followed in one tree: of many links that lead far at once, and more for each path. What one path leads through
# is then remembered, so that only who puts links in the place of links comes to an end.
_PARTS: Final = 1 << 14
_PARTS_EACH: Final = 255
_KEPT: Final = 1024


@contextlib.contextmanager
def of_an_image() -> Iterator[None]:
    """What is done in the block goes by the paths of an image. Raises ``ImagePathError`` for what only these can bring about."""
    try:
        yield
    except OSError as error:
        if error.errno not in OF_THE_TREE:
            raise
        raise ImagePathError(error.strerror or str(error)) from error


class Way(NamedTuple):
    """Where a name leads: ``place`` is without links; ``links``: how many were followed; ``absolute``: whether one of them was."""

    place: str
    links: int
    absolute: bool


_START: Final = Way("", 0, False)


class Ways:
    """Ways that have been gone in one tree, and how far its links may still lead.

    Strangers' archives have many names in one directory, and may have links whose every step costs: one of 7 kB took 20 s. Names are below
    one directory, without ``..``; what changes on a way is told to ``forget``.
    """

    def __init__(self) -> None:
        self._known: dict[str, Way] = {}
        self._left = _PARTS

    def begin(self, name: str, *, absolute: bool = True) -> tuple[Way, list[str]]:
        """The nearest known way to a name, and its parts that are left, last one first. ``absolute``: one with such a link will do."""
        self._left = min(self._left + _PARTS_EACH, _PARTS)
        known = name
        while known:
            way = self._known.get(known)
            if way is not None and (absolute or not way.absolute):
                return way, [part for part in name[len(known) + 1 :].split("/")[::-1] if part]
            known = known.rpartition("/")[0]
        return _START, [part for part in name.split("/")[::-1] if part]

    def spend(self, target: str) -> None:
        """A link is followed. Raises ``OSError`` (ELOOP) where links have led too far."""
        self._left -= target.count("/") + 1
        if self._left < 0:
            raise OSError(errno.ELOOP, "too many links")

    def keep(self, name: str, way: Way) -> None:
        """Each part of this way is there, and it ends in a directory."""
        if len(self._known) >= _KEPT:
            self._known.clear()
        self._known[name] = way

    def forget(self, place: str) -> None:
        """The directory or link in this place goes."""
        gone = f"{place}/"
        self._known = {name: way for name, way in self._known.items() if not way.links and not f"{name}/".startswith(gone)}


def resolve(root: str, path: str, *, follow: bool = True, ways: Ways | None = None) -> str:
    """Path on the host for ``path`` inside ``root``, links resolved within; parts that are missing are kept as written.

    ``follow`` says whether a link in the last place is followed. ``ways``: those of ``root``, for many paths.
    Raises ``OSError``: ELOOP on a loop of links, EILSEQ for a zero byte.
    """
    if "\0" in path:
        raise OSError(errno.EILSEQ, "a path has a zero byte")
    ways = ways or Ways()
    parts = [part for part in path.split("/") if part and part != "."]
    name = "/".join(parts)
    # Where a link in the last place leads is another question.
    way, pending = ways.begin(name if follow else "/".join(parts[:-1]))
    if not follow:
        pending[:0] = parts[-1:]
    trail = way.place.split("/") if way.place else []
    links = way.links
    whole = follow and ".." not in pending
    while pending:
        part = pending.pop()
        if part == "..":
            if trail:
                trail.pop()
            continue
        here = "/".join([root, *trail, part])
        try:
            mode = os.lstat(here).st_mode
        except (FileNotFoundError, NotADirectoryError):
            trail.append(part)
            whole = False
            continue
        if stat.S_ISLNK(mode) and (follow or pending):
            links += 1
            if links > _LINK_LIMIT:
                raise OSError(errno.ELOOP, "too many links", path)
            target = os.readlink(here)
            ways.spend(target)
            if target.startswith("/"):
                trail.clear()
            pending.extend(reversed([piece for piece in target.split("/") if piece and piece != "."]))
            continue
        whole = whole and stat.S_ISDIR(mode)
        trail.append(part)
    if whole and name:
        ways.keep(name, Way("/".join(trail), links, False))
    return "/".join([root, *trail])


def inside(root: str, host_path: str) -> str:
    """The path within ``root`` of a resolved host path, without a leading slash."""
    return host_path[len(root) :].lstrip("/")
