"""Shell patterns of ``${name#pattern}``, ``${name%pattern}`` and ``${name/pattern/text}``.

Rule: BuildKit ``frontend/dockerfile/shell/lex.go``: ``*`` is any run of characters, ``?`` is one, neither crosses a newline;
a backslash makes ``*``, ``?`` and itself literal; there are no ``[…]`` classes. Matching follows all possibilities at once, so
its time is bounded by pattern length times text length.
"""

from __future__ import annotations

import re
from typing import Literal

STAR = "*"
ANY = "?"
Token = tuple[Literal["*", "?", ""], str]
"""A wildcard, or ``("", character)`` for a literal one."""

# The most steps of a replacement, which looks for its pattern at every place of the text: about a second.
_WORK = 10_000_000
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
            tokens.append(("*", ""))
        elif char == "?":
            tokens.append(("?", ""))
        elif char == "\\":
            following = pattern[index + 1 : index + 2]
            if following in ("}", "/"):
                continue  # the backslash only hid the character from the end of ${…}
            if following not in ("*", "?", "\\"):
                raise PatternError(f"invalid escape '\\{following}'")
            tokens.append(("", following))
            next(chars, None)
        else:
            tokens.append(("", char))
    return tokens


def match_length(tokens: list[Token], text: str, start: int = 0, *, longest: bool) -> int | None:
    """How many characters from ``start`` the pattern matches: the fewest, or with ``longest`` the most."""
    accept = len(tokens)
    states = _skip_stars(tokens, {0})
    best = 0 if accept in states else None
    for offset in range(start, len(text)):
        if best is not None and not longest:
            break
        char = text[offset]
        following: set[int] = set()
        for state in states:
            if state == accept:
                continue
            kind, literal = tokens[state]
            if kind == "":
                if literal == char:
                    following.add(state + 1)
            elif char != "\n":
                following.add(state if kind == STAR else state + 1)
        if not following:
            break
        states = _skip_stars(tokens, following)
        if accept in states:
            best = offset - start + 1
    return best


def trim_prefix(pattern: str, value: str, *, longest: bool) -> str:
    """``value`` without the shortest or longest prefix that matches. Raises PatternError."""
    length = match_length(compile_pattern(pattern), value, longest=longest)
    return value[length:] if length else value


def trim_suffix(pattern: str, value: str, *, longest: bool) -> str:
    """``value`` without the shortest or longest suffix that matches. Raises PatternError."""
    length = match_length(compile_pattern(pattern)[::-1], value[::-1], longest=longest)
    return value[: len(value) - length] if length else value


def replace(pattern: str, value: str, replacement: str, *, every: bool) -> str:
    """``value`` with the first match, or every match, replaced; matches are as long as possible. Raises PatternError.

    With ``every``, a dollar sign in the replacement is not plain text (see ``_fill``).
    """
    tokens = compile_pattern(pattern)
    if len(tokens) * len(value) ** 2 > _WORK:
        raise PatternError("the value is too long for a replacement")
    template = replacement if every and "$" in replacement else None
    parts: list[str] = []
    done = 0
    position = 0
    while position <= len(value):
        length = match_length(tokens, value, position, longest=True)
        if length is None or (length == 0 and position == done and position > 0):
            position += 1  # no match here, or an empty one right behind the last match
            continue
        if template is not None:
            replacement = _fill(template, value[position : position + length])
        parts += (value[done:position], replacement)
        done = position + length
        if not every:
            break
        position = max(done, position + 1)
    return "".join(parts) + value[done:]


def _fill(template: str, match: str) -> str:
    """What Go's regular expressions make of ``$`` in a replacement: ``$$`` a dollar, ``$0`` the match, other names nothing."""

    def one(reference: re.Match[str]) -> str:
        if reference[0] == "$$":
            return "$"
        return match if "0" in (reference[1], reference[2]) else ""

    return _REFERENCE.sub(one, template)


def _skip_stars(tokens: list[Token], states: set[int]) -> set[int]:
    """The states and those reached from them by letting a ``*`` match nothing."""
    reached = set(states)
    for state in states:
        while state < len(tokens) and tokens[state][0] == STAR:
            state += 1
            reached.add(state)
    return reached
