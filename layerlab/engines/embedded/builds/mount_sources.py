"""The mounts of one RUN: its own ``--mount``s, and ``/etc/hosts`` and ``/etc/resolv.conf``, which every RUN gets.

Nothing that is mounted becomes part of a layer. A secret lives in memory and a bound source is a copy that goes with the step, so
what a RUN writes to either is gone afterwards, as in BuildKit.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import posixpath
import tempfile
from collections.abc import Mapping
from types import TracebackType
from typing import Final

from layerlab.engines.embedded.executors.base import HOST_NAME, BindMount, FileMount, Mount, TmpfsMount
from layerlab.engines.embedded.executors.memory_files import sweep
from layerlab.engines.embedded.rootfs.messages import ContextSource, CopyOut, LayersSource, Prepared, PrepareRun, Remove
from layerlab.engines.embedded.snapshotters import Active
from layerlab.engines.embedded.store import Store
from layerlab.engines.embedded.workers import WorkerProcess
from layerlab.errors import DockerfileError, UnsupportedError
from layerlab.fsutil import exchange, locked
from layerlab.solver.graph import Graph
from layerlab.solver.ops import MountOp, RunOp

_HOSTS: Final = "127.0.0.1\tlocalhost {}\n::1\tlocalhost ip6-localhost ip6-loopback\n"
_RESOLVER: Final = "/etc/resolv.conf"
# Each is held by up to three descriptors while the command runs, and a process may have as few as a thousand.
_MOST_CACHES: Final = 256
_FIXED: Final = ("/proc", "/dev", "/sys")
# In these and below them nothing is mounted for a Dockerfile. runc refuses /proc, too.
_KERNELS: Final = ("/proc", "/sys")


class RunMounts(contextlib.AbstractContextManager["RunMounts"]):
    """Prepares the mounts on entry and takes away on exit what was made for this RUN alone.

    ``sources`` are the contents of the mounts that have one, in order, as the worker wants them. ``resolver``: the text of
    ``/etc/resolv.conf``; ``None`` for this machine's.
    Raises ``DockerfileError`` for a required secret that is missing and ``UnsupportedError``.
    """

    def __init__(
        self,
        op: RunOp,
        *,
        store: Store,
        worker: WorkerProcess,
        secrets: Mapping[str, bytes],
        file: str,
        line: int,
        sources: list[ContextSource | LayersSource],
        resolver: bytes | None = None,
    ) -> None:
        self._op = op
        self._store = store
        self._worker = worker
        self._secrets = secrets
        self._file = file
        self._line = line
        self._sources = sources
        self._resolver = resolver
        self._stack = contextlib.ExitStack()
        self._planned: list[tuple[Mount, bool]] = []
        # Caches that this RUN has for itself, by identity: mounted twice, a cache is the same one, and no lock is waited for twice.
        self._own: dict[str, str] = {}
        self.secret_environment: dict[str, str] = {}

    def __enter__(self) -> RunMounts:
        sweep()
        if sum(mount.type == "cache" for mount in self._op.mounts) > _MOST_CACHES:
            raise UnsupportedError(
                f"RUN --mount: the embedded engine mounts at most {_MOST_CACHES} caches for one command",
                file=self._file,
                line=self._line,
                remedy="Mount one cache, with a folder in it for each.",
            )
        sources = iter(self._sources)
        mounts = [(mount, next(sources) if mount.source is not None else None) for mount in self._op.mounts]
        with self._stack:
            self._every_run()
            self._lock_caches(mounts)
            for mount, source in mounts:
                self._add(mount, source)
            self._stack = self._stack.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stack.close()

    def _every_run(self) -> None:
        self._plan(
            FileMount(target="/etc/hosts", content=_HOSTS.format(self._op.hostname or HOST_NAME).encode(), optional=True), directory=False
        )
        # A file of its own, never this machine's: who has a file open can make others wait for it (fcntl(2), leases) and be told of them.
        resolver = self._resolver
        if resolver is None:
            with contextlib.suppress(OSError), open(_RESOLVER, "rb") as stream:
                resolver = stream.read()
        if resolver is not None:
            self._plan(FileMount(target=_RESOLVER, content=resolver, optional=True), directory=False)
        if self._op.shebang:
            content = self._op.shebang.encode("utf-8", "surrogateescape")
            self._plan(FileMount(target=self._op.argv[-1], content=content, mode=0o755), directory=False)

    def _plan(self, mount: Mount, *, directory: bool) -> None:
        # Of two at one target, written alike, the last one is there, in the first one's turn (BuildKit ``dedupMounts``).
        for position, (other, _) in enumerate(self._planned):
            if other.target == mount.target:
                self._planned[position] = (mount, directory)
                return
        self._planned.append((mount, directory))

    def _add(self, mount: MountOp, source: ContextSource | LayersSource | None) -> None:
        if mount.target:
            self._check_target(mount)
        if mount.type == "tmpfs":
            self._plan(TmpfsMount(target=mount.target, size=mount.size, readonly=mount.readonly), directory=True)
        elif mount.type == "secret":
            self._secret(mount)
        elif mount.type == "ssh":
            if mount.required:
                raise UnsupportedError("RUN --mount=type=ssh is not supported by the embedded engine", file=self._file, line=self._line)
        elif mount.type == "cache":
            self._cache(mount, source)
        else:
            assert source is not None
            self._bind(mount, source)

    def _check_target(self, mount: MountOp) -> None:
        target = posixpath.normpath("/" + mount.target.lstrip("/"))
        if target in ("/", "/dev") or any(target == place or target.startswith(place + "/") for place in _KERNELS):
            raise DockerfileError(
                f"RUN --mount: nothing can be mounted at {mount.target}: the sandbox has its own {_kernels_part(target)} there",
                file=self._file,
                line=self._line,
                remedy="Choose another target, for example /mnt.",
            )

    def _lock_caches(self, mounts: list[tuple[MountOp, ContextSource | LayersSource | None]]) -> None:
        """Wait for all caches that are to be had alone, in one order for all builds: else two could wait for each other for ever."""
        locked_ones = {self._directory(*found) for found in mounts if found[0].type == "cache" and found[0].sharing == "locked"}
        for directory in sorted(locked_ones):
            self._stack.enter_context(locked(os.path.join(self._store.path, directory + ".lock")))
            self._own[directory] = directory

    def _directory(self, mount: MountOp, source: ContextSource | LayersSource | None) -> str:
        start = ""
        if source is not None or mount.mode is not None:
            # Of a cache that starts with content each content has its own.
            # It is another stage's or an image's: a cache has none of the context.
            digest = source.digest if isinstance(source, LayersSource) else ""
            start = f"{mount.uid}\0{mount.gid}\0{mount.mode}\0{digest}"
        return self._store.mount_directory(_id(mount), start)

    def _cache(self, mount: MountOp, source: ContextSource | LayersSource | None) -> None:
        directory = named = self._directory(mount, source)
        # For as long as this RUN has it: see empty_caches.
        self._stack.enter_context(locked(_in_use(self._store, directory), shared=True))
        if mount.sharing != "shared":
            if named not in self._own:
                self._own[named] = self._private(named)
            directory = self._own[named]
        if source is not None:
            self._cache_with_content(mount, source, directory)
            return
        path = os.path.join(self._store.path, directory)
        # Docker's daemon makes it under umask 022.
        os.chmod(path, (mount.mode if mount.mode is not None else 0o755) & 0o755)
        if os.getuid() == 0 and (mount.uid or mount.gid):
            os.chown(path, mount.uid or 0, mount.gid or 0)
        self._plan(BindMount(source=path, target=mount.target, readonly=mount.readonly), directory=True)

    def _private(self, directory: str) -> str:
        """A cache's directory, or another one where a RUN has it already."""
        held = self._store.lock_key_held("mount-" + os.path.basename(directory))
        if held is not None:
            self._stack.callback(os.close, held)
            return directory
        directory = self._store.scratch_directory()
        self._stack.callback(self._worker.ask, Remove(paths=[directory]))
        return directory

    def _cache_with_content(self, mount: MountOp, source: ContextSource | LayersSource, directory: str) -> None:
        """A cache that holds what the source had when the cache was made, and what was put there since."""
        picked = source.picked[0]
        path = os.path.join(self._store.path, directory, "cache")
        with locked(os.path.join(self._store.path, directory + ".start.lock")):
            if not os.path.isdir(path):
                # Under another name until it is whole: the copying may be cut off.
                half = os.path.join(directory, "half")
                self._worker.ask(Remove(paths=[half]))
                os.mkdir(os.path.join(self._store.path, half))
                self._worker.ask(CopyOut(dest=half, source=source, directory=picked.is_directory))
                os.rename(os.path.join(self._store.path, half), path)
        bound = BindMount(source=os.path.join(path, "bound"), target=mount.target, readonly=mount.readonly)
        self._plan(bound, directory=picked.is_directory)

    def _bind(self, mount: MountOp, source: ContextSource | LayersSource) -> None:
        picked = source.picked[0]
        target = self._store.scratch_directory()
        self._stack.callback(self._worker.ask, Remove(paths=[target]))
        self._worker.ask(CopyOut(dest=target, source=source, directory=picked.is_directory))
        bound = BindMount(source=os.path.join(self._store.path, target, "bound"), target=mount.target, readonly=mount.readonly)
        self._plan(bound, directory=picked.is_directory)

    def _secret(self, mount: MountOp) -> None:
        value = self._secrets.get(mount.id)
        if value is None:
            if mount.required:
                raise DockerfileError(
                    f"secret {mount.id}: not found",
                    file=self._file,
                    line=self._line,
                    remedy=f"Give it with --secret id={mount.id},src=FILE.",
                )
            return
        if mount.env:
            self.secret_environment[mount.env] = value.decode("utf-8", "surrogateescape")
        if mount.target:
            mode = mount.mode if mount.mode is not None else 0o400
            owned = os.getuid() == 0
            uid, gid = (mount.uid or 0, mount.gid or 0) if owned else (0, 0)
            self._plan(FileMount(target=mount.target, content=value, mode=mode, uid=uid, gid=gid), directory=False)

    def look_over(self, active: Active, search: str) -> Prepared:
        """What an executor must know of the image that the command stands on. ``search``: its PATH."""
        return self._worker.ask(
            PrepareRun(
                layers=active.lowers,
                upper=active.upper,
                work=active.work,
                cwd=self._op.cwd,
                user=self._op.user,
                targets=self._targets(),
                command=self._op.argv[0],
                search=search,
            )
        )

    def _targets(self) -> list[tuple[str, bool]]:
        """Mount points as written, and whether each is a directory."""
        return [*((target, True) for target in _FIXED), *((mount.target, directory) for mount, directory in self._planned)]

    def give(self, content: bytes, target: str) -> None:
        """One more read-only file, at a place below ``/dev``, which no image reaches."""
        self._plan(FileMount(target=target, content=content), directory=False)

    def all(self) -> tuple[Mount, ...]:
        """The mounts, for an executor. Where their places really are is for it to find out, when those before them are there."""
        return tuple(mount for mount, _ in self._planned)


