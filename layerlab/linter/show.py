"""Findings as ``docker build --check`` prints them.

Rule: BuildKit ``frontend/subrequests/lint`` and ``solver/errdefs/source.go`` (``Source.Print``).
"""

from __future__ import annotations

from typing import Final

from layerlab.model import CheckRecord

_RULE: Final = "-" * 20
_AROUND_ONE: Final = 4
_AROUND: Final = 2


def report(record: CheckRecord) -> str:
    """How many warnings there are, and each with the lines that it is about."""
    number = len(record.warnings)
    if number:
        said = f"Check complete, {number} warning{'s have' if number > 1 else ' has'} been found!"
    else:
        said = "Check complete, no warnings found."
    parts = [said]
    for warning in record.warnings:
        address = f" - {warning.url}" if warning.url else ""
        excerpt = _excerpt(record, warning.line, warning.end_line)
        parts.append(f"\nWARNING: {warning.rule}{address}\n{warning.detail}\n{excerpt}")
    return "\n".join(parts)


def _excerpt(record: CheckRecord, start: int, end: int) -> str:
    lines = record.source.split("\n")
    first, last = start, min(end, len(lines))
    # As far as there are lines on both sides.
    wanted = _AROUND_ONE if end == start else _AROUND
    added = 0
    while added < wanted:
        if first > 1:
            first -= 1
            added += 1
        if last != len(lines):
            last += 1
            added += 1
        added += 1
    shown = [f" {number:3} | {'>>>' if start <= number <= end else '   '} {lines[number - 1]}" for number in range(first, last + 1)]
    return "\n".join([f"{record.dockerfile}:{start}", _RULE, *shown, _RULE])
