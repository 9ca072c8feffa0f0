"""What grading has the embedded engine run commands in: cut off from the network, with a prepared npm cache instead.

The one exception is the trusted app's own install, which fills that cache.
"""

from __future__ import annotations

import contextlib
import functools
import math
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, Literal, cast

import msgspec

from autograder.sandbox.disk import size_answered
from autograder.sandbox.evidence import Evidence
from autograder.sandbox.executions import KnownRuns
from autograder.sandbox.lent_cache import Shelf
from autograder.sandbox.limits import Bounds
from autograder.sandbox.memory_use import Uncountable
from autograder.sandbox.opened_files import Openings
from autograder.sandbox.watch import Peak, Watch
from layerlab.engines.embedded.engine import EmbeddedEngine
from layerlab.engines.embedded.executors.base import BindMount, Executor, Mount, Output, OverlayMount, Process, Root, Running
from layerlab.engines.embedded.host import Host
from layerlab.engines.embedded.rootfs.messages import Answer, Copy, CopyOut, Request, Weigh
from layerlab.engines.embedded.stacks.npm import NPM_CACHE, lend
from layerlab.engines.embedded.store import Store
from layerlab.engines.embedded.workers import CopyLimitError, WorkerProcess
from layerlab.errors import ExecutorError, StepFailedError
from layerlab.fsutil import remove_written

# A proxy's address may have a password in it, a command can print it, and there is no network that a proxy could lead to.
_PROXIES: Final = ("http_proxy", "https_proxy", "ftp_proxy", "no_proxy", "all_proxy", "pip_index_url")
# What npm compiles of itself it keeps in /tmp: in a layer these would be bytes that nobody can account for.
_NO_CODE_CACHE: Final = {"NODE_DISABLE_COMPILE_CACHE": "1"}
_KILLED: Final = 137
TOO_MANY: Final = "more than the kernel keeps count of"
# The kernel ends what runs in a sandbox before anything else (proc(5)).
_FIRST_TO_GO: Final = 1000


class NotIsolatedError(ExecutorError):
    """Nothing on this machine keeps a student's build in, so none is run."""


class _Confined:
    """An executor whose commands see the npm cache and, unless it is being filled, no network but their own loopback.

    ``shelf``  lends the cache where a submission is watched. ``cpu``: the processor that commands stay on. Who watches them is on none
    in particular: hundreds of them can have that for themselves.
    """

    def __init__(
        self,
        inner: Executor,
        cache: str,
        watch: Watch | None,
        bounds: Bounds | None,
        *,
        filling: bool,
        overlay: bool,
        shelf: Shelf | None = None,
        cpu: int | None = None,
    ) -> None:
        self._cpu = cpu
        self._inner = inner
        self._shelf = shelf
        self._bounds = bounds
        self._cache = cache
        self._watch = watch
        self._filling = filling
        self._overlay = overlay
        self.name = inner.name
        self.helper = inner.helper if filling else None
        self.ids: Literal["full", "single"] = inner.ids

    def run(self, root: Root, process: Process, output: Output) -> int:
        """See ``Executor.run``."""
        with self.start(root, process) as running:
            return running.wait(output)

    def start(self, root: Root, process: Process) -> Running:
        """See ``Executor.start``."""
        with contextlib.ExitStack() as stack:
            taken: set[str] = set()
            environment, mounts = self._filled() if self._filling else self._lent(stack, taken)
            changed = msgspec.structs.replace(
                process,
                network=process.network if self._filling else "none",
                environment={
                    **_NO_CODE_CACHE,
                    **environment,
                    **(process.environment if self._filling else _without_proxies(process.environment)),
                },
                mounts=(*process.mounts, *mounts),
                cgroups=self._watch.groups if self._watch is not None else (),
                oom_score_adj=0 if self._filling else _FIRST_TO_GO,
                neighbourly=not self._filling,
            )
            places = [root.tree or root.upper, *_written(changed.mounts)]
            before = self._watch.interventions if self._watch is not None else 0
            if self._watch is not None:
                self._watch.disk.opened(places)
            with self._bounds.unlimited() if self._bounds is not None else contextlib.nullcontext(), _on(self._cpu):
                running = self._inner.start(root, changed)
            peak = stack.enter_context(self._watch.measured()) if self._watch is not None else None
            return _Owning(running, stack.pop_all(), self._watch, places, before, taken, peak)

    def _filled(self) -> tuple[dict[str, str], tuple[Mount, ...]]:
        """The cache itself, for the trusted install that fills it."""
        return {"npm_config_cache": NPM_CACHE}, (BindMount(source=self._cache, target=NPM_CACHE, readonly=False),)

    def _lent(self, stack: contextlib.ExitStack, taken: set[str]) -> tuple[dict[str, str], tuple[Mount, ...]]:
        """The cache for one command: its environment and mounts. What one command leaves in it would be another student's packages, so
        none sees another's. It lies on the disk that is watched. When ``stack`` ends, ``taken`` is what was opened."""
        if self._shelf is None:
            # The directory is the system's, which may be no place for an overlay.
            lent = lend(self._cache)
            stack.callback(remove_written, lent.place)
            return lent.environment, lent.mounts
        lent, packages = self._shelf.lend(overlay=self._overlay)
        stack.callback(remove_written, lent.place)
        openings = stack.enter_context(Openings(packages))
        stack.callback(_note, self._shelf, taken, openings)
        return lent.environment, lent.mounts


