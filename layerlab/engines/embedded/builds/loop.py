"""One build in progress: ask the solver, run the first step that must run, ask again.

The solver sees each new record, so verdicts of steps that depend on a stage's output fall when that output is there and never before.
"""

from __future__ import annotations

import contextlib
import datetime
import hashlib
import os
import time
from typing import TYPE_CHECKING, Any, Final, Protocol

import msgspec

from layerlab.engines.api import BuildOptions, Event, Progress
from layerlab.engines.embedded.builds.commits import Committer
from layerlab.engines.embedded.store import PENDING, UNNAMED
from layerlab.engines.embedded.workers import WorkerProcess
from layerlab.engines.forecast import make_plan
from layerlab.engines.inputs import Inputs
from layerlab.engines.step_records import step_record
from layerlab.errors import BuildInterruptedError, ExecutorError, LayerlabError, StepBusyError, StoreError
from layerlab.interrupt import Stop
from layerlab.model import BuildRecord, Cause, Failure, ImageRow, Status, StepRecord
from layerlab.oci.references import canonical_name
from layerlab.platform import ARCHITECTURE, OPERATING_SYSTEM
from layerlab.solver.explain import BuildTrace, Explainer, trace_of
from layerlab.solver.graph import HISTORY_COMMENT
from layerlab.solver.keys import content_sources
from layerlab.solver.plan import CacheRecord, Decided, Solution, looked_in_vain, read_ahead, solve

if TYPE_CHECKING:
    from layerlab.context import Selection
    from layerlab.engines.embedded.builds.steps import UncommittedLayer
    from layerlab.engines.embedded.executors.base import Executor
    from layerlab.engines.embedded.host import Host
    from layerlab.engines.embedded.snapshotters import Snapshotter
    from layerlab.engines.embedded.store import Store

# Seconds for which a build that is stopped goes on to write down what it has done.
_PATIENCE: Final = 5.0


class Executions(Protocol):
    """What is known of steps that ran, by what they did and not by their keys. An engine has it where builds share such runs."""

    def key(self, decided: Decided, solution: Solution, worker: WorkerProcess) -> str | None:
        """A name for what a step is about to do; ``None`` where its run is its own."""
        ...

    def find(self, key: str) -> CacheRecord | None:
        """The record of a step that did just this, under whatever key."""
        ...

    def note(self, key: str, record: CacheRecord) -> None:
        """A step did this and has its record."""
        ...


class ImageNames(Protocol):
    """Where an image that was built gets its name."""

    def put(self, name: str, config: dict[str, Any], lengths: list[int], *, source: str, stand_in: str = "") -> ImageRow:
        """Keep an image under a name; ``lengths``: of the tars of its layers, in bytes."""
        ...


class Parts(Protocol):
    """What a build needs of its engine. ``patience``: seconds that it waits for a step that another build runs."""

    name: str

    @property
    def patience(self) -> float: ...

    @property
    def store(self) -> Store: ...

    @property
    def worker(self) -> WorkerProcess: ...

    @property
    def snapshotter(self) -> Snapshotter: ...

    @property
    def host(self) -> Host: ...

    @property
    def bases(self) -> ImageNames: ...

    @property
    def known_runs(self) -> Executions | None: ...

    def spare_worker(self) -> WorkerProcess:
        """A second worker process, for what goes on beside a step."""
        ...

    def make_executor(self) -> Executor:
        """What runs commands."""
        ...

    def look(self, layers: tuple[str, ...], wants: Selection) -> bool:
        """As ``content``, where the layers are here; else False."""
        ...

    def content(self, layers: tuple[str, ...], wants: Selection) -> None:
        """Look at what a selection reads from layers, and keep the answer for the solver."""
        ...


