"""One drawn case on two runners, and what differs."""

from __future__ import annotations

import itertools
import re
import shutil
import tempfile
import traceback
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Literal

import msgspec

from tests.conformance.cases import Case, Row, Settings, Step
from tests.conformance.docker import stable_error
from tests.conformance.outcome import Outcome, Runner, collapse, compare, compare_images, table
from tests.conformance.record import answer
from tests.conformance.run import run_case

from .ancestry import Outline, dockerfile_of
from .stores import in_the_end

RAISED: Final = "the embedded engine raised "

Kind = Literal["verdicts", "error", "image", "raised"]
Pair = tuple[Row | None, Row | None]


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """What differs in one build (from 1), with all that both did.

    ``pairs``: the rows that differ, the first runner's beside the second's. ``unsure``: steps that in a failed build before this one
    were finished by one of the two alone.
    """

    build: int
    kind: Kind
    summary: str
    details: str
    wanted: Outcome
    actual: Outcome
    pairs: tuple[Pair, ...] = ()
    unsure: frozenset[str] = frozenset()

    def piece(self) -> str:
        """The stable piece of the error that the first of the two ended with."""
        return stable_error(self.wanted.error)[1] if self.wanted.error is not None else ""


class Guarded:
    """A runner whose own faults are outcomes: an error that begins with ``RAISED`` and goes on with the traceback."""

    def __init__(self, runner: Runner) -> None:
        self._runner = runner
        self.name = runner.name
        self.engine = runner.engine
        self.like = runner.like

    @property
    def lacks(self) -> Mapping[str, str]:
        """See ``Runner``."""
        return self._runner.lacks

    def start(self) -> None:
        """See ``Runner``."""
        self._runner.start()

    def build(self, directory: Path, settings: Settings, *, want_image: bool) -> Outcome:
        """See ``Runner``."""
        try:
            return self._runner.build(directory, settings, want_image=want_image)
        except Exception as error:  # noqa: BLE001
            return Outcome(rows=[], error=f"{RAISED}{type(error).__name__}\n{traceback.format_exc()}")


def outcomes(case: dict[str, Any], runner: Runner) -> list[Outcome]:
    """What a runner makes of each build. Raises ``CannotEditError``, ``MisfitError``, and what the runner raises."""
    folder = Path(tempfile.mkdtemp(prefix="drawn-"))
    try:
        builds = run_case(msgspec.convert(case, Case), runner, folder / "contexts", images=lambda place: "image" in case["steps"][place])
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return [outcome for _, outcome in builds]


def differ(
    case: dict[str, Any], wanted: Sequence[Outcome], actual: Sequence[Outcome], *, layers: bool = True, words: bool = True
) -> Iterator[Found]:
    """Compare what one did with what another did, build by build.

    ``layers``: whether both have the same image store, else images are compared as in ``stores.in_the_end``, which says what ``words`` is.
    """
    unsure: set[str] = set()
    for number, (left, right) in enumerate(zip(wanted, actual, strict=True), 1):
        common: dict[str, Any] = {"build": number, "wanted": left, "actual": right, "unsure": frozenset(unsure)}
        if right.error is not None and right.error.startswith(RAISED):
            yield Found(kind="raised", summary=right.error.partition("\n")[0], details=right.error, **common)
        elif left.error is not None or right.error is not None:
            outline = Outline(dockerfile_of(case, number))
            yield from (Found(**fields, **common) for fields in _failed(left, right, outline))
        else:
            step = msgspec.convert(answer(left, image=False), Step)
            difference = compare(step, right)
            if difference is not None:
                pairs = _pairs(left.rows, right.rows)
                yield Found(kind="verdicts", summary=difference.summary, details=difference.details, pairs=pairs, **common)
            if left.image is not None or right.image is not None:
                yield from (Found(**fields, **common) for fields in _images(left, right, layers=layers, words=words))
        if left.error is not None or right.error is not None:
            done = [{row.instruction for row in outcome.rows if not row.cached and not row.error} for outcome in (left, right)]
            unsure |= done[0] ^ done[1]


def _images(left: Outcome, right: Outcome, *, layers: bool, words: bool) -> Iterator[dict[str, Any]]:
    images = [image if layers or image is None else in_the_end(image, words=words) for image in (left.image, right.image)]
    lines = ["no image was built"] if images[0] is None or images[1] is None else compare_images(images[0], images[1])
    if lines:
        yield {"kind": "image", "summary": "the image differs", "details": "\n".join(lines)}


def _failed(left: Outcome, right: Outcome, outline: Outline) -> Iterator[dict[str, Any]]:
    """Of a build that fails: its error, the step that failed, and what that step stands on. The rest is a race."""
    failed = [[row for row in outcome.rows if row.error] for outcome in (left, right)]
    same = [row for row in failed[0] if row in failed[1]]
    # Of several steps that fail side by side Docker shows more than one.
    # The row of one whose source is missing is not always shown: the build may have ended before.
    silent = failed[1] if not failed[0] and asked_first(left.error or "") else []
    told = msgspec.structs.replace(left, rows=same or failed[0] or silent)
    step = msgspec.convert(answer(told, image=False), Step)
    difference = compare(step, msgspec.structs.replace(right, rows=failed[1]))
    if difference is not None:
        kind = "verdicts" if difference.summary == "verdicts differ" else "error"
        details = f"{difference.details}\nerrors: {left.error}\n        {right.error}" if kind == "verdicts" else difference.details
        yield {"kind": kind, "summary": difference.summary, "details": details, "pairs": _pairs(told.rows, failed[1])}
        return
    if not same:
        return
    every = [*left.rows, *right.rows]
    above = {_step(row) for row in outline.above(same[0], every)}
    rows = [[row for row in _steps(outcome.rows) if _step(row) in above] for outcome in (left, right)]
    if asked_first(left.error or ""):
        # A source is looked at beside what the step stands on, which may not be finished when the build ends.
        # Until then what it has not begun is told of as cached.
        known = {_step(row) for row in rows[0] if not row.cached} & {_step(row) for row in rows[1]}
        rows = [[row for row in of if _step(row) in known] for of in rows]
    rows = [sorted(of, key=_step) for of in rows]
    texts = [row.instruction for row in every]
    pairs = tuple(pair for pair in _pairs(*rows) if all(row is None or texts.count(row.instruction) <= 2 for row in pair))
    if pairs:
        yield {
            "kind": "verdicts",
            "summary": "verdicts differ below the failed step",
            "details": f"{table(*rows)}\nerror: {left.error}",
            "pairs": pairs,
        }


def asked_first(error: str) -> bool:
    """Whether an error is about what a step would take, which Docker looks at before, and beside, what the step stands on."""
    return "failed to compute cache key" in error or "failed to calculate checksum" in error


def _steps(rows: Sequence[Row]) -> list[Row]:
    return [msgspec.structs.replace(row, shared=()) for row in rows if not row.instruction.startswith("LINK ")]


def _step(row: Row) -> tuple[str, int, str]:
    return row.stage, int(re.match(r"\d*", row.index)[0] or 0), row.instruction  # type: ignore[index]


def _pairs(wanted: Sequence[Row], actual: Sequence[Row]) -> tuple[Pair, ...]:
    """The rows that differ, side by side."""
    left = [row for row in wanted if not row.instruction.startswith("LINK ")]
    right = collapse([row for row in actual if not row.instruction.startswith("LINK ")], left)
    return tuple(pair for pair in itertools.zip_longest(_steps(left), _steps(right)) if pair[0] != pair[1])
