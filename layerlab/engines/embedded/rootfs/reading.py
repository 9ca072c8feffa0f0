"""Reading files and directories of an image whose modes forbid it.

The image's root may read everything. A worker in a user namespace may, too; one without namespaces is an ordinary user who owns all of
the image's files, so the permission is taken for the moment of opening, and the mode put back.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterator


def open_file(path: str) -> int:
    """A descriptor for reading a regular file. A link in the last place is not followed. Raises ``OSError``."""
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        return os.open(path, flags)
    except PermissionError:
        with permitted(path, 0o400):
            return os.open(path, flags)


@contextlib.contextmanager
def readable(directory: str) -> Iterator[None]:
    """For the length of the block, what is in a directory can be listed and reached. Raises ``OSError``."""
    if os.access(directory, os.R_OK | os.X_OK, effective_ids=True):
        yield
        return
    with permitted(directory, 0o500):
        yield


@contextlib.contextmanager
def changeable(directory: str) -> Iterator[None]:
    """For the length of the block, entries of a directory can be removed and made. Its time is then what it was. Raises ``OSError``."""
    status = os.lstat(directory)
    with contextlib.ExitStack() as stack:
        if not os.access(directory, os.R_OK | os.W_OK | os.X_OK, effective_ids=True):
            stack.enter_context(permitted(directory, 0o700))
        yield
        os.utime(directory, ns=(status.st_mtime_ns, status.st_mtime_ns))


@contextlib.contextmanager
def permitted(path: str, bits: int) -> Iterator[None]:
    """For the length of the block, a file or directory has these bits of its mode, too. Raises ``OSError``."""
    status = os.lstat(path)
    if status.st_mode & bits == bits:
        yield
        return
    if stat.S_ISLNK(status.st_mode) or status.st_uid != os.geteuid():
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)
    os.chmod(path, stat.S_IMODE(status.st_mode) | bits)
    try:
        yield
    finally:
        os.chmod(path, stat.S_IMODE(status.st_mode))
