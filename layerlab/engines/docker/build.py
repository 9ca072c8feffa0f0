"""One build with Docker: run the client, read its verdicts, and find our reasons for them."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import msgspec

from layerlab.engines.api import BuildOptions, Event, Progress
from layerlab.engines.docker.client import Builder, lost, probe, said
from layerlab.engines.docker.known_builds import DaemonRecords
from layerlab.engines.docker.progress import Reader, Vertex
from layerlab.engines.inputs import Inputs
from layerlab.engines.step_records import step_record
from layerlab.errors import BuildInterruptedError, StoreError
from layerlab.interrupt import Stop
from layerlab.model import BuildRecord, Cause, Failure, HistoryEntry, Status, StepRecord
from layerlab.solver.explain import BuildTrace, Explainer, trace_of
from layerlab.solver.graph import Graph
from layerlab.solver.keys import content_sources
from layerlab.solver.plan import CacheRecord, Decided, Solution, selection_of, solve

_EXIT_STATUS: Final = re.compile(r"did not complete successfully: exit code: (\d+)")
_GRACE_SECONDS: Final = 5.0
_LOST: Final = re.compile(
    r"cannot connect to the docker daemon|error reading from server|transport is closing|connection (?:refused|reset)|"
    r"closing transport|code = unavailable|\bEOF\b|no such file or directory.*docker\.sock|is the docker daemon running",
    re.IGNORECASE,
)


class ImageFacts(msgspec.Struct, frozen=True, kw_only=True):
    """The image that a build made: its ID, layers (lowest first) and history rows (newest first)."""

    id: str
    diff_ids: tuple[str, ...]
    rows: tuple[HistoryEntry, ...]


class DockerBuild:
    """One build in progress."""

    def __init__(
        self, options: BuildOptions, inputs: Inputs, records: DaemonRecords, builder: Builder, progress: Progress, stop: Stop
    ) -> None:
        self.options = options
        self.inputs = inputs
        self.graph: Graph = inputs.graph
        self.records = records
        self.builder = builder
        self.progress = progress
        self.stop = stop
        self.before: BuildTrace | None = inputs.memory.trace()
        self.predicted: Solution = solve(self.graph, inputs.context.root, records)
        self.image_id = ""
        # Under what a daemon may know it: containerd's store has manifests, and says the digest of a configuration all the same.
        self.image_names: tuple[str, ...] = ()
        self._likely = self._likely_causes()
        self._by_place = {(self._label(step.stage), step.index): step.number for step in self.graph.steps if step.index}
        self._vertexes: dict[int, Vertex] = {}
        self._statuses: dict[int, Status] = {}

    def _label(self, stage: int) -> str:
        return self.graph.stage(stage).label

    # --- the client -------------------------------------------------------------------------------------------------

    def run(self) -> Reader:
        """Run the client to its end. Raises ``DockerError`` where no build came about, ``BuildInterruptedError`` on Ctrl-C."""
        for text in (*self.inputs.stand_in, *self.inputs.warnings):
            self.progress(Event(kind="note", text=text))
        reader = Reader(rawjson=self.builder.rawjson, watch=self._watch)
        with tempfile.TemporaryDirectory(prefix="layerlab-docker-") as folder:
            identity, facts = Path(folder, "iid"), Path(folder, "facts")
            files = [f"--iidfile={identity}", *([f"--metadata-file={facts}"] if self.builder.buildx else [])]
            command = [*self.builder.command, *self._flags(Path(folder)), *files, "--", self.inputs.context.path]
            status = self._call(command, reader)
            if status == 0 and identity.exists():
                self.image_id = identity.read_text(encoding="utf-8").strip()
                self.image_names = (self.image_id, *_digests(facts))
        self._match(reader)
        if status != 0 and not any(vertex.verdict == "failed" for vertex in self._vertexes.values()):
            self._check_daemon(reader.error())
        elif status != 0 and _is_full(reader.error()) and _EXIT_STATUS.search(reader.error()) is None:
            raise said(reader.error())
        return reader

    def _check_daemon(self, message: str) -> None:
        problem = probe()
        if problem is not None or _LOST.search(message):
            raise lost(message or (problem.message if problem is not None else ""))
        if _is_full(message):
            raise said(message)

    def _flags(self, folder: Path) -> Iterator[str]:
        options = self.options
        yield "--progress=" + ("rawjson" if self.builder.rawjson else "plain")
        yield f"--file={self.inputs.file}"
        yield f"--network={options.network}"
        for key, value in options.build_args.items():
            yield f"--build-arg={key}={value}"
        for key, value in options.labels.items():
            yield f"--label={key}={value}"
        for number, (key, secret) in enumerate(options.secrets.items()):
            path = folder / f"secret{number}"
            path.touch(mode=0o600)
            path.write_bytes(secret)
            yield f"--secret=id={key},src={path}"
        if options.target:
            yield f"--target={options.target}"
        for name in (options.tag, *options.more_tags):
            if name:
                yield f"--tag={name}"
        if options.no_cache:
            yield "--no-cache"
        if options.no_cache_filter:
            yield "--no-cache-filter=" + ",".join(options.no_cache_filter)
        if options.pull:
            yield "--pull"
        yield from options.handed

    def _call(self, command: list[str], reader: Reader) -> int:
        # A session of its own: Ctrl-C reaches us alone, and we end the client with its plugins.
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env={**os.environ, **self.builder.environment},
            encoding="utf-8",
            errors="replace",
            start_new_session=True,
        )
        assert process.stderr is not None
        try:
            # Ending the client takes a moment, for which whoever asks does not wait.
            ending = threading.Thread(target=_end, args=(process,), daemon=True)
            with process.stderr, self.stop.calling(ending.start):
                reader.read(process.stderr)
            status = process.wait()
            self.stop.check()
            return status
        except KeyboardInterrupt:
            raise BuildInterruptedError("the build was stopped; steps that Docker finished stay cached") from None
        finally:
            _end(process)

    def _watch(self, what: str, vertex: Vertex, text: str) -> None:
        number = self._by_place.get((vertex.stage, vertex.index)) if vertex.index else None
        if number is None:
            return
        if what == "log":
            self.progress(Event(kind="log", text=text))
            return
        decided = self.predicted.steps[number - 1]
        if what == "start":
            if decided.step.op is not None:
                self.progress(Event(kind="start", step=self._record(decided, "skipped", vertex, self._likely.get(number))))
            return
        status: Status = "base" if decided.step.op is None else vertex.verdict  # type: ignore[assignment]
        cause = self._likely.get(number) if status in ("executed", "failed") else None
        self.progress(Event(kind="done", step=self._record(decided, status, vertex, cause)))

    def _likely_causes(self) -> dict[int, Cause]:
        """Causes by what we predict, for whoever watches; the record gets those that Docker's verdicts call for."""
        explainer = Explainer(self.graph, self.before, self.inputs.shown)
        return {
            decided.step.number: explainer.cause(decided, self.predicted) for decided in self.predicted.steps if decided.decision == "run"
        }

    # --- verdicts ---------------------------------------------------------------------------------------------------

    def _match(self, reader: Reader) -> None:
        """Find the vertex of every step. Two stages may share one: the engine prints it under one of them only."""
        vertexes = reader.steps()
        for vertex in vertexes:
            number = self._by_place.get((vertex.stage, vertex.index))
            if number is not None:
                self._vertexes[number] = vertex
        for decided in self.predicted.steps:
            step = decided.step
            if step.op is None or step.number in self._vertexes:
                continue
            twins = (other.step.number for other in self.predicted.steps if other.step.op == step.op and other.step.number != step.number)
            twin = next((self._vertexes[number] for number in twins if number in self._vertexes), None)
            if twin is not None:
                self._vertexes[step.number] = twin
        for decided in self.predicted.steps:
            number = decided.step.number
            if decided.step.op is None:
                self._statuses[number] = "base" if decided.step.keyword == "FROM" else "metadata"
            elif number in self._vertexes:
                self._statuses[number] = self._vertexes[number].verdict  # type: ignore[assignment]
            else:
                # Not solved at all: nothing asked for it. With an image at the end, its result was known.
                self._statuses[number] = "cached" if self.image_id else "skipped"

    def disagreements(self) -> tuple[str, ...]:
        """Where our solver expected another verdict than Docker's."""
        found = []
        for decided in self.predicted.steps:
            ours = {"cached": "cached", "run": "executed"}.get(decided.decision)
            theirs = self._statuses[decided.step.number]
            if ours is None or decided.step.number not in self._vertexes or theirs not in ("cached", "executed", "failed"):
                continue
            if (theirs == "cached") == (ours == "cached"):
                continue
            why = (
                "layerlab has no record of this step; Docker may have built it for someone else"
                if ours == "executed"
                else "Docker may have removed it from its cache"
            )
            found.append(f"step {decided.step.number}: Docker says {theirs}, layerlab's solver says {ours} ({why})")
        return tuple(found)

    # --- memory and causes ------------------------------------------------------------------------------------------

    def finish(self, reader: Reader, executor: str, snapshotter: str, image: ImageFacts | None, started: float) -> BuildRecord:
        """The record of the build, which is also remembered."""
        disagreements = self.disagreements()
        solution = self._learn()
        causes = self._causes(solution)
        sizes = self._sizes(image)
        failed = next((number for number, status in self._statuses.items() if status == "failed"), None)
        steps = []
        for decided in solution.steps:
            number = decided.step.number
            row = self._record(decided, self._statuses[number], self._vertexes.get(number), causes.get(number))
            diff_id, size = sizes.get(number, (None, 0))
            steps.append(msgspec.structs.replace(row, diff_id=diff_id, size=size))
        failure = self._failure(reader, failed) if image is None else None
        record = BuildRecord(
            engine="docker",
            executor=executor,
            snapshotter=snapshotter,
            ids="full",
            context=self.inputs.context.path,
            dockerfile=self.inputs.shown,
            target=self.options.target,
            image=image.id if image is not None else None,
            tag=self.options.tag if image is not None else None,
            seconds=round(time.monotonic() - started, 3),
            steps=tuple(steps),
            stand_in=self.inputs.stand_in,
            warnings=(*self.inputs.warnings, *disagreements),
            checks=self.inputs.checks,
            failure=failure,
        )
        for text in disagreements:
            self.progress(Event(kind="note", text=text))
        try:
            self.inputs.memory.remember(record, trace_of(self.graph, solution, self.inputs.shown, failed=failed))
            self.records.save()
        except OSError as error:
            raise StoreError(
                f"the build cannot be remembered: {error.strerror}", remedy="Free some space in the store and build again."
            ) from error
        self.inputs.context.save()
        return record

    def _learn(self) -> Solution:
        """Record what Docker built, step by step, so that copies from stages get keys too. Returns the final solution."""
        generation = os.urandom(8).hex()
        known: set[int] = set()
        fresh: set[str] = set()
        while True:
            # What was made in this build counts even where the cache was to be ignored.
            solution = solve(self.graph, self.inputs.context.root, self.records, fresh=frozenset(fresh))
            if not (self._learn_steps(solution, known, fresh, generation) or self._learn_content(solution)):
                break
        steps = []
        for decided, first in zip(solution.steps, self.predicted.steps, strict=True):
            ignored = first.ignored_cache or (first.decision == "undecided" and self.graph.stage(decided.step.stage).no_cache)
            steps.append(msgspec.structs.replace(decided, ignored_cache=True) if ignored else decided)
        return Solution(tuple(steps))

    def _learn_steps(self, solution: Solution, known: set[int], fresh: set[str], generation: str) -> bool:
        learnt = False
        for decided in solution.steps:
            number = decided.step.number
            status = self._statuses[number]
            if decided.key is None or number in known or status not in ("cached", "executed"):
                continue
            known.add(number)
            fresh.add(decided.key)
            learnt = True
            record = self.records.lookup(decided.key)
            if record is None or status == "executed":
                # A step that ran again may have made other files under the same key.
                record = CacheRecord(
                    key=decided.key, diff_id=f"{decided.key}:{generation}", size=0, created="", instruction=decided.step.instruction
                )
            self.records.add(record)
        return learnt

    def _learn_content(self, solution: Solution) -> bool:
        decided = next((decided for decided in solution.steps if decided.wants is not None), None)
        if decided is None or decided.wants is None:
            return False
        layers, selection = decided.wants
        digest = None
        if self.before is not None and not self._reads_anew(decided):
            old = next((step for step in self.before.steps if step.op == decided.step.op and step.contents), None)
            op = decided.step.op
            for source, content in zip(
                content_sources(op) if op is not None else (), old.contents if old is not None else (), strict=False
            ):
                if op is None or content is None or source.kind == "context":
                    continue
                if selection_of(source, op, self.graph.like) == selection:
                    digest = content.digest
        self.records.add_content(layers, selection, digest)
        return True

    def _reads_anew(self, decided: Decided) -> bool:
        """Whether what a step read from a stage differs from what it read in the last build, by what Docker did with it.

        A cached step read what it read before. One that ran did not, unless it had to run: with the cache switched off, or emptied.
        """
        if self._statuses[decided.step.number] == "cached" or self.graph.stage(decided.step.stage).no_cache:
            return False
        return not any(first.decision == "cached" and self._statuses[first.step.number] == "executed" for first in self.predicted.steps)

    def _causes(self, solution: Solution) -> dict[int, Cause]:
        explainer = Explainer(self.graph, self.before, self.inputs.shown)
        return {
            decided.step.number: explainer.cause(decided, solution)
            for decided in solution.steps
            if self._statuses[decided.step.number] in ("executed", "failed") and decided.error is None
        }

    def _sizes(self, image: ImageFacts | None) -> dict[int, tuple[str | None, int]]:
        """Diff ID and size of the steps that made the image's layers; of other stages Docker tells nothing."""
        if image is None:
            return {}
        layers = [(row.diff_id, row.size) for row in reversed(image.rows) if not row.empty_layer]
        chain = [self.graph.stage(self.graph.target)]
        while chain[-1].base_stage is not None:
            chain.append(self.graph.stage(chain[-1].base_stage))
        base = chain[-1].base_image
        below = len(base.diff_ids) if base is not None else 0
        found: dict[int, tuple[str | None, int]] = {}
        if base is not None:
            found[chain[-1].steps[0].number] = (None, sum(size for _, size in layers[:below]))
        own = [step.number for stage in reversed(chain) for step in stage.steps if step.op is not None]
        if len(own) == len(layers) - below:
            found.update(zip(own, layers[below:], strict=True))
        return found

    def _record(self, decided: Decided, status: Status, vertex: Vertex | None, cause: Cause | None) -> StepRecord:
        ran = status in ("executed", "failed")
        return step_record(
            self.graph,
            decided,
            status,
            counts_base=True,
            seconds=vertex.seconds if vertex is not None and ran else 0.0,
            cause=cause,
            log=vertex.log if vertex is not None and ran else "",
        )

    def _failure(self, reader: Reader, failed: int | None) -> Failure:
        message = reader.error()
        if failed is not None and self._vertexes[failed].error:
            message = self._vertexes[failed].error
        message = message.removeprefix("failed to solve: ") or "docker build failed without an error message"
        status = _EXIT_STATUS.search(message)
        line = next((step.line for step in self.graph.steps if step.number == failed), None)
        kind = "step-failed" if status else "missing-source" if message.endswith(": not found") and failed is not None else "docker"
        return Failure(
            kind=kind,
            message=message,
            file=self.graph.file if line is not None else None,
            line=line,
            exit_status=int(status[1]) if status else None,
        )


def _is_full(message: str) -> bool:
    return "no space left on device" in message.lower()


def _end(process: subprocess.Popen[Any]) -> None:
    """End the client with everything that it started; harmless when it has ended."""
    if process.poll() is not None:
        return
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        try:
            process.wait(_GRACE_SECONDS)
            return
        except subprocess.TimeoutExpired:
            continue


def _digests(facts: Path) -> list[str]:
    """The digest that the client's metadata say of an image, if any."""
    try:
        found = msgspec.json.decode(facts.read_bytes()).get("containerimage.digest")
    except (OSError, msgspec.MsgspecError, AttributeError):
        return []
    return [found] if isinstance(found, str) else []
