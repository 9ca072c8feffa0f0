"""The kernel's mount interface by descriptor, which Python 3.11 lacks: nothing here is told where to mount by a path that could lead
elsewhere.

A place is opened beneath a root that is held by descriptor (``openat2(2)`` with ``RESOLVE_IN_ROOT``: links of an image or of a mount end
inside it, whatever another process does meanwhile), a mount is made detached from everything (``fsopen(2)``, ``open_tree(2)``), and the
one is attached to the other (``move_mount(2)``). runc and umoci came to the same way after years of links that were swapped between a
check and a mount.

Needs Linux 5.12 (``mount_setattr``). All functions raise ``OSError``; all descriptors are closed on exec.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import struct
from collections.abc import Iterable, Iterator
from typing import Any, Final

CLONE_NEWNS: Final = 0x00020000
CLONE_NEWUSER: Final = 0x10000000

# The same numbers on every architecture: they are younger than the common table (Linux 5.1).
_OPEN_TREE: Final = 428
_MOVE_MOUNT: Final = 429
_FSOPEN: Final = 430
_FSCONFIG: Final = 431
_FSMOUNT: Final = 432
_OPENAT2: Final = 437
_MOUNT_SETATTR: Final = 442

_AT_EMPTY_PATH: Final = 0x1000
_AT_RECURSIVE: Final = 0x8000
_OPEN_TREE_CLONE: Final = 1
_FROM_EMPTY: Final = 0x4
_TO_EMPTY: Final = 0x40
_SET_FLAG: Final = 0
_SET_STRING: Final = 1
_CREATE: Final = 6

_NO_MAGIC_LINKS: Final = 0x02
_NO_LINKS: Final = 0x04
_BENEATH: Final = 0x08
_IN_ROOT: Final = 0x10

RDONLY: Final = 1
NOSUID: Final = 2
NODEV: Final = 4
NOEXEC: Final = 8

# openat2(2): a ".." that is resolved while something is renamed gives EAGAIN.
_TRIES: Final = 128
_MS_NOSUID: Final = 2
_MS_NODEV: Final = 4
# struct statx (linux/stat.h): stx_mask at 0, and these.
_STATX_INO: Final = 0x100
_STATX_MNT_ID: Final = 0x1000
_STATX_MASK: Final = struct.Struct("<I")
_STATX_NUMBER: Final = struct.Struct("<Q")
_INO_AT: Final = 32
_MNT_ID_AT: Final = 144


# Linux takes no more layers in one overlay (``OVL_MAX_STACK``), nor longer options where they are one text.
_LAYERS: Final = 500
_OPTION_BYTES: Final = 4096


class LayersError(Exception):
    """More layers than an overlay can have; the message is a sentence about it."""


def check_layers(count: int, options: bytes = b"") -> None:
    """Whether ``count`` layers can be mounted in one overlay, with ``options`` where these are one text. Raises ``LayersError``."""
    if count > _LAYERS:
        raise LayersError(f"{count} layers cannot be mounted: an overlay of Linux has at most {_LAYERS}")
    if len(options) >= _OPTION_BYTES:
        raise LayersError(f"{count} layers cannot be mounted: their names are too long for the options of an overlay")


class _Kernel:
    """The C library's ``syscall``, loaded when it is first needed."""

    _library: ctypes.CDLL | None = None

    @classmethod
    def library(cls) -> ctypes.CDLL:
        if cls._library is None:
            cls._library = ctypes.CDLL(None, use_errno=True)
            cls._library.syscall.restype = ctypes.c_long
        return cls._library

    @classmethod
    def statx(cls) -> Any:
        """``None`` where the C library lacks it."""
        return getattr(cls.library(), "statx", None)


def _checked(result: int, what: str) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
    return result


def _call(number: int, *arguments: Any, what: str) -> int:
    return _checked(_Kernel.library().syscall(number, *arguments), what)


# --- namespaces -----------------------------------------------------------------------------------------------------


