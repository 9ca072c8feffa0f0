"""The sentence that stands under a check, and how it is shown: the same in a notebook, in nbgrader's feedback and in Validate."""

from __future__ import annotations

import textwrap
from typing import Final

from autograder.submission.record import CheckResult
from layerlab.control_characters import escape, without_controls

_WORDS: Final = {"passed": "Passed", "partial": "Partly", "failed": "Not yet", "not-run": "Not run"}
# nbgrader's validate cuts off what is longer than 83 characters.
_WIDTH: Final = 80


def verdict(check: CheckResult) -> str:
    """Status, points and message of a check. The message may quote what a student wrote."""
    return f"{_WORDS[check.status]}: {check.points:g} of {check.max_points:g} points. {check.message}"


def printable(text: str) -> str:
    """A text without control characters, bidirectional overrides and their kin; lines stay lines."""
    return without_controls("\n".join(text.splitlines()), keep="\n")


def visible(text: str) -> str:
    """A file's text to be read by a person: what a terminal or a page would act on, or not show, stands there as its escape."""
    return without_controls(text, keep="\n\r\t", instead=escape)


def wrapped(text: str) -> list[str]:
    """A text as lines that every reader shows whole."""
    return [part for line in text.splitlines() for part in textwrap.wrap(line, _WIDTH) or [""]]


def meaningful_lines(text: str) -> list[str]:
    """A file without comments, blank lines and differences that change nothing: spacing, and the case of the first word."""
    found = []
    for line in text.splitlines():
        words = line.split()
        if words and not words[0].startswith("#"):
            found.append(" ".join([words[0].upper(), *words[1:]]))
    return found
