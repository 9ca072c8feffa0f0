"""Planning, for every engine: the verdicts of a build that is not run, and what assumed edits would cost."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import msgspec

from layerlab.context import BuildContext, Selection
from layerlab.context.edits import EditedDirectory
from layerlab.context.tree import Directory
from layerlab.engines.base import BuildOptions
from layerlab.engines.embedded.state import BuildMemory
from layerlab.engines.inputs import no_context
from layerlab.explain import Explainer, trace_of
from layerlab.graph import Graph
from layerlab.model import PlanRecord, Status, StepRecord
from layerlab.plan import CacheRecord, CacheView, Decided, Solution, solve

Look = Callable[[tuple[str, ...], Selection], None]


class Inputs(msgspec.Struct, frozen=True):
    """What a build reads before it decides anything. ``file`` is the Dockerfile's absolute path, ``shown`` the one for people."""

    context: BuildContext
    graph: Graph
    memory: BuildMemory
    file: str
    shown: str
    warnings: tuple[str, ...] = ()
    stand_in: tuple[str, ...] = ()


class AsBuilt:
    """A cache in which everything that a solution needs counts as built."""

    def __init__(self, cache: CacheView) -> None:
        self._cache = cache
        self._assumed: dict[str, CacheRecord] = {}

    def assume(self, key: str) -> None:
        """Count a key as built."""
        self._assumed[key] = CacheRecord(key=key, diff_id=f"assumed:{key}", size=0, created="")

    def lookup(self, key: str) -> CacheRecord | None:
        """The record under a key, real or assumed."""
        return self._cache.lookup(key) or self._assumed.get(key)

    def content(self, layers: tuple[str, ...], selection: Any) -> Any:
        """What the cache itself says."""
        return self._cache.content(layers, selection)


def make_plan(
    engine: str, options: BuildOptions, inputs: Inputs, cache: CacheView, edits: tuple[str, ...], look: Look | None = None
) -> PlanRecord:
    """The plan of a build, with ``edits`` (paths within the context) assumed to be changed.

    ``look`` reads what the cache's ``content`` then knows; an engine that cannot look leaves it out.
    """
    graph, context = inputs.graph, inputs.context
    before = inputs.memory.trace()
    warnings = list(inputs.warnings)
    solution = solve_looking(graph, context, cache, look)
    if edits:
        if any(decided.decision == "run" for decided in solution.steps):
            warnings.append("not everything has been built yet; the plan shows what the edits would cost once it has")
        assumed = AsBuilt(cache)
        while True:
            missing = [decided.key for decided in solution.steps if decided.decision == "run" and decided.key is not None]
            if not missing:
                break
            for key in missing:
                assumed.assume(key)
            solution = solve(graph, context, assumed)
        before = trace_of(graph, solution, inputs.shown)
        solution = solve(graph, EditedDirectory(context.root, edits, context.rules), assumed)
    explainer = Explainer(graph, before, inputs.shown)
    steps = tuple(planned(graph, decided, explainer, solution) for decided in solution.steps)
    context.save()
    return PlanRecord(
        engine=engine,
        context=context.path,
        dockerfile=inputs.shown,
        target=options.target,
        steps=steps,
        edits=edits,
        stand_in=inputs.stand_in,
        warnings=tuple(warnings),
    )


def solve_looking(graph: Graph, context: BuildContext | Directory, cache: CacheView, look: Look | None) -> Solution:
    """Solve, reading stage contents where the stage is cached: that runs nothing."""
    while True:
        solution = solve(graph, context, cache)
        wants = next((decided.wants for decided in solution.steps if decided.wants is not None), None)
        if wants is None or look is None:
            return solution
        look(*wants)


def planned(graph: Graph, decided: Decided, explainer: Explainer, solution: Solution) -> StepRecord:
    """One step of a plan. Call it in the order of the steps."""
    if decided.error is not None:
        raise decided.error
    status: Status = "executed" if decided.decision == "run" else "undecided" if decided.decision == "undecided" else "cached"
    if decided.decision in ("base", "metadata"):
        status = "base" if decided.decision == "base" else "metadata"
    stage = graph.stage(decided.step.stage)
    known = decided.record is not None and decided.record.diff_id.startswith("sha256:")
    return StepRecord(
        number=decided.step.number,
        stage=stage.label or "0",
        instruction=decided.step.instruction,
        line=decided.step.line,
        end_line=decided.step.end_line,
        status=status,
        makes_layer=decided.step.op is not None,
        index=decided.step.index,
        diff_id=decided.record.diff_id if decided.record is not None and known else None,
        size=decided.record.size if decided.record is not None else 0,
        cause=explainer.cause(decided, solution) if decided.decision == "run" else None,
        waits_for=decided.waits_for if status == "undecided" else None,
    )


def dockerfile_of(options: BuildOptions) -> tuple[str, str]:
    """Absolute paths of the build context and of the Dockerfile. Raises ``UsageError`` when the context is no directory."""
    path = os.path.abspath(options.context)
    if not os.path.isdir(path):
        raise no_context(options.context)
    return path, os.path.abspath(options.file) if options.file is not None else os.path.join(path, "Dockerfile")
