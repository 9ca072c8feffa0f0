"""Root filesystems as plain trees, for where overlayfs cannot be mounted (the copy snapshotter).

A tree is a copy of all layers. What a step changed is found by metadata: a file whose inode or change time moved was
touched, one that is missing was removed. Layers stay in overlay form in the store, so that both snapshotters share them.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator
from typing import Final, Literal

import msgspec

from layerlab.engines.embedded.rootfs.birth import birth_time
from layerlab.engines.embedded.rootfs.copying import copy_attribute, copy_data, counted_names
from layerlab.engines.embedded.rootfs.layer_tar import CAPABILITY, OVERLAY_PREFIX
from layerlab.engines.embedded.rootfs.paths import resolve
from layerlab.engines.embedded.rootfs.reading import open_file, readable
from layerlab.fsutil import is_directory, remove_tree

Mark = tuple[int, int, int, int, int]  # identity; ctime of a file or mtime of a directory, in ns; st_mode; owner
_POSITIVE: Final = (1 << 63) - 1


def flatten(layers: list[str], target: str, *, real_ids: bool) -> None:
    """Copy ``layers`` (overlay form, lowest first) on top of one another into the empty directory ``target``. Raises ``OSError``."""
    for layer in layers:
        links: dict[tuple[int, int], str] = {}
        _apply(layer, target, links, real_ids)


def _apply(source: str, target: str, links: dict[tuple[int, int], str], real_ids: bool) -> None:
    with readable(source):
        _apply_readable(source, target, links, real_ids)


def _apply_readable(source: str, target: str, links: dict[tuple[int, int], str], real_ids: bool) -> None:
    with os.scandir(source) as scan:
        items = list(scan)
    for item in items:
        status = item.stat(follow_symlinks=False)
        mode = status.st_mode
        where = f"{target}/{item.name}"
        if stat.S_ISCHR(mode) and status.st_rdev == 0:
            remove_tree(where)
            continue
        if stat.S_ISDIR(mode):
            if _is_opaque(item.path):
                remove_tree(where)
            if not is_directory(where):
                remove_tree(where)
                os.mkdir(where)
            os.chmod(where, 0o700)
            _apply(item.path, where, links, real_ids)
            _dress(item.path, where, status, real_ids)
            continue
        remove_tree(where)
        copy_one(item.path, where, status, links, real_ids=real_ids)


class UndoError(Exception):
    """A tree cannot be taken back to fewer layers: it must be made anew."""


def rebase(tree: str, kept: list[str], undone: list[str], added: list[str], *, real_ids: bool) -> None:
    """Turn ``tree``, made of the layers ``kept`` and ``undone``, into one made of ``kept`` and ``added`` (each lowest first).

    Only what ``undone`` and ``added`` touch is copied. Raises ``UndoError`` and ``OSError``; the tree is of no use then.
    """
    for layer in reversed(undone):
        _undo(layer, "", tree, kept + undone[: undone.index(layer)], real_ids)
    flatten(added, tree, real_ids=real_ids)
    os.chmod(tree, 0o755)


def _undo(layer: str, relative: str, tree: str, below: list[str], real_ids: bool) -> None:
    """Give everything that ``layer`` has below ``relative`` the state that it has in ``below``."""
    for _, path, status in list(_listing(layer, relative)):
        where = f"{tree}/{path}"
        if stat.S_ISDIR(status.st_mode) and not _is_opaque(f"{layer}/{path}"):
            seen = visible(path, below)
            if seen and is_directory(seen[0]):
                if not is_directory(where):
                    raise UndoError(f"/{path} is no directory any more")
                os.chmod(where, 0o700)
                _undo(layer, path, tree, below, real_ids)
                _undress(seen[0], where)
                _dress(seen[0], where, os.lstat(seen[0]), real_ids)
                continue
        remove_tree(where)
        _restore(where, visible(path, below), real_ids)


def visible(path: str, layers: list[str]) -> list[str]:
    """Where a path of the merged ``layers`` (lowest first) comes from, highest first: one file, or directories that lie on one another."""
    found: list[str] = []
    parts = path.split("/")
    for layer in reversed(layers):
        here = layer
        hides = False
        for depth, part in enumerate(parts):
            here = f"{here}/{part}"
            status = _lstat(here)
            if status is None:
                break
            if not stat.S_ISDIR(status.st_mode):
                # A file or a whiteout hides what lies below it, itself included.
                hides = True
                if depth == len(parts) - 1 and not found and not (stat.S_ISCHR(status.st_mode) and status.st_rdev == 0):
                    found.append(here)
                break
            hides = hides or _is_opaque(here)
            if depth == len(parts) - 1:
                found.append(here)
        if hides:
            break
    return found


def _restore(where: str, sources: list[str], real_ids: bool) -> None:
    for source in reversed(sources):
        status = os.lstat(source)
        if not stat.S_ISDIR(status.st_mode):
            if status.st_nlink > 1:
                raise UndoError(f"{source} has several names")
            copy_one(source, where, status, {}, real_ids=real_ids)
            continue
        if not is_directory(where):
            os.mkdir(where)
        os.chmod(where, 0o700)
        _apply(source, where, {}, real_ids)
        _dress(source, where, status, real_ids)


def _undress(source: str, target: str) -> None:
    """Take away the extended attributes that ``source`` does not have."""
    for name in set(counted_names(target)) - set(counted_names(source)):
        os.removexattr(target, name)


def copy_one(source: str, target: str, status: os.stat_result, links: dict[tuple[int, int], str], *, real_ids: bool) -> None:
    """Copy one non-directory with owner, mode, times and xattrs; hard links among the copies stay hard links."""
    mode = status.st_mode
    if status.st_nlink > 1 and stat.S_IFMT(mode) in (stat.S_IFREG, stat.S_IFLNK, stat.S_IFIFO):
        first = links.setdefault((status.st_dev, status.st_ino), target)
        if first != target:
            os.link(first, target, follow_symlinks=False)
            return
    if stat.S_ISLNK(mode):
        os.symlink(os.readlink(source), target)
    elif stat.S_ISREG(mode):
        with open(open_file(source), "rb", buffering=0) as origin, open(target, "xb", buffering=0) as sink:
            copy_data(origin.fileno(), sink.fileno())
    elif stat.S_ISFIFO(mode):
        os.mkfifo(target)
    elif stat.S_ISCHR(mode) or stat.S_ISBLK(mode):
        os.mknod(target, mode, status.st_rdev)
    else:
        return
    _dress(source, target, status, real_ids)


def _dress(source: str, target: str, status: os.stat_result, real_ids: bool) -> None:
    if real_ids:
        os.chown(target, status.st_uid, status.st_gid, follow_symlinks=False)
    if not stat.S_ISLNK(status.st_mode):
        for name in counted_names(source):
            copy_attribute(source, target, name)
        os.chmod(target, stat.S_IMODE(status.st_mode))
    os.utime(target, ns=(status.st_mtime_ns, status.st_mtime_ns), follow_symlinks=False)


def _is_opaque(path: str) -> bool:
    try:
        return os.getxattr(path, OVERLAY_PREFIX + "opaque") == b"y"
    except OSError:
        return False


def make_stubs(tree: str, stubs: list[tuple[str, bool]]) -> list[str]:
    """Make the mount points (path, is a directory) that ``tree`` lacks; returns what was made, parents first."""
    made: list[str] = []
    for path, directory in stubs:
        parts = path.split("/")
        for depth in range(1, len(parts) + 1):
            piece = "/".join(parts[:depth])
            here = f"{tree}/{piece}"
            if os.path.lexists(here):
                continue
            with _times_kept(os.path.dirname(here)):
                _make_stub(here, directory=depth < len(parts) or directory)
            made.append(piece)
    return made


def _make_stub(path: str, *, directory: bool) -> None:
    if directory:
        os.mkdir(path, 0o755)
    else:
        with open(path, "xb"):
            pass


@contextlib.contextmanager
def _times_kept(directory: str) -> Iterator[None]:
    """Changing an entry moves the time of its directory, which would then look changed by the step."""
    status = os.lstat(directory)
    yield
    os.utime(directory, ns=(status.st_mtime_ns, status.st_mtime_ns))


def remove_stubs(tree: str, stubs: list[str]) -> None:
    """Take away the mount points that ``make_stubs`` made, unless a step put something into them."""
    for path in reversed(stubs):
        here = f"{tree}/{path}"
        # The step may have replaced a directory above by a link, which leads anywhere.
        if resolve(tree, path, follow=False) != here:
            continue
        if is_directory(here):
            if not os.listdir(here):
                with _times_kept(os.path.dirname(here)):
                    os.rmdir(here)
        elif os.path.lexists(here) and os.lstat(here).st_size == 0:
            with _times_kept(os.path.dirname(here)):
                os.unlink(here)


def _mark(status: os.stat_result, path: str) -> Mark:
    if not stat.S_ISDIR(status.st_mode):
        return (status.st_ino, status.st_ctime_ns, status.st_mode, status.st_uid, status.st_gid)
    # A directory that is removed and made anew may get the same inode, and its ctime changes with its contents.
    identity = (status.st_ino * 1_000_000_007 + birth_time(path)) & _POSITIVE
    return (identity, status.st_mtime_ns, status.st_mode, status.st_uid, status.st_gid)


def marks(tree: str) -> dict[str, Mark]:
    """The state of every path in ``tree``, for ``difference``."""
    found: dict[str, Mark] = {}

    def note(directory: str, relative: str) -> None:
        with os.scandir(directory) as scan:
            items = list(scan)
        for item in items:
            status = item.stat(follow_symlinks=False)
            path = f"{relative}/{item.name}" if relative else item.name
            found[path] = _mark(status, item.path)
            if stat.S_ISDIR(status.st_mode):
                with readable(item.path):
                    note(item.path, path)

    note(tree, "")
    return found


def difference(tree: str, before: dict[str, Mark], dest: str, *, real_ids: bool) -> bool:
    """Copy what changed in ``tree`` since ``before`` into ``dest``, in overlay form.

    Returns whether the tree is then what a fresh copy of its layers would be, times of access put back. It is not taken for that where a
    file has several names, of which a layer may hold some, nor where something was made that no layer holds as it is: attributes are not
    looked at any closer.
    """
    links: dict[tuple[int, int], str] = {}
    root = os.lstat(tree)
    alike = not _has_attributes(tree) and (not real_ids or (root.st_uid, root.st_gid) == (0, 0))

    def make(relative: str) -> None:
        """The directory ``relative`` in ``dest``, dressed as in ``tree``, parents too."""
        if not relative or os.path.isdir(f"{dest}/{relative}"):
            return
        make(os.path.dirname(relative))
        os.mkdir(f"{dest}/{relative}")

    def visit(directory: str, relative: str, *, opaque: bool = False) -> None:
        nonlocal alike
        with os.scandir(directory) as scan:
            items = list(scan)
        names = set()
        for item in items:
            names.add(item.name)
            status = item.stat(follow_symlinks=False)
            path = f"{relative}/{item.name}" if relative else item.name
            old = before.get(path)
            if stat.S_ISDIR(status.st_mode):
                mark = _mark(status, item.path)
                alike = alike and not _has_attributes(item.path)
                if old != mark:
                    make(path)
                replaced = old is not None and (old[0] != mark[0] or not stat.S_ISDIR(old[2]))
                if replaced:
                    os.setxattr(f"{dest}/{path}", OVERLAY_PREFIX + "opaque", b"y")
                with readable(item.path):
                    visit(item.path, path, opaque=opaque or replaced)
            elif old != _mark(status, item.path):
                plain = stat.S_IFMT(status.st_mode) in (stat.S_IFREG, stat.S_IFLNK) and status.st_nlink == 1
                alike = alike and plain and not _has_attributes(item.path)
                make(relative)
                copy_one(item.path, f"{dest}/{path}", status, links, real_ids=real_ids)
            elif status.st_atime_ns == status.st_mtime_ns:
                continue
            # Whoever gets the tree next is not told what was read, and when.
            os.utime(item.path, ns=(status.st_mtime_ns, status.st_mtime_ns), follow_symlinks=False)
        prefix = f"{relative}/" if relative else ""
        for name in () if opaque else children.get(relative, ()):
            if name not in names:
                make(relative)
                os.mknod(f"{dest}/{prefix}{name}", stat.S_IFCHR, os.makedev(0, 0))

    children: dict[str, list[str]] = {}
    for path in before:
        parent, _, name = path.rpartition("/")
        children.setdefault(parent, []).append(name)
    visit(tree, "")
    _dress_directories(tree, dest, real_ids)
    return alike


def _has_attributes(path: str) -> bool:
    try:
        return any(name.startswith(("user.", "system.")) or name == CAPABILITY for name in os.listxattr(path, follow_symlinks=False))
    except OSError:
        return False


def _dress_directories(tree: str, dest: str, real_ids: bool) -> None:
    with os.scandir(dest) as scan:
        items = list(scan)
    for item in items:
        if item.is_dir(follow_symlinks=False):
            below = f"{tree}/{item.name}"
            with readable(below):
                _dress_directories(below, item.path, real_ids)
            _dress(below, item.path, os.lstat(below), real_ids)


# --- what a container changed -----------------------------------------------------------------------------------------

Change = tuple[Literal["A", "C", "D"], str]


def pack_marks(before: dict[str, Mark], stubs: list[str]) -> bytes:
    """Marks and stubs as bytes for a file. Names need not be UTF-8."""
    return msgspec.msgpack.encode(({os.fsencode(path): mark for path, mark in before.items()}, [os.fsencode(path) for path in stubs]))


def unpack_marks(data: bytes) -> tuple[dict[str, Mark], list[str]]:
    """What ``pack_marks`` packed. Raises ``msgspec.MsgspecError``."""
    before, stubs = msgspec.msgpack.decode(data, type=tuple[dict[bytes, Mark], list[bytes]])
    return {os.fsdecode(path): mark for path, mark in before.items()}, [os.fsdecode(path) for path in stubs]


def layer_changes(upper: str, lower: str) -> list[Change]:
    """What ``upper`` (overlay form) changes in the tree ``lower``, by docker's rule (moby ``pkg/archive/changes.go``), sorted by path.

    A directory counts as changed when its mode or owner did, or anything in it. What a running container removes meanwhile is left out.
    """

    def visit(relative: str, *, below: bool) -> list[Change]:
        found: list[Change] = []
        for _, path, status in _listing(upper, relative):
            old = _lstat(f"{lower}/{path}") if below else None
            if stat.S_ISCHR(status.st_mode) and status.st_rdev == 0:
                if old is not None:
                    found.append(("D", path))
                continue
            inner: list[Change] = []
            if stat.S_ISDIR(status.st_mode):
                both = old is not None and stat.S_ISDIR(old.st_mode)
                inner = visit(path, below=both and not _is_opaque(f"{upper}/{path}"))
                if both and _is_opaque(f"{upper}/{path}"):
                    inner = _replaced(inner, upper, lower, path)
            if old is None:
                found.append(("A", path))
            elif inner or _differs(old, status):
                found.append(("C", path))
            found += inner
        return found

    return _sorted(visit("", below=True))


def _replaced(inner: list[Change], upper: str, lower: str, path: str) -> list[Change]:
    """A directory that hides all of the one below: what is in both was changed, not added, and what is not in it was deleted."""
    found: list[Change] = []
    gone: set[str] = set()
    for _, changed in inner:
        found.append(("C" if os.path.lexists(f"{lower}/{changed}") else "A", changed))
    for directory in [path, *(changed for _, changed in inner if is_directory(f"{upper}/{changed}"))]:
        if is_directory(f"{lower}/{directory}"):
            gone |= {f"{directory}/{name}" for name in os.listdir(f"{lower}/{directory}")}
    return found + [("D", missing) for missing in gone if not os.path.lexists(f"{upper}/{missing}")]


def tree_changes(tree: str, before: dict[str, Mark], stubs: list[str]) -> list[Change]:
    """What changed in ``tree`` since ``before``, as ``layer_changes`` tells it, sorted by path. ``stubs`` are mount points of ours."""
    ours = set(stubs)
    children: dict[str, list[str]] = {}
    for path in before:
        parent, _, name = path.rpartition("/")
        children.setdefault(parent, []).append(name)

    def visit(relative: str) -> list[Change]:
        found: list[Change] = []
        names = set()
        for name, path, status in _listing(tree, relative):
            names.add(name)
            old = before.get(path)
            directory = stat.S_ISDIR(status.st_mode)
            inner = visit(path) if directory else []
            mark = _mark(status, f"{tree}/{path}")
            if old is None:
                if path not in ours or inner or (not directory and status.st_size):
                    found.append(("A", path))
            elif inner or (old[2:] != mark[2:] if directory and stat.S_ISDIR(old[2]) else old != mark):
                found.append(("C", path))
            found += inner
        prefix = f"{relative}/" if relative else ""
        mode = _lstat(f"{tree}/{relative}")
        if mode is not None and stat.S_ISDIR(mode.st_mode):
            found += [("D", prefix + name) for name in children.get(relative, ()) if name not in names]
        return found

    return _sorted(visit(""))


def _listing(top: str, relative: str) -> Iterator[tuple[str, str, os.stat_result]]:
    try:
        with os.scandir(f"{top}/{relative}" if relative else top) as scan:
            items = list(scan)
    except FileNotFoundError:
        return
    for item in items:
        with contextlib.suppress(FileNotFoundError):
            yield item.name, f"{relative}/{item.name}" if relative else item.name, item.stat(follow_symlinks=False)


def _lstat(path: str) -> os.stat_result | None:
    try:
        return os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None


def _differs(old: os.stat_result, new: os.stat_result) -> bool:
    if (old.st_mode, old.st_uid, old.st_gid, old.st_rdev) != (new.st_mode, new.st_uid, new.st_gid, new.st_rdev):
        return True
    return not stat.S_ISDIR(new.st_mode) and (old.st_mtime_ns, old.st_size) != (new.st_mtime_ns, new.st_size)


def _sorted(changes: list[Change]) -> list[Change]:
    return sorted(changes, key=lambda change: change[1].split("/"))
