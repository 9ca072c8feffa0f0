"""The few system calls that Python 3.11 lacks: unshare, mount, umount2."""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
from collections import Counter
from collections.abc import Iterator
from typing import Final

from layerlab.engines.embedded.rootfs.mountapi import check_layers, mount_of

CLONE_NEWNS: Final = 0x00020000
CLONE_NEWUSER: Final = 0x10000000
_MS_REC: Final = 0x4000
_MS_PRIVATE: Final = 1 << 18
_MNT_DETACH: Final = 2
_UMOUNT_NOFOLLOW: Final = 8
# They show the kernel, and hold nothing that a build could read.
_KERNEL_TYPES: Final = frozenset(
    (
        *(b"bpf", b"cgroup", b"cgroup2", b"configfs", b"debugfs", b"devpts", b"efivarfs", b"fusectl", b"hugetlbfs", b"mqueue"),
        *(b"pstore", b"securityfs", b"sysfs", b"tracefs"),
    )
)
_KERNEL_PLACES: Final = (b"/sys/", b"/proc/sys/")


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


def drop_kernels() -> None:
    """Take what shows the kernel, and all that is mounted in ``/sys`` and ``/proc/sys``, out of this process's own mount namespace.

    Each command has a copy of it (see ``enter``), and bwrap reads the whole table of mounts for each mount that it makes. What stays is
    ``/proc``, by which bwrap maps ids; a mount that an automounter made, who would make it again for whoever looks; one with something
    else on it; and in a user namespace all that it was given.
    """
    with open("/proc/self/mountinfo", "rb") as stream:
        # Number, parent, …, place, …, "-", type. Only blanks part words, and only newlines lines.
        rows = [line.split(b" ") for line in stream.read().split(b"\n") if line]
    kinds = {row[0]: row[row.index(b"-") + 1] for row in rows}
    kernels = {row[0] for row in rows if kinds[row[0]] in _KERNEL_TYPES or row[4].startswith(_KERNEL_PLACES)}
    on_it = Counter(row[1] for row in rows)
    # Most often what lies on a mount was mounted after it.
    for number, parent, _, _, place, *_ in reversed(rows):
        automatic = kinds.get(parent) == b"autofs" and parent not in kernels
        if number in kernels and not on_it[number] and not automatic and _unmount(number, _unescape(place)):
            on_it[parent] -= 1


def _unmount(number: bytes, place: bytes) -> bool:
    """Unmount the mount of that number, unless another one hides it."""
    try:
        descriptor = os.open(place, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        if mount_of(descriptor)[0] != int(number):
            return False
    finally:
        os.close(descriptor)
    return bool(_libc().umount2(place, _MNT_DETACH | _UMOUNT_NOFOLLOW) == 0)


def _unescape(path: bytes) -> bytes:
    """A path as ``/proc/self/mountinfo`` writes it: blank, tab, newline and backslash in octal."""
    return re.sub(rb"\\([0-7]{3})", lambda match: bytes([int(match[1], 8)]), path)


def _write(path: str, text: str) -> None:
    with open(path, "w", encoding="ascii") as stream:
        stream.write(text)


@contextlib.contextmanager
def overlay(lowers: list[str], mountpoint: str, *, upper: str | None = None, work: str | None = None) -> Iterator[str]:
    """Mount an overlay (``lowers`` lowest first, paths relative to the current directory are fine) for the length of the block.

    The attributes are ``user.overlay.*``, which need no privilege and are what bwrap uses. Raises ``LayersError``, ``OSError``.
    """
    options = "userxattr,lowerdir=" + ":".join(_escape(path) for path in reversed(lowers))
    if upper is not None and work is not None:
        options += f",upperdir={_escape(upper)},workdir={_escape(work)}"
    check_layers(len(lowers), os.fsencode(options))
    _check(_libc().mount(b"overlay", os.fsencode(mountpoint), b"overlay", 0, os.fsencode(options)), "mount overlay")
    try:
        yield mountpoint
    finally:
        _libc().umount2(os.fsencode(mountpoint), _MNT_DETACH)


def _escape(path: str) -> str:
    return path.replace("\\", "\\\\").replace(":", "\\:").replace(",", "\\,")
