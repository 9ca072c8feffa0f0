"""From bytes to logical lines: decoding, comments, continuations, here-document bodies, and where everything stood.

Knows nothing of instructions. Rule: BuildKit ``frontend/dockerfile/parser/parser.go``.
"""

from __future__ import annotations

from bisect import bisect_right

from layerlab.dockerfile.ast import Heredoc
from layerlab.dockerfile.chars import SPACES
from layerlab.dockerfile.directives import DirectiveError, Directives
from layerlab.dockerfile.heredoc import without_leading_tabs
from layerlab.errors import DockerfileError
from layerlab.records import Record

LONGEST_LINE = 65535
BYTE_ORDER_MARK = "\ufeff"


class LogicalLine(Record):
    """One instruction's text with its continuations joined.

    ``pieces`` says which physical line (from 1) and column (from 1) each part came from, by offset in ``text``. ``comments`` stand before
    it, without their ``#``.
    """

    text: str
    start: int
    end: int
    offsets: list[int] = []
    places: list[tuple[int, int]] = []
    comments: tuple[str, ...] = ()

    def place(self, offset: int) -> tuple[int, int]:
        """Line and column in the file of the character at ``offset``."""
        index = max(0, bisect_right(self.offsets, offset) - 1)
        if index >= len(self.places):
            return self.start, 1
        line, column = self.places[index]
        return line, column + offset - self.offsets[index]


def decode(text: bytes | str, file: str) -> str:
    """The text without a byte order mark.

    Raises:
        DockerfileError: for bytes that are not UTF-8, or when there is nothing at all.
    """
    if isinstance(text, bytes):
        try:
            decoded = text.decode("utf-8")
        except UnicodeDecodeError as error:
            before = text[: error.start].decode("utf-8")
            line = before.count("\n") + 1
            raise DockerfileError(
                f"the Dockerfile is not valid UTF-8: byte 0x{text[error.start]:02x}",
                file=file,
                line=line,
                column=len(before) - (before.rfind("\n") + 1) + 1,
                remedy="Save the file as UTF-8 without other encodings.",
            ) from None
    else:
        decoded = text
        try:
            text.encode("utf-8")
        except UnicodeEncodeError as error:
            line = text.count("\n", 0, error.start) + 1
            column = error.start - (text.rfind("\n", 0, error.start) + 1) + 1
            raise DockerfileError(
                "the Dockerfile is not valid UTF-8: it has half of a surrogate pair",
                file=file,
                line=line,
                column=column,
                remedy="Remove the character.",
            ) from None
    if not decoded:
        raise DockerfileError(
            "the Dockerfile cannot be empty",
            file=file,
            line=1,
            column=1,
            remedy="Begin with a FROM instruction, for example `FROM scratch`.",
        )
    return decoded.removeprefix(BYTE_ORDER_MARK)


class LineReader:
    """Hands out logical lines one after the other; after each, the caller may take here-document bodies.

    ``gaps``  the numbers of the last lines of those that have an empty line within.
    """

    def __init__(self, text: str, file: str) -> None:
        self.file = file
        self.directives = Directives()
        self.physical = text.split("\n")
        if not self.physical[-1]:
            self.physical.pop()
        self.position = 0
        self.gaps: list[int] = []
        if len(text) > LONGEST_LINE // 4:
            self._check_lengths()

    def next(self) -> LogicalLine | None:
        """The next logical line, or ``None`` at the end of the file.

        Raises:
            DockerfileError: for a wrong parser directive.
        """
        comments: list[str] = []
        while self.position < len(self.physical):
            start = self.position + 1
            written = self._physical_line()
            stripped = written.lstrip(SPACES)
            known = self._read_directive(stripped, start)
            if stripped.startswith("#"):
                # The first character goes, whatever it is.
                comment = written[1:].strip(SPACES)
                if not comment:
                    comments.clear()
                elif not known:
                    comments.append(comment)
                continue
            text, more = self._continued(stripped)
            if not text and not more:
                continue
            parts = [text]
            offsets = [0]
            places = [(start, len(written) - len(stripped) + 1)]
            length = len(text)
            gap = False
            while more and self.position < len(self.physical):
                number = self.position + 1
                written = self._physical_line()
                self._read_directive(written, number)
                content = written.lstrip(SPACES)
                if not content or content.startswith("#"):
                    gap = gap or not content
                    continue
                text, more = self._continued(written)
                parts.append(text)
                offsets.append(length)
                places.append((number, 1))
                length += len(text)
            if gap:
                self.gaps.append(self.position)
            return LogicalLine("".join(parts), start, self.position, offsets, places, tuple(comments))
        return None

    def body(self, heredoc: Heredoc, line: LogicalLine) -> Heredoc:
        """``heredoc`` with the body that follows; ``line.end`` moves to the terminator.

        Raises:
            DockerfileError: when the file ends before the terminator.
        """
        begin = self.position
        while self.position < len(self.physical):
            candidate = self.physical[self.position].rstrip("\r\n")
            if heredoc.chomp:
                candidate = candidate.lstrip("\t")
            self.position += 1
            if candidate == heredoc.name:
                raw = "".join(f"{body_line}\n" for body_line in self.physical[begin : self.position - 1])
                content = without_leading_tabs(raw) if heredoc.chomp else raw
                line.end = self.position
                return Heredoc(heredoc.name, content, heredoc.expand, heredoc.chomp, heredoc.file_descriptor, raw)
        row, column = line.place(0)
        raise DockerfileError(
            f"unterminated heredoc {heredoc.name}",
            file=self.file,
            line=row,
            column=column,
            remedy=f"End the here-document with a line that is exactly {heredoc.name}.",
        )

    def _physical_line(self) -> str:
        line = self.physical[self.position].rstrip("\r\n")
        self.position += 1
        return line

    def _read_directive(self, line: str, number: int) -> bool:
        """Whether the line is one."""
        if not self.directives.open:
            return False
        try:
            self.directives.read(line)
        except DirectiveError as error:
            raise DockerfileError(
                str(error),
                file=self.file,
                line=number,
                column=1,
                remedy="Write each parser directive once, at the top: `# escape=\\` or `# escape=`` `.",
            ) from None
        return self.directives.open

    def _continued(self, line: str) -> tuple[str, bool]:
        """The line without its continuation character, and whether it had one.

        It must be the last thing but blanks, and not be escaped by another one before it.
        """
        text = line.rstrip(" \t")
        escape = self.directives.escape
        if text.endswith(escape) and text[-2:-1] != escape:
            return text[:-1], True
        return line, False

    def _check_lengths(self) -> None:
        for number, line in enumerate(self.physical, 1):
            if len(line) > LONGEST_LINE or len(line.encode()) > LONGEST_LINE:
                raise DockerfileError(
                    f"dockerfile line greater than max allowed size of {LONGEST_LINE}",
                    file=self.file,
                    line=number,
                    column=1,
                    remedy="Break the line with the continuation character, or put the text into a file and COPY it.",
                )
