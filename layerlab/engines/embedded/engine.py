"""The embedded engine: plan, run what must run, remember, and say why.

A build is a loop: ask the solver, run the first step that must run, ask again. The solver sees each new record, so verdicts of
steps that depend on a stage's output fall when that output is there and never before.
"""

from __future__ import annotations

import contextlib
import datetime
import os
import stat
import sys
import time
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from layerlab.context import BuildContext, load_context
from layerlab.context.edits import EditedDirectory
from layerlab.context.tree import Directory, rows_of
from layerlab.dockerfile import parse
from layerlab.dockerfile.ast import Dockerfile
from layerlab.engines.base import BuildOptions, Event, Progress
from layerlab.engines.embedded import images as image_store
from layerlab.engines.embedded.bases import Bases, Report, canonical_name
from layerlab.engines.embedded.commits import Committer
from layerlab.engines.embedded.containers import started
from layerlab.engines.embedded.executors.base import Executor, Running
from layerlab.engines.embedded.host import Host, find_host
from layerlab.engines.embedded.references import parse_reference
from layerlab.engines.embedded.rootfs.layer_tar import LayerEntry
from layerlab.engines.embedded.snapshotters import Snapshotter
from layerlab.engines.embedded.state import BuildMemory
from layerlab.engines.embedded.steps import Made, StepRunner
from layerlab.engines.embedded.store import PENDING, ImageRow, Store, default_store
from layerlab.engines.embedded.workers import WorkerProcess
from layerlab.errors import BuildInterruptedError, LayerlabError, StepFailedError, StoreError, UnsupportedError, UsageError
from layerlab.explain import BuildTrace, Explainer, trace_of
from layerlab.fsutil import collection_paused
from layerlab.graph import HISTORY_COMMENT, Graph, build_graph
from layerlab.keys import content_sources
from layerlab.model import (
    BuildRecord,
    Cause,
    Failure,
    HistoryEntry,
    ImageSummary,
    ImageView,
    PlanRecord,
    Pruned,
    Status,
    StepRecord,
    Verification,
)
from layerlab.plan import CacheRecord, CacheView, Decided, Solution, solve
from layerlab.platform import ARCHITECTURE, OPERATING_SYSTEM

if TYPE_CHECKING:
    from layerlab.engines.embedded.transfer import Push