def unshare(flags: int) -> None:
    """``unshare(2)``, for a process with one thread."""
    _checked(_Kernel.library().unshare(flags), "unshare")


def setns(descriptor: int, kind: int) -> None:
    """``setns(2)``. Joining a mount namespace moves the current directory to its root."""
    _checked(_Kernel.library().setns(descriptor, kind), "setns")


@contextlib.contextmanager
def elsewhere(namespace: int = -1) -> Iterator[None]:
    """For the length of the block this process, which must have one thread, is in another mount namespace: that of a descriptor, or a new
    one, a copy of its own.

    A new one lives on for as long as somebody has a descriptor of it (``/proc/self/ns/mnt``).
    """
    home = os.open("/proc/self/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
    here = os.open(".", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        if namespace >= 0:
            setns(namespace, CLONE_NEWNS)
        else:
            # The current directory of a process follows it into the copy.
            unshare(CLONE_NEWNS)
        try:
            yield
        finally:
            setns(home, CLONE_NEWNS)
            os.fchdir(here)
    finally:
        os.close(here)
        os.close(home)


# --- places ---------------------------------------------------------------------------------------------------------


def open_inside(root: int, path: str, *, follow: bool = True) -> int:
    """A descriptor (``O_PATH``) of what stands at ``path`` in the tree below ``root``, as a process chrooted into it would find it.

    Raises ``OSError``: ``ENOENT``, ``ELOOP`` for a loop or a link that the kernel made up (``/proc/self/root``).
    """
    return _openat2(root, path, os.O_PATH | (0 if follow else os.O_NOFOLLOW), _IN_ROOT | _NO_MAGIC_LINKS)


def open_own(path: str) -> int:
    """A descriptor (``O_PATH``) of a path below the current directory that has no link in it and no way up."""
    return _openat2(-100, path, os.O_PATH | os.O_NOFOLLOW, _BENEATH | _NO_LINKS)


def _openat2(directory: int, path: str, flags: int, resolve: int) -> int:
    how = struct.pack("QQQ", flags | os.O_CLOEXEC, 0, resolve)
    for _ in range(_TRIES):
        found: int = _Kernel.library().syscall(_OPENAT2, directory, os.fsencode(path or "."), how, len(how))
        if found >= 0:
            return found
        number = ctypes.get_errno()
        if number != errno.EAGAIN:
            break
    raise OSError(number, os.strerror(number), path)


def mount_of(descriptor: int) -> tuple[int, int]:
    """The number of the mount that a descriptor is in, as ``/proc/self/mountinfo`` has it, and the inode. Raises ``OSError``."""
    found = _Kernel.statx()
    if found is not None:
        buffer = ctypes.create_string_buffer(256)
        _checked(found(descriptor, b"", _AT_EMPTY_PATH, _STATX_INO | _STATX_MNT_ID, buffer), "statx")
        (mask,) = _STATX_MASK.unpack_from(buffer)
        if mask & _STATX_MNT_ID:
            return int(_STATX_NUMBER.unpack_from(buffer, _MNT_ID_AT)[0]), int(_STATX_NUMBER.unpack_from(buffer, _INO_AT)[0])
    with open(f"/proc/self/fdinfo/{descriptor}", encoding="ascii") as stream:
        return next(int(line.split()[1]) for line in stream if line.startswith("mnt_id:")), os.fstat(descriptor).st_ino


# --- mounts ---------------------------------------------------------------------------------------------------------


def clone(descriptor: int, *, attributes: int = 0, recursive: bool = False) -> int:
    """A detached bind mount of what a descriptor stands for; ``attributes`` are added to what it has."""
    deep = _AT_RECURSIVE if recursive else 0
    made = _call(_OPEN_TREE, descriptor, b"", _OPEN_TREE_CLONE | os.O_CLOEXEC | _AT_EMPTY_PATH | deep, what="open_tree")
    if attributes:
        try:
            value = struct.pack("QQQQ", attributes, 0, 0, 0)
            _call(_MOUNT_SETATTR, made, b"", _AT_EMPTY_PATH | deep, value, len(value), what="mount_setattr")
        except BaseException:
            os.close(made)
            raise
    return made


def filesystem(kind: str, options: Iterable[tuple[str, str | None]] = (), attributes: int = 0) -> int:
    """A detached mount of a new file system. ``options``: name and value, ``None`` for one without; a value has at most 255 bytes."""
    context = _call(_FSOPEN, kind.encode(), 1, what=f"fsopen {kind}")
    try:
        _call(_FSCONFIG, context, _SET_STRING, b"source", b"layerlab", 0, what=f"mount {kind}")
        for name, value in options:
            words = (_SET_FLAG, name.encode(), None, 0) if value is None else (_SET_STRING, name.encode(), os.fsencode(value), 0)
            _call(_FSCONFIG, context, *words, what=f"mount {kind}, option {name}")
        _call(_FSCONFIG, context, _CREATE, None, None, 0, what=f"mount {kind}")
        return _call(_FSMOUNT, context, 1, attributes, what=f"mount {kind}")
    finally:
        os.close(context)


def attach(mount: int, place: int) -> None:
    """Attach a detached mount to the place that a descriptor stands for, and close the mount's descriptor."""
    try:
        _call(_MOVE_MOUNT, mount, b"", place, b"", _FROM_EMPTY | _TO_EMPTY, what="move_mount")
    finally:
        os.close(mount)


def overlay_detached(lowers: Iterable[str], above: tuple[str, str] | None = None) -> int:
    """A detached overlay of layers, lowest first, as paths below the current directory without any link.

    ``above``: its upper and its work directory; without them it is read-only.
    What stands in it is found below ``/proc/self/fd/NUMBER``. It costs half of one that has a place.
    Raises ``LayersError``; ``OSError``: ``EINVAL`` before Linux 6.5, which has no ``lowerdir+``.
    """
    lowers = tuple(lowers)
    check_layers(len(lowers))
    with contextlib.ExitStack() as stack:
        opened: list[str] = []
        for path in (*lowers, *(above or ())):
            descriptor = open_own(path)
            stack.callback(os.close, descriptor)
            opened.append(_by_number(descriptor))
        below = [("lowerdir+", place) for place in reversed(opened[: len(opened) - len(above or ())])]
        changed = zip(("upperdir", "workdir"), opened[len(below) :], strict=False)
        return filesystem("overlay", [("userxattr", None), *below, *changed], NOSUID | NODEV | (0 if above else RDONLY))


def overlay(lowers: Iterable[int], upper: int, work: int, place: int) -> None:
    """Mount an overlay on ``place``. ``lowers``: descriptors of directories, lowest first; all of them must stay open until this returns.

    The attributes are ``user.overlay.*``, which need no privilege. No device of a layer is one here, and no program has its owner's rights.
    Directories are named by descriptor, so that no path of the host shows in ``/proc/self/mountinfo`` of who sees the mount.
    Raises ``LayersError``, ``OSError``.
    """
    above = [("upperdir", _by_number(upper)), ("workdir", _by_number(work))]
    stack = [_by_number(lower) for lower in reversed(list(lowers))]
    try:
        made = filesystem("overlay", [("userxattr", None), *(("lowerdir+", path) for path in stack), *above], NOSUID | NODEV)
    except OSError as error:
        # Linux before 6.5 has no lowerdir+, and a value has too little room for many.
        if error.errno != errno.EINVAL:
            raise
    else:
        attach(made, place)
        return
    options = ",".join(["userxattr", "lowerdir=" + ":".join(stack), *(f"{name}={path}" for name, path in above)])
    check_layers(len(stack), options.encode())
    target = os.fsencode(_by_number(place))
    _checked(_Kernel.library().mount(b"overlay", target, b"overlay", _MS_NOSUID | _MS_NODEV, options.encode()), "mount overlay")


def _by_number(descriptor: int) -> str:
    return f"/proc/self/fd/{descriptor}"
