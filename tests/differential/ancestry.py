"""Which steps of a build stand on which, told from a Dockerfile's outline and the rows that were printed, without a line of layerlab."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final

from tests.conformance.cases import Row
from tests.conformance.raw_progress import Written, makes_files, stages

_FROM: Final = re.compile(r"\bfrom=[\"']?([^\s,\"']+)")


def dockerfile_of(case: dict[str, Any], build: int) -> str:
    """The text that a build (from 1) reads: the last one that was written."""
    steps = reversed(case["steps"][:build])
    text: str = next((step["build"]["dockerfile"] for step in steps if "dockerfile" in step.get("build", {})), case["dockerfile"])
    return text.removeprefix("\ufeff")


def position(row: Row) -> int:
    """Of a row within its stage."""
    return int(row.index.partition("/")[0])


class Outline:
    """The stages of a Dockerfile by the labels that their rows have."""

    def __init__(self, text: str) -> None:
        try:
            self._stages = stages(text)
        except IndexError:
            # No Dockerfile at all: a FROM without a word.
            self._stages = []
        single = len(self._stages) < 2
        self._labels = ["" if single else stage.name or f"stage-{number}" for number, stage in enumerate(self._stages)]

    def above(self, row: Row, rows: Sequence[Row], *, sources: bool = False) -> list[Row]:
        """The rows of the steps that one stands on or takes files from. ``sources``: only of those that it takes files from itself."""
        if row.stage not in self._labels:
            return []
        # What is linked in is made on nothing, whatever is before it.
        sources = sources or re.match(r"(?:ONBUILD )?(?:COPY|ADD) (?:--\S+ )*--link(?:=true)? ", row.instruction, re.IGNORECASE) is not None
        own = self._place(row.stage)
        before = [] if sources else [other for other in rows if other.stage == row.stage and position(other) < position(row)]
        pending = [self._stage(name, own) for other in (row, *before) for name in _FROM.findall(other.instruction.lower())]
        if not sources:
            pending.append(self._stage(self._stages[own].base, own))
        whole: set[int] = set()
        while pending:
            number = pending.pop()
            if number is None or number in whole:
                continue
            whole.add(number)
            pending.append(self._stage(self._stages[number].base, number))
            pending += [self._stage(name, number) for text in self._texts(number, rows) for name in _FROM.findall(text.lower())]
        labels = {self._labels[number] for number in whole}
        return [*before, *(other for other in rows if other.stage in labels)]

    def begins_on_scratch(self, row: Row) -> bool:
        """Whether a step is the first of a stage that is made of nothing, or of a stage without files that is."""
        if row.stage not in self._labels or position(row) != 1:
            return False
        stage: Written | None = self._stages[self._place(row.stage)]
        while stage is not None and stage.base != "scratch":
            number = self._stage(stage.base, self._stages.index(stage))
            stage = None if number is None else self._stages[number]
            if stage is not None and any(makes_files(text) for text in stage.instructions):
                return False
        return stage is not None

    def _place(self, label: str) -> int:
        return len(self._labels) - 1 - self._labels[::-1].index(label)

    def _stage(self, name: str, below: int) -> int | None:
        """The stage that a name or a number means in the one of that number; ``None`` for an image."""
        if name.isdigit():
            return int(name) if int(name) < below else None
        named = [number for number, stage in enumerate(self._stages[:below]) if stage.name and stage.name == name.lower()]
        return named[-1] if named else None

    def _texts(self, number: int, rows: Sequence[Row]) -> list[str]:
        return [*self._stages[number].instructions, *(row.instruction for row in rows if row.stage == self._labels[number])]
