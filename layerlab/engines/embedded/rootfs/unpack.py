"""Unpacking tar archives into a root filesystem: the layers of a base image, and what ADD finds in the build context.

The members of a layer are resolved inside the image. Those of an archive stay in the directory that they are unpacked to: one that a link
would lead out of it is an error. Rules: containerd ``archive.Apply``; moby ``go-archive`` (``Unpack``) as of its hardening of July 2026,
which Debian's Docker Engine 28.5.2 is built with. Owners are applied where ids are real and returned where they are not.
"""

from __future__ import annotations

import contextlib
import os
import posixpath
import shutil
import stat
import sys
from collections.abc import Callable, Iterator
from typing import IO, Final

from layerlab.engines.embedded.rootfs.compression import ZSTD, decompressed, expansion_limit, is_compressed
from layerlab.engines.embedded.rootfs.layer_tar import CAPABILITY, DEVICE, OVERLAY_PREFIX, note_device
from layerlab.engines.embedded.rootfs.paths import Way, Ways, inside, resolve
from layerlab.engines.embedded.rootfs.sizes import LEAST
from layerlab.engines.embedded.rootfs.tar_reader import BLOCK, ArchiveError, Member, TarReader, is_header
from layerlab.oci.tar_entries import OPAQUE, WHITEOUT

__all__ = ["ArchiveError", "is_archive", "unpack"]

_AUFS: Final = WHITEOUT + WHITEOUT  # bookkeeping of an old storage driver; Docker skips it too
_NOBODY: Final = (1 << 32) - 1
_LINK_LIMIT: Final = 255
# Go's ``os.Root`` follows no more.
_ROOT_LINK_LIMIT: Final = 8
_OPERATION: Final = {
    "dir": "mkdirat",
    "symlink": "symlinkat",
    "hardlink": "linkat",
    **dict.fromkeys(("file", "fifo", "char", "block"), "openat"),
}


def unpack(
    stream: IO[bytes],
    root: str,
    dest: str,
    *,
    layer: bool,
    real_ids: bool,
    owner: tuple[int, int] | None = None,
    count: Callable[[int], None] | None = None,
    chmod: Callable[[str, int], None] = os.chmod,
) -> dict[str, tuple[int, int]]:
    """Unpack ``stream`` below ``dest`` (inside ``root``); returns owners by path within ``root``, for members not owned by 0:0 (with an
    ``owner``: for all).

    ``stream``  a file at its start, compressed or not. ``layer``  the archive is an image layer: whiteouts become overlay whiteouts.
    ``owner``  overrides every owner. ``real_ids``  owners can be given to files. ``count``  is told the bytes of each member before it
    is unpacked. ``chmod``  gives directories their modes.

    A device is noted and never made, whoever unpacks (``layer_tar.DEVICE``). What the archive may unpack to has a limit
    (``compression.expansion_limit``). Raises ``ArchiveError``, ``OSError``, and what ``count`` raises.
    """
    stored = os.fstat(stream.fileno()).st_size
    start = stream.read(BLOCK)
    stream.seek(0)
    if start.startswith(ZSTD):
        raise ArchiveError("archives that are compressed with zstd are not supported: compress it with gzip or xz")
    # A tar may begin like a file of the older lzma, which Docker does not look into.
    plain = not layer and not is_compressed(start)
    archive = TarReader(stream if plain else decompressed(stream), limit=expansion_limit(stored))
    unpacked = (_Layer if layer else _Archive)(archive, root, resolve(root, dest), real_ids, owner, chmod)
    try:
        for member in archive:
            if count is not None:
                count(max(member.size, LEAST))
            unpacked.add(member)
        unpacked.finish()
    except (ValueError, OverflowError) as error:
        # A zero byte in an attribute's name; a time that no system has.
        raise ArchiveError(f"not a valid tar archive: {error}") from error
    return unpacked.owners


def is_archive(path: str) -> bool:
    """Whether ADD unpacks a file: it, or what it is when decompressed, begins with the header of a tar archive. No more than one member's
    headers are read.

    Raises ``OSError``.
    """
    with open(path, "rb") as stream:
        start = stream.read(BLOCK)
        if start.startswith(ZSTD):
            # Better an error than another image; what is in a file of another name nobody can tell here.
            return path.endswith((".tar.zst", ".tzst"))
        if not is_compressed(start) and not is_header(start):
            return False
        stream.seek(0)
        try:
            # How far it may unpack is asked where it is unpacked.
            reader = TarReader(decompressed(stream) if is_compressed(start) else stream, limit=sys.maxsize)
            return next(iter(reader), None) is not None or reader.has_global
        except ArchiveError:
            return False


