"""One drawn case on two runners, and what differs."""

from __future__ import annotations

import contextlib
import io
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from tests.conformance.cases import Case, Step
from tests.conformance.outcome import Outcome, Runner, compare, compare_images
from tests.conformance.run import run_case


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """The first build in which two runners differ (true), or nothing (false), and how many builds and rows were compared.

    ``error``: the stable piece of the error that the first of the two ended with.
    """

    builds: int
    rows: int
    summary: str = ""
    details: str = ""
    error: str = ""

    def __bool__(self) -> bool:
        return bool(self.summary)


def outcomes(case: dict[str, Any], runner: Runner) -> list[Outcome]:
    """What a runner makes of each build. Raises ``CannotEditError``, and ``OSError`` for an edit that does not fit its context."""
    folder = Path(tempfile.mkdtemp(prefix="drawn-"))
    try:
        # A runner prints what a daemon said of a build that failed, which is no news here.
        with contextlib.redirect_stdout(io.StringIO()):
            builds = run_case(
                msgspec.convert(case, Case), runner, folder / "contexts", images=lambda place: "image" in case["steps"][place]
            )
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return [outcome for _, outcome in builds]


def differ(wanted: Sequence[dict[str, Any]], actual: Sequence[Outcome]) -> Found:
    """Compare what one answered (``record.answer`` of each build) with the outcomes of another."""
    rows = 0
    for number, (answered, outcome) in enumerate(zip(wanted, actual, strict=True), 1):
        step = msgspec.convert(answered, Step)
        rows += len(step.expect)
        if step.error is not None:
            # What else had begun, and what is said of it, is a race in a build that fails.
            step = msgspec.structs.replace(step, expect=[row for row in step.expect if row.error])
            outcome = msgspec.structs.replace(outcome, rows=[row for row in outcome.rows if row.error])
        difference = compare(step, outcome)
        if difference is not None:
            error = step.expect_error or ""
            return Found(builds=number, rows=rows, summary=difference.summary, details=difference.details, error=error)
        if step.image is None:
            continue
        lines = ["no image was built"] if outcome.image is None else compare_images(step.image, outcome.image)
        if lines:
            return Found(builds=number, rows=rows, summary="the image differs", details="\n".join(lines))
    return Found(builds=len(actual), rows=rows)
