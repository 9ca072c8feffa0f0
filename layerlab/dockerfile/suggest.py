"""The "did you mean" part of an error message.

Rule: BuildKit ``util/suggest``: the option with the smallest Levenshtein distance, if that is below 3.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Final

TOO_FAR = 3
_COMPARISONS: Final = 100_000
# Letters that take as long as one comparison more.
_LONG: Final = 16


def closest(word: str, options: Iterable[str]) -> str | None:
    """The option nearest to ``word``, or ``None`` when all are too far or one is equal to it.

    Of two options at the same distance the first one wins.
    """
    best: str | None = None
    best_distance = TOO_FAR
    for option in options:
        if option == word:
            return None
        distance = _distance(word, option, best_distance)
        if distance < best_distance:
            best, best_distance = option, distance
    return best


def did_you_mean(word: str, options: Iterable[str]) -> str:
    """`` (did you mean X?)`` to append to a message, or an empty string."""
    match = closest(word, options)
    return f" (did you mean {match}?)" if match is not None else ""


class Hints:
    """Hints for the many names of one file. They end where they would take too long: after a hundred thousand comparisons."""

    def __init__(self) -> None:
        self._left = _COMPARISONS

    def did_you_mean(self, word: str, options: Collection[str]) -> str:
        """As the function, or an empty string where there were too many."""
        cost = len(options) * (1 + len(word) // _LONG)
        if cost > self._left:
            return ""
        self._left -= cost
        return did_you_mean(word, options)


def _distance(left: str, right: str, limit: int) -> int:
    """Levenshtein distance, or any number not below ``limit``: no more of the table is filled in than could lead to less."""
    apart = len(right) - len(left)
    if abs(apart) >= limit:
        return limit
    # By how far the column is ahead of the row.
    reach = limit - 1
    previous = {ahead: ahead for ahead in range(reach + 1)}
    for row, char in enumerate(left, 1):
        current: dict[int, int] = {}
        for ahead in range(max(-reach, -row), min(reach, len(right) - row) + 1):
            column = row + ahead
            best = min(previous.get(ahead + 1, limit), current.get(ahead - 1, limit)) + 1
            if column:
                best = min(best, previous.get(ahead, limit) + (char != right[column - 1]))
            current[ahead] = best
        if not current or min(current.values()) >= limit:
            return limit
        previous = current
    return previous.get(apart, limit)
