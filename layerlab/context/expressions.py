"""The regular expressions that moby/patternmatcher makes of ignore patterns, read as Go's ``regexp`` reads them.

Of a pattern's characters some reach the expression as they are, so that ``\\d``, ``{2}``, ``|``, ``^`` and ``[[:alpha:]]`` mean there what
they mean in RE2 (``regexp/syntax/parse.go``, flags ``Perl``). Groups and quantifiers come only from the wildcards, which keeps the language
small: alternatives of sequences of single characters, assertions and runs. What no pattern matcher of a stranger's file may do is take
exponential time, so all ways of matching are followed at once (Thompson's simulation; Cox, "Regular Expression Matching: the Virtual
Machine Approach", 2009).
"""

from __future__ import annotations

import functools
import re
import sys
from typing import Final

from layerlab.errors import DockerfileError
from layerlab.records import Record
from layerlab.wildcards import Folders, One, Run, Token

Ranges = tuple[tuple[int, int], ...]

_FOLDERS: Final = "(.*/)?"
_ONE: Final = "[^/]"
_LAST: Final = sys.maxunicode
_MOST_REPEATS: Final = 1000
# RE2 has a limit, too, though a larger one.
_MOST_INSTRUCTIONS: Final = 2_500
_REPEAT: Final = re.compile(r"\{(0|[1-9][0-9]*)(?:(,)(0|[1-9][0-9]*)?)?\}", re.ASCII)
_POSIX: Final = re.compile(r"\[:(\^?)([^\]]*?):\]")
_OCTAL: Final = re.compile("0[0-7]{0,2}|[1-7][0-7]{1,2}")
_HEX: Final = re.compile(r"x(?:([0-9A-Fa-f]{2})|\{([0-9A-Fa-f]+)\})")
_UNICODE: Final = re.compile(r"[pP](?:\{(\^?)([^}]*)\}|(.))", re.DOTALL)
_CONTROLS: Final = {"a": 7, "f": 12, "n": 10, "r": 13, "t": 9, "v": 11}
_DIGITS: Final[Ranges] = ((48, 57),)
_LETTERS: Final[Ranges] = ((65, 90), (97, 122))
_BLANKS: Final[Ranges] = ((9, 10), (12, 13), (32, 32))
_WORD: Final[Ranges] = (*_DIGITS, *_LETTERS, (95, 95))
_PERL: Final = {"d": _DIGITS, "s": _BLANKS, "w": _WORD}
_NAMED: Final[dict[str, Ranges]] = {
    "alnum": (*_DIGITS, *_LETTERS),
    "alpha": _LETTERS,
    "ascii": ((0, 127),),
    "blank": ((9, 9), (32, 32)),
    "cntrl": ((0, 31), (127, 127)),
    "digit": _DIGITS,
    "graph": ((33, 126),),
    "lower": ((97, 122),),
    "print": ((32, 126),),
    "punct": ((33, 47), (58, 64), (91, 96), (123, 126)),
    "space": ((9, 13), (32, 32)),
    "upper": ((65, 90),),
    "word": _WORD,
    "xdigit": (*_DIGITS, (65, 70), (97, 102)),
}


class Assertion(Record, frozen=True):
    """A place in a text, not a character: ``A`` its start, ``z`` its end, ``b`` a word's edge, ``B`` none."""

    kind: str


class Item(Record, frozen=True):
    """Something that stands ``least`` to ``most`` times (``None``: any number)."""

    what: Token | Assertion
    least: int = 1
    most: int | None = 1


def parse(text: str) -> list[list[Item]]:
    """The alternatives of an expression. Raises ``ValueError`` where Go's ``regexp`` refuses it."""
    alternatives: list[list[Item]] = [[]]
    position = 0
    repeated = False
    # Looked for once: a text may have as many beginnings of such names as it likes.
    last_name = text.rfind(":]")
    while position < len(text):
        items = alternatives[-1]
        char = text[position]
        quantity = _REPEAT.match(text, position) if char == "{" else None
        if quantity is not None or char in "*?+":
            if repeated or not items:
                raise ValueError(text)
            least, most = (0, None) if quantity is None else _quantity(quantity)
            items[-1] = Item(items[-1].what, least, most)
            position += 1 if quantity is None else len(quantity[0])
            repeated = True
            continue
        repeated = False
        if text.startswith(_FOLDERS, position):
            items.append(Item(Folders("\n")))
            position += len(_FOLDERS)
            repeated = True
        elif char == "|":
            alternatives.append([])
            position += 1
        elif char in "^$":
            items.append(Item(Assertion("A" if char == "^" else "z")))
            position += 1
        elif char == ".":
            items.append(Item(One("\n")))
            position += 1
        elif text.startswith(_ONE, position):
            items.append(Item(One("/")))
            position += len(_ONE)
        elif char == "[":
            found, position = _class(text, position + 1, last_name)
            items.append(Item(_token(found)))
        elif text.startswith("\\Q", position):
            end = text.find("\\E", position + 2)
            literal = text[position + 2 : end if end >= 0 else None]
            items.extend(map(Item, literal))
            position = min(position + 4 + len(literal), len(text))
        elif char == "\\":
            escaped, position = _escape(text, position + 1)
            items.append(Item(escaped))
        else:
            items.append(Item(char))
            position += 1
    return alternatives


