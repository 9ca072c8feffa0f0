"""How long a build may take, said before it begins."""

from __future__ import annotations

from layerlab.model import PlanRecord

_WORTH_SAYING = 3.0


def estimate(plan: PlanRecord | None) -> str:
    """One sentence about the time that the build of this plan takes; empty where it is short, or where the build cannot be planned.

    It goes by what the same instructions took when they last ran. What never ran here has no number, and none is invented.
    """
    runs = [step for step in plan.steps if step.status == "executed" and step.keyword == "RUN"] if plan is not None else []
    unknown = [step for step in runs if not step.took]
    if unknown:
        count = f"{len(unknown)} RUN steps" if len(unknown) > 1 else "one RUN step"
        return f"{count} never ran here before; those that install packages take from ten seconds to a few minutes"
    seconds = sum(step.took for step in runs)
    return f"about {seconds:.0f} s, going by the last time" if seconds >= _WORTH_SAYING else ""