class _Unpacked:
    """What an archive becomes below ``base``, a directory in ``root``. ``owners``: by path within ``root``."""

    def __init__(
        self, archive: TarReader, root: str, base: str, real_ids: bool, owner: tuple[int, int] | None, chmod: Callable[[str, int], None]
    ) -> None:
        self.owners: dict[str, tuple[int, int]] = {}
        self._archive = archive
        self._root = root
        self._base = base
        self._real_ids = real_ids
        self._owner = owner
        self._chmod = chmod
        # A directory without write permission must still take its files: modes come last.
        self._modes: dict[str, int] = {}
        self._ways = Ways()

    def add(self, member: Member) -> None:
        """Unpack one member."""
        raise NotImplementedError

    def finish(self) -> None:
        """Give directories what they get last."""
        raise NotImplementedError

    def _dress(self, member: Member, path: str) -> None:
        """Give what was made owner, mode, attributes and time."""
        ids = self._owner or (member.uid, member.gid)
        if not all(0 <= number < _NOBODY for number in ids):
            raise ArchiveError(f"a member has an owner that no system has: {member.name}")
        where = inside(self._root, path)
        self.owners.pop(where, None)
        if ids != (0, 0) or self._owner is not None:
            self.owners[where] = ids
        if self._real_ids:
            os.chown(path, *ids, follow_symlinks=False)
        link = stat.S_ISLNK(os.lstat(path).st_mode) if member.kind == "hardlink" else member.kind == "symlink"
        if not link and member.kind != "dir":
            os.chmod(path, member.mode)
        for attribute, value in member.xattrs.items():
            # Nothing else: trusted.* and security.* mean something to this host's kernel.
            if attribute == CAPABILITY or (
                attribute.startswith("user.") and not attribute.startswith(OVERLAY_PREFIX) and attribute != DEVICE
            ):
                with contextlib.suppress(OSError):
                    os.setxattr(path, attribute, value, follow_symlinks=False)
        if member.kind != "dir" and not (link and member.kind == "hardlink"):
            os.utime(path, (member.mtime, member.mtime), follow_symlinks=False)

    def _remove(self, path: str) -> None:
        """Take away what is there, and what was to be done to it."""
        try:
            mode = os.lstat(path).st_mode
        except FileNotFoundError:
            return
        if stat.S_ISDIR(mode) or stat.S_ISLNK(mode):
            self._ways.forget(self._named(path))
        if not stat.S_ISDIR(mode):
            os.unlink(path)
            return
        if self.owners:
            # By what is there: to look through all owners for each directory that goes would take the square of their number.
            pending = [path]
            while pending:
                here = pending.pop()
                self.owners.pop(inside(self._root, here), None)
                with os.scandir(here) as scan:
                    for entry in scan:
                        if entry.is_dir(follow_symlinks=False):
                            pending.append(entry.path)
                        else:
                            self.owners.pop(inside(self._root, entry.path), None)
        shutil.rmtree(path)

    def _named(self, path: str) -> str:
        """A path as ``_ways`` has it."""
        raise NotImplementedError

    def _make_parents(self, directories: list[str], mode: int) -> None:
        """Make what no member speaks of, or one that is gone; lowest first."""
        for directory in reversed(directories):
            os.mkdir(directory)
            os.chmod(directory, mode)
            self._modes.pop(directory, None)

    def _modes_left(self) -> Iterator[tuple[str, int]]:
        """The modes of the directories that are still where they were made, inner ones first.

        A later member may have put a symbolic link in its place or above it: that one's target is none of ours.
        """
        there = {self._root}
        left = []
        for path, mode in self._modes.items():
            above = path
            found = []
            while above not in there and _is_directory(above):
                found.append(above)
                above = os.path.dirname(above)
            if above in there:
                there.update(found)
                left.append((path, mode))
        return reversed(left)

    def _make_directory(self, member: Member, path: str) -> None:
        if not _is_directory(path):
            self._remove(path)
            os.mkdir(path)
        os.chmod(path, 0o700)
        # The last of several that are one directory comes last.
        self._modes.pop(path, None)
        self._modes[path] = member.mode

    def _make(self, member: Member, path: str) -> bool:
        """Make what is neither directory nor hard link; false where it cannot be had here."""
        if member.kind == "file":
            with open(path, "xb") as target:
                self._archive.write(member, target)
        elif member.kind == "symlink":
            os.symlink(member.target, path)
        elif member.kind == "fifo":
            os.mkfifo(path)
        elif member.kind in ("char", "block"):
            return note_device(path, member.kind, member.major, member.minor)
        else:
            return False
        return True


