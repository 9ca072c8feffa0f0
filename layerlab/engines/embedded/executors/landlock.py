"""Landlock: which files a process and all that it starts may open, said once and never taken back, without any privilege.

proot is no wall by itself: it translates the paths of the calls that it knows, and a command that gets one past it would have all that its
user has. The kernel checks the file that is really opened, so what is not in these rules cannot be read, written, made, removed or
executed, however it was named. Mode, owner and times of a file are not covered, nor is a socket that has a name in a file system
(``landlock(7)``). Landlock also keeps the process from tracing others and, from version 6 on, from signalling them and from their abstract
sockets.

Needs version 2 (Linux 5.19): before, a file could not be moved from one directory to another.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import stat
import struct
from collections.abc import Iterable
from typing import Final

# The same numbers on every architecture.
_CREATE_RULESET: Final = 444
_ADD_RULE: Final = 445
_VERSION: Final = 1
_PATH_BENEATH: Final = 1
_LEAST: Final = 2

_EXECUTE: Final = 1 << 0
_WRITE_FILE: Final = 1 << 1
_READ_FILE: Final = 1 << 2
_READ_DIR: Final = 1 << 3
_TRUNCATE: Final = 1 << 14
_IOCTL_DEV: Final = 1 << 15
# How many rights of files each version knows; a later one knows those of the last here.
_RIGHTS: Final = {2: 14, 3: 15, 4: 15, 5: 16}
# Abstract sockets and signals.
_SCOPES: Final = 0b11
_SCOPES_SINCE: Final = 6

ALL: Final = (1 << 16) - 1
USE: Final = _READ_FILE | _READ_DIR | _WRITE_FILE | _TRUNCATE | _IOCTL_DEV
READ: Final = _READ_FILE | _READ_DIR | _EXECUTE
# What can be said of a file that is no directory.
_OF_A_FILE: Final = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE | _IOCTL_DEV


def version() -> int:
    """The version of Landlock here; 0 where the kernel has none, or one of no use."""
    found = ctypes.CDLL(None).syscall(_CREATE_RULESET, None, 0, _VERSION)
    return found if found >= _LEAST else 0


def ruleset(rules: Iterable[tuple[str, int]]) -> int | None:
    """A descriptor of rules that a process can put on itself: paths, and what may be done with them and with all below.

    Paths that are not there are left out; links are followed. ``None`` where there is no Landlock. Raises ``OSError``.
    """
    here = version()
    if not here:
        return None
    library = ctypes.CDLL(None, use_errno=True)
    handled = (1 << _RIGHTS.get(here, _RIGHTS[max(_RIGHTS)])) - 1
    attributes = struct.pack("<QQQ", handled, 0, _SCOPES) if here >= _SCOPES_SINCE else struct.pack("<Q", handled)
    descriptor: int = library.syscall(_CREATE_RULESET, attributes, len(attributes), 0)
    if descriptor < 0:
        raise OSError(ctypes.get_errno(), "landlock_create_ruleset")
    with contextlib.ExitStack() as stack:
        stack.callback(os.close, descriptor)
        for path, rights in rules:
            with contextlib.suppress(FileNotFoundError):
                _add(library, descriptor, path, rights & handled)
        stack.pop_all()
    return descriptor


def _add(library: ctypes.CDLL, descriptor: int, path: str, rights: int) -> None:
    place = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        if not stat.S_ISDIR(os.fstat(place).st_mode):
            rights &= _OF_A_FILE
        # struct landlock_path_beneath_attr is packed.
        if library.syscall(_ADD_RULE, descriptor, _PATH_BENEATH, struct.pack("<Qi", rights, place), 0) < 0:
            raise OSError(ctypes.get_errno(), "landlock_add_rule", path)
    finally:
        os.close(place)
