"""Laying the tree of one command: its root filesystem with everything that is mounted in it, in a mount namespace made for it alone.

The executor is handed the finished tree and mounts nothing in it but ``/proc``, on an empty directory that was laid here. So no program
that has the host's files before it ever resolves a path that an image, a mount or a cache can influence: each place is opened beneath the
root's descriptor (``mountapi``), after all that was mounted before, and what is mounted there hangs on that descriptor.

A mount point that is missing is made where its parent is. In the image that is a layer below all others or a copied tree (see
``snapshotters``); below another mount it is in that mount, as runc has it, and a mount that cannot be written to has room for none.
"""

from __future__ import annotations

import contextlib
import errno
import os
import posixpath
import stat
from collections.abc import Iterator
from typing import Any, Final

from layerlab.engines.embedded.rootfs import mountapi
from layerlab.engines.embedded.rootfs.mountapi import NODEV, NOEXEC, NOSUID, RDONLY

# An empty directory of the store: where the tree is laid, in each namespace its own.
POINT: Final = "root"

_DEVICES: Final = ("null", "zero", "full", "random", "urandom", "tty")
_LINKS: Final = (("fd", "/proc/self/fd"), ("stdin", "/proc/self/fd/0"), ("stdout", "/proc/self/fd/1"), ("stderr", "/proc/self/fd/2"))
# Docker gives both this size.
_DEV_BYTES: Final = 64 << 20
_SHM_BYTES: Final = 64 << 20
# And files: an empty one takes memory that no size counts.
_DEV_FILES: Final = 1 << 14
_SHM_FILES: Final = 1 << 16
# What Docker hides of /sys (moby, ``daemon/pkg/oci/defaults.go``).
_HIDDEN_SYS: Final = ("firmware", "devices/virtual/powercap")
_KERNELS: Final = RDONLY | NOSUID | NODEV | NOEXEC
_GROUPS: Final = "/sys/fs/cgroup"
# The controllers that tell how much memory and how many processors there are. Each mount more costs a command a tenth of a millisecond.
_CONTROLLERS: Final = ("cpu", "cpuacct", "cpuset", "memory")


class MountError(Exception):
    """What a Dockerfile asks for cannot be laid; the message is a sentence about it."""


