"""Paths inside a root filesystem: symbolic links are followed as a process chrooted into it would follow them.

Nothing of an image may lead outside its root (``/etc/resolv.conf -> /home/you/x`` must not write there), so every path that
comes from a Dockerfile or an image goes through ``resolve`` before it is touched. The tree must not change meanwhile; it
does not, as no step runs while the worker looks at it.
"""

from __future__ import annotations

import errno
import os
import stat
from typing import Final

# What only the names and links of an image can bring about.
OF_THE_TREE: Final = (errno.ELOOP, errno.ENAMETOOLONG, errno.ENOTDIR, errno.EISDIR, errno.EILSEQ)
_LINK_LIMIT: Final = 255


def resolve(root: str, path: str, *, follow: bool = True) -> str:
    """Path on the host for ``path`` inside ``root``, links resolved within; parts that are missing are kept as written.

    ``follow`` says whether a link in the last place is followed. Raises ``OSError``: ELOOP on a loop of links, EILSEQ for a zero byte.
    """
    if "\0" in path:
        raise OSError(errno.EILSEQ, "a path has a zero byte")
    pending = [part for part in path.split("/") if part and part != "."]
    pending.reverse()
    trail: list[str] = []
    links = 0
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
            continue
        if stat.S_ISLNK(mode) and (follow or pending):
            links += 1
            if links > _LINK_LIMIT:
                raise OSError(errno.ELOOP, "too many links", path)
            target = os.readlink(here)
            if target.startswith("/"):
                trail.clear()
            pending.extend(reversed([piece for piece in target.split("/") if piece and piece != "."]))
            continue
        trail.append(part)
    return "/".join([root, *trail])


def inside(root: str, host_path: str) -> str:
    """The path within ``root`` of a resolved host path, without a leading slash."""
    return host_path[len(root) :].lstrip("/")