class _Layer(_Unpacked):
    """A layer of an image, with whiteouts."""

    def __init__(
        self, archive: TarReader, root: str, base: str, real_ids: bool, owner: tuple[int, int] | None, chmod: Callable[[str, int], None]
    ) -> None:
        super().__init__(archive, root, base, real_ids, owner, chmod)
        self._times: dict[str, float] = {}

    def add(self, member: Member) -> None:
        parts = [part for part in member.name.split("/") if part not in ("", ".")]
        if ".." in parts:
            raise ArchiveError(f'invalid entry name "{member.name}": the archive has a member that leads outside')
        if not parts:
            return
        root, dest = self._root, inside(self._root, self._base)
        parent = resolve(root, "/".join([dest, *parts[:-1]]), ways=self._ways)
        self._make_parents(_missing(root, parent), 0o755)
        name = parts[-1]
        path = f"{parent}/{name}"
        if name == OPAQUE:
            os.setxattr(parent, OVERLAY_PREFIX + "opaque", b"y")
            return
        if name.startswith(_AUFS):
            return
        if name.startswith(WHITEOUT):
            hidden_name = name[len(WHITEOUT) :]
            if hidden_name in ("", ".", ".."):
                raise ArchiveError(f"the archive has a whiteout that leads outside: {member.name}")
            hidden = f"{parent}/{hidden_name}"
            self._remove(hidden)
            os.mknod(hidden, stat.S_IFCHR, os.makedev(0, 0))
            return
        if member.kind == "dir":
            self._make_directory(member, path)
            self._times[path] = member.mtime
        else:
            self._remove(path)
            if member.kind == "hardlink":
                names = f"{posixpath.normpath(member.target)} {posixpath.normpath(member.name)}"
                _link(resolve(root, f"{dest}/{member.target}", follow=False, ways=self._ways), path, names)
                ids = self._owner or (member.uid, member.gid)
                self.owners.pop(inside(root, path), None)
                if ids != (0, 0) or self._owner is not None:
                    self.owners[inside(root, path)] = ids
                return
            if not self._make(member, path):
                return
        self._dress(member, path)

    def finish(self) -> None:
        for path, mode in self._modes_left():
            self._chmod(path, mode)
            os.utime(path, (self._times[path], self._times[path]))

    def _named(self, path: str) -> str:
        return inside(self._root, path)


