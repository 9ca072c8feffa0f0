"""Planning, for every engine: the verdicts of a build that is not run, and what assumed edits would cost."""

from __future__ import annotations

import contextlib
import hashlib
import stat
from collections.abc import Callable

import msgspec

from layerlab.context import Selection
from layerlab.context.edits import EditedDirectory
from layerlab.context.select import Selected, select
from layerlab.context.tree import Directory, rows_of
from layerlab.engines.api import BuildOptions
from layerlab.engines.inputs import Inputs
from layerlab.engines.key_parts import key_parts
from layerlab.engines.step_records import step_record
from layerlab.errors import LayerlabError
from layerlab.model import PlanRecord, Status, StepRecord
from layerlab.solver.explain import BuildTrace, Explainer, trace_of
from layerlab.solver.graph import Graph, Like
from layerlab.solver.keys import content_sources
from layerlab.solver.ops import CopyOp
from layerlab.solver.plan import CacheRecord, CacheView, Decided, Solution, counts, looked_in_vain, read_ahead, selection_of, solve

Look = Callable[[tuple[str, ...], Selection], bool]


class AsBuilt:
    """A cache in which everything that a solution needs counts as built.

    What nobody has looked at in a stage is a name for it: the same layers have the same content, whatever that is.
    """

    def __init__(self, cache: CacheView) -> None:
        self._cache = cache
        self._assumed: dict[str, CacheRecord] = {}

    def assume(self, key: str) -> None:
        """Count a key as built."""
        self._assumed[key] = CacheRecord(key=key, diff_id=f"assumed:{key}", size=0, created="")

    def lookup(self, key: str) -> CacheRecord | None:
        """The record under a key, real or assumed."""
        return self._cache.lookup(key) or self._assumed.get(key)

    def content(self, layers: tuple[str, ...], selection: Selection) -> Selected:
        """What the cache itself says, or a name for it."""
        found = self._cache.content(layers, selection)
        if found is not None:
            return found
        return Selected(hashlib.sha256(msgspec.json.encode([layers, selection])).hexdigest(), (), [])


def make_plan(
    engine: str, options: BuildOptions, inputs: Inputs, cache: CacheView, edits: tuple[str, ...], look: Look | None = None
) -> PlanRecord:
    """The plan of a build, with ``edits`` (paths within the context) assumed to be changed.

    ``look`` reads what the cache's ``content`` then knows, and says whether it could; an engine that cannot look leaves it out.
    """
    if edits:
        return _WhatIf(engine, options, inputs, cache, look).plan(edits)
    solution = solve_looking(inputs.graph, inputs.context.root, cache, look)
    _refuse_what_fails(solution)
    record = _record(engine, options, inputs, solution, inputs.memory.trace())
    inputs.context.save()
    return record


def _refuse_what_fails(solution: Solution) -> None:
    """Raise what a build fails with: what it meets only when it comes to a step after all others."""
    wrong = [(decided.in_turn, decided.error) for decided in solution.steps if decided.error is not None]
    for _, error in sorted(wrong, key=lambda pair: pair[0]):
        raise error


def make_matrix(
    engine: str, options: BuildOptions, inputs: Inputs, cache: CacheView, edits: tuple[str, ...], look: Look | None = None
) -> tuple[PlanRecord, ...]:
    """The plan of each edit alone: what ``make_plan`` says of it, but for the work that all of them share."""
    if not edits:
        return ()
    what_if = _WhatIf(engine, options, inputs, cache, look)
    return tuple(what_if.plan((edit,)) for edit in edits)


def make_forecast(
    engine: str, options: BuildOptions, inputs: Inputs, cache: CacheView, edits: tuple[str, ...], look: Look | None = None
) -> tuple[PlanRecord, tuple[PlanRecord, ...]]:
    """The plan without an edit, and those of ``make_matrix``."""
    return make_plan(engine, options, inputs, cache, (), look), make_matrix(engine, options, inputs, cache, edits, look)


def file_groups(inputs: Inputs) -> tuple[tuple[str, ...], ...]:
    """The files that an ignore file lets through, together where an edit of one does what an edit of the other does.

    That is where the same sources select them. Groups stand in the order of their first files. Raises ``ContextError``.
    """
    graph, root = inputs.graph, inputs.context.root
    files = [row[0] for row in rows_of(root) if not stat.S_ISDIR(row[1])]
    selected: list[frozenset[str]] = []
    for step in graph.steps:
        if step.op is None:
            continue
        for source in content_sources(step.op):
            if source.kind == "context":
                # What is not there is the error of its own step, and every plan's.
                with contextlib.suppress(LayerlabError):
                    selected.append(frozenset(select(root, selection_of(source, step.op, graph.like)).reads()))
    groups: dict[tuple[bool, ...], list[str]] = {}
    for file in files:
        groups.setdefault(tuple(file in paths for paths in selected), []).append(file)
    return tuple(map(tuple, groups.values()))


