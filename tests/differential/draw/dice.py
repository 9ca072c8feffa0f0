"""Chances and choices, and the themes of a case."""

from __future__ import annotations

import random
from collections.abc import Collection, Sequence
from typing import Any, Final

THEMES: Final = (
    *("archives", "chmods", "errors", "excludes", "forms", "heredocs", "ignores", "link", "links", "modes", "mounts", "moves"),
    *("options", "owners", "patterns", "platforms", "secrets", "spelling", "stages", "triggers", "variables", "xattrs"),
)
"""What the odd things of a case may be about."""

# 26.1.5 reads these in another way, or not at all (docs/differences.md, "Where Docker's versions part").
_NEWER: Final = ("archives", "chmods", "errors", "excludes", "forms", "links", "options", "platforms", "stages", "triggers")
_MANY: Final = (0, 1, 2, 2, 3, 3, 4)


class Dice:
    """What one case is drawn with."""

    def __init__(self, draw: random.Random, *, commands: bool, older: bool, without: Collection[str], own: bool) -> None:
        self._draw = draw
        self.commands = commands
        self.older = older
        self.own = own
        themes = [theme for theme in THEMES if theme not in without and not (older and theme in _NEWER)]
        self.themes = frozenset(draw.sample(themes, min(len(themes), draw.choice(_MANY))))

    def chance(self, probability: float) -> bool:
        """True as often as that."""
        return self._draw.random() < probability

    def theme(self, name: str, probability: float = 1.0) -> bool:
        """Whether the case has a theme, and it is this one's turn."""
        return name in self.themes and self.chance(probability)

    def one(self, words: Sequence[Any], odd: Sequence[Any] = (), *, often: float = 0) -> Any:
        """One of the words, or as often as that one of the odd ones."""
        return self._draw.choice(odd if odd and self.chance(often) else words)

    def right(self, words: Sequence[Any], wrong: Sequence[Any], *, often: float = 0.08) -> Any:
        """One of the words; with that theme seldom one of those that are mostly errors. Of a case with one little more is seen."""
        return self.one(words, wrong, often=often if "errors" in self.themes else 0)

    def some(self, words: Sequence[Any], number: int) -> list[Any]:
        """So many of the words, or all."""
        return self._draw.sample(words, min(number, len(words)))

    def number(self, least: int, most: int) -> int:
        """A whole number."""
        return self._draw.randint(least, most)
