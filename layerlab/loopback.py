"""The loopback interface, which a network namespace of its own begins without (``unshare -n``)."""

from __future__ import annotations

import contextlib
import fcntl
import socket
import struct
from typing import Final

# netdevice(7).
_GET_FLAGS: Final = 0x8913
_SET_FLAGS: Final = 0x8914
_UP: Final = 1
_REQUEST: Final = struct.Struct("16sh14x")


def raise_loopback() -> None:
    """Bring the interface up where it is down and this user may; a server on 127.0.0.1 could not be reached otherwise."""
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        name, flags = _REQUEST.unpack(fcntl.ioctl(control, _GET_FLAGS, _REQUEST.pack(b"lo", 0)))
        if not flags & _UP:
            fcntl.ioctl(control, _SET_FLAGS, _REQUEST.pack(name, flags | _UP))
