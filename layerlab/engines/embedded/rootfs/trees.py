"""Root filesystems as plain trees, for where overlayfs cannot be mounted (the copy snapshotter).

A tree is a copy of all layers. What a step changed is found by metadata: a file whose inode or change time moved was
touched, one that is missing was removed. Layers stay in overlay form in the store, so that both snapshotters share them.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator

from layerlab.engines.embedded.rootfs.copying import copy_attribute, copy_data, counted_names, is_directory, remove_tree
from layerlab.engines.embedded.rootfs.layer_tar import OVERLAY_PREFIX
from layerlab.engines.embedded.rootfs.paths import resolve

Mark = tuple[int, int, int, int, int]  # inode; ctime of a file or mtime of a directory, in ns; st_mode; owner


def flatten(layers: list[str], target: str, *, real_ids: bool) -> None:
    """Copy ``layers`` (overlay form, lowest first) on top of one another into the empty directory ``target``. Raises ``OSError``."""
    for layer in layers:
        links: dict[tuple[int, int], str] = {}
        _apply(layer, target, links, real_ids)


def _apply(source: str, target: str, links: dict[tuple[int, int], str], real_ids: bool) -> None:
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


def copy_one(source: str, target: str, status: os.stat_result, links: dict[tuple[int, int], str], *, real_ids: bool) -> None:
    """Copy one non-directory with owner, mode, times and xattrs; hard links among the copies stay hard links."""
    mode = status.st_mode
    identity = (status.st_dev, status.st_ino)
    if stat.S_ISLNK(mode):
        os.symlink(os.readlink(source), target)
    elif stat.S_ISREG(mode):
        if status.st_nlink > 1 and identity in links:
            os.link(links[identity], target)
            return
        if status.st_nlink > 1:
            links[identity] = target
        with open(source, "rb", buffering=0) as origin, open(target, "xb", buffering=0) as sink:
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


def _mark(status: os.stat_result) -> Mark:
    moment = status.st_mtime_ns if stat.S_ISDIR(status.st_mode) else status.st_ctime_ns
    return (status.st_ino, moment, status.st_mode, status.st_uid, status.st_gid)


def marks(tree: str) -> dict[str, Mark]:
    """The state of every path in ``tree``, for ``difference``."""
    found: dict[str, Mark] = {}

    def note(directory: str, relative: str) -> None:
        with os.scandir(directory) as scan:
            items = list(scan)
        for item in items:
            status = item.stat(follow_symlinks=False)
            path = f"{relative}/{item.name}" if relative else item.name
            found[path] = _mark(status)
            if stat.S_ISDIR(status.st_mode):
                note(item.path, path)

    note(tree, "")
    return found


def difference(tree: str, before: dict[str, Mark], dest: str, *, real_ids: bool) -> None:
    """Copy what changed in ``tree`` since ``before`` into ``dest``, in overlay form."""
    links: dict[tuple[int, int], str] = {}

    def make(relative: str) -> None:
        """The directory ``relative`` in ``dest``, dressed as in ``tree``, parents too."""
        if not relative or os.path.isdir(f"{dest}/{relative}"):
            return
        make(os.path.dirname(relative))
        os.mkdir(f"{dest}/{relative}")

    def visit(directory: str, relative: str, *, opaque: bool = False) -> None:
        with os.scandir(directory) as scan:
            items = list(scan)
        names = set()
        for item in items:
            names.add(item.name)
            status = item.stat(follow_symlinks=False)
            path = f"{relative}/{item.name}" if relative else item.name
            old = before.get(path)
            if stat.S_ISDIR(status.st_mode):
                if old != _mark(status):
                    make(path)
                replaced = old is not None and (old[0] != status.st_ino or not stat.S_ISDIR(old[2]))
                if replaced:
                    os.setxattr(f"{dest}/{path}", OVERLAY_PREFIX + "opaque", b"y")
                visit(item.path, path, opaque=opaque or replaced)
            elif old != _mark(status):
                make(relative)
                copy_one(item.path, f"{dest}/{path}", status, links, real_ids=real_ids)
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


def _dress_directories(tree: str, dest: str, real_ids: bool) -> None:
    with os.scandir(dest) as scan:
        items = list(scan)
    for item in items:
        if item.is_dir(follow_symlinks=False):
            below = f"{tree}/{item.name}"
            _dress_directories(below, item.path, real_ids)
            _dress(below, item.path, os.lstat(below), real_ids)
