"""Shell patterns of ``${name#pattern}``, ``${name%pattern}`` and ``${name/pattern/text}``.

Rule: BuildKit ``frontend/dockerfile/shell/lex.go``: ``*`` is any run of characters, ``?`` is one, neither crosses a newline;
a backslash makes ``*``, ``?`` and itself literal; there are no ``[…]`` classes. Matching follows all possibilities at once
(``wildcards``), and a replacement looks for all places where a match begins in one pass, so that neither tries a text over and over.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from layerlab.wildcards import Automaton, One, Run, Token

_STAR = Run("\n")
_ANY = One("\n")
# A character of the text costs as much more as the pattern is longer than so many characters.
_CHEAP = 1024
_REFERENCE = re.compile(r"\$(?:\$|(\w+)|\{(\w+)\})")


class PatternError(ValueError):
    """A backslash before a character that it cannot escape."""


def compile_pattern(pattern: str) -> list[Token]:
    """The tokens of a pattern.

    Raises:
        PatternError: for a backslash at the end or before an ordinary character.
    """
    tokens: list[Token] = []
    chars = iter(range(len(pattern)))
    for index in chars:
        char = pattern[index]
        if char == "*":
            tokens.append(_STAR)
        elif char == "?":
            tokens.append(_ANY)
        elif char == "\\":
            following = pattern[index + 1 : index + 2]
            if following in ("}", "/"):
                continue  # the backslash only hid the character from the end of ${…}
            if following not in ("*", "?", "\\"):
                raise PatternError(f"invalid escape '\\{following}'")
            tokens.append(following)
            next(chars, None)
        else:
            tokens.append(char)
    return tokens


Charge = Callable[[int], None]
"""Is told how many steps matching is about to take, or has taken; raises where that is too much."""


def _free(_steps: int) -> None:
    """A charge for nobody."""


def match_length(automaton: Automaton, text: str, start: int = 0, *, longest: bool, charge: Charge = _free) -> int | None:
    """How many characters from ``start`` the pattern matches: the fewest, or with ``longest`` the most."""
    states = automaton.start
    best = 0 if automaton.accepts(states) else None
    offset = start
    while offset < len(text) and (best is None or longest):
        states = automaton.after(states, text[offset])
        if not states:
            break
        offset += 1
        if automaton.accepts(states):
            best = offset - start
    charge((offset - start) * _weight(automaton))
    return best


def _weight(automaton: Automaton) -> int:
    return 1 + automaton.size // _CHEAP


def trim_prefix(pattern: str, value: str, *, longest: bool, charge: Charge = _free) -> str:
    """``value`` without the shortest or longest prefix that matches. Raises PatternError."""
    length = match_length(Automaton(compile_pattern(pattern)), value, longest=longest, charge=charge)
    return value[length:] if length else value


def trim_suffix(pattern: str, value: str, *, longest: bool, charge: Charge = _free) -> str:
    """``value`` without the shortest or longest suffix that matches. Raises PatternError."""
    length = match_length(Automaton(compile_pattern(pattern)[::-1]), value[::-1], longest=longest, charge=charge)
    return value[: len(value) - length] if length else value


def replace(pattern: str, value: str, replacement: str, *, every: bool, charge: Charge = _free) -> str:
    """``value`` with the first match, or every match, replaced; matches are as long as possible. Raises PatternError.

    With ``every``, a dollar sign in the replacement is not plain text (see ``_fill``).
    """
    tokens = compile_pattern(pattern)
    automaton = Automaton(tokens)
    begins = _beginnings(Automaton(tokens[::-1]), value, charge)
    template = replacement if every and "$" in replacement else None
    parts: list[str] = []
    done = 0
    position = 0
    while (position := begins.find(1, position)) >= 0:
        length = match_length(automaton, value, position, longest=True, charge=charge) or 0
        if length == 0 and position == done and position > 0:
            position += 1  # an empty match right behind the last one
            continue
        if template is not None:
            replacement = _fill(template, value[position : position + length])
        charge(len(replacement))
        parts += (value[done:position], replacement)
        done = position + length
        if not every:
            break
        position = max(done, position + 1)
    return "".join(parts) + value[done:]


def _beginnings(backwards: Automaton, text: str, charge: Charge) -> bytearray:
    """For each position of ``text``, 1 where a match begins: read from the end, each position may be the end of one."""
    charge(len(text) * _weight(backwards))
    found = bytearray(len(text) + 1)
    states = backwards.start
    for position in range(len(text), -1, -1):
        found[position] = backwards.accepts(states)
        if position:
            states = backwards.after(states, text[position - 1]) | backwards.start
    return found


def _fill(template: str, match: str) -> str:
    """What Go's regular expressions make of ``$`` in a replacement: ``$$`` a dollar, ``$0`` the match, other names nothing."""

    def one(reference: re.Match[str]) -> str:
        if reference[0] == "$$":
            return "$"
        return match if "0" in (reference[1], reference[2]) else ""

    return _REFERENCE.sub(one, template)
