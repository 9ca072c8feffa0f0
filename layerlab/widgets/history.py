"""Builds side by side: one column a build, one row an instruction, aligned as a comparison of texts aligns lines."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import SequenceMatcher
from typing import Final, NamedTuple

from layerlab.widgets.shapes import Ending, Past, PastCell, PastColumn, PastRow, Step
from layerlab.widgets.words import spoken_seconds

KEPT: Final = 6
NO_BUILDS: Final = Past(columns=[], rows=[])


class PastBuild(NamedTuple):
    """A build that is over."""

    number: int
    dockerfile: str
    seconds: float
    outcome: Ending
    steps: list[Step]


def side_by_side(builds: Sequence[PastBuild]) -> Past:
    """The table of the last builds, oldest first. Steps that only set metadata are left out."""
    builds = builds[-KEPT:]
    rows: list[tuple[str, str]] = []
    for build in builds:
        rows = _merged(rows, _keys(build))
    cells: list[list[PastCell | None]] = [[] for _ in rows]
    for build in builds:
        found = _placed(rows, build)
        for number, row in enumerate(cells):
            row.append(found.get(number))
    return Past(
        columns=[
            PastColumn(
                number=build.number,
                dockerfile=build.dockerfile,
                seconds=spoken_seconds(build.seconds),
                outcome=build.outcome,
                ran=sum(step.verdict in ("executed", "failed", "stopped") for step in build.steps),
            )
            for build in builds
        ],
        rows=[PastRow(instruction=key[1], cells=row) for key, row in zip(rows, cells, strict=True)],
    )


def _verdicts(build: PastBuild) -> list[Step]:
    return [step for step in build.steps if step.verdict != "metadata"]


def _keys(build: PastBuild) -> list[tuple[str, str]]:
    return [(step.stage, step.instruction) for step in _verdicts(build)]


def _merged(rows: list[tuple[str, str]], more: list[tuple[str, str]]) -> list[tuple[str, str]]:
    merged: list[tuple[str, str]] = []
    for _, start, end, first, last in SequenceMatcher(None, rows, more, autojunk=False).get_opcodes():
        merged += rows[start:end]
        merged += more[first:last] if rows[start:end] != more[first:last] else []
    return merged


def _placed(rows: list[tuple[str, str]], build: PastBuild) -> dict[int, PastCell]:
    found = {}
    steps = _verdicts(build)
    for block in SequenceMatcher(None, rows, _keys(build), autojunk=False).get_matching_blocks():
        for offset in range(block.size):
            step = steps[block.b + offset]
            found[block.a + offset] = PastCell(verdict=step.verdict, word=step.word, sign=step.sign, why=step.why, seconds=step.seconds)
    return found