class EmbeddedEngine:
    """Builds without a daemon and without root. ``store`` defaults to ``LAYERLAB_STORE`` or the user's data directory.

    Close it (or use it as a context manager) to end its worker process.
    """

    name = "embedded"

    def __init__(self, store: str | None = None) -> None:
        self.store_path = os.path.abspath(store) if store is not None else default_store()
        self._host: Host | None = None
        self._store: Store | None = None
        self._worker: WorkerProcess | None = None
        self._spare: WorkerProcess | None = None
        self._executor: Executor | None = None

    def __enter__(self) -> EmbeddedEngine:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the worker processes."""
        for worker in (self._worker, self._spare):
            if worker is not None:
                worker.close()
        self._worker = self._spare = None

    # --- parts, opened when first needed ----------------------------------------------------------------------------

    @property
    def host(self) -> Host:
        """What this machine allows. Raises ``StoreError`` on a store that cannot be used."""
        if self._host is None:
            try:
                os.makedirs(self.store_path, exist_ok=True)
                self._host = find_host(os.path.realpath(self.store_path))
            except OSError as error:
                raise StoreError(
                    f"the store {self.store_path} cannot be used: {error.strerror or error}",
                    remedy="Set LAYERLAB_STORE to a directory that you can write to and that has free space.",
                ) from error
        return self._host

    @property
    def store(self) -> Store:
        """The part of the store that fits this machine."""
        if self._store is None:
            self._store = Store(os.path.join(self.store_path, self.host.directory))
        return self._store

    @property
    def worker(self) -> WorkerProcess:
        """The worker process."""
        if self._worker is None:
            self._worker = WorkerProcess(self.store.path, self.host.worker, self.host.snapshotter)
        return self._worker

    def spare_worker(self) -> WorkerProcess:
        """A second worker process, for what goes on beside a step."""
        if self._spare is None:
            self._spare = WorkerProcess(self.store.path, self.host.worker, self.host.snapshotter)
        return self._spare

    def _make_executor(self) -> Executor:
        if self._executor is None:
            self._executor = self.host.make_executor()
        return self._executor

    @property
    def bases(self) -> Bases:
        """Base images of this store."""
        return Bases(self.store, self.worker)

    # --- what a build starts from -----------------------------------------------------------------------------------

    def _inputs(self, options: BuildOptions, progress: Progress | None = None) -> _Inputs:
        path = os.path.abspath(options.context)
        file = os.path.abspath(options.file) if options.file is not None else os.path.join(path, "Dockerfile")
        shown = _shown_path(file)
        if not os.path.isdir(path):
            raise _no_context(options.context)
        context_files = self.store.context_directory(path)
        context = load_context(path, dockerfile=file, cache_file=os.path.join(context_files, "checksums"))
        dockerfile = _read_dockerfile(file, shown)
        warnings = _syntax_warnings(dockerfile, shown)
        bases = self.bases
        report = _Throttled(progress or _silent)
        graph = build_graph(
            dockerfile,
            lambda name: bases.resolve(name, offline=options.offline, pull=options.pull, report=report),
            build_args=options.build_args,
            target=options.target,
            no_cache=options.no_cache,
            no_cache_filter=options.no_cache_filter,
            labels=options.labels,
            network=options.network,
        )
        memory = BuildMemory(context_files, file, options.target)
        stand_in = tuple(sorted({image.stand_in for image in graph.images.values() if image.stand_in}))
        return _Inputs(context, graph, memory, file, shown, (*warnings, *graph.warnings), stand_in)

    # --- build ------------------------------------------------------------------------------------------------------

    def build(self, options: BuildOptions, progress: Progress | None = None) -> BuildRecord:
        """Build an image; see ``Engine.build``."""
        with collection_paused():
            started = time.monotonic()
            return _Build(self, options, self._inputs(options, progress), progress or _silent, started).run()

    def plan(self, options: BuildOptions, edits: tuple[str, ...] = ()) -> PlanRecord:
        """Verdicts without running anything; see ``Engine.plan``.

        With ``edits``, the files as they are count as built, so that the plan shows what the edits alone would cost.
        """
        with collection_paused():
            inputs = self._inputs(options)
            return _plan(self, options, inputs, tuple(_edit_path(inputs.context.path, edit) for edit in edits))

    def explain(self, options: BuildOptions) -> BuildRecord | None:
        """The last build's record; where nothing ran in it, the last one in which something did."""
        path = os.path.abspath(options.context)
        if not os.path.isdir(path):
            raise _no_context(options.context)
        file = os.path.abspath(options.file) if options.file is not None else os.path.join(path, "Dockerfile")
        memory = BuildMemory(self.store.context_directory(path), file, options.target)
        return memory.record(with_misses=True) or memory.record()

    def context_files(self, options: BuildOptions) -> list[str]:
        """The files of a build context that an ignore file lets through, sorted. Raises ``ContextError``."""
        inputs = self._inputs(options)
        return [row[0] for row in rows_of(inputs.context.root) if not stat.S_ISDIR(row[1])]

    def content(self, layers: tuple[str, ...], wants: Any) -> None:
        """Look at what a selection reads from ``layers`` and keep the answer for the solver."""
        paths = [path for path in (self.store.layer_path(diff_id) for diff_id in layers) if path]
        answer = self.worker.ask("content", layers=paths, selection=msgspec.to_builtins(wants))
        self.store.put_content(layers, wants, answer)

    # --- images -----------------------------------------------------------------------------------------------------

    def import_layout(self, path: str, reference: str) -> ImageRow:
        """Import an image from an OCI layout as ``reference``. Raises ``BaseImageError``."""
        return self.bases.import_layout(path, reference)

    def image_row(self, image: str) -> ImageRow:
        """The image under a name or an ID (or the start of one). Raises ``UsageError``."""
        return image_store.find(self.store, image)

    def image_config(self, image: str) -> dict[str, Any]:
        """The OCI configuration of an image. Raises ``UsageError``."""
        return image_store.config_of(self.store, self.image_row(image))

    def images(self, *, unnamed: bool = False) -> tuple[ImageSummary, ...]:
        """All images, newest first."""
        return image_store.list_images(self.store, unnamed=unnamed)

    def inspect(self, image: str) -> dict[str, Any]:
        """What ``docker image inspect`` shows. Raises ``UsageError``."""
        return image_store.inspect(self.store, self.image_row(image))

    def tag(self, image: str, name: str) -> str:
        """Give an image another name; returns it in full. Raises ``UsageError``."""
        return image_store.tag(self.store, self.image_row(image), name).name

    def untag(self, image: str) -> tuple[str, bool]:
        """Take a name away; returns it, and whether the image has none left. Raises ``UsageError``."""
        return image_store.untag(self.store, image)

    def view(self, image: str) -> ImageView:
        """An image seen as its layers. Raises ``UsageError``."""
        return image_store.view(self.store, self.image_row(image), self.layer_entries(image))

    def verify(self, report: Report) -> Verification:
        """Compare every blob and layer with its digest."""
        return image_store.verify(self.store, self.worker, report)

    def prune(self, keep: int, report: Report) -> Pruned:
        """Remove what no image needs, least recently used first, down to ``keep`` bytes of cache."""
        return image_store.prune(self.store, self.worker, report, keep=keep)

    def pull(self, name: str, report: Report) -> ImageRow:
        """Fetch an image from its registry. Raises ``RegistryError``."""
        return self.bases.pull(parse_reference(name), report)

    def push(self, name: str, report: Report) -> Push:
        """Send an image to the registry that its name says. Raises ``RegistryError``, ``UsageError``."""
        from layerlab.engines.embedded.transfer import push

        return push(self.store, self.worker, self.image_row(name), parse_reference(name), report)

    def save(self, names: tuple[str, ...], path: str | None) -> None:
        """Write images to an archive, or to standard output. Raises ``UsageError``, ``StoreError``."""
        from layerlab.engines.embedded import archives

        rows = [self.image_row(name) for name in names]
        if path is None:
            archives.save(self.store, self.worker, rows, sys.stdout.buffer)
            return
        temporary = f"{path}.part"
        try:
            with open(temporary, "wb") as stream:
                archives.save(self.store, self.worker, rows, stream)
            os.rename(temporary, path)
        except OSError as error:
            raise UsageError(f"{path} cannot be written: {error.strerror or error}") from error
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(temporary)

    def load(self, path: str) -> list[str]:
        """Read images from an archive or a layout; returns their names. Raises ``UsageError``, ``BaseImageError``."""
        from layerlab.engines.embedded import archives

        return archives.load(self.store, self.bases, path)

    def history(self, image: str) -> tuple[HistoryEntry, ...]:
        """Rows of an image's history, newest first. Raises ``UsageError``."""
        config = self.image_config(image)
        diff_ids = iter(config["rootfs"]["diff_ids"])
        rows = []
        for item in config.get("history", []):
            empty = bool(item.get("empty_layer"))
            diff_id = None if empty else next(diff_ids, None)
            layer = self.store.layer(diff_id) if diff_id is not None else None
            rows.append(
                HistoryEntry(
                    created_by=item.get("created_by", ""),
                    size=layer.size if layer is not None else 0,
                    empty_layer=empty,
                    created=item.get("created"),
                    comment=item.get("comment", ""),
                    diff_id=diff_id,
                )
            )
        return tuple(reversed(rows))

    @contextlib.contextmanager
    def container(
        self, image: str, *, command: tuple[str, ...] = (), environment: Mapping[str, str] | None = None, network: bool = True
    ) -> Iterator[Running]:
        """A running container of an image, killed and removed on exit. Raises ``UsageError``, ``StepFailedError``."""
        with started(
            self.image_config(image),
            store=self.store,
            worker=self.worker,
            snapshotter=Snapshotter(self.store, self.worker, self.host.snapshotter),
            executor=self._make_executor(),
            command=command,
            environment=environment,
            network=network,
        ) as running:
            yield running

    def layer_entries(self, image: str) -> list[list[LayerEntry]]:
        """The members of every layer of an image, lowest first. Raises ``UsageError``."""
        found = []
        for diff_id in self.image_config(image)["rootfs"]["diff_ids"]:
            path = self.store.layer_path(diff_id)
            answer = self.worker.ask("entries", layer=path)["entries"] if path else []
            found.append([msgspec.convert(entry, LayerEntry) for entry in answer])
        return found


