"""The first pass over an instruction: its words, without asking whether they make sense.

BuildKit reads a whole file this way before it looks at any single instruction, so an error found here is reported before an earlier
line's error that only the second pass (``instructions``) finds, and without the "dockerfile parse error on line" prefix.
Rule: BuildKit ``frontend/dockerfile/parser/line_parsers.go``.
"""

from __future__ import annotations

from typing import NoReturn

from layerlab.dockerfile.ast import Heredoc
from layerlab.dockerfile.chars import SPACE_SET, SPACES, WORD_BREAK, quoted
from layerlab.dockerfile.heredoc import heredocs_in
from layerlab.dockerfile.lines import LineReader, LogicalLine
from layerlab.dockerfile.words import Command, NotStringsError, json_array, split_blanks, split_command, split_words
from layerlab.errors import DockerfileError
from layerlab.records import Record

HEREDOC_KEYWORDS = frozenset({"ADD", "COPY", "RUN"})


class Node(Record):
    """The words of one instruction.

    ``json`` says that the arguments were a JSON array; ``child`` is the instruction inside ONBUILD.
    """

    file: str
    line: LogicalLine
    command: Command
    keyword: str
    words: list[str] = []
    json: bool = False
    pairs: list[tuple[str, str]] = []
    heredocs: list[Heredoc] = []
    child: Node | None = None
    legacy: bool = False

    def fail(self, message: str, *, remedy: str | None = None, offset: int | None = None) -> NoReturn:
        """Raise DockerfileError at ``offset`` of the logical line, or at the keyword."""
        row, column = self.line.place(self.command.keyword_offset if offset is None else offset)
        raise DockerfileError(message, file=self.file, line=row, column=column, remedy=remedy)

    def takes_heredocs(self) -> bool:
        """Whether ``<<`` in this line can start here-documents."""
        node = self.child if self.keyword == "ONBUILD" and self.child is not None else self
        return node.keyword in HEREDOC_KEYWORDS and not node.json


def read_nodes(reader: LineReader) -> list[Node]:
    """All instructions of a file, here-document bodies included.

    Raises:
        DockerfileError: for the mistakes that this pass sees.
    """
    nodes: list[Node] = []
    while (line := reader.next()) is not None:
        node = _node(line, line.text, reader, base=0, depth=0)
        if "<<" in line.text and node.takes_heredocs():
            node.heredocs = [reader.body(heredoc, line) for heredoc in _announced(node)]
        nodes.append(node)
    return nodes


def _announced(node: Node) -> list[Heredoc]:
    try:
        return heredocs_in(node.line.text)
    except DockerfileError as error:
        node.fail(error.message, remedy="Close the quotes of the here-document's marker.")


def _node(line: LogicalLine, text: str, reader: LineReader, *, base: int, depth: int) -> Node:
    """The words of ``text``, which starts at offset ``base`` of the logical line."""
    escape = reader.directives.escape
    command = split_command(text, escape)
    if base:
        command = command._replace(keyword_offset=command.keyword_offset + base, arguments_offset=command.arguments_offset + base)
    node = Node(reader.file, line, command, command.keyword.upper())
    arguments = command.arguments
    match node.keyword:
        case "RUN" | "CMD" | "ENTRYPOINT" | "SHELL":
            _json_or(node, arguments, whole=True)
        case "COPY" | "ADD" | "VOLUME":
            _json_or(node, arguments, whole=False)
        case "FROM" | "EXPOSE":
            node.words = split_blanks(arguments)
        case "USER" | "WORKDIR" | "STOPSIGNAL" | "MAINTAINER":
            node.words = [arguments] if arguments else []
        case "ARG":
            node.words = split_words(arguments, escape)
        case "ENV" | "LABEL":
            node.pairs = _pairs(node, arguments, escape)
        case "HEALTHCHECK":
            _healthcheck(node, arguments)
        case "ONBUILD":
            # Only one level is ever allowed; deeper ones need no look inside.
            if arguments and depth < 2:
                node.child = _node(line, arguments, reader, base=command.arguments_offset, depth=depth + 1)
        case _:
            pass
    return node


def _json_or(node: Node, text: str, *, whole: bool) -> None:
    """JSON array, or shell form: the whole text as one word, or split at blanks."""
    try:
        array = json_array(text)
    except NotStringsError as error:
        node.fail(str(error), remedy=f'Put every element in double quotes: {node.keyword} ["a", "b"].')
    if array is not None:
        node.words, node.json = array, True
    elif not whole:
        node.words = split_blanks(text)
    elif text:
        node.words = [text]


def _pairs(node: Node, text: str, escape: str) -> list[tuple[str, str]]:
    words = split_words(text, escape)
    if not words:
        return []
    if "=" not in words[0]:
        old_style = WORD_BREAK.split(text, maxsplit=1)
        if len(old_style) < 2:
            node.fail(f"{node.keyword} must have two arguments", remedy=f"Write {node.keyword} {text}=value.")
        node.legacy = True
        return [(old_style[0], old_style[1])]
    pairs: list[tuple[str, str]] = []
    for word in words:
        name, equals, value = word.partition("=")
        if not equals:
            node.fail(
                f"Syntax error - can't find = in {quoted(word)}. Must be of the form: name=value",
                remedy="Quote a value that has blanks in it.",
            )
        pairs.append((name, value))
    return pairs


def _healthcheck(node: Node, text: str) -> None:
    kind_end = next((index for index, char in enumerate(text) if char in SPACE_SET), len(text))
    if kind_end:
        _json_or(node, text[kind_end:].lstrip(SPACES), whole=True)
        node.words.insert(0, text[:kind_end])