def empty_caches(graph: Graph, store: Store, worker: WorkerProcess) -> None:
    """Empty the cache mounts of all steps that are to run without the cache: for them, and for every build after them.

    BuildKit's ``detectPrunedCacheID``: of one with an owner, a mode or a content of its own, all that have its id and such a beginning go.
    A command that runs meanwhile keeps what it has; that is removed when this cache is emptied again and nobody uses it.
    """
    for stage in graph.stages:
        for step in stage.steps if stage.no_cache else ():
            for mount in step.op.mounts if isinstance(step.op, RunOp) else ():
                if mount.type == "cache":
                    with store.guarded():
                        plain = mount.source is None and mount.mode is None
                        for directory in [store.mount_directory(_id(mount))] if plain else store.mount_directories(_id(mount)):
                            _empty(directory, store, worker)


def _empty(directory: str, store: Store, worker: WorkerProcess) -> None:
    path = os.path.join(store.path, directory)
    folder, name = os.path.split(path)
    old = tempfile.mkdtemp(prefix=f"{name}.old-", dir=folder)
    os.chmod(old, 0o755)
    exchange(old, path)
    descriptor = os.open(_in_use(store, directory), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        # Not to be had while a command has the cache, under whichever of these names.
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            worker.ask(Remove(paths=[f"mounts/{entry}" for entry in os.listdir(folder) if entry.startswith(f"{name}.old-")]))
    finally:
        os.close(descriptor)


def _in_use(store: Store, directory: str) -> str:
    """The lock that all commands with a cache share."""
    return os.path.join(store.path, directory + ".use")


def _id(mount: MountOp) -> str:
    return mount.id or mount.target


def _kernels_part(target: str) -> str:
    return "root" if target == "/" else "/" + target.split("/")[1]
