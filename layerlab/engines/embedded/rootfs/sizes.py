"""How much a tree weighs that a command may be writing to: measured by descriptor, so that no name in it leads elsewhere."""

from __future__ import annotations

import os
import stat
from typing import Final

BLOCK: Final = 512
LEAST: Final = 4096
"""What a file counts at least, empty or not: a disk runs out of files, too."""

_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# A path of 4096 bytes has no more directories in it (PATH_MAX).
_DEEPEST: Final = 2048


class TooDeepError(Exception):
    """Directories are nested until no path leads to the last of them."""


def weight(status: os.stat_result) -> int:
    """Bytes of one file as they are on disk or as a reader sees them, whichever is more: holes take no space, and for ever to read."""
    return max(status.st_blocks * BLOCK, status.st_size if stat.S_ISREG(status.st_mode) else 0, LEAST)


def tree_size(top: str) -> int:
    """Bytes below a directory; each name of a file counts, since a copy may have each as a file of its own.

    What goes or is moved meanwhile is left out. Raises ``TooDeepError``, and ``OSError`` for what cannot be looked into.
    """
    try:
        held = os.open(top, _DIRECTORY)
    except (FileNotFoundError, NotADirectoryError):
        return 0
    total = 0
    try:
        below: list[str] = []
        length = 0
        total += _listed(held, below)
        # One descriptor goes down and up again; what it must find above is known.
        trail = [(_identity(held), below, 0)]
        while True:
            _, below, added = trail[-1]
            if below:
                name = below.pop()
                try:
                    deeper = os.open(name, _DIRECTORY, dir_fd=held)
                except (FileNotFoundError, NotADirectoryError):
                    continue
                os.close(held)
                held = deeper
                added = len(os.fsencode(name)) + 1
                length += added
                if len(trail) > _DEEPEST or length + len(os.fsencode(top)) >= 4096:
                    raise TooDeepError(name)
                found: list[str] = []
                total += _listed(held, found)
                trail.append((_identity(held), found, added))
                continue
            trail.pop()
            length -= added
            if not trail:
                return total
            above = os.open("..", _DIRECTORY, dir_fd=held)
            os.close(held)
            held = above
            if _identity(held) != trail[-1][0]:
                return total
    finally:
        os.close(held)


def _identity(descriptor: int) -> tuple[int, int]:
    status = os.fstat(descriptor)
    return status.st_dev, status.st_ino


def _listed(descriptor: int, directories: list[str]) -> int:
    """What the entries of a directory weigh; the names of directories are added to ``directories``."""
    total = 0
    with os.scandir(descriptor) as entries:
        for entry in entries:
            try:
                status = entry.stat(follow_symlinks=False)
            except FileNotFoundError:
                continue
            if stat.S_ISDIR(status.st_mode):
                directories.append(entry.name)
            total += weight(status)
    return total
