"""Commands that ran already, by what they ran on: the same command on the same files need not run again for another student.

A cache key tells how a root filesystem came about, so ``COPY package*.json ./`` and ``COPY package.json package-lock.json ./`` give
what follows other keys, and yet the same files. Here a command is found by the files themselves. Its step has still been executed, as
far as a verdict goes: no record of the cache answered for it.
"""

from __future__ import annotations

import contextlib
import hashlib
from pathlib import Path
from typing import Final

import msgspec

from layerlab.context import Selection
from layerlab.engines.embedded.rootfs.messages import ListEntries, ReadContent
from layerlab.engines.embedded.store import PENDING, Store
from layerlab.engines.embedded.workers import WorkerProcess
from layerlab.errors import LayerlabError
from layerlab.fsutil import write_atomically
from layerlab.solver.ops import RunOp
from layerlab.solver.plan import CacheRecord, Decided, Solution

# Layers of at most this many bytes are told by their files. To read larger ones takes longer than it saves.
_SMALL: Final = 4 << 20


class KnownRuns:
    """What is known of the commands of one store: see ``Executions`` of the engine. ``directory`` is made when something is noted."""

    def __init__(self, store: Store, directory: Path) -> None:
        self._store = store
        self._directory = directory

    def find(self, key: str) -> CacheRecord | None:
        """The record of a command, if its layer is still there."""
        try:
            record = msgspec.json.decode((self._directory / key).read_bytes(), type=CacheRecord)
        except (OSError, msgspec.MsgspecError):
            return None
        row = self._store.layer(record.diff_id)
        return None if row is None or row.damaged else record

    def note(self, key: str, record: CacheRecord) -> None:
        """Remember what a command made. Trouble costs no more than time."""
        with contextlib.suppress(OSError):
            self._directory.mkdir(exist_ok=True)
            write_atomically(str(self._directory / key), msgspec.json.encode(record), durable=False)

    def key(self, decided: Decided, solution: Solution, worker: WorkerProcess) -> str | None:
        """A name for a command together with all that it can read; ``None`` where it cannot be told."""
        op = decided.step.op
        # What a mount holds is in no layer.
        if not isinstance(op, RunOp) or op.mounts or decided.below is None:
            return None
        # A command can give files times of its own choosing, and a later one may go by them.
        by_commands = {other.record.diff_id for other in solution.steps if other.record is not None and isinstance(other.step.op, RunOp)}
        try:
            files = self._files(decided.below, by_commands, worker)
        except LayerlabError:
            # Names that no key can be made of, paths that are too long to be read: the command tells what comes of them.
            return None
        if files is None:
            return None
        # Which variables were arguments counts for explanations alone.
        command = msgspec.structs.replace(op, arguments=())
        return hashlib.sha256(msgspec.json.encode([command, files])).hexdigest()

    def _files(self, layers: tuple[str, ...], whole: set[str], worker: WorkerProcess) -> list[str] | None:
        """What the files in ``layers`` are: digests of the files of small layers that follow each other, diff IDs of the others and of
        those in ``whole``.

        ``None`` where a layer has no final name yet.
        """
        found: list[str] = []
        small: list[str] = []

        def close() -> None:
            if small:
                found.append(worker.ask(ReadContent(layers=list(small), selection=Selection(path="/"))).digest)
                small.clear()

        for diff_id in layers:
            row = None if diff_id.startswith(PENDING) else self._store.layer(diff_id)
            if row is None:
                return None
            path = self._store.layer_path(diff_id)
            if not path:
                continue
            entries = worker.ask(ListEntries(layer=path)).entries if row.size <= _SMALL and diff_id not in whole else None
            # What a layer removes shows only above what it removes it from.
            if entries is not None and not any(entry.type in ("whiteout", "opaque") for entry in entries):
                small.append(path)
            else:
                close()
                found.append(diff_id)
        close()
        return found
