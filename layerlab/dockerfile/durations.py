"""Durations as HEALTHCHECK writes them: ``1m30s``, ``500ms``, ``0``.

Rule: Go's ``time.ParseDuration``. Values are nanoseconds, the unit that an image configuration stores.
"""

from __future__ import annotations

import re

NANOSECONDS = {
    "ns": 1,
    "us": 1_000,
    "µs": 1_000,
    "μs": 1_000,
    "ms": 1_000_000,
    "s": 1_000_000_000,
    "m": 60_000_000_000,
    "h": 3_600_000_000_000,
}
LARGEST = 2**63 - 1

# Possessive: digits that could be shared out between several numbers would be tried in all ways.
_NUMBER = r"[0-9]++(?:\.[0-9]*+)?|\.[0-9]++"
_PART = re.compile(rf"({_NUMBER})([^0-9.]*+)")
_WHOLE = re.compile(rf"[+-]?(?:(?:{_NUMBER})[^0-9.]*+)++\Z")


def parse_duration(text: str) -> int:
    """Nanoseconds.

    Raises:
        ValueError: with Go's wording, for anything that is not a duration.
    """
    unsigned = text.lstrip("+-") if text[1:2] not in ("+", "-") else text
    if unsigned == "0":
        return 0
    if not _WHOLE.match(text):
        raise ValueError(f'time: invalid duration "{text}"')
    from decimal import Decimal  # for HEALTHCHECK alone

    total = 0
    for number, unit in _PART.findall(unsigned):
        if not unit:
            raise ValueError(f'time: missing unit in duration "{text}"')
        if unit not in NANOSECONDS:
            raise ValueError(f'time: unknown unit "{unit}" in duration "{text}"')
        if len(number) > 40:
            raise ValueError(f'time: invalid duration "{text}"')
        total += int(Decimal(number) * NANOSECONDS[unit])
    if total > LARGEST:
        raise ValueError(f'time: invalid duration "{text}"')
    return -total if text.startswith("-") else total
