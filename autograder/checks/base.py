"""What every check gives, and the words that several use."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec

from autograder.observe import Observation
from layerlab.model import StepRecord

_LENGTH: Final = 100


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """A verdict on one check: for each part whether it holds, or, from 0 to 1, how much of it. ``message``: in whole sentences."""

    parts: Mapping[str, float]
    message: str


def served(seen: Observation) -> bool:
    """Whether the image served what the edited source says."""
    return seen.answer.says(seen.expected)


def reran(step: StepRecord) -> bool:
    """Whether a step ran, or would have."""
    return step.status in ("executed", "failed", "undecided")


def name_of(step: StepRecord) -> str:
    """A step as a student finds it: line and instruction, shortened and without control characters."""
    text = "".join(letter if letter.isprintable() else " " for letter in step.instruction)
    return f"line {step.line}, {text if len(text) <= _LENGTH else text[: _LENGTH - 1] + '…'}"


def why(step: StepRecord, steps: tuple[StepRecord, ...]) -> str:
    """Why a step ran again, down to the step where it began."""
    cause = step.cause
    if cause is None:
        return "no cause is recorded"
    origin = next((other for other in steps if other.number == cause.origin and other.number != step.number), None)
    if origin is not None and origin.cause is not None:
        return f"it stands on {name_of(origin)}, where {origin.cause.text.rstrip('.')}"
    return cause.text.rstrip(".")