def lay(root: dict[str, Any], mounts: list[dict[str, Any]], cwd: str, program: str, kit: Kit) -> int:
    """Lay a tree at ``POINT`` below the current directory, in a new mount namespace; a descriptor of the namespace.

    ``root``    ``lowers`` (lowest first), ``upper`` and ``work`` of an overlay, or ``tree``, a directory; relative to the current
                directory. ``tree`` may be ``/``: this machine's own root, read-only, for a probe.
    ``mounts``  each with ``kind``, ``target``, and by kind: ``bind`` has ``source`` and ``readonly``; ``overlay`` has ``source``,
                ``upper`` and ``work``; ``tmpfs`` has ``size`` (bytes, 0 for no limit) and ``readonly``; ``file``, which is in memory and
                read-only, has ``content``, ``mode``, ``uid`` and ``gid``. A source that is absolute is a path of the host that nobody but
                its user has a say in. ``optional``: one that is left out where it has no place. ``last``: one that nothing may cover.
    ``cwd``     the working directory, which is made where a mount hides the image's, as by runc.
    ``program`` what the executor starts: read-only in this namespace, since a command reaches it as ``/proc/1/exe``.

    ``kit``     is used up.

    Raises ``MountError`` for a mount of ``mounts`` or a working directory that has no place, ``LayersError``, ``OSError``.
    """
    os.makedirs(POINT, mode=0o700, exist_ok=True)
    with mountapi.elsewhere(), contextlib.ExitStack() as stack:
        # All descriptors are of this namespace: only its own mounts can be mounted on, or copied.
        with _closing(os.open(program, os.O_PATH | os.O_CLOEXEC)) as started:
            mountapi.attach(mountapi.clone(started, attributes=RDONLY), started)
        tree = _root(stack, root)
        kit.lay(tree)
        tree.begin()
        # Parents first, as in BuildKit: a mount point may lie inside another mount.
        for mount in sorted(mounts, key=lambda mount: (bool(mount.get("last")), _parts(mount["target"]))):
            _mount(tree, mount)
        tree.check()
        tree.working_directory(cwd)
        return os.open("/proc/self/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)


def _held(stack: contextlib.ExitStack, descriptor: int) -> int:
    stack.callback(os.close, descriptor)
    return descriptor


def _parts(path: str) -> list[str]:
    return [part for part in posixpath.normpath("/" + path).split("/") if part]


@contextlib.contextmanager
def _closing(descriptor: int) -> Iterator[int]:
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _opened(path: str) -> int:
    """A directory or file of ours: in the store without any link, or a path of the host that was chosen outside of it."""
    return os.open(path, os.O_PATH | os.O_CLOEXEC) if path.startswith("/") else mountapi.open_own(path)


def _root(stack: contextlib.ExitStack, root: dict[str, Any]) -> _Tree:
    # Below the root and out of sight: a file can be mounted only from where this namespace has it.
    with _closing(mountapi.open_own(POINT)) as point:
        mountapi.attach(mountapi.filesystem("tmpfs", [("mode", "0700")], NOSUID | NODEV), point)
    memory = _held(stack, mountapi.open_own(POINT))
    place = memory
    if root.get("tree"):
        probe = root["tree"] == "/"
        source = _held(stack, _opened(root["tree"]))
        mountapi.attach(mountapi.clone(source, attributes=NOSUID | NODEV | (RDONLY if probe else 0), recursive=probe), place)
    else:
        # The same layer twice is an error of overlayfs; what the lower one says the upper one says, too.
        lowers = list(reversed(dict.fromkeys(reversed(root["lowers"]))))
        mountapi.check_layers(len(lowers))
        with contextlib.ExitStack() as parts:
            opened = [_held(parts, _opened(path)) for path in (*lowers, root["upper"], root["work"])]
            mountapi.overlay(opened[:-2], opened[-2], opened[-1], place)
    # Opened anew: the place is now what was laid on it.
    return _Tree(_held(stack, mountapi.open_own(POINT)), memory)


class _Tree:
    """What has been laid so far, by the descriptor of its root. ``memory``: of a directory for files that are nowhere else."""

    def __init__(self, root: int, memory: int) -> None:
        self._root = root
        self.memory = memory
        self._ours: dict[int, int] = {}
        self._kernels: frozenset[int] | None = None

    def begin(self) -> None:
        """From here on mounts are those of a Dockerfile. Notes which are the root's, ``/dev``'s, and the kernel's."""
        with _closing(self.own("dev")) as devices:
            # The number of each, and its root's inode.
            self._ours = dict(map(mountapi.mount_of, (self._root, devices)))

    def check(self) -> None:
        """That what the executor will find by path is what was laid. Raises ``MountError``."""
        with _closing(mountapi.open_own(POINT)) as point:
            if mountapi.mount_of(point)[0] != mountapi.mount_of(self._root)[0]:
                raise MountError("nothing can be mounted at /: it would cover the root")

    def working_directory(self, path: str) -> None:
        """Make it where it is missing. Raises ``MountError``."""
        parts = _parts(path)
        try:
            try:
                found = mountapi.open_inside(self._root, "/".join(parts))
            except FileNotFoundError:
                self._make(parts, directory=True)
                return
            with _closing(found):
                if not stat.S_ISDIR(os.fstat(found).st_mode):
                    raise OSError(errno.ENOTDIR, "")
        except OSError as error:
            # Of the kernel's nothing is there yet.
            if error.errno == errno.EPERM:
                return
            raise MountError(f"there can be no working directory {path}: {_reason(error)}") from error

    def _may_hold(self, place: int) -> None:
        """Raises ``OSError`` (EPERM) for a place of the kernel's, or one whose mount would cover the root or ``/dev``."""
        mount, inode = mountapi.mount_of(place)
        if self._ours.get(mount) == inode:
            raise OSError(errno.EPERM, "")
        self._check_kernels(mount)

    def _may_change(self, place: int) -> None:
        """Raises ``OSError`` (EPERM) for a place of the kernel's."""
        self._check_kernels(mountapi.mount_of(place)[0])

    def _check_kernels(self, mount: int) -> None:
        if mount not in self._ours:
            if self._kernels is None:
                self._kernels = self._kernels_mounts()
            if mount in self._kernels:
                raise OSError(errno.EPERM, "")

    def _kernels_mounts(self) -> frozenset[int]:
        """Mounts that are ``/proc``, ``/sys`` and all below them."""
        found = set()
        for name in ("proc", "sys"):
            with _closing(self.own(name)) as place:
                found.add(mountapi.mount_of(place)[0])
        found -= self._ours.keys()
        with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as stream:
            # Number and parent; a parent stands before its children.
            rows = sorted((int(words[0]), int(words[1])) for words in (line.split(" ", 2) for line in stream))
        grown = True
        while grown:
            grown = False
            for number, parent in rows:
                if parent in found and number not in found:
                    found.add(number)
                    grown = True
        return frozenset(found)

    def own(self, name: str) -> int:
        """A place that every command has; the last part of its path is no link. Raises ``OSError``."""
        return mountapi.open_inside(self._root, name, follow=False)

    @contextlib.contextmanager
    def place(self, target: str, *, directory: bool) -> Iterator[int]:
        """The descriptor of a mount point, which is made where it is missing. Raises ``OSError``."""
        parts = _parts(target)
        try:
            found = mountapi.open_inside(self._root, "/".join(parts))
        except FileNotFoundError:
            self._make(parts, directory=directory)
            found = mountapi.open_inside(self._root, "/".join(parts))
        with _closing(found):
            self._may_hold(found)
            if stat.S_ISDIR(os.fstat(found).st_mode) != directory:
                raise OSError(errno.ENOTDIR if directory else errno.EISDIR, "", target)
            yield found

    def _make(self, parts: list[str], *, directory: bool) -> None:
        for depth in range(1, len(parts) + 1):
            try:
                os.close(mountapi.open_inside(self._root, "/".join(parts[:depth])))
                continue
            except FileNotFoundError:
                pass
            with _closing(mountapi.open_inside(self._root, "/".join(parts[: depth - 1]))) as parent:
                self._may_change(parent)
                # A link that leads nowhere is there, so this says EEXIST and nothing is made.
                if depth < len(parts) or directory:
                    os.mkdir(parts[depth - 1], 0o755, dir_fd=parent)
                else:
                    flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC
                    os.close(os.open(parts[depth - 1], flags, 0o644, dir_fd=parent))


class Kit:
    """What every tree has and no image has a say in, as detached mounts: ``/proc``, ``/sys``, ``/dev``.

    They are used once. To make them is half of the work of laying a tree, so a worker does it while nobody waits. ``system``: ``None``
    where the host has no ``/sys``. ``real_ids``: this is root, which may be allowed to make devices. Raises ``OSError``.
    """

    def __init__(self, system: System | None, *, real_ids: bool) -> None:
        self._real_ids = real_ids
        self._mounts: dict[str, int] = {}
        try:
            # Empty until the executor mounts it, in the namespace of the command.
            self._mounts["proc"] = mountapi.filesystem("tmpfs", [("mode", "0555"), ("size", "4k")], NOSUID | NODEV | NOEXEC)
            if system is not None:
                self._mounts["sys"] = system.copy()
            self._devices()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Let go of what was not laid."""
        for mount in self._mounts.values():
            os.close(mount)
        self._mounts.clear()

    def lay(self, tree: _Tree) -> None:
        """Attach all of it, parents first. Raises ``OSError``."""
        for path in list(self._mounts):
            with _closing(tree.own(path)) as place:
                mountapi.attach(self._mounts.pop(path), place)

    def _devices(self) -> None:
        made = self._mounts["dev"] = mountapi.filesystem("tmpfs", _tmpfs("0755", _DEV_BYTES, _DEV_FILES), NOSUID)
        for name in _DEVICES:
            self._device(made, name)
        for name in ("pts", "shm"):
            os.mkdir(name, 0o755, dir_fd=made)
        for name, target in (*_LINKS, ("ptmx", "pts/ptmx")):
            os.symlink(target, name, dir_fd=made)
        self._mounts["dev/pts"] = mountapi.filesystem("devpts", [("ptmxmode", "0666"), ("mode", "0620")], NOSUID | NOEXEC)
        # In Docker everybody may write there, to 64 MiB in all.
        self._mounts["dev/shm"] = mountapi.filesystem("tmpfs", _tmpfs("1777", _SHM_BYTES, _SHM_FILES), NOSUID | NODEV | NOEXEC)

    def _device(self, directory: int, name: str) -> None:
        # The command's own, as in Docker. Not every root may make one (CAP_MKNOD, device groups), and one that was made in a user
        # namespace could not be opened.
        with contextlib.suppress(PermissionError):
            if self._real_ids:
                os.mknod(name, 0o666 | stat.S_IFCHR, os.stat(f"/dev/{name}").st_rdev, dir_fd=directory)
                os.chmod(name, 0o666, dir_fd=directory)
                return
        os.close(os.open(name, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o666, dir_fd=directory))
        # A bind mount of this machine's: a user namespace makes no devices. Read-only, a device can be written to and not be changed.
        with _closing(os.open(f"/dev/{name}", os.O_PATH | os.O_CLOEXEC)) as device:
            self._mounts[f"dev/{name}"] = mountapi.clone(device, attributes=RDONLY | NOSUID | NOEXEC)


class System:
    """``/sys`` as commands see it, laid once in a namespace of its own and copied for each. Raises ``OSError``."""

    def __init__(self) -> None:
        os.makedirs(POINT, mode=0o700, exist_ok=True)
        with mountapi.elsewhere():
            whole = self._lay("", "/sys")
            if not whole and os.path.ismount(_GROUPS):
                # How much memory and how many processors there are: Node sizes its heap by it. In version 1 each controller is a mount.
                names = dict.fromkeys(os.path.basename(os.path.realpath(f"{_GROUPS}/{name}")) for name in _CONTROLLERS)
                for place in (_GROUPS, *(place for place in (f"{_GROUPS}/{name}" for name in names) if os.path.ismount(place))):
                    self._lay(os.path.relpath(place, "/sys"), place)
            for name in _HIDDEN_SYS:
                if os.path.isdir(f"/sys/{name}"):
                    with _closing(mountapi.open_own(f"{POINT}/{name}")) as over:
                        mountapi.attach(mountapi.filesystem("tmpfs", [("mode", "0555"), ("size", "4k")], _KERNELS), over)
            with contextlib.ExitStack() as stack:
                self._root = _held(stack, mountapi.open_own(POINT))
                self._namespace = os.open("/proc/self/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
                stack.pop_all()

    def copy(self) -> int:
        """A detached copy."""
        with mountapi.elsewhere(self._namespace):
            return mountapi.clone(self._root, recursive=True)

    @staticmethod
    def _lay(path: str, source: str) -> bool:
        """Lay a directory of the host at a path below ``/sys``; whether with all that is mounted below it."""
        whole = False
        with (
            _closing(os.open(source, os.O_PATH | os.O_CLOEXEC)) as here,
            _closing(mountapi.open_own(f"{POINT}/{path}".rstrip("/"))) as over,
        ):
            try:
                # Without what is mounted below it: root could read debugfs there.
                mount = mountapi.clone(here, attributes=_KERNELS)
            except OSError:
                # In a user namespace those mounts are locked in their places, and this user reads there what it can read anyhow.
                mount, whole = mountapi.clone(here, attributes=_KERNELS, recursive=True), True
            mountapi.attach(mount, over)
        return whole


def _tmpfs(mode: str, size: int, files: int) -> list[tuple[str, str]]:
    return [("mode", mode), ("size", str(size)), ("nr_inodes", str(files))]


def _mount(tree: _Tree, mount: dict[str, Any]) -> None:
    target, kind = mount["target"], mount["kind"]
    try:
        if kind == "tmpfs":
            options = [("mode", "1777"), *((("size", str(mount["size"])),) if mount["size"] else ())]
            attributes = NOSUID | NODEV | (RDONLY if mount["readonly"] else 0)
            with tree.place(target, directory=True) as place:
                mountapi.attach(mountapi.filesystem("tmpfs", options, attributes), place)
        elif kind == "file":
            with tree.place(target, directory=False) as place:
                _file(mount, tree.memory, place)
        elif kind == "overlay":
            with contextlib.ExitStack() as stack:
                lower, upper, work = (_held(stack, _opened(mount[name])) for name in ("source", "upper", "work"))
                place = stack.enter_context(tree.place(target, directory=True))
                mountapi.overlay([lower], upper, work, place)
        else:
            with _closing(_opened(mount["source"])) as source:
                attributes = NOSUID | NODEV | (RDONLY if mount["readonly"] else 0)
                with tree.place(target, directory=stat.S_ISDIR(os.fstat(source).st_mode)) as place:
                    mountapi.attach(mountapi.clone(source, attributes=attributes), place)
    except OSError as error:
        if mount.get("optional") and error.errno in (
            errno.EPERM,
            errno.EROFS,
            errno.ENOTDIR,
            errno.EISDIR,
            errno.ELOOP,
            errno.EEXIST,
            errno.EACCES,
        ):
            return
        raise MountError(f"nothing can be mounted at {target}: {_reason(error)}") from error


def _file(mount: dict[str, Any], memory: int, place: int) -> None:
    """A file that is nowhere but in the memory of this namespace, and gone with it."""
    name = str(len(os.listdir(f"/proc/self/fd/{memory}")))
    with open(os.open(name, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600, dir_fd=memory), "wb") as stream:
        stream.write(mount["content"])
        os.fchmod(stream.fileno(), mount["mode"])
        if mount["uid"] or mount["gid"]:
            os.fchown(stream.fileno(), mount["uid"], mount["gid"])
    with _closing(os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=memory)) as source:
        mountapi.attach(mountapi.clone(source, attributes=RDONLY), place)


def _reason(error: OSError) -> str:
    return _REASONS.get(error.errno or 0, os.strerror(error.errno or 0))


_REASONS: Final = {
    errno.EROFS: "it lies in a mount that is read-only, where nothing can be made",
    errno.ENOTDIR: "there is a file where a directory must be, or on the way to it",
    errno.EISDIR: "there is a directory where a file must be mounted",
    errno.ELOOP: "the way to it has a loop of links, or a link into /proc",
    errno.EEXIST: "the way to it has a link that leads nowhere",
    errno.EACCES: "the way to it is closed",
    errno.EPERM: "it is, or it lies in, what the sandbox has of its own: its root, /dev, /proc or /sys",
}
