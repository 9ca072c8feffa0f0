"""Splitting the logical line of an instruction: keyword, flags, arguments.

Quotes and escapes are respected but stay in the arguments; they are removed when variables are expanded. In flags they are removed at
once. Rule: BuildKit ``frontend/dockerfile/parser/split_command.go`` and ``line_parsers.go``.
"""

from __future__ import annotations

import json
from typing import NamedTuple

from layerlab.dockerfile.chars import SPACE_SET, SPACES, WORD_BREAK


class RawFlag(NamedTuple):
    """A word that starts with ``--``, quotes removed, and its offset in the logical line."""

    text: str
    offset: int


class Command(NamedTuple):
    """A logical line in three parts, and the offsets of the keyword and of the arguments in it."""

    keyword: str
    flags: list[RawFlag]
    arguments: str
    keyword_offset: int
    arguments_offset: int


class NotStringsError(ValueError):
    """A JSON array that has other things than strings in it."""


def split_command(line: str, escape: str) -> Command:
    """Keyword, flags and the trimmed rest of a logical line."""
    start = len(line) - len(line.lstrip(SPACES))
    end = len(line.rstrip(SPACES))
    separator = WORD_BREAK.search(line, start, max(start, end))
    if separator is None:
        return Command(line[start:end], [], "", start, max(start, end))
    flags, rest = _split_flags(line[:end], separator.end(), escape)
    arguments = line[rest:end]
    offset = rest + len(arguments) - len(arguments.lstrip(SPACES))
    return Command(line[start : separator.start()], flags, arguments.strip(SPACES), start, offset)


def _split_flags(line: str, position: int, escape: str) -> tuple[list[RawFlag], int]:
    """The flags from ``position`` on, and where the arguments begin. A lone ``--`` ends the flags and is dropped."""
    flags: list[RawFlag] = []
    end = len(line)
    while True:
        while position < end and line[position] in SPACE_SET:
            position += 1
        if not line.startswith("--", position):
            return flags, position
        start = position
        word: list[str] = []
        quote = ""
        quoted = False
        while position < end:
            char = line[position]
            if not quote and char in SPACE_SET:
                break
            if not quote and char in "'\"":
                quote, quoted = char, True
            elif char == quote:
                quote = ""
            elif char == escape:
                position += 1
                word.append(line[position : position + 1])
            else:
                word.append(char)
            position += 1
        text = "".join(word)
        if text == "--":
            return flags, min(position, end)
        if text or quoted:
            flags.append(RawFlag(text, start))


def split_words(text: str, escape: str) -> list[str]:
    """The words of ENV, LABEL and ARG: separated by blanks outside quotes, with quotes and escapes still in them."""
    words: list[str] = []
    word: list[str] = []
    quote = ""
    quoted = False
    position = 0
    end = len(text)
    while position < end:
        char = text[position]
        position += 1
        if not quote and char in SPACE_SET:
            if word or quoted:
                words.append("".join(word))
            word, quoted = [], False
            continue
        if char == quote:
            quote = ""
        elif not quote and char in "'\"":
            quote, quoted = char, True
        elif char == escape and quote != "'":
            if position == end:
                break  # an escape at the very end escapes nothing
            word.append(char)
            char = text[position]
            position += 1
        word.append(char)
    if word or quoted:
        words.append("".join(word))
    return words


def split_blanks(text: str) -> list[str]:
    """The words of FROM, EXPOSE, COPY, ADD and VOLUME: separated by blanks, quotes mean nothing."""
    return WORD_BREAK.split(text) if text else []


def json_array(text: str) -> list[str] | None:
    """The strings of a JSON array, or ``None`` when the text is not a JSON array at all (it is then in shell form).

    Raises:
        NotStringsError: for a well-formed array with something else than strings in it.
    """
    text = text.lstrip(SPACES)
    if not text.startswith("["):
        return None
    try:
        values = json.loads(text, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        return None
    if not all(isinstance(value, str) for value in values):
        raise NotStringsError("when using JSON array syntax, arrays must be comprised of strings only")
    return [_without_surrogates(value) for value in values]


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _without_surrogates(text: str) -> str:
    """Half of a ``\\uD800`` pair cannot be written as UTF-8; like Go, put the replacement character there."""
    if text.isascii():
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
