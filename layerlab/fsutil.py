"""Small things that several modules need: atomic writes, advisory locks, directories for commands, a pause of the garbage collector."""

from __future__ import annotations

import contextlib
import fcntl
import gc
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator


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


@contextlib.contextmanager
def locked(path: str, *, shared: bool = False) -> Iterator[None]:
    """Hold an advisory lock on ``path`` (created when missing) for the length of the block; waits for it."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
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
    whatever file of ours it leads to (CVE-2023-6597).
    """
    for folder, names, _ in os.walk(place):
        for name in names:
            path = os.path.join(folder, name)
            with contextlib.suppress(OSError):
                if stat.S_ISDIR(os.lstat(path).st_mode):
                    os.chmod(path, 0o700)
    shutil.rmtree(place, ignore_errors=True)


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