def _quantity(found: re.Match[str]) -> tuple[int, int | None]:
    least = int(found[1])
    most = least if found[2] is None else int(found[3]) if found[3] is not None else None
    if least > _MOST_REPEATS or (most is not None and (most > _MOST_REPEATS or least > most)):
        raise ValueError(found[0])
    return least, most


def _escape(text: str, position: int) -> tuple[Token | Assertion, int]:
    """What stands after a backslash."""
    char = text[position : position + 1]
    if char in ("A", "z", "b", "B"):
        return Assertion(char), position + 1
    found, after = _class_escape(text, position)
    if found is not None:
        return _token(found), after
    code, after = _character(text, position)
    return chr(code), after


def _class_escape(text: str, position: int) -> tuple[Ranges | None, int]:
    """The class that an escape stands for."""
    char = text[position : position + 1]
    if char and char.lower() in _PERL:
        ranges = _PERL[char.lower()]
        return _complement(ranges) if char.isupper() else ranges, position + 1
    found = _UNICODE.match(text, position)
    if found is None:
        return None, position
    ranges = _category(found[2] if found[3] is None else found[3])
    return _complement(ranges) if (char == "P") != bool(found[1]) else ranges, found.end()


def _character(text: str, position: int) -> tuple[int, int]:
    char = text[position : position + 1]
    if char and char.isascii() and not char.isalnum():
        return ord(char), position + 1
    if char in _CONTROLS:
        return _CONTROLS[char], position + 1
    number = _OCTAL.match(text, position)
    if number is not None:
        return int(number[0], 8), number.end()
    number = _HEX.match(text, position)
    code = int(number[1] or number[2], 16) if number is not None else _LAST + 1
    if number is None or code > _LAST:
        raise ValueError(text)
    return code, number.end()


def _class(text: str, position: int, last_name: int) -> tuple[Ranges, int]:
    """The characters of a class, and where it ends. ``last_name``: where the last ``:]`` of the text is."""
    negated = text.startswith("^", position)
    position += negated
    ranges: list[tuple[int, int]] = []
    first = position
    while not text.startswith("]", position) or position == first:
        if text.startswith("[:", position) and last_name >= position + 2:
            named = _POSIX.match(text, position)
            if named is None or named[2] not in _NAMED:
                raise ValueError(text)
            ranges += _complement(_NAMED[named[2]]) if named[1] else _NAMED[named[2]]
            position = named.end()
            continue
        if text.startswith("\\", position):
            found, after = _class_escape(text, position + 1)
            if found is not None:
                ranges += found
                position = after
                continue
        low, position = _class_character(text, position)
        high = low
        if text.startswith("-", position) and text[position + 1 : position + 2] not in ("", "]"):
            high, position = _class_character(text, position + 1)
            if high < low:
                raise ValueError(text)
        ranges.append((low, high))
    joined = _joined(ranges)
    return _complement(joined) if negated else joined, position + 1


def _class_character(text: str, position: int) -> tuple[int, int]:
    if position >= len(text):
        raise ValueError(text)
    return _character(text, position + 1) if text[position] == "\\" else (ord(text[position]), position + 1)


def _joined(ranges: list[tuple[int, int]]) -> Ranges:
    found: list[tuple[int, int]] = []
    for low, high in sorted(ranges):
        if found and low <= found[-1][1] + 1:
            found[-1] = (found[-1][0], max(high, found[-1][1]))
        else:
            found.append((low, high))
    return tuple(found)


def _complement(ranges: Ranges) -> Ranges:
    found: list[tuple[int, int]] = []
    start = 0
    for low, high in _joined(list(ranges)):
        if low > start:
            found.append((start, low - 1))
        start = high + 1
    return (*found, (start, _LAST)) if start <= _LAST else tuple(found)


