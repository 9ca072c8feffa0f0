"""Builds side by side: one column a build, one row an instruction, aligned as a comparison of texts aligns lines."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import SequenceMatcher
from typing import Any, Final, NamedTuple

from layerlab.widgets.words import spoken_seconds

KEPT: Final = 6


class PastBuild(NamedTuple):
    """A build that is over. ``steps`` are steps as ``words.shown`` gives them."""

    number: int
    dockerfile: str
    seconds: float
    outcome: str
    steps: list[dict[str, Any]]


def side_by_side(builds: Sequence[PastBuild]) -> dict[str, Any]:
    """The table of the last builds, oldest first. Steps that only set metadata are left out."""
    builds = builds[-KEPT:]
    rows: list[tuple[str, str]] = []
    for build in builds:
        rows = _merged(rows, _keys(build))
    cells: list[list[dict[str, Any] | None]] = [[] for _ in rows]
    for build in builds:
        found = _placed(rows, build)
        for number, row in enumerate(cells):
            row.append(found.get(number))
    return {
        "columns": [
            {
                "number": build.number,
                "dockerfile": build.dockerfile,
                "seconds": spoken_seconds(build.seconds),
                "outcome": build.outcome,
                "ran": sum(step["verdict"] in ("executed", "failed", "stopped") for step in build.steps),
            }
            for build in builds
        ],
        "rows": [{"instruction": key[1], "cells": row} for key, row in zip(rows, cells, strict=True)],
    }


def _verdicts(build: PastBuild) -> list[dict[str, Any]]:
    return [step for step in build.steps if step["verdict"] != "metadata"]


def _keys(build: PastBuild) -> list[tuple[str, str]]:
    return [(step["stage"], step["instruction"]) for step in _verdicts(build)]


def _merged(rows: list[tuple[str, str]], more: list[tuple[str, str]]) -> list[tuple[str, str]]:
    merged: list[tuple[str, str]] = []
    for _, start, end, first, last in SequenceMatcher(None, rows, more, autojunk=False).get_opcodes():
        merged += rows[start:end]
        merged += more[first:last] if rows[start:end] != more[first:last] else []
    return merged


def _placed(rows: list[tuple[str, str]], build: PastBuild) -> dict[int, dict[str, Any]]:
    found = {}
    steps = _verdicts(build)
    for block in SequenceMatcher(None, rows, _keys(build), autojunk=False).get_matching_blocks():
        for offset in range(block.size):
            step = steps[block.b + offset]
            found[block.a + offset] = {key: step[key] for key in ("verdict", "word", "sign", "why", "seconds")}
    return found
