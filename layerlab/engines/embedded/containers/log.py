"""The log of a container: what it wrote, in two files of limited size, of which the older one goes first."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable
from typing import IO, Final

# The last one to two times as much are kept.
PIECE: Final = 5 << 20
_POLL_SECONDS: Final = 0.1
_BLOCK: Final = 1 << 16


class LogWriter(contextlib.AbstractContextManager["LogWriter"]):
    """Writes a log at ``path`` and ``path.1``. A disk that is full loses output; it does not end the container."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._stream = _appending(path)
        self._size = os.path.getsize(path)

    def __exit__(self, *_: object) -> None:
        self._stream.close()

    def write(self, block: bytes) -> None:
        """Append output."""
        with contextlib.suppress(OSError):
            if self._size >= PIECE:
                os.replace(self._path, self._path + ".1")
                self._stream.close()
                self._stream = _appending(self._path)
                self._size = 0
            self._stream.write(block)
            self._size += len(block)


def read_log(path: str, output: Callable[[bytes], None]) -> None:
    """Pass on all that is there."""
    for piece in (path + ".1", path):
        with contextlib.suppress(FileNotFoundError), open(piece, "rb") as stream:
            _pass_on(stream, output)


def follow_log(path: str, output: Callable[[bytes], None], running: Callable[[], bool]) -> None:
    """Pass on what is there and what comes, until ``running`` says no."""
    with contextlib.suppress(FileNotFoundError), open(path + ".1", "rb") as older:
        _pass_on(older, output)
    while _follow_piece(path, output, running):
        pass


def _follow_piece(path: str, output: Callable[[bytes], None], running: Callable[[], bool]) -> bool:
    """Follow one file of the log. Returns whether another has taken its place, or it is still to come."""
    try:
        stream = open(path, "rb")  # noqa: SIM115
    except FileNotFoundError:
        time.sleep(_POLL_SECONDS)
        return running()
    with stream:
        going = True
        while going:
            # Asked before reading, so that nothing that was written before the end is missed.
            going = running()
            replaced = _was_replaced(path, stream)
            _pass_on(stream, output)
            if replaced:
                return True
            if going:
                time.sleep(_POLL_SECONDS)
    return False


def _was_replaced(path: str, stream: IO[bytes]) -> bool:
    try:
        return os.stat(path).st_ino != os.fstat(stream.fileno()).st_ino
    except FileNotFoundError:
        return False


def _appending(path: str) -> IO[bytes]:
    return open(path, "ab", buffering=0)


def _pass_on(stream: IO[bytes], output: Callable[[bytes], None]) -> None:
    while block := stream.read(_BLOCK):
        output(block)
