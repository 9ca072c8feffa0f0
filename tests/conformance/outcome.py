"""What one build did, in one form for every engine, and how it is compared with what was recorded."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import msgspec

from .cases import Image, Row, Settings, Step

COMMENT = "Imported from -"


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """The verdict rows of one build. ``error``: its message when it failed, at ``line`` where known; ``image`` where it was asked for."""

    rows: list[Row]
    error: str | None = None
    line: int | None = None
    image: Image | None = None


class Runner(Protocol):
    """An engine under test. ``engine`` says whose recorded answers it must give (``cases.ENGINES``), ``like`` whose verdicts."""

    name: str
    engine: str

    @property
    def like(self) -> str: ...

    @property
    def lacks(self) -> Mapping[str, str]:
        """What it cannot do on this machine: a case's tag, to why such a case is left out."""
        ...

    def start(self) -> None:
        """Begin a case: an empty cache, only the base images."""
        ...

    def build(self, directory: Path, settings: Settings, *, want_image: bool) -> Outcome:
        """Build a context. A build that fails is an outcome with ``error``."""
        ...


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """Why a build does not agree: a few words and a table or a list."""

    summary: str
    details: str = ""


def compare(step: Step, outcome: Outcome, expect: Sequence[Row] | None = None) -> Difference | None:
    """Compare verdicts and errors; ``None`` when they agree. ``expect`` takes the place of the recorded rows."""
    wanted = [row for row in (step.expect if expect is None else expect) if not row.instruction.startswith("LINK ")]
    if step.expect_error is not None:
        if outcome.error is None:
            return Difference(summary="the build must fail and did not", details=f"expected error: {step.expect_error}")
        # Where a number ends it ends: exit code 1 is not 127.
        if not re.search(re.escape(step.expect_error) + (r"(?!\d)" if step.expect_error[-1:].isdigit() else ""), outcome.error):
            return Difference(
                summary="the error says something else", details=f"expected (part): {step.expect_error}\nactual:          {outcome.error}"
            )
    elif outcome.error is not None:
        return Difference(summary="the build must not fail and did", details=f"actual error: {outcome.error}")
    actual = collapse([row for row in outcome.rows if not row.instruction.startswith("LINK ")], wanted)
    failed = [row for row in wanted if row.error]
    if failed and failed[0].instruction.startswith(("COPY", "ADD")):
        # Which of the other steps got somewhere is a race in the recorded engine, and which of several that fail are told of.
        actual = [row for row in actual if row.error]
        known = {_facts(row) for row in actual}
        wanted = [row for row in failed if _facts(row) in known] or failed
    # A row says where it stands; of two stages with one name Docker has the rows in an order of its own.
    if sorted(map(_facts, wanted)) == sorted(map(_facts, actual)):
        return None
    return Difference(summary="verdicts differ", details=table(wanted, actual))


def collapse(rows: list[Row], wanted: Sequence[Row]) -> list[Row]:
    """Leave one row of each step that several stages have, as the recorded engine prints it: it ran if it ran anywhere."""
    result = list(rows)
    for place, row in enumerate(wanted):
        same = [other for other in (_in_stage(result, row, stage) for stage in row.shared) if other is not None]
        kept = next((other for other in same if other.stage == row.stage), None)
        if kept is None:
            if same:
                # Under which of its stages the recorded engine prints such a step is a race.
                renamed = msgspec.structs.replace(same[0], stage=row.stage, index=row.index)
                result = [other for other in result if not any(other is one for one in same)]
                result.insert(place, renamed)
            continue
        merged = msgspec.structs.replace(kept, cached=all(other.cached for other in same))
        result = [merged if other is kept else other for other in result if other is kept or not any(other is one for one in same)]
    return result


def _in_stage(rows: list[Row], row: Row, stage: str) -> Row | None:
    found = [other for other in rows if other.stage == stage and other.instruction == row.instruction]
    return next((other for other in found if _position(other) == _position(row)), found[0] if found else None)


