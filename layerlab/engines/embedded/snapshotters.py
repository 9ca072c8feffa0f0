"""Snapshotters: they prepare a root filesystem for one step and turn what the step changed into a layer directory.

``overlay`` mounts the layers below and catches the changes in an upper directory. ``copy`` works where overlayfs cannot be mounted:
it copies all layers into one tree and finds the changes by metadata. The tree of the last step is kept (``tree_cache``): the next step most
often stands on it, and then nothing is copied but what differs.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable
from typing import Final, Protocol

from layerlab.engines.embedded.executors.base import Root
from layerlab.engines.embedded.rootfs.messages import Baseline, Difference, Flatten
from layerlab.engines.embedded.rootfs.paths import of_an_image
from layerlab.engines.embedded.store import Store
from layerlab.engines.embedded.tree_cache import KeptTree
from layerlab.engines.embedded.workers import WorkerProcess

_STUBS: Final = "stubs-"
_ROOT_MODE: Final = 0o755


class Active(Protocol):
    """A root filesystem being changed by one step. Paths are relative to the store."""

    lowers: list[str]
    upper: str
    work: str

    def root(self) -> Root:
        """What an executor needs."""
        ...

    def before(self, stubs: list[tuple[str, bool]]) -> None:
        """Called right before the step changes anything; ``stubs`` are mount points (path, is a directory) that may be missing."""
        ...

    def finish(self, owners: dict[str, tuple[int, int]]) -> str:
        """The layer directory that holds what changed. ``owners``: intended owners by path, where they are not on disk."""
        ...

    def keep(self, layer: str) -> None:
        """What was finished is now the layer directory ``layer``: the root filesystem may serve the next step. ``discard`` comes after."""
        ...

    def discard(self) -> None:
        """Throw everything away."""
        ...


class Snapshotter:
    """Makes ``Active`` root filesystems. ``kind`` is ``overlay`` or ``copy``. What they share is there until ``close``."""

    def __init__(self, store: Store, worker: WorkerProcess, kind: str) -> None:
        self.store = store
        self.worker = worker
        self.kind = kind
        # Directories with nothing but mount points, by what these are. Nobody writes to them: they are lower layers.
        self._stubs: dict[tuple[tuple[str, bool], ...], str] = {}

    def prepare(self, diff_ids: tuple[str, ...], directory: str | None = None) -> Active:
        """A root filesystem made of layers, ready to be changed. Raises ``StoreError``.

        It lies in scratch space, or in ``directory`` (relative to the store), where the worker's ``changes`` can still tell what
        changed when this process is gone.
        """
        layers = [path for path in (self.store.layer_path(diff_id) for diff_id in diff_ids) if path]
        where = directory or self.store.scratch_directory()
        if self.kind == "overlay":
            return _OverlayActive(self, where, layers, own_stub=directory is not None)
        return _CopyActive(self.store, self.worker, where, layers, keep=f"{where}/marks" if directory else "")

    def stub(self, stubs: list[tuple[str, bool]]) -> str:
        """A directory with these mount points (path, is a directory), relative to the store. The same for all that need the same."""
        key = tuple(sorted((path, directory) for path, directory in stubs))
        found = self._stubs.get(key)
        if found is None or not os.path.isdir(os.path.join(self.store.path, found)):
            scratch = self.store.scratch()
            with self.store.guarded():
                # Other engines of this process have theirs.
                made = tempfile.mkdtemp(prefix=_STUBS, dir=os.path.join(self.store.path, scratch))
                found = f"{scratch}/{os.path.basename(made)}"
                try:
                    with of_an_image():
                        _fill(made, key)
                except BaseException:
                    self.worker.discard(found)
                    raise
            self._stubs[key] = found
        return found

    def close(self) -> None:
        """Throw away what was shared."""
        self.worker.discard(*self._stubs.values())
        self._stubs.clear()


def _make_root(path: str) -> None:
    # The caller's umask must not decide who may enter a root filesystem.
    os.mkdir(path)
    os.chmod(path, _ROOT_MODE)


def _fill(root: str, stubs: Iterable[tuple[str, bool]]) -> None:
    """Make mount points in a directory."""
    os.chmod(root, _ROOT_MODE)
    for path, directory in stubs:
        here = root
        for part in (path if directory else os.path.dirname(path)).split("/"):
            here = f"{here}/{part}" if part else here
            if not os.path.isdir(here):
                _make_root(here)
        if not directory:
            with open(f"{root}/{path}", "ab"):
                pass


class _OverlayActive:
    def __init__(self, snapshotter: Snapshotter, directory: str, layers: list[str], *, own_stub: bool) -> None:
        self._snapshotter = snapshotter
        self._directory = directory
        self.lowers = layers
        self.upper, self.work = f"{directory}/u", f"{directory}/w"
        self._own_stub = own_stub
        self._stub: str | None = None
        with snapshotter.store.guarded():
            for path in (self.upper, self.work):
                _make_root(self._absolute(path))

    def _absolute(self, path: str) -> str:
        return os.path.join(self._snapshotter.store.path, path)

    def root(self) -> Root:
        assert self._stub is not None, "a command needs mount points"
        # The stub holds those that the image lacks; as the lowest layer it never shows up in what a step changed.
        lowers = tuple(self._absolute(path) for path in (self._stub, *self.lowers))
        return Root(lowers=lowers, upper=self._absolute(self.upper), work=self._absolute(self.work))

    def before(self, stubs: list[tuple[str, bool]]) -> None:
        if self._own_stub:
            # A container's outlives this process.
            self._stub = f"{self._directory}/b"
            with self._snapshotter.store.guarded():
                os.mkdir(self._absolute(self._stub))
                with of_an_image():
                    _fill(self._absolute(self._stub), stubs)
        elif stubs:
            self._stub = self._snapshotter.stub(stubs)

    def finish(self, owners: dict[str, tuple[int, int]]) -> str:  # noqa: ARG002
        # A step may have closed its root directory, and what cannot be written to cannot be moved.
        os.chmod(self._absolute(self.upper), _ROOT_MODE)
        return self.upper

    def keep(self, layer: str) -> None:
        """An overlay is mounted anew in no time."""

    def discard(self) -> None:
        self._snapshotter.worker.discard(self._directory)


class _CopyActive:
    def __init__(self, store: Store, worker: WorkerProcess, directory: str, layers: list[str], *, keep: str = "") -> None:
        self._store = store
        self._worker = worker
        self._directory = directory
        self._keep = keep
        self.lowers = layers
        self.upper = f"{directory}/t"
        self.work = ""
        self._kept = KeptTree(store, worker)
        self._alike = False
        # A container's tree is its own, and stays when it has ended.
        if keep or not self._kept.take(self.upper, layers):
            with store.guarded():
                _make_root(os.path.join(store.path, self.upper))
            worker.ask(Flatten(layers=layers, tree=self.upper))

    def root(self) -> Root:
        return Root(tree=os.path.join(self._store.path, self.upper))

    def before(self, stubs: list[tuple[str, bool]]) -> None:
        self._worker.ask(Baseline(tree=self.upper, stubs=stubs, keep=self._keep))

    def finish(self, owners: dict[str, tuple[int, int]]) -> str:
        target = f"{self._directory}/u"
        # Reduced at once: the kept tree knows a layer by its change time.
        self._alike = self._worker.ask(Difference(tree=self.upper, dest=target, layers=self.lowers, owners=owners)).alike
        return target

    def keep(self, layer: str) -> None:
        if self._alike:
            self._kept.give(self.upper, [*self.lowers, layer])

    def discard(self) -> None:
        self._worker.discard(self._directory)
