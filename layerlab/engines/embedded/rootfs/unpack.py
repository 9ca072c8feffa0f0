"""Unpacking tar archives into a root filesystem: the layers of a base image, and what ADD finds in the build context.

Every path of the archive is resolved inside the target; a member that would lead outside is refused. Owners are applied
where ids are real and returned where they are not.
"""

from __future__ import annotations

import contextlib
import os
import posixpath
import shutil
import stat
import sys
from collections.abc import Callable
from typing import IO, Final

from layerlab.engines.embedded.rootfs.compression import decompressed, expansion_limit
from layerlab.engines.embedded.rootfs.layer_tar import DEVICE, OPAQUE, OVERLAY_PREFIX, WHITEOUT, note_device
from layerlab.engines.embedded.rootfs.paths import inside, resolve
from layerlab.engines.embedded.rootfs.sizes import LEAST
from layerlab.engines.embedded.rootfs.tar_reader import ArchiveError, Member, TarReader

__all__ = ["ArchiveError", "is_archive", "unpack"]

_COMPRESSED: Final = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ\0")

_AUFS: Final = WHITEOUT + WHITEOUT  # bookkeeping of an old storage driver; Docker skips it too
_NOBODY: Final = (1 << 32) - 1


def unpack(
    stream: IO[bytes],
    root: str,
    dest: str,
    *,
    layer: bool,
    real_ids: bool,
    owner: tuple[int, int] | None = None,
    count: Callable[[int], None] | None = None,
) -> dict[str, tuple[int, int]]:
    """Unpack ``stream`` below ``dest`` (inside ``root``); returns owners by path within ``root``, for members not owned by 0:0 (with an
    ``owner``: for all).

    ``stream``  a file at its start, compressed or not. ``layer``  the archive is an image layer: whiteouts become overlay whiteouts.
    ``owner``  overrides every owner. ``real_ids``  owners can be given to files. ``count``  is told the bytes of each member before it
    is unpacked.

    A device is noted and never made, whoever unpacks (``layer_tar.DEVICE``). What the archive may unpack to has a limit
    (``compression.expansion_limit``). Raises ``ArchiveError``, ``OSError``, and what ``count`` raises.
    """
    owners: dict[str, tuple[int, int]] = {}
    directories: dict[str, tuple[int, float]] = {}
    stored = os.fstat(stream.fileno()).st_size
    archive = TarReader(decompressed(stream), limit=expansion_limit(stored))
    try:
        for member in archive:
            if count is not None:
                count(max(member.size, LEAST))
            _member(archive, member, root, dest, layer, real_ids, owner, owners, directories)
    except (ValueError, OverflowError) as error:
        # A zero byte in an attribute's name; a time that no system has.
        raise ArchiveError(f"not a valid tar archive: {error}") from error
    # Modes and times last: a directory without write permission must still take its files.
    for path, (mode, mtime) in reversed(directories.items()):
        # A later member may have put a symbolic link in its place or above it: that one's target is none of ours.
        if _is_directory(path) and resolve(root, inside(root, path)) == path:
            os.chmod(path, mode)
            os.utime(path, (mtime, mtime))
    return owners


def is_archive(path: str) -> bool:
    """Whether ADD unpacks a file: a tar archive, or a compressed file that begins like one. No more than one header is read.

    Raises ``OSError``.
    """
    with open(path, "rb") as stream:
        start = stream.read(512)
        if start[257:262] == b"ustar":
            return True
        if not start.startswith(_COMPRESSED):
            return False
        stream.seek(0)
        try:
            # How far it may unpack is asked where it is unpacked.
            next(iter(TarReader(decompressed(stream), limit=sys.maxsize)), None)
        except ArchiveError:
            return False
        return True