class _Archive(_Unpacked):
    """What ADD unpacks: nothing of it is anywhere but below its directory, where absolute names and links begin; links upwards are errors.

    Rule: Go's ``os.Root``, but for absolute links above a member. Names that begin with ``.wh.`` are those of plain files.
    """

    def __init__(
        self, archive: TarReader, root: str, base: str, real_ids: bool, owner: tuple[int, int] | None, chmod: Callable[[str, int], None]
    ) -> None:
        super().__init__(archive, root, base, real_ids, owner, chmod)
        self._times: list[tuple[str, float]] = []

    def add(self, member: Member) -> None:
        name = posixpath.normpath(member.name.lstrip("/"))
        if name == ".":
            return
        if _leads_up(name):
            shown = member.name + "/" * (member.kind == "dir")
            raise ArchiveError(f'invalid entry name "{shown}": the archive has a member that leads outside')
        if member.kind not in _OPERATION or member.flag in b"7S":
            raise ArchiveError(f"unhandled tar header type {member.flag}")
        member.mtime = max(member.mtime, 0)
        shown, path = self._place(name)
        folder = os.path.dirname(path)
        missing = []
        above = folder
        while not os.path.lexists(above):
            missing.append(above)
            above = os.path.dirname(above)
        self._make_parents(missing, 0o755)
        if not _is_directory(folder):
            raise ArchiveError(f"{_OPERATION[member.kind]} {_what(member, shown)}: not a directory")
        if os.path.lexists(path) and not (member.kind == "dir" and _is_directory(path)):
            self._remove(path)
        if member.kind == "dir":
            self._make_directory(member, path)
            self._times.append((shown, member.mtime))
        elif member.kind == "hardlink":
            self._hard_link(member, shown, path)
        elif not self._make(member, path):
            return
        elif member.kind == "symlink" and member.xattrs:
            self._check_target(shown, next(iter(member.xattrs)))
        self._dress(member, path)

    def _check_target(self, name: str, attribute: str) -> None:
        """Attributes of a link are for what it leads to, which must be there; it does not get them (the hardened ``go-archive``)."""
        try:
            target = resolve(self._base, name)
        except OSError as error:
            raise ArchiveError("too many links") from error
        if not os.path.lexists(target):
            raise ArchiveError(f'lsetxattr /{inside(self._base, target)}: xattr "{attribute}": no such file or directory')

    def finish(self) -> None:
        for name, mtime in self._times:
            trail, _ = self._walk(name, "chtimesat", rebased=False)
            path = "/".join([self._base, *trail])
            if not os.path.lexists(path):
                raise ArchiveError(f"chtimesat {name}: no such file or directory")
            os.utime(path, (mtime, mtime))
        for path, mode in self._modes_left():
            self._chmod(path, mode)

    def _named(self, path: str) -> str:
        return inside(self._base, path)

    def _hard_link(self, member: Member, name: str, path: str) -> None:
        target, linked = self._place(_target(member))
        _link(linked, path, f"{target} {name}")
        # Both are one file.
        ids = self._owner or (member.uid, member.gid)
        self.owners.pop(inside(self._root, linked), None)
        if ids != (0, 0) or self._owner is not None:
            self.owners[inside(self._root, linked)] = ids

    def _place(self, name: str) -> tuple[str, str]:
        """A name as Go says it, absolute links resolved, and where it is. Its directory need not be there."""
        parent, _, last = name.rpartition("/")
        if not parent:
            return name, f"{self._base}/{last}"
        trail, absolute = self._walk(parent, "statat", rebased=True)
        return "/".join([*trail, last]) if absolute else name, "/".join([self._base, *trail, last])

    def _walk(self, name: str, operation: str, *, rebased: bool) -> tuple[list[str], bool]:
        """The way to a name below the base, links followed, and whether an absolute one was among them.

        ``rebased``: those begin at the base; else they are errors. Raises ``ArchiveError`` with Go's words.
        """
        way, pending = self._ways.begin(name, absolute=rebased)
        trail = way.place.split("/") if way.place else []
        links, absolute = way.links, way.absolute
        whole = True
        while pending:
            part = pending.pop()
            if part == "..":
                if not trail:
                    raise ArchiveError(f"{operation} {name}: path escapes from parent")
                trail.pop()
                continue
            here = "/".join([self._base, *trail, part])
            try:
                mode = os.lstat(here).st_mode
            except FileNotFoundError:
                trail.append(part)
                whole = False
                continue
            if stat.S_ISLNK(mode):
                target = os.readlink(here)
                links += 1
                if target.startswith("/"):
                    if not rebased:
                        raise ArchiveError(f"{operation} {name}: path escapes from parent")
                    absolute = True
                too_many = "too many links" if absolute else f"{operation} {name}: too many levels of symbolic links"
                try:
                    self._ways.spend(target)
                except OSError as error:
                    raise ArchiveError(too_many) from error
                if target.startswith("/"):
                    trail.clear()
                    target = posixpath.normpath(f"/{target.lstrip('/')}")
                if links > (_LINK_LIMIT if absolute else _ROOT_LINK_LIMIT):
                    raise ArchiveError(too_many)
                pending.extend(piece for piece in target.split("/")[::-1] if piece not in ("", "."))
                continue
            if not stat.S_ISDIR(mode):
                if pending:
                    raise ArchiveError(f"{operation} {name}: not a directory")
                whole = False
            trail.append(part)
        if whole:
            self._ways.keep(name, Way("/".join(trail), links, absolute))
        return trail, absolute


def _what(member: Member, name: str) -> str:
    """What a system call that makes a member is said to be about."""
    if member.kind == "symlink":
        return f"{member.target} {name}"
    if member.kind == "hardlink":
        return f"{_target(member)} {name}"
    # A directory is opened, and a device made in it.
    return name if member.kind in ("file", "dir") else posixpath.dirname(name)


def _target(member: Member) -> str:
    """Where a hard link leads, below the base. Raises ``ArchiveError``."""
    target = posixpath.normpath(member.target.lstrip("/") or ".")
    if target == "." or _leads_up(target):
        raise ArchiveError(f'invalid hardlink target "{member.target}"')
    return target


def _leads_up(name: str) -> bool:
    return name == ".." or name.startswith("../")


def _link(linked: str, path: str, names: str) -> None:
    try:
        os.link(linked, path, follow_symlinks=False)
    except FileNotFoundError as error:
        raise ArchiveError(f"linkat {names}: no such file or directory: it is a hard link to a member that is not there") from error
    except OSError as error:
        raise ArchiveError(f"linkat {names}: {os.strerror(error.errno or 0).lower()}") from error


def _is_directory(path: str) -> bool:
    """A directory itself, not a link to one."""
    return os.path.isdir(path) and not os.path.islink(path)


def _missing(root: str, path: str) -> list[str]:
    """The directories that a path in ``root`` lacks, innermost first."""
    missing = []
    while path != root and not _is_directory(path):
        if os.path.lexists(path):
            raise ArchiveError(f"a member lies below {inside(root, path)}, which is not a directory")
        missing.append(path)
        path = os.path.dirname(path)
    return missing