class _Inputs:
    """What a build reads before it decides anything."""

    def __init__(
        self,
        context: BuildContext,
        graph: Graph,
        memory: BuildMemory,
        file: str,
        shown: str,
        warnings: tuple[str, ...],
        stand_in: tuple[str, ...],
    ) -> None:
        self.context = context
        self.graph = graph
        self.memory = memory
        self.file = file
        self.shown = shown
        self.warnings = warnings
        self.stand_in = stand_in


class _Build:
    """One build in progress."""

    def __init__(self, engine: EmbeddedEngine, options: BuildOptions, inputs: _Inputs, progress: Progress, started: float) -> None:
        self.engine = engine
        self.options = options
        self.inputs = inputs
        self.graph = inputs.graph
        self.progress = progress
        self.started = started
        self.made: dict[int, Made] = {}
        self.committer = Committer(engine.store, engine.worker, engine.spare_worker)
        self.causes: dict[int, Cause] = {}
        self.fresh: set[str] = set()
        self.failed: tuple[int, LayerlabError] | None = None
        self.failed_log = ""
        self.before: BuildTrace | None = None
        self._explainer: Explainer | None = None
        self._announced: set[int] = set()

    def run(self) -> BuildRecord:
        for text in (*self.inputs.stand_in, *self.inputs.warnings):
            self.progress(Event(kind="note", text=text))
        solution = self._solve()
        try:
            while True:
                wrong = next((decided for decided in solution.steps if decided.error is not None), None)
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
        except KeyboardInterrupt:
            self._flush()
            self.inputs.context.save()
            raise BuildInterruptedError("the build was stopped; finished steps stay cached") from None
        finally:
            self.committer.close()
        # The last layers get their names, and the steps their final records.
        self._flush()
        return self._finish(self._solve())

    def _flush(self) -> bool:
        """Give waiting layers their names; true when there were any. A failure becomes the build's, unless it has one."""
        waiting = self.committer.waiting
        try:
            self.committer.flush()
        except LayerlabError as error:
            if self.failed is None:
                self.failed = (waiting[0], error)
        return bool(waiting)

    def _solve(self) -> Solution:
        return solve(self.graph, self.inputs.context, self.committer, fresh=frozenset(self.fresh))

    def _look(self, solution: Solution) -> bool:
        """Read the content that an undecided step waits for; false when nothing is undecided."""
        waiting = next((decided.wants for decided in solution.steps if decided.wants is not None), None)
        if waiting is None:
            return False
        if self._flush():
            return self.failed is None
        try:
            self.engine.content(*waiting)
        except LayerlabError as error:
            step = next(decided.step for decided in solution.steps if decided.wants is not None)
            error.file, error.line = self.graph.file, step.line
            self.failed = (step.number, error)
            return False
        return True

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
            stack.enter_context(engine.store.lock_key(key))
            if not decided.ignored_cache and engine.store.lookup(key) is not None:
                # Another build ran this very step while we waited for the lock.
                self.causes.pop(number, None)
                return
            self.progress(Event(kind="start", step=self._record(decided, "skipped", cause=self.causes.get(number))))
            runner = StepRunner(
                engine.store,
                engine.worker,
                Snapshotter(engine.store, engine.worker, engine.host.snapshotter),
                engine._make_executor,
                self.graph,
                self.inputs.context,
                self.options,
            )
            if _reads_layers(decided) and self._flush():
                # What is read from a stage must have its final name and owners: decide again.
                return
            try:
                made = runner.run(decided, solution, lambda text: self.progress(Event(kind="log", text=text)))
                record = CacheRecord(
                    key=key, diff_id="", size=0, created=_now(), seconds=made.seconds, instruction=decided.step.instruction
                )
                self.made[number] = made
                self.fresh.add(key)
                self.committer.add(number, made, record, stack.pop_all())
            except LayerlabError as error:
                if error.line is None:
                    error.file, error.line = self.graph.file, decided.step.line
                self.made.pop(number, None)
                self.failed = (number, error)
                self.failed_log = runner.log
                self.progress(Event(kind="done", step=self._record(decided, "skipped")))
                return
        self._announced.add(number)
        self.progress(Event(kind="done", step=self._record(decided, "skipped")))

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
        return StepRecord(
            number=number,
            stage=stage.label or "0",
            instruction=step.instruction,
            line=step.line,
            end_line=step.end_line,
            status=status,
            makes_layer=step.op is not None or (step.keyword == "FROM" and stage.base_image is not None),
            index=step.index,
            diff_id=record.diff_id if record is not None and named else None,
            size=size,
            seconds=round(made.seconds, 3) if made is not None else 0.0,
            cause=cause or self.causes.get(number),
            log=made.log if made is not None else self.failed_log if status == "failed" else "",
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
            error = self.failed[1]
            failure = Failure(
                kind=error.kind,
                message=error.message,
                file=error.file,
                line=error.line,
                column=error.column,
                remedy=error.remedy,
                exit_status=error.exit_status if isinstance(error, StepFailedError) else None,
            )
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
            failure=failure,
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
                row["created"] = created
                history.append(row)
        config = {
            **{key: value for key, value in target.config.items() if value not in (None, {}, [])},
            "architecture": ARCHITECTURE,
            "os": OPERATING_SYSTEM,
            "created": created or _now(),
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
        name = canonical_name(self.options.tag) if self.options.tag else f"<none>@{self.inputs.file}:{self.options.target or ''}"
        return self.engine.bases.put(name, config, lengths, source="build", stand_in=stand_in)


def _reads_layers(decided: Decided) -> bool:
    """Whether a step reads from a stage or an image."""
    return decided.step.op is not None and any(source.kind in ("stage", "image") for source in content_sources(decided.step.op))


# --- plan -----------------------------------------------------------------------------------------------------------


class _AsBuilt:
    """A cache in which everything that a solution needs counts as built."""

    def __init__(self, cache: CacheView) -> None:
        self._cache = cache
        self._assumed: dict[str, CacheRecord] = {}

    def assume(self, key: str) -> None:
        self._assumed[key] = CacheRecord(key=key, diff_id=f"assumed:{key}", size=0, created="")

    def lookup(self, key: str) -> CacheRecord | None:
        return self._cache.lookup(key) or self._assumed.get(key)

    def content(self, layers: tuple[str, ...], selection: Any) -> Any:
        return self._cache.content(layers, selection)


def _plan(engine: EmbeddedEngine, options: BuildOptions, inputs: _Inputs, edits: tuple[str, ...]) -> PlanRecord:
    graph, context = inputs.graph, inputs.context
    cache: CacheView = engine.store
    before = inputs.memory.trace()
    warnings = list(inputs.warnings)
    solution = _solve_looking(engine, graph, context, cache)
    root: Directory = context.root
    if edits:
        if any(decided.decision == "run" for decided in solution.steps):
            warnings.append("not everything has been built yet; the plan shows what the edits would cost once it has")
        assumed = _AsBuilt(cache)
        while True:
            missing = [decided.key for decided in solution.steps if decided.decision == "run" and decided.key is not None]
            if not missing:
                break
            for key in missing:
                assumed.assume(key)
            solution = solve(graph, context, assumed)
        before = trace_of(graph, solution, inputs.shown)
        cache = assumed
        root = EditedDirectory(context.root, edits, context.rules)
        solution = solve(graph, root, cache)
    explainer = Explainer(graph, before, inputs.shown)
    steps = tuple(_planned(graph, decided, explainer, solution) for decided in solution.steps)
    context.save()
    return PlanRecord(
        engine="embedded",
        context=context.path,
        dockerfile=inputs.shown,
        target=options.target,
        steps=steps,
        edits=edits,
        stand_in=inputs.stand_in,
        warnings=tuple(warnings),
    )


def _solve_looking(engine: EmbeddedEngine, graph: Graph, context: BuildContext, cache: CacheView) -> Solution:
    """Solve, reading stage contents where the stage is cached: that runs nothing."""
    while True:
        solution = solve(graph, context, cache)
        wants = next((decided.wants for decided in solution.steps if decided.wants is not None), None)
        if wants is None:
            return solution
        engine.content(*wants)


def _planned(graph: Graph, decided: Decided, explainer: Explainer, solution: Solution) -> StepRecord:
    if decided.error is not None:
        raise decided.error
    status: Status = "executed" if decided.decision == "run" else "undecided" if decided.decision == "undecided" else "cached"
    if decided.decision in ("base", "metadata"):
        status = "base" if decided.decision == "base" else "metadata"
    stage = graph.stage(decided.step.stage)
    return StepRecord(
        number=decided.step.number,
        stage=stage.label or "0",
        instruction=decided.step.instruction,
        line=decided.step.line,
        end_line=decided.step.end_line,
        status=status,
        makes_layer=decided.step.op is not None,
        index=decided.step.index,
        diff_id=decided.record.diff_id if decided.record is not None and not decided.record.diff_id.startswith("assumed:") else None,
        size=decided.record.size if decided.record is not None else 0,
        cause=explainer.cause(decided, solution) if decided.decision == "run" else None,
        waits_for=decided.waits_for if status == "undecided" else None,
    )


# --- small things ---------------------------------------------------------------------------------------------------


def _no_context(path: str) -> UsageError:
    what = "is not a directory" if os.path.exists(path) else "does not exist"
    return UsageError(
        f"the build context {path} {what}", remedy="Give the directory that holds the files to copy, for example: layerlab build ."
    )


def _read_dockerfile(file: str, shown: str) -> Dockerfile:
    try:
        if os.path.exists(file) and not os.path.isfile(file):
            raise UsageError(f"failed to read dockerfile: {shown} is not a regular file", remedy="Name a file with -f FILE.")
        with open(file, "rb") as stream:
            text = stream.read(4 << 20)
    except FileNotFoundError:
        raise UsageError(
            f"failed to read dockerfile: open {os.path.basename(file)}: no such file or directory",
            remedy=f"There is no {shown}: name the file with -f FILE, or put one called Dockerfile into the build context.",
        ) from None
    except OSError as error:
        raise UsageError(
            f"failed to read dockerfile: {shown}: {error.strerror}", remedy="Give the path of a readable file with -f."
        ) from error
    return parse(text, shown)


def _syntax_warnings(dockerfile: Dockerfile, shown: str) -> tuple[str, ...]:
    syntax = dockerfile.syntax
    if syntax is None:
        return ()
    name = syntax.split("@")[0].removeprefix("docker.io/")
    if name.startswith("docker/dockerfile:") or name == "docker/dockerfile":
        return ()
    raise UnsupportedError(
        f"the external frontend {syntax} is not supported: layerlab reads Dockerfiles itself and never fetches a frontend",
        file=shown,
        line=1,
        remedy="Remove the # syntax line, or build with Docker.",
    )


def _edit_path(context: str, edit: str) -> str:
    """An edit as a path within the context: relative to it, or relative to the current directory when only that exists."""
    inside = edit.removeprefix("./").rstrip("/")
    if not os.path.isabs(edit) and os.path.lexists(os.path.join(context, inside)):
        return os.path.normpath(inside)
    absolute = os.path.abspath(edit)
    relative = os.path.relpath(absolute, context)
    if relative.startswith(".."):
        if os.path.isabs(edit) or inside.startswith(".."):
            raise UsageError(f"{edit} is not in the build context {context}", remedy="Name a file of the build context.")
        return os.path.normpath(inside)
    if os.path.lexists(absolute) or os.path.isabs(edit):
        return relative
    return os.path.normpath(inside)


def _shown_path(file: str) -> str:
    relative = os.path.relpath(file)
    return file if relative.startswith("../..") else relative


def _now() -> str:
    epoch = os.environ.get("SOURCE_DATE_EPOCH", "")
    moment = datetime.datetime.fromtimestamp(int(epoch), datetime.UTC) if epoch.isdigit() else datetime.datetime.now(datetime.UTC)
    return moment.isoformat(timespec="microseconds").replace("+00:00", "Z")


def _newest(history: list[dict[str, Any]]) -> str:
    return max((row.get("created") or "" for row in history), default="")


class _Throttled:
    """Passes on notes, but those that follow one another within a second only once."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._last = 0.0

    def __call__(self, text: str) -> None:
        now = time.monotonic()
        if now - self._last >= 1 or "MB" not in text:
            self._last = now
            self._progress(Event(kind="note", text=text))


def _silent(_event: Event) -> None:
    """Progress that nobody watches."""
