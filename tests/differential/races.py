"""What is a race in Docker, which builds stages side by side: of several steps that fail, which one the build ends with."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from layerlab.dockerfile import parse
from tests.conformance.cases import Row
from tests.conformance.outcome import Outcome, Runner

from .ancestry import Outline, dockerfile_of
from .compared import Found, asked_first, outcomes
from .known import reason

_FAILING: Final = 5
_LACKING: Final = "failed to compute cache key"


def race(case: dict[str, Any], found: Found, embedded: Runner) -> str:
    """Why a build may end with another error, or the empty string.

    Both must have failed in a step, for what is read before there are steps is read in order; and neither step may stand on the
    other, but where both lack a source: sources are looked for at once, whatever the steps below are at. Without our failed step,
    which is made a comment, we must fail in Docker's, and say the same.
    """
    if found.kind not in ("error", "verdicts") or found.wanted.error is None or found.actual.error is None:
        return ""
    ours = [row for row in found.actual.rows if row.error]
    if len(ours) != 1:
        return ""
    outline = Outline(dockerfile_of(case, found.build))
    rows = [*found.wanted.rows, *found.actual.rows]
    # A source is looked at beside what the step stands on; what has the source comes first.
    first = asked_first(found.wanted.error)
    lacking = all(_LACKING in error for error in (found.wanted.error, found.actual.error))
    below = [] if lacking else outline.above(ours[0], rows)
    told = [
        row
        for row in found.wanted.rows
        if row.error
        and not any(_same(row, other) for other in (ours[0], *below))
        and not any(_same(ours[0], other) for other in outline.above(row, rows, sources=first))
    ]
    if not told:
        return ""
    dropped: set[int] = set()
    for _ in range(_FAILING):
        outcome = outcomes(_without_lines(case, found.build, dropped), embedded)[found.build - 1]
        failed = [row for row in outcome.rows if row.error]
        if outcome.error is None or len(failed) != 1:
            return ""
        alike = [row for row in told if _same(row, failed[0])]
        # Of one step with several faults either engine may tell of another one.
        one = Outcome(rows=alike, error=found.wanted.error)
        if alike and (found.piece() in outcome.error or reason(case, _with(found, one, Outcome(rows=alike, error=outcome.error)))):
            return "several steps fail, and Docker, which builds side by side, tells of another one first"
        if outcome.line is None or outcome.line in dropped:
            return ""
        dropped |= _lines(dockerfile_of(case, found.build), outcome.line)
    return ""


def _with(found: Found, wanted: Outcome, actual: Outcome) -> Found:
    return msgspec.structs.replace(found, kind="error", wanted=wanted, actual=actual)


def _same(left: Row, right: Row) -> bool:
    # The line that is left out takes a number from its stage.
    return (left.stage, left.instruction) == (right.stage, right.instruction)


def _lines(text: str, line: int) -> set[int]:
    """The lines of the instruction that begins in one, with what belongs to it."""
    found = [one for stage in parse(text).stages for one in stage.instructions if one.line <= line <= one.end_line]
    return {line, *(number for one in found for number in range(one.line, one.end_line + 1))}


def _without_lines(case: dict[str, Any], builds: int, lines: set[int]) -> dict[str, Any]:
    """The case up to a build, whose Dockerfile has comments in the place of these lines; numbers of lines stay."""
    steps = [dict(step) for step in case["steps"][:builds]]
    text = dockerfile_of(case, builds)
    left = "".join("#\n" if number in lines else f"{line}\n" for number, line in enumerate(text.splitlines(), 1))
    steps[-1] = {**steps[-1], "build": {**steps[-1].get("build", {}), "dockerfile": left}}
    return {**case, "steps": steps}
