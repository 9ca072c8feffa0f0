"""When a file was made: ``statx(2)``, which Python 3.11 lacks."""

from __future__ import annotations

import ctypes
import functools
import os
import struct
from typing import Any, Final

_AT_FDCWD: Final = -100
_NO_FOLLOW: Final = 0x100
_BIRTH: Final = 0x800
_SIZE: Final = 256
# stx_mask at 0; stx_btime at 80: seconds, then nanoseconds.
_MASK: Final = struct.Struct("<I")
_TIME: Final = struct.Struct("<qI")
_TIME_AT: Final = 80


def birth_time(path: str) -> int:
    """Nanoseconds since the epoch, 0 where the file system or the C library does not tell."""
    statx = _statx()
    if statx is None:
        return 0
    buffer = ctypes.create_string_buffer(_SIZE)
    if statx(_AT_FDCWD, os.fsencode(path), _NO_FOLLOW, _BIRTH, buffer) != 0 or not _MASK.unpack_from(buffer)[0] & _BIRTH:
        return 0
    seconds, rest = _TIME.unpack_from(buffer, _TIME_AT)
    return int(seconds) * 1_000_000_000 + int(rest)


@functools.cache
def _statx() -> Any:
    return getattr(ctypes.CDLL(None), "statx", None)
