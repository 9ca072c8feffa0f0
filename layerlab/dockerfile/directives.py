"""Parser directives: ``# escape=``, ``# syntax=`` and ``# check=`` at the top of the file.

They count only before everything else: the first line that is not a known directive (a blank line, an ordinary comment, an
instruction) ends them. Rule: BuildKit ``frontend/dockerfile/parser/directives.go``.
"""

from __future__ import annotations

import re

from layerlab.dockerfile.chars import SPACES

KNOWN = frozenset({"syntax", "escape", "check"})
DEFAULT_ESCAPE = "\\"

_DIRECTIVE = re.compile(r"([a-zA-Z][a-zA-Z0-9]*)[\t\n\f\r ]*=[\t\n\f\r ]*(.+)\Z")
_BLANKS = "\t\n\f\r "


class DirectiveError(ValueError):
    """A directive given twice, or an escape character that is not allowed."""


class Directives:
    """Feed every physical line in order to ``read``; the values are attributes."""

    def __init__(self) -> None:
        self.escape = DEFAULT_ESCAPE
        self.values: dict[str, str] = {}
        self.open = True

    def read(self, line: str) -> None:
        """Take one line, without its line end.

        Raises:
            DirectiveError: for a repeated directive or an escape character other than a backslash or a backtick.
        """
        if not self.open:
            return
        match = _DIRECTIVE.match(line[1:].lstrip(SPACES)) if line.startswith("#") else None
        name = match[1].lower() if match else ""
        if match is None or name not in KNOWN:
            self.open = False
            return
        if name in self.values:
            raise DirectiveError(f"only one {name} parser directive can be used")
        # Cut off here and not by the expression, which would take time that grows with the square of a run of blanks.
        value = self.values[name] = match[2].rstrip(_BLANKS) or match[2][0]
        if name == "escape":
            if value not in ("\\", "`"):
                raise DirectiveError(f"invalid escape token '{value}' does not match ` or \\")
            self.escape = value


def detect(name: str, lines: list[str]) -> str | None:
    """The value of ``# syntax=`` or ``# check=`` up to its first blank, or ``None``.

    Unlike ``# escape=`` they may follow a ``#!`` line, and may not be indented.
    """
    directives = Directives()
    for number, line in enumerate(lines):
        if number == 0 and line.startswith("#!"):
            continue
        try:
            directives.read(line)
        except DirectiveError:
            break
        if not directives.open:
            break
    value = directives.values.get(name)
    return value.split(" ", 1)[0] if value is not None else None
