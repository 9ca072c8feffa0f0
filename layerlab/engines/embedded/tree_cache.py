"""The tree that the last step of the copy snapshotter left, kept for whoever runs a step next.

A step's tree is what the next step starts from, so copying all layers again, file by file, would be the longest part of most steps. And a
rebuild after an edit needs the same tree but for the files of the few layers that changed. One tree is kept for each store, in ``tree/``
beside the layers, with the list of the layers that it is made of. Whoever renames it away has it; a process that is killed meanwhile leaves
it in its scratch space, where nobody looks for it. A layer is named with its inode and change time: numbers of layers are given again.

Nothing is shared with the layers, not even by hard links: a RUN writes through them.
"""

from __future__ import annotations

import contextlib
import os
from typing import Final

import msgspec

from layerlab.engines.embedded.rootfs.messages import Rebase, Remove
from layerlab.engines.embedded.store import Store
from layerlab.engines.embedded.workers import WorkerProcess
from layerlab.errors import LayerlabError

_DIRECTORY: Final = "tree"
_LAYERS: Final = "layers"

# Path relative to the store, inode, change time.
_Name = tuple[str, int, int]


class KeptTree:
    """The kept tree of a store. Paths are relative to the store."""

    def __init__(self, store: Store, worker: WorkerProcess) -> None:
        self._store = store
        self._worker = worker

    def _at(self, path: str) -> str:
        return os.path.join(self._store.path, path)

    def take(self, target: str, layers: list[str]) -> bool:
        """Make the kept tree ``target``, changed into the merged view of ``layers``. False where it is of no use for that."""
        taken = f"{target}-kept"
        try:
            os.rename(self._at(_DIRECTORY), self._at(taken))
        except OSError:
            return False
        done = False
        try:
            with open(self._at(f"{taken}/{_LAYERS}"), "rb") as stream:
                had = msgspec.msgpack.decode(stream.read(), type=list[_Name])
            wanted = [name for name in map(self._name, layers) if name is not None]
            same = 0
            while same < min(len(had), len(wanted)) and had[same] == wanted[same]:
                same += 1
            # What the tree has of layers that are gone, or are others by now, cannot be taken back.
            if same and all(self._name(path) == (path, inode, changed) for path, inode, changed in had[same:]):
                paths = [path for path, _, _ in wanted]
                undone = [path for path, _, _ in had[same:]]
                answer = self._worker.ask(Rebase(tree=f"{taken}/t", kept=paths[:same], undone=undone, added=paths[same:]))
                done = answer.done
                if done:
                    os.rename(self._at(f"{taken}/t"), self._at(target))
        except (OSError, msgspec.MsgspecError, LayerlabError):
            done = False
        self._worker.ask(Remove(paths=[taken]))
        return done

    def give(self, tree: str, layers: list[str]) -> None:
        """Keep ``tree``, which is the merged view of ``layers``, in place of the one that is kept now."""
        # Layers get other times than the tree then, and a full disk needs room more than it needs speed.
        if os.environ.get("SOURCE_DATE_EPOCH", "").isdigit() or self._store.is_full():
            return
        ready = f"{tree}-ready"
        with contextlib.suppress(OSError):
            os.mkdir(self._at(ready))
            os.rename(self._at(tree), self._at(f"{ready}/t"))
            with open(self._at(f"{ready}/{_LAYERS}"), "wb") as stream:
                stream.write(msgspec.msgpack.encode([name for name in map(self._name, layers) if name is not None]))
            self.remove()
            # Two builds may come to this point at once: the second stays without, and removes its tree.
            os.rename(self._at(ready), self._at(_DIRECTORY))

    def remove(self) -> None:
        """Keep none."""
        old = f"{self._store.scratch_directory()}/tree"
        with contextlib.suppress(FileNotFoundError):
            os.rename(self._at(_DIRECTORY), self._at(old))
        self._worker.ask(Remove(paths=[os.path.dirname(old)]))

    def _name(self, layer: str) -> _Name | None:
        """A layer directory's name; ``None`` for one that is gone, or holds nothing and so adds nothing to a tree."""
        try:
            with os.scandir(self._at(layer)) as scan:
                if next(scan, None) is None:
                    return None
            status = os.stat(self._at(layer))
        except OSError:
            return None
        return layer, status.st_ino, status.st_ctime_ns
