"""Character classes and quoting that the rest of the package shares.

BuildKit is written in Go, and what Go calls a space is not quite what Python does (``\\x1c`` is a space for Python only).
Where a rule says "any space", it means ``SPACES``; where it says "blanks between words", it means ``WORD_BREAK``.
"""

from __future__ import annotations

import re
import sys

SPACES = "\t\n\v\f\r \x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u2028\u2029\u202f\u205f\u3000"
"""Every character that Go's ``unicode.IsSpace`` accepts; for ``str.strip`` and ``in``."""

SPACE_SET = frozenset(SPACES)

WORD_BREAK = re.compile(r"[\t\v\f\r ]+")
"""What separates the words of an instruction (no newline, no Unicode blanks). BuildKit parser/parser.go."""


_ESCAPES = {"\a": "a", "\b": "b", "\f": "f", "\n": "n", "\r": "r", "\t": "t", "\v": "v", '"': '"', "\\": "\\"}


def quoted(text: str) -> str:
    """``text`` in double quotes, as Go's ``strconv.Quote`` writes it: in BuildKit's messages, and in the history of CMD and ENTRYPOINT."""
    return '"' + "".join(_shown(character) for character in text) + '"'


def quoted_rune(number: int) -> str:
    """A number as Go's ``%q`` writes it: as a character in single quotes. HEALTHCHECK's history has its retries so."""
    character = chr(number) if number <= sys.maxunicode and not 0xD800 <= number <= 0xDFFF else "\ufffd"
    return "'" + {"'": "\\'", '"': '"'}.get(character, _shown(character)) + "'"


def _shown(character: str) -> str:
    if character in _ESCAPES:
        return "\\" + _ESCAPES[character]
    if character.isprintable():
        return character
    number = ord(character)
    if 0xDC80 <= number <= 0xDCFF:
        # A byte that is no UTF-8.
        number -= 0xDC00
    if number < 0x100 and (number < 0x80 or number + 0xDC00 == ord(character)):
        return f"\\x{number:02x}"
    return f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"
