"""How long a build may take, said before it begins."""

from __future__ import annotations

from typing import TYPE_CHECKING

from layerlab.engines.api import BuildOptions
from layerlab.errors import LayerlabError
from layerlab.model import PlanRecord

if TYPE_CHECKING:
    from layerlab.engines.api import Engine

_WORTH_SAYING = 3.0


def estimate(engine: Engine, options: BuildOptions, plan: PlanRecord | None) -> str:
    """One sentence about the time that the build of this plan takes; empty where it is short, or where the build cannot be planned.

    It goes by what the same instructions took in the last build of this Dockerfile. What never ran here has no number, and none is
    invented.
    """
    if plan is None:
        return ""
    try:
        last = engine.explain(options)
    except LayerlabError:
        return ""
    took = {step.instruction: step.seconds for step in last.steps if step.status == "executed"} if last is not None else {}
    runs = [step.instruction for step in plan.steps if step.status == "executed" and step.keyword == "RUN"]
    unknown = [instruction for instruction in runs if instruction not in took]
    if unknown:
        count = f"{len(unknown)} RUN steps" if len(unknown) > 1 else "one RUN step"
        return f"{count} never ran here before; those that install packages take from ten seconds to a few minutes"
    seconds = sum(took[instruction] for instruction in runs)
    return f"about {seconds:.0f} s, going by the last build" if seconds >= _WORTH_SAYING else ""