class _WhatIf:
    """Plans of assumed edits against a build that counts as done, whether it was or not.

    There are three answers. A step is executed where its key is new; and also where it waits for a stage, but builds on a step that is
    executed or copies what the edit changes: then its key is new, whatever the stage will give. It is undecided where that alone decides.
    """

    def __init__(self, engine: str, options: BuildOptions, inputs: Inputs, cache: CacheView, look: Look | None) -> None:
        self._engine = engine
        self._options = options
        graph, root = inputs.graph, inputs.context.root
        solution = solve_looking(graph, root, cache, look)
        self._unbuilt = any(decided.decision == "run" for decided in solution.steps)
        if self._unbuilt:
            text = "not everything has been built yet; the plan shows what the edits would cost once it has"
            inputs = msgspec.structs.replace(inputs, warnings=(*inputs.warnings, text))
        self._inputs = inputs
        self._assumed = AsBuilt(cache)
        while True:
            # At least once: what is undecided without the assumption runs with it.
            solution = solve(graph, root, self._assumed)
            missing = [decided.key for decided in solution.steps if decided.decision == "run" and decided.key is not None]
            # A step that may not use the cache runs whatever is in it.
            missing = [key for key in missing if self._assumed.lookup(key) is None]
            if not missing:
                break
            for key in missing:
                self._assumed.assume(key)
        self._before = trace_of(graph, solution, inputs.shown)
        self._as_built = {decided.step.number: decided for decided in solution.steps}

    def plan(self, edits: tuple[str, ...]) -> PlanRecord:
        """The plan with these paths changed."""
        context = self._inputs.context
        root = EditedDirectory(context.root, edits, context.rules)
        solution = self._certain(solve(self._inputs.graph, root, self._assumed), root)
        _refuse_what_fails(solution)
        record = _record(self._engine, self._options, self._inputs, solution, self._before, edits)
        context.save()
        return msgspec.structs.replace(record, assumed=True) if self._unbuilt else record

    def _certain(self, solution: Solution, root: Directory) -> Solution:
        """The same, with what runs in any case."""
        # Steps whose successors have keys that are new.
        new: set[int] = set()
        steps = []
        for decided in solution.steps:
            above = decided.parent in new
            if decided.decision == "undecided":
                contents = self._known(decided, root)
                pairs = zip(contents, self._as_built[decided.step.number].contents, strict=False)
                changed = any(one is not None and old is not None and one.digest != old.digest for one, old in pairs)
                # What COPY --link makes does not depend on what it is laid on.
                linked = isinstance(decided.step.op, CopyOp) and decided.step.op.link
                if changed or (above and not linked):
                    decided = msgspec.structs.replace(decided, decision="run", contents=contents, waits_for=None)
            if above or decided.decision == "run":
                new.add(decided.step.number)
            steps.append(decided)
        return Solution(tuple(steps))

    def _known(self, decided: Decided, root: Directory) -> tuple[Selected | None, ...]:
        """What an undecided step reads, as far as that is not a stage's."""
        op = decided.step.op
        if op is None:
            return ()
        found: list[Selected | None] = []
        for source in content_sources(op):
            content = None
            if source.kind == "context" and counts(source, op):
                # What is not there is an error as soon as the step can be decided.
                with contextlib.suppress(LayerlabError):
                    content = select(root, selection_of(source, op, self._inputs.graph.like))
            found.append(content)
        return tuple(found)


def _record(
    engine: str, options: BuildOptions, inputs: Inputs, solution: Solution, before: BuildTrace | None, edits: tuple[str, ...] = ()
) -> PlanRecord:
    explainer = Explainer(inputs.graph, before, inputs.shown)
    # A step that two stages have runs once: by then the second has it in the cache.
    first: dict[str, int] = {}
    again = set()
    for decided in solution.steps:
        if (
            decided.decision == "run"
            and decided.key is not None
            and first.setdefault(decided.key, decided.step.number) != decided.step.number
        ):
            again.add(decided.step.number)
    took = inputs.memory.durations()
    return PlanRecord(
        engine=engine,
        context=inputs.context.path,
        dockerfile=inputs.shown,
        target=options.target,
        steps=tuple(
            planned(
                inputs.graph,
                decided,
                explainer,
                solution,
                again=decided.step.number in again,
                # Of the plan itself: nobody asks it of each row of a matrix.
                keys=not edits,
                took=took.get(decided.step.instruction, 0.0),
            )
            for decided in solution.steps
        ),
        edits=edits,
        stand_in=inputs.stand_in,
        warnings=inputs.warnings,
    )


def solve_looking(graph: Graph, root: Directory, cache: CacheView, look: Look | None) -> Solution:
    """Solve, reading stage contents where the stage is cached: that runs nothing."""
    while True:
        solution = solve(graph, root, cache)
        if look is None or not any(_looked(decided, look, cache, graph.like) for decided in solution.steps):
            return solution


def _looked(decided: Decided, look: Look, cache: CacheView, like: Like) -> bool:
    if decided.wants is None:
        return False
    layers, selection = decided.wants
    try:
        if not look(layers, selection):
            return False
    except LayerlabError as error:
        looked_in_vain(decided, error)
        raise
    with contextlib.suppress(LayerlabError):
        for selection in read_ahead(decided, like):
            if cache.content(layers, selection) is None:
                look(layers, selection)
    return True


def planned(
    graph: Graph, decided: Decided, explainer: Explainer, solution: Solution, *, again: bool = False, keys: bool = False, took: float = 0.0
) -> StepRecord:
    """One step of a plan. Call it in the order of the steps.

    ``again``: a step before has made it by then. ``keys``: with what its key is made of. ``took``: see ``StepRecord``.
    """
    if decided.error is not None:
        raise decided.error
    runs = decided.decision == "run" and not again
    status: Status = "executed" if runs else "undecided" if decided.decision == "undecided" else "cached"
    if decided.decision in ("base", "metadata"):
        status = "base" if decided.decision == "base" else "metadata"
    record = decided.record
    return step_record(
        graph,
        decided,
        status,
        counts_base=False,
        diff_id=record.diff_id if record is not None and record.diff_id.startswith("sha256:") else None,
        size=record.size if record is not None else 0,
        took=took,
        made_of=key_parts(decided, solution) if keys else (),
        cause=explainer.cause(decided, solution) if runs else None,
        waits_for=decided.waits_for if status == "undecided" else None,
    )
