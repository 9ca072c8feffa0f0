"""Unpacking tar archives into a root filesystem: the layers of a base image, and what ADD finds in the build context.

Every path of the archive is resolved inside the target; a member that would lead outside is refused. Owners are applied
where ids are real and returned where they are not.
"""

from __future__ import annotations

import contextlib
import lzma
import os
import shutil
import stat
import tarfile
import zlib
from collections.abc import Callable
from typing import IO, Any, Final

from layerlab.engines.embedded.rootfs.layer_tar import OPAQUE, OVERLAY_PREFIX, WHITEOUT
from layerlab.engines.embedded.rootfs.paths import inside, resolve
from layerlab.engines.embedded.rootfs.sizes import LEAST

_AUFS: Final = WHITEOUT + WHITEOUT  # bookkeeping of an old storage driver; Docker skips it too
MEMBER_LIMIT: Final = 2_000_000
_NOBODY: Final = (1 << 32) - 1
HEADER_LIMIT: Final = 1 << 20
_HEADERS: Final = (tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK)
_COPY: Final = 1 << 20


class ArchiveError(Exception):
    """An archive that cannot or must not be unpacked; the message says why."""


class _LimitedInfo(tarfile.TarInfo):
    """A member whose extended header is not read into memory when it is absurdly long."""

    def _proc_member(self, archive: tarfile.TarFile) -> Any:
        if self.type in _HEADERS and self.size > HEADER_LIMIT:
            raise ArchiveError(f"a header of the archive is longer than {HEADER_LIMIT} bytes")
        return super()._proc_member(archive)  # type: ignore[misc]


def unpack(
    stream: IO[bytes],
    root: str,
    dest: str,
    *,
    layer: bool,
    real_ids: bool,
    owner: tuple[int, int] | None = None,
    compressed: bool = True,
    count: Callable[[int], None] | None = None,
) -> dict[str, tuple[int, int]]:
    """Unpack ``stream`` below ``dest`` (inside ``root``); returns owners by path within ``root``, for members not owned by 0:0.

    ``layer``  the archive is an image layer: whiteouts become overlay whiteouts. ``owner``  overrides every owner.
    ``real_ids``  owners can be given to files. ``count``  is told the bytes of each member before it is unpacked.
    Raises ``ArchiveError``, ``OSError``, and what ``count`` raises.
    """
    owners: dict[str, tuple[int, int]] = {}
    directories: dict[str, tuple[int, float]] = {}
    try:
        with tarfile.open(fileobj=stream, mode="r|*" if compressed else "r|", errorlevel=2, tarinfo=_LimitedInfo) as archive:
            for number, member in enumerate(archive):
                if number > MEMBER_LIMIT:
                    raise ArchiveError(f"the archive has more than {MEMBER_LIMIT} members")
                if count is not None:
                    count(max(member.size, LEAST))
                _member(archive, member, root, dest, layer, real_ids, owner, owners, directories)
    except tarfile.TarError as error:
        raise ArchiveError(f"not a valid tar archive: {error}") from error
    except EOFError as error:
        raise ArchiveError("the archive ends too early") from error
    except (zlib.error, lzma.LZMAError, ValueError, OverflowError) as error:
        # Damaged compression; a zero byte in a name; an owner or a time that no system has.
        raise ArchiveError(f"not a valid tar archive: {error}") from error
    # Modes and times last: a directory without write permission must still take its files.
    for path, (mode, mtime) in reversed(directories.items()):
        # A later member may have put a symbolic link in its place or above it: that one's target is none of ours.
        if _is_directory(path) and resolve(root, inside(root, path)) == path:
            os.chmod(path, mode)
            os.utime(path, (mtime, mtime))
    return owners


def _member(
    archive: tarfile.TarFile,
    member: tarfile.TarInfo,
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
        raise ArchiveError(f"the archive has a member that leads outside: {member.name}")
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
    if member.isdir():
        if not _is_directory(path):
            _remove(path)
            os.mkdir(path)
        os.chmod(path, 0o700)
        directories.pop(path, None)
        directories[path] = (member.mode & 0o7777, member.mtime)
    else:
        _remove(path)
        if member.isreg():
            source = archive.extractfile(member)
            assert source is not None
            with open(path, "xb") as target:
                shutil.copyfileobj(source, target, _COPY)
        elif member.issym():
            os.symlink(member.linkname, path)
        elif member.islnk():
            linked = resolve(root, f"{dest}/{member.linkname}", follow=False)
            try:
                os.link(linked, path, follow_symlinks=False)
            except OSError as error:
                raise ArchiveError(f"hard link to a member that is not there: {member.name} -> {member.linkname}") from error
        elif member.isfifo():
            os.mkfifo(path)
        elif member.ischr() or member.isblk():
            kind = stat.S_IFCHR if member.ischr() else stat.S_IFBLK
            try:
                os.mknod(path, kind | 0o600, os.makedev(member.devmajor, member.devminor))
            except PermissionError:
                return
        else:
            return
    ids = owner or (member.uid, member.gid)
    if not all(0 <= number < _NOBODY for number in ids):
        raise ArchiveError(f"a member has an owner that no system has: {member.name}")
    where = inside(root, path)
    owners.pop(where, None)
    if ids != (0, 0):
        owners[where] = ids
    if real_ids and not member.islnk():
        os.chown(path, *ids, follow_symlinks=False)
    if not member.issym() and not member.islnk() and not member.isdir():
        os.chmod(path, member.mode & 0o7777)
    for key, value in member.pax_headers.items():
        attribute = key.removeprefix("SCHILY.xattr.")
        # Nothing else: trusted.* and security.* mean something to this host's kernel.
        if attribute != key and (
            attribute == "security.capability" or (attribute.startswith("user.") and not attribute.startswith(OVERLAY_PREFIX))
        ):
            with contextlib.suppress(OSError):
                os.setxattr(path, attribute, value.encode("utf-8", "surrogateescape"), follow_symlinks=False)
    if not member.isdir() and not member.islnk():
        os.utime(path, (member.mtime, member.mtime), follow_symlinks=False)


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
