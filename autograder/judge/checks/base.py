"""What every check gives, and the words that several use."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec

from autograder.judge.observe import Observation
from layerlab.control_characters import without_controls
from layerlab.model import StepRecord

_LENGTH: Final = 100
# Of the files that the app loads: an answer may have other copies of a few, and never of many.
_HELD: Final = 0.95


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """A verdict on one check: for each part whether it holds, or, from 0 to 1, how much of it. ``message``: in whole sentences."""

    parts: Mapping[str, float]
    message: str


def says(seen: Observation) -> bool:
    """Whether the image served what the edited source says, wherever that came from."""
    return seen.serving.answer.says(seen.expected)


def served(seen: Observation) -> bool:
    """Whether the image served what the edited source says, and did so by the app's packages and by the code that was compiled."""
    return says(seen) and not not_the_app(seen)


def not_the_app(seen: Observation) -> str:
    """Why an answer that is right does not come from the app; empty where it does.

    Sources that no step compiled may be compiled when the container starts: that is another check's matter. Where a step compiles, what it
    made must be what answers: else a build could compile for show, and the container anew.
    """
    serving = seen.serving
    wanted = serving.held + len(serving.lacking)
    if serving.held < _HELD * wanted:
        shown = ", ".join(serving.lacking[:2])
        return (
            f"of {wanted} files of packages that the app loads, {serving.held} stand in the image as they are in their packages "
            f"(not there: {shown}), so its answer is not the app's"
        )
    if serving.unloaded:
        return (
            f"what answers does not load {', '.join(serving.unloaded)}: "
            "a line that was put into every copy in the image, and adds a header to every answer, did not show"
        )
    if not serving.code and seen.role("build"):
        return "none of the code that the build compiled stands in the image, so its sources are compiled when it starts"
    if serving.code and not serving.follows:
        return f"the answer does not come from the compiled code: changes of {', '.join(serving.code[:3])} did not show in it"
    return ""


def amount(size: int) -> str:
    """A size in bytes, as a person reads it."""
    return f"{size / (1 << 20):.1f} MiB" if size >= 1 << 20 else f"{size / 1024:.1f} KiB"


def printable(text: str) -> str:
    """A text on one line, without what a terminal would act on."""
    return without_controls(text)


def reran(step: StepRecord) -> bool:
    """Whether a step ran, or would have."""
    return step.status in ("executed", "failed", "undecided")


def name_of(step: StepRecord) -> str:
    """A step as a student finds it: line and instruction, shortened and without control characters."""
    text = printable(step.instruction)
    return f"line {step.line}, {text if len(text) <= _LENGTH else text[: _LENGTH - 1] + '…'}"


def why(step: StepRecord, steps: tuple[StepRecord, ...]) -> str:
    """Why a step ran again, down to the step where it began."""
    cause = step.cause
    if cause is None:
        return "no cause is recorded"
    origin = next((other for other in steps if other.number == cause.origin and other.number != step.number), None)
    if origin is not None and origin.cause is not None:
        return f"it builds on {name_of(origin)}, where {origin.cause.text.rstrip('.')}"
    return cause.text.rstrip(".")
