"""The mounts of one RUN: its own ``--mount``s, and ``/etc/hosts`` and ``/etc/resolv.conf``, which every RUN gets.

Nothing that is mounted becomes part of a layer. A secret lives in memory and a bound source is a copy that goes with the step, so
what a RUN writes to either is gone afterwards, as in BuildKit.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Final

import msgspec

from layerlab.engines.embedded.executors.base import BindMount
from layerlab.engines.embedded.store import Store
from layerlab.engines.embedded.workers import WorkerProcess
from layerlab.errors import DockerfileError, UnsupportedError
from layerlab.fsutil import locked
from layerlab.ops import MountOp, RunOp

_HOSTS: Final = "127.0.0.1\tlocalhost buildkitsandbox\n::1\tlocalhost ip6-localhost ip6-loopback\n"
_FIXED: Final = ("/proc", "/dev", "/sys")
_MEMORY: Final = "/dev/shm"


class _Planned(msgspec.Struct, frozen=True):
    """A bind mount whose place in the image is not resolved yet."""

    source: str
    target: str
    readonly: bool
    directory: bool


class RunMounts(contextlib.AbstractContextManager["RunMounts"]):
    """Prepares the mounts on entry and takes away on exit what was made for this RUN alone.

    ``sources`` are the contents of the mounts that have one, in order, as the worker wants them.
    Raises ``DockerfileError`` for a required secret that is missing and ``UnsupportedError``.
    """

    def __init__(
        self,
        op: RunOp,
        scratch: str,
        *,
        store: Store,
        worker: WorkerProcess,
        secrets: Mapping[str, bytes],
        file: str,
        line: int,
        sources: list[dict[str, Any]],
    ) -> None:
        self._op = op
        self._scratch = scratch
        self._store = store
        self._worker = worker
        self._secrets = secrets
        self._file = file
        self._line = line
        self._sources = sources
        self._stack = contextlib.ExitStack()
        self._planned: list[_Planned] = []
        self._extra: list[BindMount] = []
        self._tmpfs: list[tuple[str, int]] = []
        self.secret_environment: dict[str, str] = {}

    def __enter__(self) -> RunMounts:
        with self._stack:
            self._every_run()
            position = 0
            for mount in self._op.mounts:
                source = None
                if mount.source is not None:
                    source = self._sources[position]
                    position += 1
                self._add(mount, source)
            self._stack = self._stack.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stack.close()

    def _every_run(self) -> None:
        hosts = os.path.join(self._scratch, "hosts")
        with open(hosts, "w", encoding="ascii") as stream:
            stream.write(_HOSTS)
            os.fchmod(stream.fileno(), 0o644)
        self._planned.append(_Planned(hosts, "/etc/hosts", True, False))
        if os.path.exists("/etc/resolv.conf"):
            self._planned.append(_Planned(os.path.realpath("/etc/resolv.conf"), "/etc/resolv.conf", True, False))
        if self._op.shebang:
            script = os.path.join(self._scratch, "script")
            with open(script, "w", encoding="utf-8", errors="surrogateescape") as stream:
                stream.write(self._op.shebang)
            os.chmod(script, 0o755)
            self.bind(script, self._op.argv[-1])

    def _add(self, mount: MountOp, source: dict[str, Any] | None) -> None:
        if mount.type == "tmpfs":
            self._tmpfs.append((mount.target, mount.size))
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

    def _cache(self, mount: MountOp, source: dict[str, Any] | None) -> None:
        # Of a cache that starts with content each content has its own.
        start = source["digest"] if source is not None else ""
        identity = f"{mount.id or mount.target}\0{mount.uid}\0{mount.gid}\0{mount.mode}\0{start}"
        directory = self._store.mount_directory(identity)
        lock = os.path.join(self._store.path, directory + ".lock")
        if mount.sharing == "locked":
            self._stack.enter_context(locked(lock))
        elif mount.sharing == "private":
            held = self._store.lock_key_held("mount-" + os.path.basename(directory))
            if held is None:
                directory = self._store.scratch_directory()
                self._stack.callback(self._worker.ask, "remove", paths=[directory])
            else:
                self._stack.callback(os.close, held)
        if source is not None:
            self._cache_with_content(mount, source, directory)
            return
        path = os.path.join(self._store.path, directory)
        os.chmod(path, mount.mode if mount.mode is not None else 0o755)
        if os.getuid() == 0 and (mount.uid or mount.gid):
            os.chown(path, mount.uid or 0, mount.gid or 0)
        self._planned.append(_Planned(path, mount.target, mount.readonly, True))

    def _cache_with_content(self, mount: MountOp, source: dict[str, Any], directory: str) -> None:
        """A cache that holds what the source had when the cache was made, and what was put there since."""
        picked = source["picked"][0]
        path = os.path.join(self._store.path, directory, "cache")
        with locked(os.path.join(self._store.path, directory + ".start.lock")):
            if not os.path.isdir(path):
                # Under another name until it is whole: the copying may be cut off.
                half = os.path.join(directory, "half")
                self._worker.ask("remove", paths=[half])
                os.mkdir(os.path.join(self._store.path, half))
                self._worker.ask("copy_out", dest=half, source=source, directory=picked.is_directory)
                os.rename(os.path.join(self._store.path, half), path)
        self._planned.append(_Planned(os.path.join(path, "bound"), mount.target, mount.readonly, picked.is_directory))

    def _bind(self, mount: MountOp, source: dict[str, Any]) -> None:
        picked = source["picked"][0]
        target = self._store.scratch_directory()
        self._stack.callback(self._worker.ask, "remove", paths=[target])
        self._worker.ask("copy_out", dest=target, source=source, directory=picked.is_directory)
        self._planned.append(_Planned(os.path.join(self._store.path, target, "bound"), mount.target, mount.readonly, picked.is_directory))

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
            directory = _MEMORY if os.access(_MEMORY, os.W_OK) else self._scratch
            descriptor, path = tempfile.mkstemp(prefix="layerlab-secret-", dir=directory)
            self._stack.callback(os.unlink, path)
            with os.fdopen(descriptor, "wb") as stream:
                stream.write(value)
                os.fchmod(stream.fileno(), mount.mode if mount.mode is not None else 0o400)
                if os.getuid() == 0 and (mount.uid or mount.gid):
                    os.fchown(stream.fileno(), mount.uid or 0, mount.gid or 0)
            self._planned.append(_Planned(path, mount.target, True, False))

    def targets(self) -> list[tuple[str, bool]]:
        """Mount points as written, and whether each is a directory."""
        return [
            *((target, True) for target in _FIXED),
            *((planned.target, planned.directory) for planned in self._planned),
            *((target, True) for target, _ in self._tmpfs),
        ]

    def bind(self, source: str, target: str) -> None:
        """One more read-only mount, at a place below ``/dev``, which no image reaches."""
        self._extra.append(BindMount(source=source, target=target, readonly=True))

    def binds(self, resolved: list[str]) -> tuple[BindMount, ...]:
        """The bind mounts; ``resolved`` are the places of ``targets()``, links followed inside the image."""
        places = resolved[len(_FIXED) : len(_FIXED) + len(self._planned)]
        found = [
            BindMount(source=planned.source, target=place, readonly=planned.readonly)
            for planned, place in zip(self._planned, places, strict=True)
        ]
        return (*found, *self._extra)

    def tmpfs(self, resolved: list[str]) -> tuple[tuple[str, int], ...]:
        """The tmpfs mounts as (place, size in bytes or 0)."""
        places = resolved[len(_FIXED) + len(self._planned) :]
        return tuple((place, size) for place, (_, size) in zip(places, self._tmpfs, strict=True))
