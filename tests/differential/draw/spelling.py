"""How a Dockerfile is written: line ends, a byte order mark, the escape character, and where an instruction goes on in another line."""

from __future__ import annotations

from typing import Final

from .dice import Dice

_BETWEEN: Final = ("", "# a note\n", "\n", "  # a note\n\n", "#\n")
_HEADS: Final = ("", "# a comment\n", "# check=skip=all\n", "\n")
CONTINUED: Final = "\\\n"
"""How a continuation stands in an instruction, whatever the file's escape character is."""


class Style:
    """How one version of a file is written."""

    def __init__(self, dice: Dice) -> None:
        odd = dice.theme("spelling")
        self._end = "\r\n" if odd and dice.chance(0.3) else "\n"
        self._mark = "\ufeff" if odd and dice.chance(0.2) else ""
        self._backtick = odd and dice.chance(0.25)
        self._head = dice.one(_HEADS) if odd else ""
        self._last = "" if odd and dice.chance(0.15) else "\n"

    def file(self, lines: list[str]) -> str:
        """The whole file."""
        text = "\n".join(lines) + self._last
        head = self._head
        if self._backtick:
            # A directive is one only before all else.
            text = text.replace(CONTINUED, "`\n").replace("\\ \n", "` \n")
            head = f"# escape=`\n{head}"
        return self._mark + (head + text).replace("\n", self._end)


def spelled(dice: Dice, text: str) -> str:
    """An instruction as somebody may write it. What has a text of its own, or JSON, stays whole."""
    keyword, _, rest = text.partition(" ")
    if dice.chance(0.05):
        text = f"{keyword.lower()} {rest}"
    if "<<" in text or '["' in text or "\n" in text:
        return text
    if dice.theme("spelling", 0.3):
        blank = dice.one((" \\\n", " \\\n    ", "\\\n ", " \\ \n", " \\\n\t"))
        place = dice.one([place for place, letter in enumerate(text) if letter == " "] or [len(text)])
        head, tail = text[:place], text[place + 1 :]
        text = f"{head}{blank.partition(chr(10))[0]}\n{dice.one(_BETWEEN)}{blank.partition(chr(10))[2]}{tail}" if tail else text
        return str(dice.one((text, text, f"  {text}", f"\t{text}", f"{text}  ")))
    if dice.theme("spelling", 0.15):
        return text.replace(" ", dice.one(("\t", "  ", " \t ")), 1)
    if dice.chance(0.04):
        return text.replace(" ", " \\\n    ", 1)
    return text
