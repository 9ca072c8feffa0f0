"""The embedded engine: what it can be asked, and the parts that it answers with.

``builds`` has the loop of a build, ``forecast`` the plan, ``images`` what can be done with an image.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Unpack

from layerlab import model
from layerlab.engines.api import BuildOptions, ContainerOptions, Event, Progress
from layerlab.engines.build_checks import check_build, checked, obeyed
from layerlab.engines.build_history import BuildHistory
from layerlab.engines.data_directory import default_store
from layerlab.engines.embedded.builds.loop import Build, Executions
from layerlab.engines.embedded.host import Host, find_host
from layerlab.engines.embedded.images import local_images as image_store
from layerlab.engines.embedded.images.base_images import Bases
from layerlab.engines.embedded.rootfs.messages import FindChanges, ListEntries, ReadContent
from layerlab.engines.embedded.runtime import HostRuntime, Runtime
from layerlab.engines.embedded.store import Store
from layerlab.engines.embedded.workers import WorkerProcess
from layerlab.engines.forecast import file_groups, make_forecast, make_matrix, make_plan
from layerlab.engines.inputs import Inputs, dockerfile_of, edit_path, not_here, read_inputs, refuse_typed_text
from layerlab.errors import BuildInterruptedError, GitSourceError, StoreError, UsageError
from layerlab.fsutil import collection_paused
from layerlab.interrupt import Stop
from layerlab.oci.references import canonical_name, parse_reference
from layerlab.oci.tar_entries import LayerEntry
from layerlab.reports import Report, Transferred
from layerlab.solver.graph import Remote, Resolve
from layerlab.solver.ops import BaseImage, RemoteFile, Source

if TYPE_CHECKING:
    from layerlab.context import Selection
    from layerlab.engines.embedded.containers.store import ContainerRow, ContainerStore
    from layerlab.engines.embedded.containers.task import Task
    from layerlab.engines.embedded.executors.base import Executor, Output
    from layerlab.engines.embedded.snapshotters import Snapshotter


class EmbeddedEngine:
    """Builds without a daemon and without root. ``store`` defaults to ``LAYERLAB_STORE`` or the user's data directory.

    ``runtime``: what runs commands and handles files, where it is not to be what the host allows.
    Close it (or use it as a context manager) to end its worker process.
    """

    name = "embedded"
    is_shared = False
    client_flags = False

    def __init__(self, store: str | None = None, runtime: Runtime | None = None) -> None:
        self.store_path = os.path.abspath(store) if store is not None else default_store()
        self._runtime = runtime or HostRuntime()
        self._host: Host | None = None
        self._store: Store | None = None
        self._worker: WorkerProcess | None = None
        self._spare: WorkerProcess | None = None
        self._snapshotter: Snapshotter | None = None
        self._executor: Executor | None = None

    def __enter__(self) -> EmbeddedEngine:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the worker processes, and throw away what builds shared."""
        if self._snapshotter is not None:
            self._snapshotter.close()
            self._snapshotter = None
        for worker in (self._worker, self._spare):
            if worker is not None:
                worker.close()
        self._worker = self._spare = None

    def about(self) -> model.EngineSummary:
        """See ``Engine.about``."""
        executor = self.host.executor or "no executor"
        return model.EngineSummary(name=self.name, title="embedded engine", executor=executor, snapshotter=self.host.snapshotter)

    def clone(self) -> EmbeddedEngine:
        """See ``Engine.clone``: it has a worker process of its own."""
        return EmbeddedEngine(self.store_path, self._runtime)

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
            self._worker = self._runtime.make_worker(self.host, self.store)
        return self._worker

    def spare_worker(self) -> WorkerProcess:
        """A second worker process, for what goes on beside a step."""
        if self._spare is None:
            self._spare = WorkerProcess(self.store.path, self.host.worker, self.host.snapshotter)
        return self._spare

    @property
    def snapshotter(self) -> Snapshotter:
        """What prepares root filesystems."""
        if self._snapshotter is None:
            from layerlab.engines.embedded.snapshotters import Snapshotter

            self._snapshotter = Snapshotter(self.store, self.worker, self.host.snapshotter)
        return self._snapshotter

    def make_executor(self) -> Executor:
        """What runs commands. Raises ``ExecutorError``."""
        if self._executor is None:
            self._executor = self._runtime.make_executor(self.host, self.worker)
        return self._executor

    @property
    def patience(self) -> float:
        """Seconds that a build waits for a step that another build runs."""
        return self._runtime.patience

    @property
    def known_runs(self) -> Executions | None:
        """What answers for a command beyond the cache."""
        return self._runtime.known_runs(self.store)

    @property
    def bases(self) -> Bases:
        """Base images of this store."""
        return Bases(self.store, self.worker)

    # --- what a build starts from -----------------------------------------------------------------------------------

    def _inputs(self, options: BuildOptions, progress: Progress | None = None, *, runs: bool = False) -> Inputs:
        """``runs``: whether steps will run, which need the layers of their base images."""
        watch = progress or _silent
        resolve = self._resolver(options, _Throttled(watch), runs=runs)
        remote = self._remote(options, _Throttled(watch), runs=runs)
        return read_inputs(options, self.store.context_directory, resolve, remote=remote)

    def _resolver(self, options: BuildOptions, report: Report, *, runs: bool) -> Resolve:
        bases = self.bases

        def base(name: str) -> BaseImage:
            if not options.fetch and self.store.image(canonical_name(name)) is None:
                raise not_here(name)
            if not runs:
                return bases.describe(name, offline=options.offline, report=report)
            return bases.resolve(name, offline=options.offline, pull=options.pull, report=report)

        return base

    def _remote(self, options: BuildOptions, report: Report, *, runs: bool) -> Remote:
        found: dict[tuple[str, str], RemoteFile | None] = {}

        def remote(source: Source) -> RemoteFile | None:
            if source.kind == "git":
                if runs:
                    raise GitSourceError(
                        f"ADD from a git repository is not supported by the embedded engine: {source.url}",
                        remedy="Clone it into the build context and COPY it, or build with Docker.",
                    )
                return None
            # A build without URLs does not load it.
            from layerlab.engines.embedded.images.http_sources import RemoteFiles

            files = RemoteFiles(self.store, report, offline=options.offline or not options.fetch)
            asked = (source.url, source.checksum)
            if asked not in found:
                # One build sees one version, however often it is copied.
                found[asked] = (files.fetch if runs else files.here)(source.url, source.path[1:], source.checksum)
            return found[asked]

        return remote

    # --- build ------------------------------------------------------------------------------------------------------

    def build(self, options: BuildOptions, progress: Progress | None = None, stop: Stop | None = None) -> model.BuildRecord:
        """Build an image; see ``Engine.build``."""
        refuse_typed_text(options)
        for name in (options.tag, *options.more_tags):
            # Before anything runs: a slip in the name must not cost an installation.
            if name:
                parse_reference(name)
        stop = stop or Stop()
        watch = progress or _silent

        def stoppable(event: Event) -> None:
            # A long download tells how it goes on: that is the moment to leave it.
            stop.check()
            watch(event)

        with collection_paused(), self.store.in_use():
            started = time.monotonic()
            try:
                inputs = checked(options, self._inputs(options, stoppable, runs=True))
            except KeyboardInterrupt:
                if stop.requested:
                    raise BuildInterruptedError("the build was stopped before its first step") from None
                raise
            try:
                return Build(self, options, inputs, watch, started, stop).run()
            finally:
                self.worker.settle()

    def plan(self, options: BuildOptions, edits: tuple[str, ...] = ()) -> model.PlanRecord:
        """Verdicts without running anything; see ``Engine.plan``.

        With ``edits``, the files as they are count as built, so that the plan shows what the edits alone would cost.
        """
        with collection_paused(), self.store.in_use():
            inputs = obeyed(options, self._inputs(options))
            paths = tuple(edit_path(inputs.context.path, edit) for edit in edits)
            return make_plan(self.name, options, inputs, self.store, paths, self.look)

    def check(self, options: BuildOptions) -> model.CheckRecord:
        """See ``Engine.check``."""
        with self.store.in_use():
            return check_build(options, self._resolver(options, _Throttled(_silent), runs=False))

    def matrix(self, options: BuildOptions, edits: tuple[str, ...]) -> tuple[tuple[str, model.PlanRecord], ...]:
        """A plan for each edit alone; see ``Engine.matrix``."""
        with collection_paused(), self.store.in_use():
            inputs = obeyed(options, self._inputs(options))
            paths = tuple(edit_path(inputs.context.path, edit) for edit in edits)
            return tuple(zip(edits, make_matrix(self.name, options, inputs, self.store, paths, self.look), strict=True))

    def forecast(self, options: BuildOptions, edits: tuple[str, ...]) -> model.Forecast:
        """See ``Engine.forecast``."""
        with collection_paused(), self.store.in_use():
            inputs = obeyed(options, self._inputs(options))
            paths = tuple(edit_path(inputs.context.path, edit) for edit in edits)
            plan, plans = make_forecast(self.name, options, inputs, self.store, paths, self.look)
            return model.Forecast(plan=plan, matrix=tuple(zip(edits, plans, strict=True)))

    def explain(self, options: BuildOptions) -> model.BuildRecord | None:
        """The last build's record; where nothing ran in it, the last one in which something did."""
        path, file = dockerfile_of(options)
        memory = BuildHistory(self.store.context_directory(path), file, options.target)
        return memory.record(with_misses=True) or memory.record()

    def file_groups(self, options: BuildOptions) -> tuple[tuple[str, ...], ...]:
        """The files of a build context, together where their edits do the same; see ``forecast.file_groups``."""
        with collection_paused(), self.store.in_use():
            return file_groups(self._inputs(options))

    def look(self, layers: tuple[str, ...], wants: Selection) -> bool:
        """As ``content``, where the layers are here: a plan fetches none."""
        if any(self.store.layer(diff_id) is None for diff_id in layers):
            return False
        self.content(layers, wants)
        return True

    def content(self, layers: tuple[str, ...], wants: Selection) -> None:
        """Look at what a selection reads from ``layers`` and keep the answer for the solver."""
        paths = [path for path in (self.store.layer_path(diff_id) for diff_id in layers) if path]
        answer = self.worker.ask(ReadContent(layers=paths, selection=wants))
        self.store.put_content(layers, wants, answer)

    # --- images -----------------------------------------------------------------------------------------------------

    def import_layout(self, path: str, reference: str) -> model.ImageRow:
        """Import an image from an OCI layout as ``reference``. Raises ``BaseImageError``."""
        with self.store.in_use():
            return self.bases.import_layout(path, reference)

    def image_row(self, image: str) -> model.ImageRow:
        """The image under a name or an ID (or the start of one). Raises ``UsageError``."""
        return image_store.find(self.store, image)

    def image_config(self, image: str) -> dict[str, Any]:
        """The OCI configuration of an image. Raises ``UsageError``."""
        with self.store.in_use():
            return image_store.config_of(self.store, self.image_row(image))

    def images(self, *, unnamed: bool = False) -> tuple[model.ImageSummary, ...]:
        """All images, newest first."""
        with self.store.in_use():
            return image_store.list_images(self.store, unnamed=unnamed)

    def inspect(self, image: str) -> dict[str, Any]:
        """What ``docker image inspect`` shows. Raises ``UsageError``."""
        with self.store.in_use():
            return image_store.inspect(self.store, self.image_row(image))

    def tag(self, image: str, name: str) -> str:
        """Give an image another name; returns it in full. Raises ``UsageError``."""
        with self.store.in_use():
            return image_store.tag(self.store, self.image_row(image), name).name

    def untag(self, image: str, *, force: bool = False) -> tuple[str, bool]:
        """Take a name away; returns it, and whether the image has none left.

        Raises ``UsageError``, also for the last name of an image that a container is made of, unless ``force`` is given.
        """
        with self.store.in_use():
            return image_store.untag(self.store, image, in_use=() if force else self._containers.rows())

    def view(self, image: str, report: Report | None = None) -> model.ImageView:  # noqa: ARG002
        """An image seen as its layers; quick, so ``report`` is told nothing. Raises ``UsageError``."""
        with self.store.in_use():
            return image_store.view(self.store, self.image_row(image), self.layer_entries(image))

    def verify(self, report: Report) -> model.Verification:
        """Compare every blob and layer with its digest."""
        with self.store.in_use():
            return image_store.verify(self.store, self.worker, report)

    def prune(self, keep: int, report: Report) -> model.Pruned:
        """Remove layers that no image needs, least recently used first, down to ``keep`` bytes of cache; then blobs that nothing needs."""
        return image_store.prune(self.store, self.worker, report, keep=keep, containers=self._containers)

    def pull(self, name: str, report: Report) -> model.ImageRow:
        """Fetch an image from its registry. Raises ``RegistryError``."""
        with self.store.in_use():
            return self.bases.pull(parse_reference(name), report)

    def push(self, name: str, report: Report) -> model.Push:
        """Send an image to the registry that its name says. Raises ``RegistryError``, ``UsageError``."""
        from layerlab.engines.embedded.images.push import push

        with self.store.in_use():
            return push(self.store, self.worker, self.image_row(name), parse_reference(name), report)

    def save(self, names: tuple[str, ...], path: str | None) -> None:
        """Write images to an archive, or to standard output. Raises ``UsageError``, ``StoreError``."""
        from layerlab.engines.embedded.images import archives

        with self.store.in_use():
            self._save(archives.save, [self.image_row(name) for name in names], path)

    def _save(self, write: Callable[..., None], rows: list[model.ImageRow], path: str | None) -> None:
        if path is None:
            write(self.store, self.worker, rows, sys.stdout.buffer)
            return
        temporary = f"{path}.part"
        try:
            with open(temporary, "wb") as stream:
                write(self.store, self.worker, rows, stream)
            os.rename(temporary, path)
        except OSError as error:
            raise UsageError(f"{path} cannot be written: {error.strerror or error}") from error
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(temporary)

    def load(self, path: str) -> list[str]:
        """Read images from an archive or a layout; returns their names. Raises ``UsageError``, ``BaseImageError``."""
        from layerlab.engines.embedded.images import archives

        with self.store.in_use():
            return archives.load(self.store, self.bases, path)

    def history(self, image: str) -> tuple[model.HistoryEntry, ...]:
        """Rows of an image's history, newest first. Raises ``UsageError``."""
        config = self.image_config(image)
        diff_ids = iter(config["rootfs"]["diff_ids"])
        rows = []
        for item in config.get("history", []):
            empty = bool(item.get("empty_layer"))
            diff_id = None if empty else next(diff_ids, None)
            layer = self.store.layer(diff_id) if diff_id is not None else None
            rows.append(
                model.HistoryEntry(
                    created_by=item.get("created_by", ""),
                    size=layer.size if layer is not None else 0,
                    empty_layer=empty,
                    created=item.get("created"),
                    comment=item.get("comment", ""),
                    diff_id=diff_id,
                )
            )
        return tuple(reversed(rows))

    # --- containers -------------------------------------------------------------------------------------------------

    @property
    def _containers(self) -> ContainerStore:
        # Builds and plans load nothing of containers.
        from layerlab.engines.embedded.containers.store import ContainerStore

        return ContainerStore(self.store, self.worker)

    def _new_container(self, image: str, options: ContainerOptions) -> ContainerRow:
        from layerlab.engines.embedded.containers.creation import container_of
        from layerlab.engines.embedded.containers.ports import check_free

        row = self.image_row(image)
        containers = self._containers
        containers.sweep()
        wanted = container_of(image_store.config_of(self.store, row), image, row, options)
        check_free(wanted.ports, containers.holder)
        return containers.create(wanted)

    @contextlib.contextmanager
    def container(
        self,
        image: str,
        **options: Unpack[ContainerOptions],
    ) -> Iterator[Task]:
        """See ``Containers.container``."""
        from layerlab.engines.embedded.containers.task import running_task

        with self.store.in_use():
            row = self._new_container(image, {"remove": True, **options})
            running = False
            try:
                with running_task(
                    row,
                    containers=self._containers,
                    snapshotter=self.snapshotter,
                    executor=self.make_executor(),
                ) as command_:
                    running = True
                    yield command_
            finally:
                if row.remove or not running:
                    self._containers.discard(row)

    def run_detached(
        self,
        image: str,
        **options: Unpack[ContainerOptions],
    ) -> str:
        """See ``Containers.run_detached``."""
        from layerlab.engines.embedded.containers.shim import launch

        with self.store.in_use():
            row = self._new_container(image, options)
            launch(os.path.realpath(self.store_path), row)
        return row.id

    def containers(self, *, stopped: bool = False) -> tuple[model.ContainerSummary, ...]:
        """The running containers, with ``stopped`` all, newest first."""
        containers = self._containers
        found = [containers.summary(row) for row in containers.rows()]
        return tuple(row for row in found if stopped or row.state == "running")

    def container_diff(self, container: str) -> tuple[model.PathChange, ...]:
        """What a container changed in its image, sorted by path. Raises ``UsageError``."""
        row = self._containers.find(container)
        layers = [path for path in (self.store.layer_path(diff_id) for diff_id in row.diff_ids) if path]
        answer = self.worker.ask(FindChanges(directory=row.directory, layers=layers))
        return tuple(model.PathChange(kind=kind, path=f"/{path}") for kind, path in answer.changes)

    def container_logs(self, container: str, output: Output, *, follow: bool = False) -> None:
        """Pass on what a container wrote, with ``follow`` until it ends. The last 5 to 10 MB are kept. Raises ``UsageError``."""
        from layerlab.engines.embedded.containers.log import follow_log, read_log

        containers = self._containers
        row = containers.find(container)
        if follow:
            follow_log(containers.path(row, "log"), output, lambda: containers.is_running(row))
        else:
            read_log(containers.path(row, "log"), output)

    def stop_container(self, container: str, seconds: float = 10) -> None:
        """Ask a container to end, and make it end when it has not done so in time; harmless for one that has. Raises ``UsageError``."""
        containers = self._containers
        containers.stop(containers.find(container), seconds)

    def remove_container(self, container: str, *, force: bool = False) -> None:
        """Remove a container, with ``force`` even one that runs. Raises ``UsageError``."""
        containers = self._containers
        containers.remove(containers.find(container), force=force)

    def layer_entries(self, image: str) -> list[list[LayerEntry]]:
        """The members of every layer of an image, lowest first. Raises ``UsageError``."""
        found = []
        for diff_id in self.image_config(image)["rootfs"]["diff_ids"]:
            path = self.store.layer_path(diff_id)
            found.append(self.worker.ask(ListEntries(layer=path)).entries if path else [])
        return found


class _Throttled:
    """Passes on notes; how far a transfer is, once a second."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._last = 0.0

    def __call__(self, text: str) -> None:
        now = time.monotonic()
        if not isinstance(text, Transferred) or now - self._last >= 1:
            self._last = now
            self._progress(Event(kind="note", text=text))


def _silent(_event: Event) -> None:
    """Progress that nobody watches."""