@contextlib.contextmanager
def _on(cpu: int | None) -> Iterator[None]:
    """For the length of the block, this thread and what it starts is on one processor."""
    before = os.sched_getaffinity(0)
    if cpu is not None:
        with contextlib.suppress(OSError):
            os.sched_setaffinity(0, {cpu})
    try:
        yield
    finally:
        if cpu is not None:
            os.sched_setaffinity(0, before)


def _note(shelf: Shelf, taken: set[str], openings: Openings) -> None:
    taken |= shelf.packages(openings.names())
    if openings.overflowed:
        # What a command that installs would never do is no way to be seen less.
        taken.add(TOO_MANY)


def _written(mounts: tuple[Mount, ...]) -> Iterator[str]:
    """The directories on disk that a command writes to through its mounts."""
    for mount in mounts:
        if isinstance(mount, OverlayMount):
            yield mount.upper
        elif isinstance(mount, BindMount) and not mount.readonly:
            yield mount.source


def _without_proxies(environment: Mapping[str, str]) -> dict[str, str]:
    """Variables without the way of this machine to the network. What a Dockerfile sets itself stays."""
    return {key: value for key, value in environment.items() if key.lower() not in _PROXIES or value != os.environ.get(key)}


class _Owning(contextlib.AbstractContextManager["Running"]):
    """A started command with what was made for it alone, which goes when it has ended, and with limits on what it writes.

    ``places``  the directories that it can write to. ``before``: the watch's interventions until it was started. ``taken`` and ``peak``
    are complete when ``stack`` has ended.
    """

    def __init__(
        self,
        running: Running,
        stack: contextlib.ExitStack,
        watch: Watch | None,
        places: list[str],
        before: int,
        taken: set[str],
        peak: Peak | None,
    ) -> None:
        self._taken = taken
        self._peak = peak
        self._running = running
        self._stack = stack
        self._watch = watch
        self._places = places
        self._before = before

    def __enter__(self) -> Running:
        return self

    def __exit__(self, *details: Any) -> None:
        with self._stack:
            self._running.__exit__(*details)

    @property
    def seen(self) -> tuple[str, ...]:
        """See ``Running.seen``; in the words of ``Evidence``."""
        return Evidence(frozenset(self._taken), self._peak.size).told() if self._peak is not None else ()

    @property
    def ended(self) -> bool:
        """See ``Running.ended``."""
        return self._watch is not None and self._watch.interventions > self._before

    def wait(self, output: Output) -> int:
        """See ``Running.wait``. A command that writes without end is ended; what comes after the limit is not passed on."""
        watch, written = self._watch, 0

        def limited(block: bytes) -> None:
            nonlocal written
            if watch is None or written <= watch.log_bytes:
                output(block)
                written += len(block)
                if watch is not None and written > watch.log_bytes:
                    watch.too_much_output()
                    self._running.stop()

        try:
            status = self._running.wait(limited)
        except ExecutorError:
            # One that the watch ended before it began: no trouble of the executor's.
            if not self.ended:
                raise
            status = _KILLED
        if watch is None:
            return status
        if status != 0:
            watch.disk.probe()
            watch.killed()
        # Before anything is read that it left: a file of holes takes no space, and for ever to read.
        try:
            if watch.disk.closed(self._places):
                watch.too_much_disk()
                return _KILLED
        except Uncountable as problem:
            watch.cannot_be_counted(problem)
            return _KILLED
        return status

    def stop(self) -> None:
        """See ``Running.stop``."""
        self._running.stop()

    def signal(self, number: int) -> None:
        """See ``Running.signal``."""
        self._running.signal(number)

    def kill(self) -> None:
        """See ``Running.kill``."""
        self._running.kill()


