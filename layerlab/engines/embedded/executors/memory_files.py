"""Files in memory for an executor that has no namespace to keep them in, and the sweeping of those that a killed build has left.

Each is locked for as long as it is in use, so one that nobody holds is nobody's. Before there were namespaces for them, secrets of all
builds lay there, too.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import tempfile
from typing import Final

_MEMORY: Final = "/dev/shm"
_PREFIX: Final = "layerlab-secret-"


def memory_file(content: bytes, mode: int, fallback: str, stack: contextlib.ExitStack) -> str:
    """Path of a new file with this content, which is unlinked when ``stack`` is closed.

    It is in ``fallback`` where there is no place in memory. Raises ``OSError``.
    """
    place = _MEMORY if os.access(_MEMORY, os.W_OK) else fallback
    while True:
        descriptor, path = tempfile.mkstemp(prefix=_PREFIX, dir=place)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        # Another build may have swept it before it was locked.
        if os.fstat(descriptor).st_nlink:
            break
        os.close(descriptor)
    # The lock ends with the descriptor, after the name.
    stack.callback(os.close, descriptor)
    stack.callback(os.unlink, path)
    with open(descriptor, "wb", closefd=False) as stream:
        stream.write(content)
    os.fchmod(descriptor, mode)
    return path


def sweep() -> None:
    """Remove what builds of this user that were killed have left in memory."""
    with contextlib.suppress(OSError), os.scandir(_MEMORY) as scan:
        for name in [entry.name for entry in scan if entry.name.startswith(_PREFIX)]:
            with contextlib.suppress(OSError):
                _remove_if_left(os.path.join(_MEMORY, name))


def _remove_if_left(path: str) -> None:
    # Anybody may put something under such a name there.
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        if os.fstat(descriptor).st_uid == os.getuid():
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.unlink(path)
    finally:
        os.close(descriptor)
