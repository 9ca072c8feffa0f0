"""Snapshotters: they prepare a root filesystem for one step and turn what the step changed into a layer directory.

``overlay`` mounts the layers below and catches the changes in an upper directory. ``copy`` works where overlayfs cannot be mounted:
it copies all layers into one tree and finds the changes by metadata. The tree of the last step is kept (``kept_tree``): the next step most
often stands on it, and then nothing is copied but what differs.
"""

from __future__ import annotations

import os
from typing import Protocol

from layerlab.engines.embedded.executors.base import Root
from layerlab.engines.embedded.kept_tree import KeptTree
from layerlab.engines.embedded.store import Store
from layerlab.engines.embedded.workers import WorkerProcess


class Active(Protocol):
    """A root filesystem being changed by one step. Paths are relative to the store."""

    lowers: list[str]
    upper: str
    work: str
    stub: str

    def root(self) -> Root:
        """What an executor needs."""
        ...

    def before(self, stubs: list[tuple[str, bool]]) -> None:
        """Called right before the step changes anything; ``stubs`` are mount points (path, is a directory) that may be missing."""
        ...

    def finish(self) -> str:
        """The layer directory that holds what changed."""
        ...

    def keep(self, layer: str) -> None:
        """What was finished is now the layer directory ``layer``: the root filesystem may serve the next step. ``discard`` comes after."""
        ...

    def discard(self) -> None:
        """Throw everything away."""
        ...


class Snapshotter:
    """Makes ``Active`` root filesystems. ``kind`` is ``overlay`` or ``copy``."""

    def __init__(self, store: Store, worker: WorkerProcess, kind: str) -> None:
        self.store = store
        self.worker = worker
        self.kind = kind

    def prepare(self, diff_ids: tuple[str, ...], directory: str | None = None) -> Active:
        """A root filesystem made of layers, ready to be changed. Raises ``StoreError``.

        It lies in scratch space, or in ``directory`` (relative to the store), where the worker's ``changes`` can still tell what
        changed when this process is gone.
        """
        layers = [path for path in (self.store.layer_path(diff_id) for diff_id in diff_ids) if path]
        where = directory or self.store.scratch_directory()
        if self.kind == "overlay":
            return _OverlayActive(self.store, self.worker, where, layers)
        return _CopyActive(self.store, self.worker, where, layers, keep=f"{where}/marks" if directory else "")


def _make_root(path: str) -> None:
    # The caller's umask must not decide who may enter a root filesystem.
    os.mkdir(path)
    os.chmod(path, 0o755)


class _OverlayActive:
    def __init__(self, store: Store, worker: WorkerProcess, directory: str, layers: list[str]) -> None:
        self._store = store
        self._worker = worker
        self._directory = directory
        self.lowers = layers
        self.upper, self.work, self.stub = (f"{directory}/{name}" for name in ("u", "w", "b"))
        with store.guarded():
            for path in (self.upper, self.work, self.stub):
                _make_root(os.path.join(store.path, path))

    def _absolute(self, path: str) -> str:
        return os.path.join(self._store.path, path)

    def root(self) -> Root:
        # The stub holds mount points that the image lacks; as the lowest layer it never shows up in what a step changed.
        lowers = tuple(self._absolute(path) for path in (self.stub, *self.lowers))
        return Root(lowers=lowers, upper=self._absolute(self.upper), work=self._absolute(self.work))

    def before(self, stubs: list[tuple[str, bool]]) -> None:
        with self._store.guarded():
            for path, directory in stubs:
                here = self._absolute(self.stub)
                for part in (path if directory else os.path.dirname(path)).split("/"):
                    here = f"{here}/{part}" if part else here
                    if not os.path.isdir(here):
                        _make_root(here)
                if not directory:
                    with open(self._absolute(f"{self.stub}/{path}"), "ab"):
                        pass

    def finish(self) -> str:
        return self.upper

    def keep(self, layer: str) -> None:
        """An overlay is mounted anew in no time."""

    def discard(self) -> None:
        self._worker.discard(self._directory)


class _CopyActive:
    def __init__(self, store: Store, worker: WorkerProcess, directory: str, layers: list[str], *, keep: str = "") -> None:
        self._store = store
        self._worker = worker
        self._directory = directory
        self._keep = keep
        self.lowers = layers
        self.upper = f"{directory}/t"
        self.work = ""
        self.stub = ""
        self._kept = KeptTree(store, worker)
        # A container's tree is its own, and stays when it has ended.
        if keep or not self._kept.take(self.upper, layers):
            with store.guarded():
                _make_root(os.path.join(store.path, self.upper))
            worker.ask("flatten", layers=layers, tree=self.upper)

    def root(self) -> Root:
        return Root(tree=os.path.join(self._store.path, self.upper))

    def before(self, stubs: list[tuple[str, bool]]) -> None:
        self._worker.ask("baseline", tree=self.upper, stubs=stubs, keep=self._keep)

    def finish(self) -> str:
        target = f"{self._directory}/u"
        self._worker.ask("difference", tree=self.upper, dest=target)
        return target

    def keep(self, layer: str) -> None:
        self._kept.give(self.upper, [*self.lowers, layer])

    def discard(self) -> None:
        self._worker.discard(self._directory)
