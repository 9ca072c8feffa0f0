"""Committing layers: their diff IDs are computed beside the next step, not before it.

A layer's digest is needed for its record and its image, but not by the step that builds on it. So a large layer is placed in the
store, its digest is computed by a second worker process, and until ``flush`` the solver sees it under a provisional name. A record is
written only when everything below it is written.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

import msgspec

from layerlab.context import Selected, Selection
from layerlab.engines.embedded.rootfs import messages
from layerlab.engines.embedded.store import PENDING, LayerRow, Store
from layerlab.engines.embedded.workers import WorkerProcess
from layerlab.errors import LayerlabError, StoreError
from layerlab.interrupt import Stop
from layerlab.solver.plan import CacheRecord

# A build in which nothing runs does not load it.
if TYPE_CHECKING:
    from concurrent.futures import Future, ThreadPoolExecutor

    from layerlab.engines.embedded.builds.steps import UncommittedLayer

# Below this, starting a second worker costs more than hashing does.
_SMALL: Final = 32 << 20
_LOOK_SECONDS: Final = 0.2


class Committed(msgspec.Struct, frozen=True):
    """A step whose layer and record are in the store."""

    number: int
    record: CacheRecord


class _Pending(msgspec.Struct):
    """A layer whose digest is being computed. ``release`` gives the lock of its key back."""

    number: int
    made: UncommittedLayer
    record: CacheRecord
    answer: Future[messages.Committed]
    release: contextlib.ExitStack


class Committer:
    """Commits the layers of one build, and is the cache that the solver of that build sees.

    ``written`` is told the number and the record of each step whose record is written, while its key is still held.
    """

    def __init__(
        self,
        store: Store,
        worker: WorkerProcess,
        spare: Callable[[], WorkerProcess],
        written: Callable[[int, CacheRecord], None],
        stop: Stop,
    ) -> None:
        self._store = store
        self._worker = worker
        self._spare = spare
        self._written = written
        self._stop = stop
        self._pending: list[_Pending] = []
        self._pool: ThreadPoolExecutor | None = None
        self._answers: list[Future[messages.Committed]] = []

    # --- what the solver sees ---------------------------------------------------------------------------------------

    def lookup(self, key: str) -> CacheRecord | None:
        """A record of this build that is not written yet, or one of the store."""
        for pending in self._pending:
            if pending.record.key == key:
                return pending.record
        return self._store.lookup(key)

    def content(self, layers: tuple[str, ...], selection: Selection) -> Selected | None:
        """As the store's; nobody has looked into a layer without a name."""
        return None if any(layer.startswith(PENDING) for layer in layers) else self._store.content(layers, selection)

    @property
    def waiting(self) -> list[int]:
        """Numbers of the steps whose records are not written yet."""
        return [pending.number for pending in self._pending]

    # --- committing -------------------------------------------------------------------------------------------------

    def add(self, number: int, made: UncommittedLayer, record: CacheRecord, release: contextlib.ExitStack) -> list[Committed]:
        """Commit a step's layer, now if it is small and nothing waits, else beside what comes next. Returns what is now written."""
        try:
            answer = self._committed_now(made)
            if answer is None:
                if self._pool is None:
                    from concurrent.futures import ThreadPoolExecutor

                    self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="commit")
                answer = self._pool.submit(self._spare().ask, self._commit(made))
                self._answers.append(answer)
            provisional = msgspec.structs.replace(record, diff_id=f"{PENDING}{made.number}")
            self._pending.append(_Pending(number, made, provisional, answer, release))
        except BaseException:
            # Ctrl-C can come when it waits already, and what is given up must not be written later.
            self._pending = [item for item in self._pending if item.made is not made]
            self._abandon(made, release)
            raise
        # Only now: earlier, the commit would have had to wait for the removal.
        self._worker.tidy()
        return self.flush() if answer.done() and len(self._pending) == 1 else []

    def _committed_now(self, made: UncommittedLayer) -> Future[messages.Committed] | None:
        """What came of committing a small layer; ``None`` for one that is not small, or must wait.

        Of either only what its step changed is left, while nothing is mounted on it yet.
        """
        from concurrent.futures import Future

        answer: Future[messages.Committed] = Future()
        try:
            if self._pending:
                self._worker.ask(messages.Reduce(layer=made.layer, lowers=made.lowers, owners=made.owners))
                return None
            found = self._worker.ask(self._commit(made, limit=_SMALL))
            if not found.diff_id:
                return None
            answer.set_result(found)
        except (OSError, LayerlabError) as error:
            answer.set_exception(error)
        return answer

    @staticmethod
    def _commit(made: UncommittedLayer, limit: int | None = None) -> messages.Commit:
        epoch = os.environ.get("SOURCE_DATE_EPOCH", "")
        newest = int(epoch) if epoch.isdigit() else None
        return messages.Commit(layer=made.layer, lowers=made.lowers, owners=made.owners, owner=made.owner, newest=newest, limit=limit)

    def flush(self, patience: float | None = None) -> list[Committed]:
        """Wait for all digests and write layers and records, lowest first. Raises what committing raised.

        With ``patience``, in seconds, what is not there by then gets no record.
        """
        deadline = None if patience is None else time.monotonic() + patience
        done: list[Committed] = []
        pending, self._pending = self._pending, []
        try:
            while pending:
                item = pending[0]
                row = self._register(item, deadline)
                record = msgspec.structs.replace(item.record, diff_id=row.diff_id, size=row.size)
                self._store.put_record(record)
                self._written(item.number, record)
                item.release.close()
                done.append(Committed(item.number, record))
                pending.pop(0)
        except KeyboardInterrupt:
            # Whoever stops may still want what is nearly done.
            self._pending, pending = [*pending, *self._pending], []
            raise
        finally:
            # A digest could not be computed or a record not written; what builds on it gets no record either.
            for item in pending:
                self._abandon(item.made, item.release)
        return done

    def _abandon(self, made: UncommittedLayer, release: contextlib.ExitStack) -> None:
        """Give back the key of a step that gets no record. Its directory goes, unless it is a layer by now: others may name that."""
        with release:
            if all(row.number != made.number for row in self._store.layer_rows()):
                self._worker.discard(made.layer, f"{made.layer}.owners")

    def _register(self, item: _Pending, deadline: float | None) -> LayerRow:
        while not item.answer.done():
            if deadline is None:
                self._stop.check()
            elif time.monotonic() > deadline:
                raise StoreError(f"{item.record.instruction}: its layer was not finished")
            from concurrent.futures import wait

            wait([item.answer], timeout=_LOOK_SECONDS)
        try:
            answer = item.answer.result()
        except OSError as error:
            raise StoreError(f"{item.record.instruction}: {error.strerror or error} ({error.filename or 'no file named'})") from error
        row = self._store.register_layer(item.made.number, answer.diff_id, answer.size, answer.length, empty=answer.empty)
        if row.number != item.made.number:
            # An equal layer was there already, and nothing runs on this copy any more.
            self._worker.discard(item.made.layer, f"{item.made.layer}.owners")
        return row

    def close(self) -> None:
        """End the thread. What was not flushed gets no record, and its digest is not waited for."""
        if self._pool is not None:
            if any(not answer.done() for answer in self._answers):
                self._spare().kill()
            self._pool.shutdown(wait=True, cancel_futures=True)
            self._pool = None
        while self._pending:
            item = self._pending.pop()
            self._abandon(item.made, item.release)
