"""The differ: a finished layer directory is made what its tar says, and nothing more, before it becomes a layer.

An upper directory holds all that a step wrote, equal or not. Rule: BuildKit ``util/overlay/overlay_linux.go`` (``Changes``,
``sameDirent``), which makes the layers of containerd's image store: an entry with the mode, owner, size, time and bytes of the one below is
not in the layer, nor is a directory that is the same and holds no change; in the place of an opaque directory stand whiteouts of what it
hides. Unlike there, the extended attributes of users count, and the steps that follow see what the layer has: a new name of an old file
is another file.

Two directories with one tar are one layer to everybody, so what no tar can hold goes, too: sockets, access control lists, attributes with a
"=" in their names, whose namespace a file capability is for, times of access, and what a step made of the root directory itself. Left are
fractions of seconds, and what no call sets outright: holes, numbers of inodes, the order in which a directory lists.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Callable, Iterator
from typing import Final

from layerlab.engines.embedded.rootfs.copying import counted_names
from layerlab.engines.embedded.rootfs.layer_tar import CAPABILITY, DEVICE, OVERLAY_PREFIX, capability_of_an_image, noted_device
from layerlab.engines.embedded.rootfs.reading import changeable, open_file, permitted, readable

_OPAQUE: Final = OVERLAY_PREFIX + "opaque"
_BLOCK: Final = 1 << 20
_ROOT_MODE: Final = 0o755
_LISTS: Final = frozenset({"system.posix_acl_access", "system.posix_acl_default"})
_OWN: Final = 0o700

SameOwner = Callable[[str, os.stat_result, os.stat_result], bool]
# A place and what is there.
_Found = tuple[str, os.stat_result]


def drop_unchanged(layer: str, lowers: list[str], same_owner: SameOwner | None = None) -> int:
    """Take out of the layer directory ``layer`` what is as in ``lowers`` (overlay form, lowest first). Nothing may be mounted on it.

    ``same_owner`` compares the owners of a path, above and below; without it those on disk count. Returns the bytes of the files that
    are left. Raises ``OSError``.
    """
    status = os.lstat(layer)
    if stat.S_IMODE(status.st_mode) != _ROOT_MODE:
        os.chmod(layer, _ROOT_MODE)
    if status.st_uid != os.geteuid():
        os.chown(layer, 0, 0)
    elif status.st_gid:
        # Not where the group is one that this user namespace does not know.
        with contextlib.suppress(PermissionError):
            os.chown(layer, -1, 0)
    for name in counted_names(layer):
        os.removexattr(layer, name)
    _drop_untellable(layer, status)
    differ = _Differ(same_owner or _same_owner)
    differ.reduce(layer, os.lstat(layer), "", [(place, os.lstat(place)) for place in lowers[::-1]], opaque=False)
    return differ.size


def _same_owner(_path: str, upper: os.stat_result, lower: os.stat_result) -> bool:
    return (upper.st_uid, upper.st_gid) == (lower.st_uid, lower.st_gid)


class _Differ:
    """``size``: bytes of the files that are left."""

    def __init__(self, same_owner: SameOwner) -> None:
        self.size = 0
        self._same_owner = same_owner
        self._compared: set[tuple[int, int, int, int]] = set()

    def reduce(self, directory: str, status: os.stat_result, relative: str, below: list[_Found], *, opaque: bool) -> bool:
        """Whether anything is left in ``directory``, which has ``status``.

        ``below``: the directories of that path, topmost first. ``opaque``: they are hidden, so what is missing above was deleted.
        """
        with contextlib.ExitStack() as stack:
            if status.st_mode & _OWN != _OWN:
                stack.enter_context(changeable(directory))
            for place, lower in below:
                if lower.st_mode & _OWN != _OWN:
                    stack.enter_context(readable(place))
            with os.scandir(directory) as scan:
                items = list(scan)
            prefix = f"{relative}/" if relative else ""
            left = [item.name for item in items if self._entry(item, prefix + item.name, below, opaque=opaque)]
            made = _visible(below) - {item.name for item in items} if opaque else set()
            for name in made:
                _make_whiteout(f"{directory}/{name}")
            if made or len(left) < len(items):
                os.utime(directory, ns=(status.st_mtime_ns, status.st_mtime_ns))
        return bool(left or made)

    def _entry(self, item: os.DirEntry[str], path: str, below: list[_Found], *, opaque: bool) -> bool:
        """Whether an entry stays."""
        status = item.stat(follow_symlinks=False)
        stays = self._stays(item, status, path, below, opaque=opaque)
        # All whiteouts of a mount are one inode.
        if stays and status.st_atime_ns != status.st_mtime_ns and not (stat.S_ISCHR(status.st_mode) and status.st_rdev == 0):
            os.utime(item.path, ns=(status.st_mtime_ns, status.st_mtime_ns), follow_symlinks=False)
        return stays

    def _stays(self, item: os.DirEntry[str], status: os.stat_result, path: str, below: list[_Found], *, opaque: bool) -> bool:
        kind = stat.S_IFMT(status.st_mode)
        if kind == stat.S_IFDIR:
            return self._directory(item.path, status, path, _entries(below, item.name), opaque=opaque)
        if kind == stat.S_IFREG:
            _drop_untellable(item.path, status)
            if not below:
                self.size += status.st_size
                return True
        found = _entries(below, item.name)
        if kind == stat.S_IFSOCK or (kind == stat.S_IFCHR and status.st_rdev == 0):
            if kind == stat.S_IFSOCK or not found:
                os.unlink(item.path)
            if kind == stat.S_IFSOCK and found:
                # What it stood in the place of is gone all the same.
                _make_whiteout(item.path)
            return bool(found)
        if kind not in (stat.S_IFREG, stat.S_IFLNK):
            _drop_untellable(item.path, status)
        if found and self._same(path, item.path, status, *found[0]):
            os.unlink(item.path)
            return False
        self.size += status.st_size if kind == stat.S_IFREG else 0
        return True

    def _directory(self, place: str, status: os.stat_result, path: str, found: list[_Found], *, opaque: bool) -> bool:
        with changeable(place) if status.st_mode & _OWN != _OWN else contextlib.nullcontext():
            hides = _is_opaque(place)
            directories = [(lower, its) for lower, its in found if stat.S_ISDIR(its.st_mode)]
            # Also where nothing is below: a directory that was moved there can hold marks of what it hid before.
            left = self.reduce(place, status, path, directories, opaque=opaque or hides)
            if hides:
                os.removexattr(place, _OPAQUE)
            _drop_untellable(place, status)
            stays = left or not directories or not self._same(path, place, status, *found[0])
        if not stays:
            os.rmdir(place)
        return stays

    def _same(self, path: str, place: str, upper: os.stat_result, place_below: str, lower: os.stat_result) -> bool:
        if (upper.st_mode, upper.st_rdev) != (lower.st_mode, lower.st_rdev) or not self._same_owner(path, upper, lower):
            return False
        if not stat.S_ISDIR(upper.st_mode) and (upper.st_size, upper.st_mtime_ns) != (lower.st_size, lower.st_mtime_ns):
            return False
        if stat.S_ISLNK(upper.st_mode):
            return os.readlink(place) == os.readlink(place_below)
        if stat.S_ISDIR(upper.st_mode):
            with readable(place_below) if lower.st_mode & _OWN != _OWN else contextlib.nullcontext():
                return _attributes(place) == _attributes(place_below)
        if not stat.S_ISREG(upper.st_mode):
            return True
        # Names of one file are compared once.
        pair = (upper.st_dev, upper.st_ino, lower.st_dev, lower.st_ino)
        if pair not in self._compared:
            if not _same_file(place, place_below, upper.st_size):
                return False
            if upper.st_nlink > 1:
                self._compared.add(pair)
        return True


def _make_whiteout(path: str) -> None:
    os.mknod(path, stat.S_IFCHR, os.makedev(0, 0))


def _entries(below: list[_Found], name: str) -> list[_Found]:
    """What the merged view of ``below`` has under a name, topmost first: one entry, or directories that are merged."""
    found: list[_Found] = []
    for number, (directory, _) in enumerate(below):
        place = f"{directory}/{name}"
        try:
            status = os.lstat(place)
        except (FileNotFoundError, NotADirectoryError):
            continue
        if stat.S_ISDIR(status.st_mode):
            found.append((place, status))
            if number == len(below) - 1 or not _is_opaque(place):
                continue
        elif not found and not (stat.S_ISCHR(status.st_mode) and status.st_rdev == 0):
            found.append((place, status))
        return found
    return found


def _visible(below: list[_Found]) -> set[str]:
    names = {name for directory, _ in below for name in os.listdir(directory)}
    return {name for name in names if _entries(below, name)}


def _is_opaque(path: str) -> bool:
    try:
        return os.getxattr(path, _OPAQUE, follow_symlinks=False) == b"y"
    except PermissionError:
        with readable(path):
            return _is_opaque(path)
    except OSError as error:
        if error.errno in (errno.ENODATA, errno.ENOTSUP):
            return False
        raise


def _drop_untellable(path: str, status: os.stat_result) -> None:
    """Take off what is no symbolic link the attributes that a tar does not have."""
    try:
        names = os.listxattr(path, follow_symlinks=False)
    except OSError as error:
        if error.errno == errno.ENOTSUP:
            return
        raise
    if not names:
        return
    # A file that stands for a device is nothing else.
    device = DEVICE in names and stat.S_ISREG(status.st_mode) and not status.st_size and _is_device(path)
    for name in names:
        if name == CAPABILITY and not device:
            _make_capability_plain(path)
        elif name in _LISTS or name == CAPABILITY or (name.startswith("user.") and not _is_told(name, status, device=device)):
            _remove_attribute(path, name)


def _is_told(name: str, status: os.stat_result, *, device: bool) -> bool:
    if device or name == DEVICE:
        return device and name == DEVICE
    return "=" not in name and (not name.startswith(OVERLAY_PREFIX) or (name == _OPAQUE and stat.S_ISDIR(status.st_mode)))


def _is_device(path: str) -> bool:
    try:
        note = os.getxattr(path, DEVICE, follow_symlinks=False)
    except PermissionError:
        with permitted(path, 0o400):
            note = os.getxattr(path, DEVICE, follow_symlinks=False)
    return noted_device(note) is not None


def _make_capability_plain(path: str) -> None:
    value = os.getxattr(path, CAPABILITY, follow_symlinks=False)
    plain = capability_of_an_image(value)
    if plain != value:
        os.setxattr(path, CAPABILITY, plain, follow_symlinks=False)


def _remove_attribute(path: str, name: str) -> None:
    try:
        os.removexattr(path, name, follow_symlinks=False)
    except PermissionError:
        with permitted(path, 0o600):
            os.removexattr(path, name, follow_symlinks=False)


def _attributes(path: str | int) -> list[tuple[str, bytes]]:
    return [(name, os.getxattr(path, name)) for name in sorted(counted_names(path))]


def _same_file(left: str, right: str, size: int) -> bool:
    first = open_file(left)
    try:
        second = open_file(right)
        try:
            return _attributes(first) == _attributes(second) and _same_bytes(first, second, size)
        finally:
            os.close(second)
    finally:
        os.close(first)


def _same_bytes(first: int, second: int, size: int) -> bool:
    """Whether two files of ``size`` bytes are equal. Where both have holes at once nothing is read."""
    for start, end in _written(first, second, size):
        os.lseek(first, start, os.SEEK_SET)
        os.lseek(second, start, os.SEEK_SET)
        left = end - start
        while left > 0:
            block = os.read(first, min(_BLOCK, left))
            if not block or block != os.read(second, len(block)):
                return False
            left -= len(block)
    return True


def _written(first: int, second: int, size: int) -> Iterator[tuple[int, int]]:
    """Ranges outside of which both files have holes."""
    if any(status.st_blocks * 512 >= size for status in (os.fstat(first), os.fstat(second))):
        yield 0, size
        return
    position = 0
    while position < size:
        starts = [_next(descriptor, position, os.SEEK_DATA, size) for descriptor in (first, second)]
        start = min(starts)
        if start >= size:
            return
        ends = [
            _next(descriptor, start, os.SEEK_HOLE, size)
            for descriptor, begins in zip((first, second), starts, strict=True)
            if begins == start
        ]
        position = max(ends)
        yield start, position


def _next(descriptor: int, position: int, what: int, size: int) -> int:
    try:
        return min(os.lseek(descriptor, position, what), size)
    except OSError as error:
        if error.errno != errno.ENXIO:
            raise
        return size
