"""The "did you mean" part of an error message.

Rule: BuildKit ``util/suggest``: the option with the smallest Levenshtein distance, if that is below 3.
"""

from __future__ import annotations

from collections.abc import Iterable

TOO_FAR = 3


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


def _distance(left: str, right: str, limit: int) -> int:
    """Levenshtein distance, or any number not below ``limit`` when the lengths already differ by that much."""
    if abs(len(left) - len(right)) >= limit:
        return limit
    previous = list(range(len(right) + 1))
    for row, left_char in enumerate(left, 1):
        current = [row]
        for column, right_char in enumerate(right, 1):
            current.append(min(previous[column] + 1, current[-1] + 1, previous[column - 1] + (left_char != right_char)))
        previous = current
    return previous[-1]
