"""Small things that several modules need: atomic writes, advisory locks, directories that commands write to and how they are removed,
a pause of the garbage collector."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import gc
import os
import stat
import tempfile
from collections.abc import Iterator
from typing import Final

# So many names of 255 bytes fit into a path.
_DEPTH: Final = 12
_HERE: Final = -100
_EXCHANGE: Final = 2


def write_atomically(path: str, data: bytes, *, durable: bool = True, mode: int = 0o644) -> None:
    """Write ``data`` to ``path`` so that a reader sees the old or the new content, never a part.

    ``durable`` also syncs the bytes to disk before the rename. Raises ``OSError``.
    """
    directory = os.path.dirname(path)
    descriptor, temporary = tempfile.mkstemp(dir=directory, prefix=".tmp-")
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fchmod(stream.fileno(), mode)
            if durable:
                os.fsync(stream.fileno())
        os.rename(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise


def exchange(left: str, right: str) -> None:
    """Let two directories of one folder change names: at once where the system can, so that no process finds either missing.

    Raises ``OSError``; both then have the names that they had.
    """
    # Most commands exchange nothing, and it takes milliseconds to load.
    import ctypes

    swap = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if swap is not None:
        if swap(_HERE, os.fsencode(left), _HERE, os.fsencode(right), _EXCHANGE) == 0:
            return
        number = ctypes.get_errno()
        if number not in (errno.ENOSYS, errno.EINVAL):
            raise OSError(number, os.strerror(number), right)
    aside = tempfile.mkdtemp(prefix=".aside-", dir=os.path.dirname(right))
    os.rename(right, aside)
    try:
        os.rename(left, right)
    except OSError:
        os.rename(aside, right)
        raise
    os.rename(aside, left)


@contextlib.contextmanager
def locked(path: str, *, shared: bool = False) -> Iterator[None]:
    """Hold an advisory lock on ``path`` (created when missing) for the length of the block; waits for it."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        # Who only reads may do so where it cannot write: a lock needs no right to.
        if not shared or error.errno not in (errno.EROFS, errno.EACCES):
            raise
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH if shared else fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def scratch_directory(prefix: str, directory: str | None = None) -> Iterator[str]:
    """A directory for the length of the block, which a command of a build may write to. Raises ``OSError`` where it cannot be made."""
    path = tempfile.mkdtemp(prefix=prefix, dir=directory)
    try:
        yield path
    finally:
        remove_written(path)


def remove_written(place: str) -> None:
    """Remove a directory that a command could write to; what cannot be removed stays.

    ``tempfile.TemporaryDirectory`` would, before Python 3.11.8, follow a link that it cannot delete, and change the permissions of
    whatever file of ours it leads to (CVE-2023-6597); it also gives up on folders nested a thousand deep.
    """
    with contextlib.suppress(OSError):
        remove_tree(place)


def leads_out(path: str, folder: str) -> bool:
    """Whether a path in a folder is, by its links, one outside of it."""
    path, folder = os.path.abspath(path), os.path.abspath(folder)
    return path.startswith(f"{folder}/") and not os.path.realpath(path).startswith(os.path.realpath(folder).rstrip("/") + "/")


def is_directory(path: str) -> bool:
    """A directory itself, not a link to one."""
    try:
        return stat.S_ISDIR(os.lstat(path).st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return False


def remove_tree(path: str) -> None:
    """Remove a directory of ours, whatever modes and however deep a tree a step left in it. Raises ``OSError``."""
    if not os.path.lexists(path):
        return
    if not is_directory(path):
        os.unlink(path)
        return
    # Directories below a certain depth are moved up first: recursion, open files and the length of paths are all limited.
    pending = [path]
    while pending:
        top = pending.pop()
        _empty(top, "", path, pending)
        os.rmdir(top)


def _empty(top: str, relative: str, root: str, pending: list[str], depth: int = 0) -> None:
    here = f"{top}/{relative}" if relative else top
    os.chmod(here, 0o700)
    with os.scandir(here) as scan:
        items = [(item.name, item.is_dir(follow_symlinks=False)) for item in scan]
    for name, is_dir in items:
        below = f"{here}/{name}"
        if not is_dir:
            os.unlink(below)
        elif depth < _DEPTH:
            _empty(top, f"{relative}/{name}" if relative else name, root, pending, depth + 1)
            os.rmdir(below)
        else:
            moved = f"{root}.{len(pending)}-{os.lstat(below).st_ino}"
            os.chmod(below, 0o700)
            os.rename(below, moved)
            pending.append(moved)


@contextlib.contextmanager
def collection_paused() -> Iterator[None]:
    """A build makes many small objects and no cycles worth collecting; a collection in the middle only costs time."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()
