"""The few system calls that Python 3.11 lacks: unshare, mount, umount2."""

from __future__ import annotations

import contextlib
import ctypes
import os
from collections.abc import Iterator
from typing import Final

CLONE_NEWNS: Final = 0x00020000
CLONE_NEWUSER: Final = 0x10000000
_MS_REC: Final = 0x4000
_MS_PRIVATE: Final = 1 << 18
_MNT_DETACH: Final = 2


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _check(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def enter(*, mapped_root: bool) -> None:
    """Move this (single-threaded) process into a mount namespace of its own.

    ``mapped_root`` makes a user namespace as well, in which the caller is root over its own files and nobody else's.
    Raises ``OSError`` where the kernel or its policy refuses.
    """
    uid, gid = os.getuid(), os.getgid()
    _check(_libc().unshare(CLONE_NEWNS | (CLONE_NEWUSER if mapped_root else 0)), "unshare")
    if mapped_root:
        _write("/proc/self/setgroups", "deny")
        _write("/proc/self/uid_map", f"0 {uid} 1")
        _write("/proc/self/gid_map", f"0 {gid} 1")
    _check(_libc().mount(None, b"/", None, _MS_REC | _MS_PRIVATE, None), "mount --make-rprivate /")


def _write(path: str, text: str) -> None:
    with open(path, "w", encoding="ascii") as stream:
        stream.write(text)


@contextlib.contextmanager
def overlay(lowers: list[str], mountpoint: str, *, upper: str | None = None, work: str | None = None) -> Iterator[str]:
    """Mount an overlay (``lowers`` lowest first, paths relative to the current directory are fine) for the length of the block.

    The attributes are ``user.overlay.*``, which need no privilege and are what bwrap uses. Raises ``OSError``.
    """
    options = "userxattr,lowerdir=" + ":".join(_escape(path) for path in reversed(lowers))
    if upper is not None and work is not None:
        options += f",upperdir={_escape(upper)},workdir={_escape(work)}"
    _check(_libc().mount(b"overlay", os.fsencode(mountpoint), b"overlay", 0, os.fsencode(options)), "mount overlay")
    try:
        yield mountpoint
    finally:
        _libc().umount2(os.fsencode(mountpoint), _MNT_DETACH)


def _escape(path: str) -> str:
    return path.replace("\\", "\\\\").replace(":", "\\:").replace(",", "\\,")
