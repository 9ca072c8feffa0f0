"""Text of somebody else's, without what a terminal or a page would obey: control characters, overrides of direction and their kin."""

from __future__ import annotations

from collections.abc import Callable


def without_controls(text: str, *, keep: str = "", instead: str | Callable[[str], str] = " ") -> str:
    """``text`` with every character that cannot be printed replaced.

    ``keep``: such characters that stay, like ``"\\n\\t"``. ``instead``: what stands in the place of the others, or what makes it of each.
    """
    make = instead if callable(instead) else lambda _character: instead
    return "".join(character if character.isprintable() or character in keep else make(character) for character in text)


def escape(character: str) -> str:
    """A character as its escape in source text: ``\\x1b``, ``\\u202e``."""
    return character.encode("unicode_escape").decode("ascii")
