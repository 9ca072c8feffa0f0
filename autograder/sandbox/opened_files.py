"""Which files of a directory are opened, by whatever process, through whatever mount of it: told by the kernel (inotify(7)).

What is watched is the directory's own entries. A hard link of the same file elsewhere is another matter, and stays so.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import struct
from typing import Any, Final, Self

_IN_OPEN: Final = 0x20
_IN_ISDIR: Final = 0x40000000
_IN_Q_OVERFLOW: Final = 0x4000
_HEADER: Final = struct.Struct("iIII")
_BLOCK: Final = 1 << 16


class Openings(contextlib.AbstractContextManager["Openings"]):
    """Watches a directory from its making to the end of the context. Raises ``OSError``.

    ``overflowed``  more was opened than the kernel keeps (``fs.inotify.max_queued_events``), as far as ``names`` has read.
    """

    def __init__(self, directory: str) -> None:
        self.overflowed = False
        library = ctypes.CDLL(None, use_errno=True)
        self._descriptor = _checked(library.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC))
        try:
            _checked(library.inotify_add_watch(self._descriptor, os.fsencode(directory), _IN_OPEN))
        except OSError:
            os.close(self._descriptor)
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: Any) -> None:
        os.close(self._descriptor)

    def names(self) -> set[str]:
        """Names of the files that were opened since the last time. Of too many these are the first."""
        found = set()
        with contextlib.suppress(BlockingIOError):
            while block := os.read(self._descriptor, _BLOCK):
                at = 0
                while at < len(block):
                    _, mask, _, length = _HEADER.unpack_from(block, at)
                    at += _HEADER.size
                    self.overflowed = self.overflowed or bool(mask & _IN_Q_OVERFLOW)
                    if length and not mask & _IN_ISDIR:
                        found.add(os.fsdecode(block[at : at + length].rstrip(b"\0")))
                    at += length
        return found


def _checked(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result