def in_order(rows: list[Row], stages: Sequence[str]) -> list[Row]:
    """Rows by stage, then by position in the stage."""
    order = {label: position for position, label in enumerate(stages)}
    return sorted(rows, key=lambda row: (order.get(row.stage, -1), int(_position(row))))


def _position(row: Row) -> str:
    return row.index.partition("/")[0]


def _facts(row: Row) -> tuple[str, str, str, bool, bool]:
    return (row.instruction, row.stage, row.index, row.cached, row.error)


def _verdict(row: Row) -> str:
    return "ERROR" if row.error else "cached" if row.cached else "ran"


def table(wanted: Sequence[Row], actual: Sequence[Row]) -> str:
    """Expected and actual rows side by side; ``!`` marks the lines that differ."""
    lines = [f"  {'expected':<9}{'actual':<9}step"]
    for position in range(max(len(wanted), len(actual))):
        left = wanted[position] if position < len(wanted) else None
        right = actual[position] if position < len(actual) else None
        same = left is not None and right is not None and _facts(left) == _facts(right)
        words = [f"{_verdict(row) if row else '-':<9}" for row in (left, right)]
        names = [f"[{row.stage or '.'} {row.index}] {row.instruction}" if row else "(none)" for row in (left, right)]
        text = names[0] if names[0] == names[1] else f"{names[0]}\n  {'':<18}actual: {names[1]}"
        lines.append(f"{' ' if same else '!'} {words[0]}{words[1]}{text}")
    return "\n".join(lines)


def compare_images(wanted: Image, actual: Image) -> list[str]:
    """What differs between a recorded image and ours, one line each. The size of the base's own row never counts."""
    lines = []
    for position, (left, right) in enumerate(_zip(wanted.history, actual.history), 1):
        lines += [f"history row {position}: {line}" for line in _fields(_history(left), _history(right))]
    lines += [f"config: {line}" for line in _fields(wanted.config, actual.config)]
    for number, (layer, other) in enumerate(_zip(wanted.layers, actual.layers), 1):
        if layer is None or other is None:
            lines.append(f"layer {number}: {'not expected' if layer is None else 'missing'}")
            continue
        members = {_name(member): member for member in layer}
        ours = {_name(member): member for member in other}
        for name in sorted(members.keys() | ours.keys()):
            lines += [f"layer {number}: {name}: {line}" for line in _fields(members.get(name), ours.get(name))]
    lines += [f"image: {line}" for line in _fields({"os": wanted.os}, {"os": actual.os})]
    if wanted.top is not None and actual.top is not None:
        lines += [f"image: {line}" for line in _fields(wanted.top, actual.top)]
    return lines


def _name(member: Mapping[str, Any]) -> str:
    return str(member["path"]) + ("/.wh..wh..opq" if member["type"] == "opaque" else "")


def _history(row: dict[str, Any] | None) -> dict[str, Any] | None:
    if row is not None and row.get("comment") == COMMENT:
        return {key: value for key, value in row.items() if key not in ("size", "created_by")}
    return row


def _zip(left: Sequence[Any], right: Sequence[Any]) -> list[tuple[Any, Any]]:
    longest = max(len(left), len(right))
    return [(left[i] if i < len(left) else None, right[i] if i < len(right) else None) for i in range(longest)]


def _fields(wanted: Mapping[str, Any] | None, actual: Mapping[str, Any] | None) -> list[str]:
    if wanted is None or actual is None:
        if wanted is actual:
            return []
        return [f"not expected: {json.dumps(actual)}" if wanted is None else f"missing: {json.dumps(wanted)}"]
    # Docker leaves out what is empty, and so may we.
    return [
        f"{key}: expected {json.dumps(wanted.get(key))}, actual {json.dumps(actual.get(key))}"
        for key in sorted(wanted.keys() | actual.keys())
        if (wanted.get(key) or None) != (actual.get(key) or None)
    ]
