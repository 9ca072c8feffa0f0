"""The solver: what each step of a build would do, and which key decided it, without running anything.

``solve`` is a pure function of the graph, the build context and what the cache holds. An engine calls it before every
step that it runs, so a plan and a build can never disagree: after a step ran, its record is in the cache and the next
call finds it there.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable, Iterator
from typing import Final, Literal, Protocol

from layerlab.context import Selected, Selection, select
from layerlab.context.filesync import followed, sent, sent_alone
from layerlab.context.select import NOTHING, fixed_part, missing, resolve
from layerlab.context.tree import Directory
from layerlab.dockerfile.chars import quoted
from layerlab.errors import ContextError, DockerfileError, LayerlabError, MissingSourceError
from layerlab.records import UNSET, Record
from layerlab.solver.graph import Graph, GraphStage, Like, Step
from layerlab.solver.keys import SCRATCH_KEY, base_key, content_sources, inline_digest, merge_key, step_key
from layerlab.solver.ops import CopyOp, Op, RunOp, Source

# Stands before what is in the place of layers where nobody knows what a URL or a repository gives.
OPAQUE: Final = "remote:"
# What a mount of a path says that is not there; below a file, it is looked for first.
_OPENED: Final = re.compile(r"\Alstat(?=.*: no such file or directory\Z)", re.DOTALL)
_EVERYTHING: Final = Selection("/", False)
Decision = Literal["base", "metadata", "cached", "run", "undecided", "failed"]


class CacheRecord(Record, frozen=True, kw_only=True):
    """The result of a step that ran: its layer, found again by the step's key.

    ``size`` in bytes of regular files; ``created`` in RFC 3339, UTC. ``seen``: what an executor that watches its commands told of the
    one that ran.
    """

    key: str
    diff_id: str
    size: int
    created: str
    seconds: float = 0.0
    instruction: str = ""
    seen: tuple[str, ...] = ()


class CacheView(Protocol):
    """What the solver may ask of a cache. Asking changes nothing."""

    def lookup(self, key: str) -> CacheRecord | None:
        """The record under a key, or ``None``."""
        ...

    def content(self, layers: tuple[str, ...], selection: Selection) -> Selected | None:
        """What a selection reads from the root filesystem made of ``layers`` (diff IDs), or ``None`` when nobody looked yet."""
        ...


class Decided(Record, frozen=True, kw_only=True):
    """One step with its verdict.

    ``key`` is ``None`` where it cannot be known yet; ``out_key`` is the key that the next step builds on.
    ``contents`` belong to the operation's sources, in order; ``waits_for`` is the number of the step that must run (or
    whose output must be read) before this one can be decided. ``below`` are the diff IDs that the step starts from and ``layers``
    those that it ends with, as far as they are known; ``wants`` is the content that nobody has looked at yet, of the source ``asks``;
    ``own``: that is in what the step stands on.
    ``in_turn``: the ``error`` is one that a build meets when it comes to the step, and not when it asks what the step reads.
    """

    step: Step
    decision: Decision
    key: str | None = None
    out_key: str | None = None
    record: CacheRecord | None = None
    contents: tuple[Selected | None, ...] = ()
    ignored_cache: bool = False
    waits_for: int | None = None
    parent: int | None = None
    below: tuple[str, ...] | None = None
    layers: tuple[str, ...] | None = None
    wants: tuple[tuple[str, ...], Selection] | None = None
    asks: Source | None = None
    own: bool = False
    error: LayerlabError | None = None
    in_turn: bool = False


class Solution(Record, frozen=True):
    """All verdicts, by step number."""

    steps: tuple[Decided, ...]

    def next_to_run(self) -> Decided | None:
        """The first step that must run and can: everything it needs is there."""
        return next((decided for decided in self.steps if decided.decision == "run"), None)

    def failing(self) -> Decided | None:
        """The step whose error ends a build now: an error that waits for its turn does so once all before it is done."""
        wrong = [decided for decided in self.steps if decided.error is not None]
        at_once = next((decided for decided in wrong if not decided.in_turn), None)
        if at_once is not None or not wrong:
            return at_once
        number = wrong[0].step.number
        before = any(decided.decision in ("run", "undecided") for decided in self.steps if decided.step.number < number)
        return None if before else wrong[0]

    def last_of(self, stage: int) -> Decided:
        """The last step of a stage."""
        return [decided for decided in self.steps if decided.step.stage == stage][-1]


class _Tip:
    """Where a stage stands after a step."""

    __slots__ = ("forced", "key", "layers", "number", "waits_for")

    def __init__(
        self, key: str | None, layers: tuple[str, ...] | None, number: int, waits_for: int | None = None, *, forced: bool = False
    ) -> None:
        self.key = key
        self.layers = layers
        self.number = number
        self.waits_for = waits_for
        self.forced = forced


def solve(graph: Graph, root: Directory, cache: CacheView, *, fresh: frozenset[str] = frozenset()) -> Solution:
    """Decide every step. ``root``: of the build context.

    ``fresh`` are keys that were made in this very build: they count as hits even where the cache is to be ignored.
    A missing source does not raise: it is the ``error`` of its step.
    """
    return _Solver(graph, root, cache, fresh).solve()


class _Solver:
    def __init__(self, graph: Graph, root: Directory, cache: CacheView, fresh: frozenset[str]) -> None:
        self.graph = graph
        self.root = root
        self.cache = cache
        self.fresh = fresh
        self.tips: dict[int, _Tip] = {}
        self.decided: list[Decided] = []
        self._sent: Directory | None = None

    def solve(self) -> Solution:
        try:
            self.root = sent(self.root, self._asked_for(self.graph.steps))
        except DockerfileError as error:
            error.file, error.line = self.graph.file, self._malformed()
            raise
        for stage in self.graph.stages:
            self._stage(stage)
        return Solution(tuple(self.decided))

    def _stage(self, stage: GraphStage) -> None:
        first = stage.steps[0]
        if stage.base_image is not None:
            tip = _Tip(base_key(stage.base_image.diff_ids), stage.base_image.diff_ids, first.number)
        elif stage.base_stage is not None:
            below = self.tips[stage.base_stage]
            tip = _Tip(below.key, below.layers, below.number, below.waits_for, forced=below.forced)
        else:
            tip = _Tip(SCRATCH_KEY, (), first.number)
        for step in stage.steps:
            if step.op is None:
                decision: Decision = "base" if step.keyword == "FROM" else "metadata"
                self.decided.append(Decided(step=step, decision=decision, layers=tip.layers, out_key=tip.key))
                continue
            decided = self._step(stage, step, tip)
            self.decided.append(decided)
            waits = decided.waits_for
            if decided.decision in ("run", "failed") or (decided.decision == "undecided" and waits is None):
                waits = step.number
            forced = (tip.forced and not self._by_content(step.op)) or _ignores_cache(stage, step)
            tip = _Tip(decided.out_key, decided.layers, step.number, waits, forced=forced)
        self.tips[stage.index] = tip

    def _step(self, stage: GraphStage, step: Step, tip: _Tip) -> Decided:
        op = step.op
        assert op is not None
        if tip.key is None:
            return self._lacking(step, op, tip) or Decided(step=step, decision="undecided", waits_for=tip.waits_for, parent=tip.number)
        digests: list[str] = []
        contents: list[Selected | None] = []
        # Of a source that is looked for in the step's turn: all others are asked for before.
        missed: LayerlabError | None = None
        unread: Decided | None = None
        for source in content_sources(op):
            if source.kind == "inline":
                digests.append(inline_digest(source))
                contents.append(None)
                continue
            selection = selection_of(source, op, self.graph.like)
            try:
                found, waits, wants = self._content(source, selection)
            except LayerlabError as error:
                if not self._is_late(error, step, source, op):
                    return _failed(step, tip, error)
                missed = missed or error
                # The step may be in the cache: nobody has asked for this source.
                contents.append(None)
                if counts(source, op):
                    digests.append(NOTHING)
                continue
            if found is None:
                own = self._is_own(op, source, tip)
                later = Decided(step=step, decision="undecided", waits_for=waits, wants=wants, asks=source, own=own, parent=tip.number)
                if wants is None or counts(source, op):
                    return self._lacking(step, op, tip) or later
                # Only who runs the step has to know it.
                unread = unread or later
                contents.append(None)
                continue
            if counts(source, op):
                digests.append(found.digest)
            contents.append(found)
        parent_key = tip.key
        if self._by_content(op):
            # What is in the root file system counts, and not how it came there: two mounts of one input (``getMountDeps``). Until
            # BuildKit 0.16 a secret did so, too.
            content = None if tip.layers is None else self.cache.content(tip.layers, _EVERYTHING)
            if content is None:
                wants = None if tip.layers is None else (tip.layers, _EVERYTHING)
                return Decided(step=step, decision="undecided", waits_for=tip.waits_for or tip.number, wants=wants, parent=tip.number)
            parent_key = f"content:{content.digest}"
        key = step_key(op, parent_key, tuple(digests))
        out_key = merge_key(tip.key, key) if isinstance(op, CopyOp) and op.link else key
        # What stands on a step that ran without the cache runs too, WORKDIR and child stages included; what only copies from it does not.
        forced = tip.forced and not self._by_content(op)
        ignore = (forced or _ignores_cache(stage, step)) and key not in self.fresh
        record = None if ignore else self.cache.lookup(key)
        if record is None and missed is not None:
            return _failed(step, tip, missed, in_turn=True)
        if record is None and unread is not None:
            return unread
        if record is None:
            lacking = self._missing_directory(op, contents)
            if lacking is not None:
                lacking.line, lacking.file = step.line, self.graph.file
                return _failed(step, tip, lacking, in_turn=True)
        layers = None
        if record is not None and tip.layers is not None:
            layers = (*tip.layers, record.diff_id)
        return Decided(
            step=step,
            decision="cached" if record is not None else "run",
            key=key,
            out_key=out_key,
            record=record,
            contents=tuple(contents),
            ignored_cache=ignore,
            parent=tip.number,
            below=tip.layers,
            layers=layers,
        )

    def _by_content(self, op: Op) -> bool:
        """Whether of what a step stands on the content counts, and not how it came about."""
        return isinstance(op, RunOp) and (op.mounts_parent or (self.graph.like == "26" and _has_secrets(op)))

    def _lacking(self, step: Step, op: Op, tip: _Tip) -> Decided | None:
        """The failure of a step that cannot be decided yet: what the context lacks is missing whatever the steps before it give."""
        late: LayerlabError | None = None
        for source in content_sources(op):
            # A pattern may match nothing.
            if source.kind != "context" or source.wildcard:
                continue
            exclude = op.exclude if isinstance(op, CopyOp) else ()
            try:
                if exclude or resolve(self.root, posixpath.join(source.pivot or "/", source.path.lstrip("/"))) is None:
                    select(self.root, selection_of(source, op, self.graph.like))
            except LayerlabError as error:
                if not self._is_late(error, step, source, op):
                    return _failed(step, tip, error)
                late = late or error
        return None if late is None else _failed(step, tip, late, in_turn=True)

    def _is_late(self, error: LayerlabError, step: Step, source: Source, op: Op) -> bool:
        """Whether an error is one of the step's turn; it gets its line and Docker's words."""
        if error.line is None:
            error.line, error.file = step.line, self.graph.file
        if isinstance(error, MissingSourceError) and error.at_copy and source.kind == "context":
            # What was asked for is there alone: nothing that could be in the way.
            lacking = missing(self._sent_alone(), source.path)
            error.looked = error.looked if lacking is None else lacking.looked()
        return as_docker_says(error, source, op)

    def _sent_alone(self) -> Directory:
        """What the builder gets of the context."""
        if self._sent is None:
            self._sent = sent_alone(self.root, self._asked_for(self.graph.steps))
        return self._sent

    def _is_own(self, op: Op, source: Source, tip: _Tip) -> bool:
        """Whether a source is in what the step stands on."""
        # It stands on nothing, and is laid over the others when it is done.
        if isinstance(op, CopyOp) and op.link:
            return False
        if source.kind == "image":
            return base_key(self.graph.images[source.image].diff_ids) == tip.key
        return source.kind == "stage" and self.tips[source.stage].key == tip.key

    def _missing_directory(self, op: Op, contents: list[Selected | None]) -> LayerlabError | None:
        """The error of a pattern that starts with a directory which the builder does not get.

        A pattern that matches nothing selects nothing, so that ``COPY src/*.txt`` fails unless some other source is in ``src``.
        """
        if not isinstance(op, CopyOp):
            return None
        for source, content in zip(content_sources(op), contents, strict=True):
            if source.kind != "context" or not source.wildcard or source.pivot or content is None or content.picked:
                continue
            lacking = missing(self._sent_alone(), fixed_part(source.path))
            if lacking is not None:
                return ContextError(
                    lacking.looked(),
                    remedy=f"{source.path} matches nothing, and nothing else is taken from there: check it and the ignore file.",
                )
        return None

    def _malformed(self) -> int | None:
        """The line of the first step one of whose sources is no pattern."""
        for step in self.graph.steps:
            try:
                sent(self.root, self._asked_for([step]))
            except DockerfileError:
                return step.line
        return None

    def _asked_for(self, steps: Iterable[Step]) -> set[str]:
        """The paths that the builder asks the client for: sources, and what links among them lead to."""
        paths: set[str] = set()
        for step in steps:
            if isinstance(step.op, RunOp) and any(mount.type == "tmpfs" for mount in step.op.mounts):
                # Such a mount has no source, which is taken for the root of the context.
                return {""}
            if step.op is not None:
                paths.update(f"{source.pivot}/{source.path}" for source in content_sources(step.op) if source.kind == "context")
        return followed(self.root, paths)

    def _content(
        self, source: Source, selection: Selection
    ) -> tuple[Selected | None, int | None, tuple[tuple[str, ...], Selection] | None]:
        if source.kind == "context":
            # A link in what a pattern matched is followed there, and sent is only what the sources name.
            return select(self._sent_alone() if selection.older and selection.wildcard else self.root, selection), None, None
        if source.kind in ("http", "git"):
            remote = self.graph.remotes.get(source)
            if remote is not None:
                return remote.selected, None, None
            # Nobody has asked for it; whoever plans can only take it for what it was.
            return self.cache.content((f"{OPAQUE}{source.url}",), selection), None, None
        if source.kind == "image":
            layers: tuple[str, ...] | None = self.graph.images[source.image].diff_ids
            number = None
        else:
            tip = self.tips[source.stage]
            layers = tip.layers
            number = tip.waits_for or tip.number
            if tip.waits_for is None and self.graph.steps[tip.number - 1].op is None:
                # Nothing runs in that stage: it is its base image, whose layers are not here.
                number = None
        if layers is None:
            return None, number, None
        return self.cache.content(layers, selection), number, (layers, selection)


def _failed(step: Step, tip: _Tip, error: LayerlabError, *, in_turn: bool = False) -> Decided:
    return Decided(step=step, decision="failed", parent=tip.number, error=error, waits_for=step.number, in_turn=in_turn)


def as_docker_says(error: LayerlabError, source: Source, op: Op, *, own: bool = False) -> bool:
    """Word what a source lacks as Docker does where nobody asks for it before the step's turn, and say whether that is so.

    BuildKit looks for a source that another one holds only when it copies or mounts (``dedupeSelectors``, ``dedupePaths``), and so it does
    beside ``--exclude`` (``includedPaths``); it says what that says. ``own``: the source is in the very image or stage that the step stands
    on, which is one input of the two then: of a COPY its content does not count (``markInvalid``), and of a RUN the whole of it does.
    """
    if not isinstance(error, MissingSourceError) or not (own or error.at_copy or _is_covered(source, content_sources(op))):
        return False
    looked = error.looked or f"lstat {source.path}: no such file or directory"
    if isinstance(op, RunOp):
        looked = f"{unsuccessful(op)}: {_OPENED.sub('open', looked)}"
    error.message = looked
    return True


def looked_in_vain(decided: Decided, error: LayerlabError) -> None:
    """Word what a step's stage or image lacks, which was looked at because the step wants to know, as Docker does."""
    if decided.asks is not None and decided.step.op is not None:
        as_docker_says(error, decided.asks, decided.step.op, own=decided.own)


def unsuccessful(op: RunOp) -> str:
    """How BuildKit begins to tell that a command failed."""
    return f"process {quoted(' '.join(op.argv))} did not complete successfully"


def _is_covered(source: Source, others: tuple[Source, ...]) -> bool:
    """Whether another source holds it: a path of its own, for what a pattern matches is looked for at once (``dedupeSelectors``)."""
    return not source.wildcard and any(
        (other.kind, other.stage, other.image) == (source.kind, source.stage, source.image)
        and not other.wildcard
        and other.path != source.path
        and source.path.startswith(other.path.rstrip("/") + "/")
        for other in others
    )


def counts(source: Source, op: Op) -> bool:
    """Whether what a source gives is in the key of its step: not if another one holds it, even where it is a link that leads elsewhere."""
    return bool(isinstance(op, CopyOp) and op.exclude) or not _is_covered(source, content_sources(op))


def _has_secrets(op: RunOp) -> bool:
    return any(mount.type in ("secret", "ssh") for mount in op.mounts)


def _ignores_cache(stage: GraphStage, step: Step) -> bool:
    return stage.no_cache and isinstance(step.op, CopyOp | RunOp)


def read_ahead(decided: Decided, like: Like) -> Iterator[Selection]:
    """What a step reads besides of the layers in its ``wants``. With each answer all steps are decided anew, so one at a time would take a
    step of a thousand sources minutes."""
    op, asks = decided.step.op, decided.asks
    if op is None or asks is None or decided.wants is None:
        return
    for source in content_sources(op):
        if (source.kind, source.stage, source.image) == (asks.kind, asks.stage, asks.image):
            selection = selection_of(source, op, like)
            if selection != decided.wants[1]:
                yield selection


def selection_of(source: Source, op: Op, like: Like) -> Selection:
    """The selection that reads a source of an operation."""
    exclude = op.exclude if isinstance(op, CopyOp) else ()
    older = True if like == "26" else UNSET
    return Selection(source.path, source.wildcard, exclude, bool(source.pivot), source.pivot or "/", older)