class _CountedWorker(WorkerProcess):
    """The process that handles files; what it copies for a step counts as what the step writes."""

    def __init__(self, store: str, mode: str, snapshotter: str, watch: Watch, bounds: Bounds | None) -> None:
        super().__init__(store, mode, snapshotter)
        self._watch = watch
        self._bounds = bounds

    def ask(self, request: Request[Answer]) -> Answer:
        """See ``WorkerProcess.ask``. Raises ``StepFailedError`` where a copy would be too much: a few lines can multiply a large file."""
        if not isinstance(request, Copy | CopyOut):
            return super().ask(request)
        try:
            with self._bounds.during("copying files") if self._bounds is not None else contextlib.nullcontext():
                answer = super().ask(msgspec.structs.replace(request, limit=self._watch.disk.left))
        except CopyLimitError as error:
            raise StepFailedError(f"the copy was stopped: {self._watch.too_much_disk()}", exit_status=1) from error
        self._watch.disk.written(answer.written)
        return cast("Answer", answer)


class Sandbox(contextlib.AbstractContextManager["Sandbox"]):
    """What grading has an embedded engine work with (``Runtime``), for untrusted builds.

    ``cache``  directory of the prepared npm cache. ``watch``  sees what commands use. ``patience``: see ``Runtime``. ``bounds``  of this
    process, which is told what it is doing. ``cpu``: the processor that commands stay on. ``filling``: for the build of the trusted app
    with the trusted solution that fills the cache, and for no other: commands have the network, and the cache itself.
    """

    def __init__(
        self,
        cache: str,
        watch: Watch | None = None,
        *,
        patience: float = math.inf,
        bounds: Bounds | None = None,
        cpu: int | None = None,
        filling: bool = False,
    ) -> None:
        self.patience = patience
        self._cache = os.path.abspath(cache)
        self._watch = watch
        self._bounds = bounds
        self._cpu = cpu
        self._filling = filling
        self._runs_all = False
        self._shelf: Shelf | None = None
        self._scale: WorkerProcess | None = None

    def __exit__(self, *_: object) -> None:
        """End what measures, and remove what was made to lend."""
        if self._scale is not None:
            self._scale.close()
            self._scale = None
        if self._shelf is not None:
            self._shelf.close()
            self._shelf = None

    def engine(self, store: str) -> EmbeddedEngine:
        """An engine on that store whose commands run in this sandbox. Close it before the sandbox."""
        return EmbeddedEngine(store, self)

    @contextlib.contextmanager
    def running_all(self) -> Iterator[None]:
        """Builds in which every command runs, whoever has run it before."""
        self._runs_all = True
        try:
            yield
        finally:
            self._runs_all = False

    @property
    def has_room(self) -> bool:
        """Whether it is known that the disk had room all the time, so that a step that says otherwise is wrong."""
        return self._watch is not None and not self._watch.disk.scarce

    def known_runs(self, store: Store) -> KnownRuns | None:
        """The commands that ran for all students. The trusted install is there to fill the npm cache, so it must run, and so must what is
        to show that it takes nothing from it."""
        return None if self._filling or self._runs_all else KnownRuns(store, Path(store.path).parent / "executions")

    def make_worker(self, host: Host, store: Store) -> WorkerProcess:
        """See ``Runtime.make_worker``."""
        if self._watch is None:
            return WorkerProcess(store.path, host.worker, host.snapshotter)
        self._watch.disk.measure = functools.partial(self._measured, host, store)
        return _CountedWorker(store.path, host.worker, host.snapshotter, self._watch, self._bounds)

    def _measured(self, host: Host, store: Store, place: str) -> int:
        """What a directory weighs, by a process that may look into it: inside the user namespace it is root. Raises ``Uncountable``.

        It is one of its own: a thread measures, and the other worker may be busy.
        """
        if self._scale is None:
            self._scale = WorkerProcess(store.path, host.worker, host.snapshotter)
        return size_answered(self._scale.ask(Weigh(path=os.path.abspath(place))))

    def make_executor(self, host: Host, worker: WorkerProcess) -> Executor:
        """The executor of this host, confined. Raises ``NotIsolatedError`` where none isolates."""
        if not host.isolates:
            raise NotIsolatedError("nothing on this machine can isolate a student's build", remedy="Run `layerlab doctor`: it says why.")
        if self._shelf is None and self._watch is not None and not self._filling:
            self._shelf = Shelf(self._cache, self._watch.disk.directory)
        return _Confined(
            host.make_executor(worker),
            self._cache,
            self._watch,
            self._bounds,
            filling=self._filling,
            overlay=host.snapshotter == "overlay",
            shelf=self._shelf,
            cpu=self._cpu,
        )
