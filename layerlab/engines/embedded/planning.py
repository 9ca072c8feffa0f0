"""Planning: the verdicts of a build that is not run, and what assumed edits would cost."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from layerlab.context import BuildContext
from layerlab.context.edits import EditedDirectory
from layerlab.context.tree import Directory
from layerlab.engines.base import BuildOptions
from layerlab.engines.embedded.build import Inputs
from layerlab.explain import Explainer, trace_of
from layerlab.graph import Graph
from layerlab.model import PlanRecord, Status, StepRecord
from layerlab.plan import CacheRecord, CacheView, Decided, Solution, solve

if TYPE_CHECKING:
    from layerlab.engines.embedded.engine import EmbeddedEngine


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


def make_plan(engine: EmbeddedEngine, options: BuildOptions, inputs: Inputs, edits: tuple[str, ...]) -> PlanRecord:
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
