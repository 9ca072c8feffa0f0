"""What a command was seen to do, in the words in which an engine's records carry it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, Self

import msgspec

_PACKAGE: Final = "package "
_WRITTEN: Final = "written "


class Evidence(msgspec.Struct, frozen=True):
    """``taken``: packages of the lent npm cache that were opened, by the names of their archives. ``written``: the most bytes that were
    written at one time, whether they were removed again or not."""

    taken: frozenset[str] = frozenset()
    written: int = 0

    def told(self) -> tuple[str, ...]:
        """For a record."""
        return (*(_PACKAGE + name for name in sorted(self.taken)), f"{_WRITTEN}{self.written}")

    @classmethod
    def of(cls, told: Iterable[str]) -> Self:
        """From a record."""
        rows = list(told)
        return cls(
            frozenset(row.removeprefix(_PACKAGE) for row in rows if row.startswith(_PACKAGE)),
            max((int(row.removeprefix(_WRITTEN)) for row in rows if row.startswith(_WRITTEN)), default=0),
        )
