"""Character classes and quoting that the rest of the package shares.

BuildKit is written in Go, and what Go calls a space is not quite what Python does (``\\x1c`` is a space for Python only).
Where a rule says "any space", it means ``SPACES``; where it says "blanks between words", it means ``WORD_BREAK``.
"""

from __future__ import annotations

import json
import re

SPACES = "\t\n\v\f\r \x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u2028\u2029\u202f\u205f\u3000"
"""Every character that Go's ``unicode.IsSpace`` accepts; for ``str.strip`` and ``in``."""

SPACE_SET = frozenset(SPACES)

WORD_BREAK = re.compile(r"[\t\v\f\r ]+")
"""What separates the words of an instruction (no newline, no Unicode blanks). BuildKit parser/parser.go."""


def quoted(text: str) -> str:
    """``text`` in double quotes, control characters escaped, as error messages show it."""
    return json.dumps(text, ensure_ascii=False)
