"""The chain of cache keys as data: each step's key, what it is made of, and whether it is another one than in the last build."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from layerlab.model import BuildRecord, PlanRecord, StepRecord
from layerlab.widgets.shapes import KeyFact, KeyLink
from layerlab.widgets.words import one_line

_NAMES: Final = {"parent": "Step before", "instruction": "Instruction", "files": "Files"}


def key_links(plan: PlanRecord, before: Mapping[str, str]) -> list[KeyLink]:
    """The chain of a plan. ``before``: the keys of the last build, by stage and place in it."""
    now = keys_of(plan)
    links = []
    for place, step in _placed(plan):
        parts = step.made_of or ()
        links.append(
            KeyLink(
                number=step.number,
                instruction=one_line(step.instruction),
                stage=step.stage,
                layer=step.makes_layer or step.status == "base",
                key=step.key or "",
                changed=bool(before) and place in now and before.get(place) != now[place],
                parts=[KeyFact(name=_NAMES[part.kind], text=one_line(part.text), digest=part.digest) for part in parts],
            )
        )
    return links


def keys_of(plan: PlanRecord | BuildRecord) -> dict[str, str]:
    """The keys of a plan or a build, by stage and place in it."""
    return {place: step.key for place, step in _placed(plan) if step.key}


def _placed(plan: PlanRecord | BuildRecord) -> list[tuple[str, StepRecord]]:
    counts: dict[str, int] = {}
    found = []
    for step in plan.steps:
        counts[step.stage] = counts.get(step.stage, 0) + (step.status != "metadata")
        found.append((f"{step.stage} {counts[step.stage]}{' ' + step.instruction if step.status == 'metadata' else ''}", step))
    return found