class Build:
    """One build in progress."""

    def __init__(
        self,
        engine: Parts,
        options: BuildOptions,
        inputs: Inputs,
        progress: Progress,
        started: float,
        stop: Stop | None = None,
    ) -> None:
        self.engine = engine
        self.options = options
        self.inputs = inputs
        self.graph = inputs.graph
        self.progress = progress
        self.started = started
        self.stop = stop or Stop()
        self.made: dict[int, UncommittedLayer] = {}
        self.committer = Committer(engine.store, engine.worker, engine.spare_worker, self._written, self.stop)
        self.executions: dict[int, str] = {}
        self.causes: dict[int, Cause] = {}
        self.fresh: set[str] = set()
        self.failed: tuple[int, LayerlabError] | None = None
        self.failed_log = ""
        self.failed_seconds = 0.0
        self.predicted: tuple[StepRecord, ...] = ()
        self.before: BuildTrace | None = None
        self._explainer: Explainer | None = None
        self._announced: set[int] = set()

    def run(self) -> BuildRecord:
        for text in (*self.inputs.stand_in, *self.inputs.warnings):
            self.progress(Event(kind="note", text=text))
        if not self.engine.host.executor:
            # Before anything changes what the cache says.
            self.predicted = make_plan(self.engine.name, self.options, self.inputs, self.engine.store, (), self.engine.look).steps
        elif any(stage.no_cache for stage in self.graph.stages):
            from layerlab.engines.embedded.builds.mount_sources import empty_caches

            empty_caches(self.graph, self.engine.store, self.engine.worker)
        solution = self._solve()
        try:
            while True:
                self.stop.check()
                wrong = solution.failing()
                if wrong is not None and wrong.error is not None:
                    self._explain(wrong, solution)
                    self.failed = (wrong.step.number, wrong.error)
                    break
                self._announce(solution)
                decided = solution.next_to_run()
                if decided is not None:
                    self._step(decided, solution)
                    if self.failed is not None:
                        break
                elif not self._look(solution):
                    break
                solution = self._solve()
            # The last layers get their names, and the steps their final records.
            self._flush()
        except KeyboardInterrupt:
            self._flush(_PATIENCE)
            self.inputs.context.save()
            raise BuildInterruptedError("the build was stopped; finished steps stay cached") from None
        finally:
            self.committer.close()
        return self._finish(self._solve())

    def _flush(self, patience: float | None = None) -> bool:
        """Give waiting layers their names; true when there were any. A failure becomes the build's, unless it has one."""
        waiting = self.committer.waiting
        try:
            self.committer.flush(patience)
        except LayerlabError as error:
            if self.failed is None:
                self.failed = (waiting[0], error)
        return bool(waiting)

    def _solve(self) -> Solution:
        return solve(self.graph, self.inputs.context.root, self.committer, fresh=frozenset(self.fresh))

    def _look(self, solution: Solution) -> bool:
        """Read the content that an undecided step waits for; false when nothing is undecided."""
        decided = next((decided for decided in solution.steps if decided.wants is not None), None)
        if decided is None or decided.wants is None:
            return False
        if self._flush():
            return self.failed is None
        try:
            layers, selection = decided.wants
            self.engine.content(layers, selection)
            self._read_ahead(decided, layers)
        except LayerlabError as error:
            looked_in_vain(decided, error)
            error.file, error.line = self.graph.file, decided.step.line
            self.failed = (decided.step.number, error)
            return False
        return True

    def _read_ahead(self, decided: Decided, layers: tuple[str, ...]) -> None:
        # What is wrong with one is told when it is wanted.
        with contextlib.suppress(LayerlabError):
            for selection in read_ahead(decided, self.graph.like):
                if self.committer.content(layers, selection) is None:
                    self.engine.content(layers, selection)

    def _announce(self, solution: Solution) -> None:
        """Tell progress about verdicts that are final: everything up to the first step that still has to run."""
        for decided in solution.steps:
            if decided.decision in ("run", "undecided"):
                break
            if decided.step.number not in self._announced:
                self._announced.add(decided.step.number)
                self.progress(Event(kind="done", step=self._record(decided, "skipped")))

    def _explain(self, decided: Decided, solution: Solution) -> None:
        if self._explainer is None:
            self.before = self.inputs.memory.trace()
            self._explainer = Explainer(self.graph, self.before, self.inputs.shown)
        if decided.error is None:
            self.causes[decided.step.number] = self._explainer.cause(decided, solution)

    def _step(self, decided: Decided, solution: Solution) -> None:
        key = decided.key
        assert key is not None
        engine = self.engine
        number = decided.step.number
        self._explain(decided, solution)
        with contextlib.ExitStack() as stack:
            if not self._lock(key, stack):
                return
            if not decided.ignored_cache and engine.store.lookup(key) is not None:
                # Another build ran this very step while we waited for the lock.
                self.causes.pop(number, None)
                return
            self.progress(Event(kind="start", step=self._record(decided, "skipped", cause=self.causes.get(number))))
            # What runs a step is loaded when the first one must run.
            from layerlab.engines.embedded.builds.steps import StepRunner, UncommittedLayer

            runner = StepRunner(
                engine.store,
                engine.worker,
                engine.snapshotter,
                engine.make_executor,
                self.graph,
                self.inputs.context,
                self.options,
                self.stop,
            )
            if _reads_layers(decided) and self._flush():
                # What is read from a stage must have its final name and owners: decide again.
                return
            known_runs = engine.known_runs
            execution = known_runs.key(decided, solution, engine.worker) if known_runs is not None else None
            if known_runs is not None and execution is not None:
                if not self._lock(execution, stack):
                    return
                self.executions[number] = execution
                if (known := known_runs.find(execution)) is not None:
                    self.made[number] = UncommittedLayer(number=0, lowers=[], owners={}, owner=(0, 0), seconds=known.seconds, log="")
                    self.fresh.add(key)
                    engine.store.put_record(msgspec.structs.replace(known, key=key, created=_now(), instruction=decided.step.instruction))
                    self._announced.add(number)
                    self.progress(Event(kind="done", step=self._record(decided, "skipped")))
                    return
            try:
                made = runner.run(decided, solution, lambda text: self.progress(Event(kind="log", text=text)))
                record = CacheRecord(
                    key=key,
                    diff_id="",
                    size=0,
                    created=_now(),
                    seconds=made.seconds,
                    instruction=decided.step.instruction,
                    seen=made.seen,
                )
                self.made[number] = made
                self.fresh.add(key)
                self.committer.add(number, made, record, stack.pop_all())
            except LayerlabError as error:
                if error.line is None:
                    error.file, error.line = self.graph.file, decided.step.line
                self.made.pop(number, None)
                self.failed = (number, error)
                self.failed_log, self.failed_seconds = runner.log, runner.seconds
                self.progress(Event(kind="done", step=self._record(decided, "skipped")))
                return
        self._announced.add(number)
        self.progress(Event(kind="done", step=self._record(decided, "skipped")))

    def _lock(self, key: str, stack: contextlib.ExitStack) -> bool:
        """Hold a key, for as long as ``stack`` does. False where layers got their names meanwhile: decide again.

        Another build may do the very same step; asking again and again leaves room for a request to stop. Nobody waits while others may
        wait for what he has done: two builds that need each other's steps would wait for ever. Raises ``StepBusyError`` when it takes
        longer than the engine has patience.
        """
        began = time.monotonic()
        while (descriptor := self.engine.store.lock_key_held(key)) is None:
            if self._flush():
                return False
            if time.monotonic() - began > self.engine.patience:
                raise StepBusyError("another build runs a step that this one needs")
            self.stop.pause(0.05)
        stack.callback(os.close, descriptor)
        return True

    def _written(self, number: int, record: CacheRecord) -> None:
        if (known_runs := self.engine.known_runs) is not None and number in self.executions:
            known_runs.note(self.executions[number], record)

    def _record(self, decided: Decided, otherwise: Status, *, cause: Cause | None = None) -> StepRecord:
        step = decided.step
        number = step.number
        made = self.made.get(number)
        status: Status
        if made is not None:
            status = "executed"
        elif self.failed is not None and self.failed[0] == number:
            status = "failed"
        elif decided.decision == "base":
            status = "base"
        elif decided.decision == "metadata":
            status = "metadata"
        elif decided.decision == "cached":
            status = "cached"
        else:
            status = otherwise
        stage = self.graph.stage(step.stage)
        record = decided.record
        named = record is not None and not record.diff_id.startswith(PENDING)
        size = record.size if record is not None else self._base_size(stage.base_image, step.keyword)
        return step_record(
            self.graph,
            decided,
            status,
            counts_base=True,
            diff_id=record.diff_id if record is not None and named else None,
            size=size,
            seconds=made.seconds if made is not None else self.failed_seconds if status == "failed" else 0.0,
            cause=cause or self.causes.get(number),
            log=made.log if made is not None else self.failed_log if status == "failed" else "",
            seen=record.seen if record is not None else (),
        )

    def _base_size(self, image: Any, keyword: str) -> int:
        if keyword != "FROM" or image is None:
            return 0
        rows = [self.engine.store.layer(diff_id) for diff_id in image.diff_ids]
        return sum(row.size for row in rows if row is not None)

    def _finish(self, solution: Solution) -> BuildRecord:
        image: ImageRow | None = None
        failure: Failure | None = None
        if self.failed is None:
            image = self._image(solution)
        else:
            failure = Failure.of(self.failed[1])
        host = self.engine.host
        record = BuildRecord(
            engine="embedded",
            executor=host.executor or "none",
            snapshotter=host.snapshotter,
            ids=host.ids,
            context=self.inputs.context.path,
            dockerfile=self.inputs.shown,
            target=self.options.target,
            image=image.config if image is not None else None,
            tag=self.options.tag if image is not None else None,
            seconds=0.0,
            steps=tuple(self._record(decided, "skipped") for decided in solution.steps),
            stand_in=self.inputs.stand_in,
            warnings=self.inputs.warnings,
            checks=self.inputs.checks,
            failure=failure,
            predicted=self.predicted if self.failed is not None and isinstance(self.failed[1], ExecutorError) else (),
        )
        self._remember(record, solution)
        self.inputs.context.save()
        return msgspec.structs.replace(record, seconds=round(time.monotonic() - self.started, 3))

    def _remember(self, record: BuildRecord, solution: Solution) -> None:
        if self._explainer is None:
            self.before = self.inputs.memory.trace()
        failed = self.failed[0] if self.failed is not None else None
        same = self.before is not None and self.before.keys() == [decided.key for decided in solution.steps] and failed is None
        unchanged = same and not any(step.failed for step in (self.before.steps if self.before is not None else []))
        try:
            trace = None if unchanged else trace_of(self.graph, solution, self.inputs.shown, failed=failed)
            self.inputs.memory.remember(record, trace)
        except OSError as error:
            raise StoreError(
                f"the build cannot be remembered: {error.strerror}", remedy="Free some space in the store and build again."
            ) from error

    def _image(self, solution: Solution) -> ImageRow:
        for decided in solution.steps:
            if decided.decision == "cached" and decided.key is not None and decided.step.number not in self.made:
                self.engine.store.touch_record(decided.key)
        graph = self.graph
        store = self.engine.store
        decided_by_number = {decided.step.number: decided for decided in solution.steps}
        target = graph.stage(graph.target)
        chain = []
        stage = target
        while True:
            chain.append(stage)
            if stage.base_stage is None:
                break
            stage = graph.stage(stage.base_stage)
        bottom = chain[-1].base_image
        history: list[dict[str, Any]] = list(bottom.config.get("history", [])) if bottom is not None else []
        diff_ids: list[str] = list(bottom.diff_ids) if bottom is not None else []
        created = _newest(history)
        for stage in reversed(chain):
            for step in stage.steps:
                if step.keyword == "FROM" or step.created_by is None:
                    continue
                record = decided_by_number[step.number].record
                row: dict[str, Any] = {"created_by": step.created_by, "comment": HISTORY_COMMENT}
                if record is not None:
                    created = max(created, record.created)
                    diff_ids.append(record.diff_id)
                else:
                    row["empty_layer"] = True
                row["created"] = _time(graph.epoch) if graph.epoch is not None else created
                history.append(row)
        config = {
            **{key: value for key, value in target.config.items() if value not in (None, {}, [])},
            "architecture": ARCHITECTURE,
            "os": OPERATING_SYSTEM,
            "created": _time(graph.epoch) if graph.epoch is not None else created or _now(),
            "history": history,
            "rootfs": {"type": "layers", "diff_ids": diff_ids},
        }
        lengths = []
        for diff_id in diff_ids:
            layer = store.layer(diff_id)
            if layer is None:
                raise StoreError(f"layer {diff_id} is missing from the store", remedy="Build again with --no-cache.")
            lengths.append(layer.length)
        stand_in = "; ".join(self.inputs.stand_in)
        if self.options.tag:
            name = canonical_name(self.options.tag)
        else:
            # A digest, because a path may be longer than a file name of the store may be, and need not be text.
            place = os.fsencode(f"{self.inputs.file}:{self.options.target or ''}")
            name = f"{UNNAMED}@{hashlib.sha256(place).hexdigest()}"
        for other in self.options.more_tags:
            self.engine.bases.put(canonical_name(other), config, lengths, source="build", stand_in=stand_in)
        return self.engine.bases.put(name, config, lengths, source="build", stand_in=stand_in)


def _reads_layers(decided: Decided) -> bool:
    """Whether a step reads from a stage or an image."""
    return decided.step.op is not None and any(source.kind in ("stage", "image") for source in content_sources(decided.step.op))


def _now() -> str:
    return _time(time.time())


def _time(seconds: float) -> str:
    moment = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC) + datetime.timedelta(seconds=seconds)
    return moment.isoformat(timespec="microseconds").replace("+00:00", "Z")


def _newest(history: list[dict[str, Any]]) -> str:
    return max((row.get("created") or "" for row in history), default="")
