"""Running one step: from an operation and the layers below it to a new layer.

Which step runs, and when, is the engine's business; here is only how.
"""

from __future__ import annotations

import codecs
import contextlib
import errno
import os
import re
import time
from collections.abc import Callable
from typing import Final

import msgspec

from layerlab.context.build_context import BuildContext
from layerlab.context.select import fixed_part
from layerlab.engines.api import BuildOptions
from layerlab.engines.embedded import oom
from layerlab.engines.embedded.builds.host_environment import CA_TARGET, ambient_environment, ca_bundle, proxy_arguments
from layerlab.engines.embedded.builds.mount_sources import RunMounts
from layerlab.engines.embedded.executors.base import Executor, Mount, Process
from layerlab.engines.embedded.rootfs.messages import ContextSource, Copy, InlineSource, LayersSource, MakeDirectories
from layerlab.engines.embedded.rootfs.paths import OF_THE_TREE
from layerlab.engines.embedded.snapshotters import Active, Snapshotter
from layerlab.engines.embedded.stacks.advice import advice
from layerlab.engines.embedded.stacks.npm import lend
from layerlab.engines.embedded.store import Store
from layerlab.engines.embedded.workers import WorkerProcess
from layerlab.errors import ContextError, DockerfileError, ImagePathError, OutOfSpaceError, StepFailedError, StoreError
from layerlab.fsutil import remove_written
from layerlab.interrupt import Stop
from layerlab.offline import offline_folder
from layerlab.solver.graph import Graph
from layerlab.solver.keys import content_sources
from layerlab.solver.ops import CopyOp, MkdirOp, Op, RunOp, Source, variables
from layerlab.solver.plan import Decided, Solution, unsuccessful

_LARGEST_ID: Final = (1 << 31) - 1
LOG_LIMIT: Final = 64 << 10
DISK_FULL: Final = "the disk is full: "
_NETWORK_WORDS: Final = re.compile(
    r"EAI_AGAIN|ENOTFOUND|ENETUNREACH|ECONNREFUSED|ETIMEDOUT|Could not resolve host|Temporary failure in name resolution|"
    r"[Nn]etwork is unreachable|ENOTCACHED|bad address|Name or service not known"
)
_DISK_WORDS: Final = re.compile(r"ENOSPC|No space left on device|Disk quota exceeded")


class UncommittedLayer(msgspec.Struct, frozen=True, kw_only=True):
    """What a step made: a layer directory in its final place, without a digest yet.

    ``owners``: intended owners by path; ``owner``: of new files that are not in it (uid, gid). ``seen``: see ``CacheRecord``.
    """

    number: int
    lowers: list[str]
    owners: dict[str, tuple[int, int]]
    owner: tuple[int, int]
    seconds: float
    log: str
    seen: tuple[str, ...] = ()

    @property
    def layer(self) -> str:
        """The layer directory, relative to the store."""
        return f"s/{self.number}"


