"""Unpacking tar archives into a root filesystem: the layers of a base image, and what ADD finds in the build context.

Every path of the archive is resolved inside the target; a member that would lead outside is refused. Owners are applied
where ids are real and returned where they are not.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
import tarfile
from typing import IO, Final

from layerlab.engines.embedded.rootfs.layer_tar import OPAQUE, OVERLAY_PREFIX, WHITEOUT
from layerlab.engines.embedded.rootfs.paths import inside, resolve

MEMBER_LIMIT: Final = 2_000_000
_COPY: Final = 1 << 20


class ArchiveError(Exception):
    """An archive that cannot or must not be unpacked; the message says why."""


def unpack(
    stream: IO[bytes],
    root: str,
    dest: str,
    *,
    layer: bool,
    real_ids: bool,
    owner: tuple[int, int] | None = None,
    compressed: bool = True,
) -> dict[str, tuple[int, int]]:
    """Unpack ``stream`` below ``dest`` (inside ``root``); returns owners by path within ``root``, for members not owned by 0:0.

    ``layer``  the archive is an image layer: whiteouts become overlay whiteouts. ``owner``  overrides every owner.
    ``real_ids``  owners can be given to files.
    Raises ``ArchiveError``, ``OSError``.
    """
    owners: dict[str, tuple[int, int]] = {}
    directories: list[tuple[str, int, float]] = []
    try:
        with tarfile.open(fileobj=stream, mode="r|*" if compressed else "r|", errorlevel=2) as archive:
            for number, member in enumerate(archive):
                if number > MEMBER_LIMIT:
                    raise ArchiveError(f"the archive has more than {MEMBER_LIMIT} members")
                _member(archive, member, root, dest, layer, real_ids, owner, owners, directories)
    except tarfile.TarError as error:
        raise ArchiveError(f"not a valid tar archive: {error}") from error
    except EOFError as error:
        raise ArchiveError("the archive ends too early") from error
    # Modes and times last: a directory without write permission must still take its files.
    for path, mode, mtime in reversed(directories):
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
    directories: list[tuple[str, int, float]],
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
    if layer and name.startswith(WHITEOUT):
        hidden = f"{parent}/{name[len(WHITEOUT) :]}"
        _remove(hidden)
        os.mknod(hidden, stat.S_IFCHR, os.makedev(0, 0))
        return
    if member.isdir():
        if not os.path.isdir(path) or os.path.islink(path):
            _remove(path)
            os.mkdir(path)
        os.chmod(path, 0o700)
        directories.append((path, member.mode & 0o7777, member.mtime))
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
    where = inside(root, path)
    owners.pop(where, None)
    if ids != (0, 0):
        owners[where] = ids
    if real_ids and not member.islnk():
        os.chown(path, *ids, follow_symlinks=False)
    if not member.issym() and not member.islnk() and not member.isdir():
        os.chmod(path, member.mode & 0o7777)
    for key, value in member.pax_headers.items():
        if key.startswith("SCHILY.xattr.") and not key.startswith("SCHILY.xattr." + OVERLAY_PREFIX):
            with contextlib.suppress(OSError):
                os.setxattr(path, key[len("SCHILY.xattr.") :], value.encode("utf-8", "surrogateescape"), follow_symlinks=False)
    if not member.isdir() and not member.islnk():
        os.utime(path, (member.mtime, member.mtime), follow_symlinks=False)


def _make_parents(root: str, path: str) -> None:
    missing = []
    while path != root and not os.path.isdir(path):
        if os.path.lexists(path):
            raise ArchiveError(f"a member lies below {inside(root, path)}, which is not a directory")
        missing.append(path)
        path = os.path.dirname(path)
    for directory in reversed(missing):
        os.mkdir(directory, 0o755)


def _remove(path: str) -> None:
    if os.path.isdir(path) and not os.path.islink(path):
        shutil.rmtree(path)
    elif os.path.lexists(path):
        os.unlink(path)
