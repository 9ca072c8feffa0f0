"""Patterns with wildcards, matched by following all possibilities at once.

Ignore rules and the patterns of ``${name#pattern}`` differ in what their wildcards mean and share this. A pattern may be a stranger's, and
trying one possibility after the other, as ``re`` does, takes time that grows with a power of the text's length. Here the places that a
match may have reached are the bits of one number (the bit-parallel simulation of an automaton; Navarro and Raffinot, "Flexible Pattern
Matching in Strings", 2002, chapter 4): each character of the text costs a few operations on a number as long as the pattern.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from layerlab.records import Record

# Masks are kept for so many different characters of a text; more of them would fill the memory.
_MASKS: Final = 256


class Run(Record, frozen=True):
    """Any number of characters but ``but`` (one character, or none)."""

    but: str = ""


class One(Record, frozen=True):
    """One character but ``but`` (one character, or none)."""

    but: str = ""


class Folders(Record, frozen=True):
    """Nothing, or anything but ``but`` (one character, or none) that ends with a slash."""

    but: str = ""


Token = str | re.Pattern[str] | Run | One | Folders
"""A character, a class of characters (an expression for one), or a wildcard."""


class Automaton:
    """A pattern as the states that its tokens make; a set of states is a number, bit ``n`` for "the first ``n`` tokens are matched"."""

    def __init__(self, tokens: Iterable[Token]) -> None:
        characters: dict[str, list[int]] = {}
        classes: dict[re.Pattern[str], list[int]] = {}
        ones: dict[str, list[int]] = {}
        runs: dict[str, list[int]] = {}
        forks: list[int] = []
        size = 0
        before: Token | None = None
        for token in tokens:
            if isinstance(token, str):
                characters.setdefault(token, []).append(size)
            elif isinstance(token, re.Pattern):
                classes.setdefault(token, []).append(size)
            elif isinstance(token, One):
                ones.setdefault(token.but, []).append(size)
            elif token == before:
                # Twice the same is the same, and so the states that need no character are never far from each other.
                continue
            elif isinstance(token, Run):
                runs.setdefault(token.but, []).append(size)
            else:
                # From here on to the run that ends with a slash, or past it.
                forks.append(size)
                runs.setdefault(token.but, []).append(size + 1)
                characters.setdefault("/", []).append(size + 2)
                size += 2
            size += 1
            before = token
        self.size = size
        self._characters = characters
        self._classes = classes
        self._ones = {but: _bits(places, size) for but, places in ones.items()}
        self._runs = {but: _bits(places, size) for but, places in runs.items()}
        self._all_runs = sum(self._runs.values())
        self._forks = _bits(forks, size)
        self._masks: dict[str, tuple[int, int]] = {}
        self.start = self._with_nothing(1)
        """The states before the first character."""

    def accepts(self, states: int) -> bool:
        """Whether the whole pattern is matched in one of these states."""
        return bool(states >> self.size & 1)

    def after(self, states: int, character: str) -> int:
        """The states after one more character; 0 when no match can come any more."""
        masks = self._masks.get(character)
        if masks is None:
            if len(self._masks) >= _MASKS:
                self._masks.clear()
            masks = self._masks[character] = self._masks_of(character)
        return self._with_nothing((states & masks[0]) << 1 | (states & masks[1]))

    def matches(self, text: str) -> bool:
        """Whether the pattern matches all of a text."""
        states = self.start
        for character in text:
            states = self.after(states, character)
            if not states:
                return False
        return self.accepts(states)

    def _masks_of(self, character: str) -> tuple[int, int]:
        """The tokens that take a character and are done, and those that take it and go on."""
        done = _bits(self._characters.get(character, ()), self.size)
        for but, bits in self._ones.items():
            if but != character:
                done |= bits
        for expression, places in self._classes.items():
            if expression.match(character):
                done |= _bits(places, self.size)
        going = 0
        for but, bits in self._runs.items():
            if but != character:
                going |= bits
        return done, going

    def _with_nothing(self, states: int) -> int:
        """The states and those reached from them without a character."""
        while True:
            forks = states & self._forks
            more = states | (states & self._all_runs) << 1 | forks << 1 | forks << 3
            if more == states:
                return states
            states = more


def _bits(places: Iterable[int], size: int) -> int:
    """The number that has these bits."""
    found = bytearray(size // 8 + 1)
    for place in places:
        found[place >> 3] |= 1 << (place & 7)
    return int.from_bytes(found, "little")
