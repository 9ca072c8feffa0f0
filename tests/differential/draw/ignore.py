"""Ignore files."""

from __future__ import annotations

from typing import Final

from .dice import Dice

_LINES: Final = (
    *("*.md", "src/*", "!src/index.ts", "**/x", "# comment", "", "docs", "!docs/a.md", "!src", "!a", "Dockerfile", ".dockerignore", "x y"),
    *("lib/", "./b.txt", "b.txt/../b.txt", "?.txt", "[b-c]*", "!**/*.ts", " README.md ", "src/deep/**", "!src/deep/er", "**/*.js", "new*"),
)
_SELDOM: Final = ("*", "src", "a", "**", "!", "link")
_ODD_LINES: Final = (
    *("[^a-c]*", "src/[^d]*", "\\#x", "\\!y", "!!y", "/docs", "/src/../lib", "**/deep", "**/deep/**", "src/**/x", "! docs/b.md", "\tlib"),
    *(
        "*.t[sx]",
        "dirlink",
        "dirlink/*",
        "*/",
        "**/",
        "a\\*b",
        "back\\\\slash",
        "src/deep/er/../x",
        "../a",
        "!lib/one.js",
        "a/",
        "é",
        "**é",
    ),
)


def ignore(dice: Dice) -> str:
    """The text of an ignore file."""
    odd = dice.theme("ignores")
    lines = [
        dice.right(dice.one((_LINES, _ODD_LINES)) if odd else _LINES, _SELDOM if dice.older else (*_SELDOM, "["), often=0.15)
        for _ in range(dice.number(1, 5))
    ]
    end = "\r\n" if odd and dice.chance(0.25) else "\n"
    text = end.join(lines) + (end if not odd or dice.chance(0.8) else "")
    return f"\ufeff{text}" if odd and dice.chance(0.15) else text
