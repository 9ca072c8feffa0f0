"""Modes of a tree that whoever works in it must obey, and an image's root need not.

The worker may do all in a tree of its own: as root, or in a user namespace. One without namespaces is an ordinary user, whom a directory of
mode 0600 keeps out. Then the tree is held open while it is worked in: what is closed gets its owner's permissions, and the mode that it has
for the image is noted and put back at the end.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator
from typing import Final

from layerlab.engines.embedded.rootfs.paths import inside

_DIRECTORY: Final = 0o700
_FILE: Final = 0o400


class Tree:
    """A root filesystem in the directory ``root``, where modes keep nobody out.

    ``modes``: the permission bits of what is held open, by path within ``root``.
    """

    def __init__(self, root: str) -> None:
        self.root = root
        self.modes: dict[str, int] = {}

    def status(self, path: str) -> os.stat_result:
        """``os.lstat`` of a host path in the tree, with its mode in the image. Raises ``OSError``."""
        status = os.lstat(path)
        mode = self.modes.get(inside(self.root, path)) if self.modes else None
        return status if mode is None else _with_mode(status, mode)

    def chmod_directory(self, path: str, mode: int) -> None:
        """Give a directory of the tree, by host path, its mode. Raises ``OSError``."""
        os.chmod(path, mode)


class _HeldOpen(Tree):
    def chmod_directory(self, path: str, mode: int) -> None:
        where = inside(self.root, path)
        self.modes.pop(where, None)
        if mode & _DIRECTORY != _DIRECTORY:
            # At the end, so that its parents come later.
            self.modes[where] = mode
        os.chmod(path, mode | _DIRECTORY)

    def open(self, *, files: bool) -> None:
        """Open what is closed, the root itself left out."""
        for path, status in closed(self.root, files=files):
            os.chmod(path, _opened(status.st_mode))
            self.modes[inside(self.root, path)] = stat.S_IMODE(status.st_mode)

    def close(self) -> None:
        """Give everything the mode that it has in the image, unless it is gone or was given another."""
        for where in sorted(self.modes, key=lambda where: where.count("/"), reverse=True):
            path, mode = f"{self.root}/{where}", self.modes[where]
            with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                now = os.lstat(path).st_mode
                if not stat.S_ISLNK(now) and stat.S_IMODE(now) == _opened(stat.S_IFMT(now) | mode):
                    os.chmod(path, mode)


@contextlib.contextmanager
def held_open(root: str, *, files: bool) -> Iterator[Tree]:
    """For the length of the block, an ordinary user who owns all of a tree can read and change its directories.

    ``files``: and read its files; that moves their change times. Raises ``OSError``.
    """
    tree = _HeldOpen(root)
    try:
        tree.open(files=files)
        yield tree
    finally:
        tree.close()


def closed(root: str, *, files: bool) -> Iterator[tuple[str, os.stat_result]]:
    """What in a tree its owner may not use, outermost first. A directory must be opened before the next one. Raises ``OSError``."""
    pending = [root]
    while pending:
        with os.scandir(pending.pop()) as scan:
            items = list(scan)
        for item in items:
            directory = item.is_dir(follow_symlinks=False)
            if directory or (files and item.is_file(follow_symlinks=False)):
                status = item.stat(follow_symlinks=False)
                if stat.S_IMODE(status.st_mode) != _opened(status.st_mode):
                    yield item.path, status
            if directory:
                pending.append(item.path)


def _opened(mode: int) -> int:
    """The permission bits of something while it is held open."""
    return stat.S_IMODE(mode) | (_DIRECTORY if stat.S_ISDIR(mode) else _FILE)


def _with_mode(status: os.stat_result, mode: int) -> os.stat_result:
    named = {name: getattr(status, name) for name in dir(status) if name.startswith("st_")}
    return os.stat_result((stat.S_IFMT(status.st_mode) | mode, *status[1:]), named)
