"""Here-documents: which words start one, and what their bodies are.

Rule: BuildKit ``frontend/dockerfile/parser/parser.go``. A marker is one word of the form ``[digits]<<[-]NAME``; quotes anywhere in
NAME switch expansion of the body off; a fully quoted word such as ``"<<EOF"`` is text. The escape character inside markers is the
backslash whatever the file says.
"""

from __future__ import annotations

import re

from layerlab.dockerfile.ast import Heredoc
from layerlab.dockerfile.expand import split_keeping

_MARKER = re.compile(r"([0-9]*)<<(-?)[\t\n\f\r ]*([^<]*)\Z")
_LEADING_TABS = re.compile(r"^\t+", re.MULTILINE)


def parse_heredoc(word: str) -> Heredoc | None:
    """The here-document (still without content) that a word announces, or ``None`` when it announces none.

    Raises:
        DockerfileError: for a marker with an odd quote.
    """
    match = _MARKER.match(word)
    if match is None or not match[3]:
        return None
    names = split_keeping(match[3], quotes=False)
    if len(names) != 1:
        return None
    raw_names = split_keeping(match[3], quotes=True)
    quoted = _quotes(raw_names[0]) != _quotes(names[0])
    descriptor = int(match[1][:9]) if match[1] else 0
    return Heredoc(name=names[0], content="", expand=not quoted, chomp=match[2] == "-", file_descriptor=descriptor)


def heredocs_in(line: str) -> list[Heredoc]:
    """The here-documents that a logical line announces, in order.

    A line that cannot be split (odd quotes, as shell commands may have) announces none.

    Raises:
        DockerfileError: as ``parse_heredoc``.
    """
    return [heredoc for word in split_keeping(line, quotes=True, escapes=True, strict=False) if (heredoc := parse_heredoc(word))]


def without_leading_tabs(text: str) -> str:
    """What ``<<-`` makes of a body."""
    return _LEADING_TABS.sub("", text)


def _quotes(text: str) -> int:
    return text.count("'") + text.count('"')