@functools.cache
def _category(name: str) -> Ranges:
    """The characters of a general category of Unicode."""
    import unicodedata

    if name == "Any":
        return ((0, _LAST),)
    if re.fullmatch("[CLMNPSZ][a-z]?", name) is None:
        if re.fullmatch("[A-Z][A-Za-z_]+", name):
            # One of Go's scripts, which Python has no table of, or none.
            raise DockerfileError(f"the class of characters {name} is not supported in patterns", remedy="Write the characters themselves.")
        raise ValueError(name)
    ranges: list[tuple[int, int]] = []
    for code in range(_LAST + 1):
        if unicodedata.category(chr(code)).startswith(name):
            if ranges and ranges[-1][1] == code - 1:
                ranges[-1] = (ranges[-1][0], code)
            else:
                ranges.append((code, code))
    if not ranges:
        raise ValueError(name)
    return tuple(ranges)


def _token(ranges: Ranges) -> re.Pattern[str]:
    if not ranges:
        return re.compile("(?!)")
    return re.compile("[" + "".join(f"{re.escape(chr(low))}-{re.escape(chr(high))}" for low, high in ranges) + "]")


class Expression:
    """An expression that is more than a sequence of characters and wildcards. Raises ``ValueError`` for one that is too large."""

    def __init__(self, alternatives: list[list[Item]]) -> None:
        # (what, its argument): "char" a token; "at" an assertion; "to" the instructions that follow; "done".
        self._program: list[tuple[str, Token | Assertion | tuple[int, ...] | None]] = [("to", None)]
        starts = []
        for items in alternatives:
            starts.append(len(self._program))
            for item in items:
                self._add(item)
            self._program.append(("done", None))
        self._program[0] = ("to", tuple(starts))
        # Those that may begin within a text, too.
        self._within = [start for start in starts if self._program[start] != ("at", Assertion("A"))]

    def _add(self, item: Item) -> None:
        program = self._program
        for _ in range(item.least):
            self._once(item.what)
        if item.most is None:
            start = len(program)
            program.append(("to", None))
            self._once(item.what)
            program.append(("to", (start,)))
            program[start] = ("to", (start + 1, len(program)))
        else:
            for _ in range(item.most - item.least):
                start = len(program)
                program.append(("to", None))
                self._once(item.what)
                program[start] = ("to", (start + 1, len(program)))
        if len(program) > _MOST_INSTRUCTIONS:
            raise ValueError("the expression is too large")

    def _once(self, what: Token | Assertion) -> None:
        program = self._program
        if isinstance(what, Folders):
            start = len(program)
            program.append(("to", None))
            self._add(Item(One(what.but), 0, None))
            program.append(("char", "/"))
            program[start] = ("to", (start + 1, len(program)))
        else:
            program.append(("at" if isinstance(what, Assertion) else "char", what))
        if len(program) > _MOST_INSTRUCTIONS:
            raise ValueError("the expression is too large")

    def matches(self, text: str) -> bool:
        """Whether some part of the text matches."""
        waiting: set[int] = set()
        for position in range(len(text) + 1):
            pending = [*waiting, *(self._within if position else (0,))]
            seen: set[int] = set()
            waiting = set()
            while pending:
                here = pending.pop()
                if here in seen:
                    continue
                seen.add(here)
                kind, argument = self._program[here]
                if kind == "done":
                    return True
                if isinstance(argument, tuple):
                    pending.extend(argument)
                elif isinstance(argument, Assertion):
                    if _holds(argument.kind, text, position):
                        pending.append(here + 1)
                elif position < len(text) and _takes(argument, text[position]):
                    waiting.add(here + 1)
        return False


def _takes(token: Token | None, char: str) -> bool:
    if isinstance(token, str):
        return token == char
    if isinstance(token, re.Pattern):
        return token.match(char) is not None
    return isinstance(token, One) and token.but != char


def _holds(kind: str, text: str, position: int) -> bool:
    if kind == "A":
        return position == 0
    if kind == "z":
        return position == len(text)
    edge = _is_word(text[position - 1 : position]) != _is_word(text[position : position + 1])
    return edge == (kind == "b")


def _is_word(char: str) -> bool:
    return char.isascii() and (char.isalnum() or char == "_")


def plain(alternatives: list[list[Item]]) -> list[Token] | None:
    """The tokens of an expression for a whole text, where it is a sequence of characters and wildcards only."""
    items = alternatives[0]
    if len(alternatives) > 1 or len(items) < 2 or items[0] != Item(Assertion("A")) or items[-1] != Item(Assertion("z")):
        return None
    tokens: list[Token] = []
    for item in items[1:-1]:
        if isinstance(item.what, Assertion):
            return None
        if (item.least, item.most) == (1, 1):
            tokens.append(item.what)
        elif (item.least, item.most) == (0, None) and isinstance(item.what, One):
            tokens.append(Run(item.what.but))
        else:
            return None
    return tokens