class StepRunner:
    """Runs steps of one build."""

    def __init__(
        self,
        store: Store,
        worker: WorkerProcess,
        snapshotter: Snapshotter,
        make_executor: Callable[[], Executor],
        graph: Graph,
        context: BuildContext,
        options: BuildOptions,
        stop: Stop,
    ) -> None:
        self.store = store
        self.worker = worker
        self.snapshotter = snapshotter
        self.make_executor = make_executor
        self.graph = graph
        self.context = context
        self.options = options
        self.stop = stop
        self.log = ""
        self.seconds = 0.0
        self._seen: tuple[str, ...] = ()

    def run(self, decided: Decided, solution: Solution, output: Callable[[str], None]) -> UncommittedLayer:
        """Run the step of ``decided`` on its layers. Raises ``StepFailedError`` and other ``LayerlabError``s; nothing is left behind.

        ``log`` is then what the step wrote, and ``seconds`` what it took, whether it failed or not.
        """
        op = decided.step.op
        assert op is not None
        assert decided.below is not None
        started = time.monotonic()
        self._seen = ()
        below = () if isinstance(op, CopyOp) and op.link else decided.below
        active = self.snapshotter.prepare(below)
        log = _Log(output)
        try:
            owners, owner = self._apply(op, decided, solution, active, log)
            number = self.store.place_layer(active.finish(owners))
            active.keep(f"s/{number}")
        except ImagePathError as error:
            raise self._placed(ImagePathError(error.reason, error.path, of=decided.step.instruction), decided) from error
        except OSError as error:
            if isinstance(error, FileNotFoundError) and isinstance(op, CopyOp):
                raise ContextError(
                    f"a file vanished while the build was reading it: {error.filename}",
                    file=self.graph.file,
                    line=decided.step.line,
                    remedy="Build again.",
                ) from error
            if error.errno in OF_THE_TREE:
                path = str(error.filename or "") if error.errno == errno.ELOOP else ""
                raise self._placed(ImagePathError(error.strerror or str(error), path, of=decided.step.instruction), decided) from error
            raise StoreError(f"{decided.step.instruction}: {error.strerror or error} ({error.filename or 'no file named'})") from error
        finally:
            self.log, self.seconds = log.text(), time.monotonic() - started
            active.discard()
            self._wait_for_room()
        seconds = time.monotonic() - started
        return UncommittedLayer(
            number=number, lowers=active.lowers, owners=owners, owner=owner, seconds=seconds, log=log.text(), seen=self._seen
        )

    def _placed(self, error: ImagePathError, decided: Decided) -> ImagePathError:
        error.file, error.line = self.graph.file, decided.step.line
        return error

    def _wait_for_room(self) -> None:
        # The mounts of a command go a moment after its last process, and with them the space of what was removed.
        for _ in range(20):
            if not self.store.is_full():
                break
            self.worker.settle()
            time.sleep(0.05)

    def _apply(
        self, op: Op, decided: Decided, solution: Solution, active: Active, log: _Log
    ) -> tuple[dict[str, tuple[int, int]], tuple[int, int]]:
        if not isinstance(op, RunOp):
            self._check_owner(op.owner, decided, nothing=not decided.below or (isinstance(op, CopyOp) and op.link))
        if isinstance(op, MkdirOp):
            active.before([])
            made = self.worker.ask(
                MakeDirectories(
                    layers=active.lowers, upper=active.upper, work=active.work, path=op.path, owner=op.owner, created=op.created
                )
            )
            return made.owners, (0, 0)
        if isinstance(op, CopyOp):
            active.before([])
            copied = self.worker.ask(
                Copy(
                    layers=active.lowers,
                    upper=active.upper,
                    work=active.work,
                    dest=op.dest,
                    owner=op.owner,
                    chmod=op.chmod,
                    sources=[self._source(source, decided, position, solution) for position, source in enumerate(op.sources)],
                    exclude=list(op.exclude),
                    unpack=op.unpack,
                    parents=op.parents,
                )
            )
            return copied.owners, (0, 0)
        return self._run(op, decided, solution, active, log)

    def _check_owner(self, owner: str, decided: Decided, *, nothing: bool) -> None:
        """Where a step starts from nothing there is nobody to be found by name; root is a number to BuildKit (``parseUID``)."""
        if nothing and any(part != "root" and not _is_id(part) for part in owner.split(":", 1) if part):
            raise DockerfileError(
                "invalid user index: -1",
                file=self.graph.file,
                line=decided.step.line,
                remedy=f"{owner}: give numbers, for example 1000:1000. There is no /etc/passwd that says who that is: the step starts "
                + ("from nothing, as every COPY --link does." if decided.below else "from scratch."),
            )

    def _source(self, source: Source, decided: Decided, position: int, solution: Solution) -> InlineSource | ContextSource | LayersSource:
        return (
            InlineSource(name=source.path, content=source.content)
            if source.kind == "inline"
            else self._files(source, decided, position, solution)
        )

    def _files(self, source: Source, decided: Decided, position: int, solution: Solution) -> ContextSource | LayersSource:
        content = decided.contents[position]
        assert content is not None
        if source.kind == "context":
            return ContextSource(root=self.context.path, picked=list(content.picked), rows=content.rows())
        if source.kind == "http":
            root = self.graph.remotes[source].directory
            return ContextSource(root=root, picked=list(content.picked), rows=content.rows(), unpack=source.unpack)
        base = fixed_part(source.path) if source.wildcard and not source.pivot else ""
        return LayersSource(layers=self._layers_of(source, solution), picked=list(content.picked), digest=content.digest, base=base)

    def _layers_of(self, source: Source, solution: Solution) -> list[str]:
        if source.kind == "image":
            diff_ids: tuple[str, ...] | None = self.graph.images[source.image].diff_ids
        else:
            diff_ids = solution.last_of(source.stage).layers
        assert diff_ids is not None
        return [path for path in (self.store.layer_path(diff_id) for diff_id in diff_ids) if path]

    # --- RUN --------------------------------------------------------------------------------------------------------

    def _run(
        self, op: RunOp, decided: Decided, solution: Solution, active: Active, log: _Log
    ) -> tuple[dict[str, tuple[int, int]], tuple[int, int]]:
        # A build that runs nothing does not load it.
        from layerlab.engines.embedded.executors.network import Network, network_for

        executor = self.make_executor()
        with contextlib.ExitStack() as stack:
            bundle = ca_bundle(os.environ)
            stand_in = any(image.stand_in for image in self.graph.images.values())
            offline = self.options.offline or offline_folder() is not None or stand_in
            ambient = ambient_environment(os.environ, self.options.build_args, bundle=bundle is not None, offline=offline)
            network = Network("none")
            if op.network != "none":
                # By what the user's own settings name: a Dockerfile must not open a port of this machine's loopback.
                network = Network("host") if op.network == "host" else network_for(executor.helper, ambient)
            mounts = stack.enter_context(self._mounts(op, decided, solution, network.resolver))
            environment = variables(op.env)
            told = unsuccessful(op)
            try:
                prepared = mounts.look_over(active, environment.get("PATH", ""))
            except DockerfileError as error:
                raise DockerfileError(f"{told}: {error.message}", remedy=error.remedy) from error
            if not prepared.command:
                raise StepFailedError(
                    f'{told}: exit code: 1 (exec: "{op.argv[0]}": executable file not found in $PATH)',
                    exit_status=1,
                    file=self.graph.file,
                    line=decided.step.line,
                    remedy=f"The image has no {op.argv[0]}: check the spelling, the base image and PATH.",
                )
            active.before(prepared.stubs)
            environment.setdefault("HOME", prepared.home)
            environment.update(mounts.secret_environment)
            environment = {**proxy_arguments(self.options.build_args), **environment}
            lent: tuple[Mount, ...] = ()
            if op.network != "none":
                folder = offline_folder()
                environment = {**ambient, **environment}
                if bundle is not None:
                    mounts.give(bundle, CA_TARGET)
                if folder is not None:
                    place = os.path.join(self.store.path, self.store.scratch_directory())
                    stack.callback(remove_written, place)
                    loan = lend(folder.packages, place)
                    environment = {**loan.environment, **environment}
                    lent = loan.mounts
            process = Process(
                argv=(prepared.command or op.argv[0], *op.argv[1:]),
                environment=environment,
                cwd=prepared.cwd,
                uid=prepared.uid,
                gid=prepared.gid,
                groups=tuple(prepared.groups),
                network=network.mode,
                ports=network.ports,
                mounts=(*mounts.all(), *lent),
                hostname=op.hostname,
            )
            kills = oom.kills()
            try:
                started = executor.start(active.root(), process)
            except DockerfileError as error:
                # Without the command, which may be what is too long.
                raise DockerfileError(f"RUN: {error.message}", file=self.graph.file, line=decided.step.line, remedy=error.remedy) from error
            with started as running, self.stop.calling(running.stop):
                status = running.wait(log.write)
            self._seen = started.seen
            self.stop.check()
        if status != 0:
            raise self._failure(op, decided, status, log.text(), None if started.ended else kills)
        return prepared.owners, (prepared.uid, prepared.gid)

    def _mounts(self, op: RunOp, decided: Decided, solution: Solution, resolver: bytes | None) -> RunMounts:
        return RunMounts(
            op,
            resolver=resolver,
            store=self.store,
            worker=self.worker,
            secrets=self.options.secrets,
            file=self.graph.file,
            line=decided.step.line,
            sources=[self._files(source, decided, position, solution) for position, source in enumerate(content_sources(op))],
        )

    def _failure(self, op: RunOp, decided: Decided, status: int, log: str, kills: int | None) -> Exception:
        """``kills``: those of the kernel before the command; ``None`` where memory of this machine is not what was wanting."""
        # Not every program says why it could not write.
        if _DISK_WORDS.search(log[-4096:]) or self.store.is_full():
            return OutOfSpaceError(
                f"{DISK_FULL}{decided.step.instruction} ended with exit code {status}",
                file=self.graph.file,
                line=decided.step.line,
                remedy="Free some space, or put the store elsewhere (LAYERLAB_STORE), and build again.",
            )
        remedy = advice(log)
        if remedy is None and _NETWORK_WORDS.search(log[-8192:]):
            remedy = "The step wanted the network and did not reach it: check the connection, the proxy variables and --network."
        if remedy is None and kills is not None:
            remedy = oom.remedy(status, log, kills)
        return StepFailedError(
            f"{unsuccessful(op)}: exit code: {status}",
            exit_status=status,
            file=self.graph.file,
            line=decided.step.line,
            remedy=remedy,
        )


def _is_id(text: str) -> bool:
    """BuildKit's ``parseUID``: larger numbers are names."""
    match = re.fullmatch(r"([-+]?)0*([0-9]{1,10})", text)
    return match is not None and int(match[1] + match[2]) <= _LARGEST_ID


class _Log:
    """Collects the last part of a step's output and passes all of it on, decoded."""

    def __init__(self, output: Callable[[str], None]) -> None:
        self._output = output
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._kept = bytearray()

    def write(self, block: bytes) -> None:
        self._kept += block
        if len(self._kept) > 2 * LOG_LIMIT:
            del self._kept[:-LOG_LIMIT]
        self._output(self._decoder.decode(block))

    def text(self) -> str:
        return bytes(self._kept[-LOG_LIMIT:]).decode("utf-8", "replace")
