"""COPY and ADD."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from .archives import NAMES
from .context import Context
from .dice import Dice
from .paths import destination, excluded, mode, owner, source

_FROM_SOURCES: Final = ("/etc/passwd", "/etc", "/etc/host*", "/bin/sh", "/", "/tmp", "/etc/*d", "/none*")
_ODD_FROM_SOURCES: Final = ("/none", "etc", "/ln", "/x/*", "$D", "/x", "/app")
_MORE_FROM_SOURCES: Final = ("/app/*", "/ln/*", "/e[t]c/h*", "/etc/[^h]*", "/app/src", "/ln/../etc/hosts", "/x", "/d", ".", "/app/")
_BODIES: Final = ("text\n", "value $V\n", "\tindented\n", "a\nb ${A:-x}\n", "")
_ODD_BODIES: Final = ("$$V \\$V\n", "'$V' \"$V\"\n", "  lead\n\n", "# no comment\n", "<<EOF\n", "tail \\\nnext\n", "E \n", "é\n")


class Origin:
    """What --from may name. ``made``: paths that each very likely has."""

    def __init__(self, names: Sequence[str], numbers: Sequence[str], made: dict[str, list[str]], odd: Sequence[str]) -> None:
        self.names = names
        self.numbers = numbers
        self.made = made
        self.odd = odd


def copy(dice: Dice, context: Context, origin: Origin) -> str:
    """A COPY."""
    if dice.chance(0.3 if dice.theme("heredocs") else 0.08):
        return document(dice, context, "COPY")
    if dice.chance(0.3) and (origin.names or origin.numbers or dice.chance(0.3)):
        return _copy_from(dice, origin)
    flags = [*owner(dice, 0.12), *mode(dice, 0.12)]
    if dice.theme("link", 0.5):
        flags.append("--link")
    if dice.own and dice.chance(0.03):
        flags.append("--parents")
    flags += excluded(dice)
    return _paths(dice, "COPY", flags, [source(dice, context) for _ in range(dice.one((1, 1, 1, 2, 3)))])


def add(dice: Dice, context: Context) -> str:
    """An ADD."""
    if dice.chance(0.25 if dice.theme("heredocs") else 0.1):
        return document(dice, context, "ADD")
    flags = [] if dice.older else owner(dice, 0.12)
    present = [name for name in NAMES if name in context.entries]
    odd = dice.theme("archives")
    if present and dice.chance(0.85 if odd else 0.6):
        if not dice.older and dice.chance(0.3 if odd else 0.1):
            flags.append(f"--unpack={dice.one(('false', 'true'))}")
        if odd and dice.chance(0.2):
            flags += mode(dice, 0)
        names = dice.some(present, 2) if odd and dice.chance(0.3) else [dice.one(present)]
        if odd and dice.chance(0.15):
            names.append(source(dice, context))
        return _paths(dice, "ADD", flags, names)
    flags += mode(dice, 0)
    if dice.theme("link", 0.5):
        flags.append("--link")
    flags += excluded(dice)
    return _paths(dice, "ADD", flags, [source(dice, context) for _ in range(dice.one((1, 1, 2)))])


def document(dice: Dice, context: Context, keyword: str) -> str:
    """COPY or ADD of text that stands in the Dockerfile."""
    odd = dice.theme("heredocs")
    flags = [*mode(dice, 0.2), *owner(dice, 0.1)]
    markers = [dice.one(("EOF", '"EOF"', "-EOF", "E"), ("'EOF'", "-'EOF'", '-"EOF"', "one.txt", "A_B"), often=0.4 if odd else 0)]
    beside: list[str] = []
    if odd and dice.chance(0.4):
        markers.append(dice.one(("TWO", '"TWO"', "-TWO", "'b'")))
    if odd and dice.chance(0.3):
        beside = [source(dice, context)]
    place = destination(dice, several=len(markers) + len(beside) > 1)
    words = [*(f"<<{marker}" for marker in markers), *beside]
    if odd and dice.chance(0.3):
        words.reverse()
        markers.reverse()
    text = " ".join([keyword, *flags, *words, place])
    for marker in markers:
        text += f"\n{dice.one(_BODIES, _ODD_BODIES, often=0.3 if odd else 0)}{closing(marker)}"
    return text


def closing(marker: str) -> str:
    """The line that ends a text."""
    return marker.removeprefix("-").strip("\"'")


def _copy_from(dice: Dice, origin: Origin) -> str:
    names = [*origin.names, *origin.names, *origin.numbers, "base:2"]
    if dice.theme("stages"):
        names += ["base:1", "node:alpine", *(name.upper() for name in origin.names)]
    name = dice.right(names, origin.odd)
    made = origin.made.get(name.lower(), []) or ["/etc/passwd"]
    flags = [f"--from={name}", *owner(dice, 0.1), *(mode(dice, 0.1) if not dice.older else [])]
    if dice.theme("link", 0.5):
        flags.append("--link")
    flags += excluded(dice)
    sources = (*_FROM_SOURCES, *made, *made, *(_MORE_FROM_SOURCES if dice.theme("patterns") else ()))
    return _paths(dice, "COPY", flags, [dice.right(sources, _ODD_FROM_SOURCES) for _ in range(dice.one((1, 1, 2)))])


def _paths(dice: Dice, keyword: str, flags: list[str], sources: list[str]) -> str:
    words = [*sources, destination(dice, several=len(sources) > 1)]
    if dice.theme("spelling", 0.08):
        flags = [*flags, "--"]
    if any(" " in word for word in words) or dice.chance(0.08):
        quoted = ", ".join('"' + word.replace("\\", "\\\\").replace('"', '\\"') + '"' for word in words)
        return " ".join([keyword, *flags, f"[{quoted}]"])
    return " ".join([keyword, *flags, *words])
