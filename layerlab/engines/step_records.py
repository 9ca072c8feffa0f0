"""The record of a step, in builds and in plans, for every engine."""

from __future__ import annotations

import msgspec

from layerlab.model import Cause, KeyPart, Status, StepRecord
from layerlab.solver.graph import Graph
from layerlab.solver.plan import Decided


def step_record(
    graph: Graph,
    decided: Decided,
    status: Status,
    *,
    counts_base: bool,
    diff_id: str | None = None,
    size: int = 0,
    seconds: float = 0.0,
    took: float = 0.0,
    cause: Cause | None = None,
    log: str = "",
    seen: tuple[str, ...] = (),
    made_of: tuple[KeyPart, ...] = (),
    waits_for: int | None = None,
) -> StepRecord:
    """A step as it went, or as it would go; for the other arguments see ``StepRecord``.

    ``counts_base``: whether FROM makes the layers of its base image. It does in a build, and in no plan.
    """
    step = decided.step
    stage = graph.stage(step.stage)
    return StepRecord(
        number=step.number,
        stage=stage.label or "0",
        instruction=step.instruction,
        line=step.line,
        end_line=step.end_line,
        status=status,
        makes_layer=step.op is not None or (counts_base and step.keyword == "FROM" and stage.base_image is not None),
        index=step.index,
        key=decided.out_key if step.keyword == "FROM" else decided.key,
        diff_id=diff_id,
        size=size,
        seconds=round(seconds, 3),
        took=took,
        cause=cause,
        log=log,
        waits_for=waits_for,
        seen=seen or msgspec.UNSET,
        made_of=made_of or msgspec.UNSET,
    )
