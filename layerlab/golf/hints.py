"""Hints: each names a cause of what a round costs, and none says what to do about it."""

from __future__ import annotations

from layerlab.golf.level import Level
from layerlab.golf.scoring import Score


def hints(level: Level, lines: tuple[str, ...], score: Score) -> tuple[str, ...]:
    """What can be said of a round, the dearest first; never empty. ``lines``: those that were rated."""
    if score.total is None:
        return (score.broken,)
    if score.at_par:
        return ("No order of these lines costs less.",)
    found = [
        (edit.weight * one.seconds, edit, one)
        for edit in score.edits
        for one in edit.rebuilt
        if one.in_vain and one.seconds and edit.weight
    ]
    found.sort(key=lambda item: -item[0])
    said = []
    for cost, edit, one in found:
        what = f"{edit.title}, {times(edit.weight)} a {level.unit}"
        said.append(
            f"Line {one.line}, {lines[one.line - 1]}, runs again for nothing, as it makes what it made before: "
            f"{seconds(cost)} a {level.unit} ({what}). {one.cause.text}"
        )
    if not said:
        # What is copied more widely than it is read, or done in a slower way.
        dearest = max(score.edits, key=lambda edit: edit.weight * edit.seconds)
        said.append(f"No command runs for nothing. Most is spent on: {dearest.title}, {seconds(dearest.seconds)} each time.")
    return tuple(said)


def times(count: int) -> str:
    """How often, for people."""
    return {1: "once", 2: "twice"}.get(count, f"{count} times")


def seconds(value: float) -> str:
    """A number of seconds for people."""
    return f"{value:,.1f}".removesuffix(".0") + " s"