def _member(
    archive: TarReader,
    member: Member,
    root: str,
    dest: str,
    layer: bool,
    real_ids: bool,
    owner: tuple[int, int] | None,
    owners: dict[str, tuple[int, int]],
    directories: dict[str, tuple[int, float]],
) -> None:
    parts = [part for part in member.name.split("/") if part not in ("", ".")]
    if ".." in parts:
        raise ArchiveError(f'invalid entry name "{member.name}": the archive has a member that leads outside')
    if not parts:
        return
    parent = resolve(root, "/".join([dest, *parts[:-1]]))
    _make_parents(root, parent)
    name = parts[-1]
    path = f"{parent}/{name}"
    if layer and name == OPAQUE:
        os.setxattr(parent, OVERLAY_PREFIX + "opaque", b"y")
        return
    if layer and name.startswith(_AUFS):
        return
    if layer and name.startswith(WHITEOUT):
        hidden_name = name[len(WHITEOUT) :]
        if hidden_name in ("", ".", ".."):
            raise ArchiveError(f"the archive has a whiteout that leads outside: {member.name}")
        hidden = f"{parent}/{hidden_name}"
        _remove(hidden)
        os.mknod(hidden, stat.S_IFCHR, os.makedev(0, 0))
        return
    if member.kind == "dir":
        if not _is_directory(path):
            _remove(path)
            os.mkdir(path)
        os.chmod(path, 0o700)
        directories.pop(path, None)
        directories[path] = (member.mode, member.mtime)
    else:
        _remove(path)
        if not _make(archive, member, root, dest, path):
            return
    ids = owner or (member.uid, member.gid)
    if not all(0 <= number < _NOBODY for number in ids):
        raise ArchiveError(f"a member has an owner that no system has: {member.name}")
    where = inside(root, path)
    owners.pop(where, None)
    if ids != (0, 0) or owner is not None:
        owners[where] = ids
    if member.kind == "hardlink":
        return
    if real_ids:
        os.chown(path, *ids, follow_symlinks=False)
    if member.kind not in ("symlink", "dir"):
        os.chmod(path, member.mode)
    for attribute, value in member.xattrs.items():
        # Nothing else: trusted.* and security.* mean something to this host's kernel.
        if attribute == "security.capability" or (
            attribute.startswith("user.") and not attribute.startswith(OVERLAY_PREFIX) and attribute != DEVICE
        ):
            with contextlib.suppress(OSError):
                os.setxattr(path, attribute, value, follow_symlinks=False)
    if member.kind != "dir":
        os.utime(path, (member.mtime, member.mtime), follow_symlinks=False)


def _make(archive: TarReader, member: Member, root: str, dest: str, path: str) -> bool:
    """Make what is no directory; false where it cannot be had here."""
    if member.kind == "file":
        with open(path, "xb") as target:
            archive.write(member, target)
    elif member.kind == "symlink":
        os.symlink(member.target, path)
    elif member.kind == "hardlink":
        linked = resolve(root, f"{dest}/{member.target}", follow=False)
        try:
            os.link(linked, path, follow_symlinks=False)
        except OSError as error:
            names = " ".join(posixpath.normpath(path) for path in (member.target, member.name))
            raise ArchiveError(f"linkat {names}: no such file or directory: it is a hard link to a member that is not there") from error
    elif member.kind == "fifo":
        os.mkfifo(path)
    elif member.kind in ("char", "block"):
        return note_device(path, member.kind, member.major, member.minor)
    else:
        return False
    return True


def _is_directory(path: str) -> bool:
    """A directory itself, not a link to one."""
    return os.path.isdir(path) and not os.path.islink(path)


def _make_parents(root: str, path: str) -> None:
    missing = []
    while path != root and not _is_directory(path):
        if os.path.lexists(path):
            raise ArchiveError(f"a member lies below {inside(root, path)}, which is not a directory")
        missing.append(path)
        path = os.path.dirname(path)
    for directory in reversed(missing):
        os.mkdir(directory, 0o755)


def _remove(path: str) -> None:
    if _is_directory(path):
        shutil.rmtree(path)
    elif os.path.lexists(path):
        os.unlink(path)
