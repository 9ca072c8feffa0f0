"""Quotes, escapes and variables in the words of a Dockerfile.

This is the one place that knows what ``$NAME``, ``${NAME:-default}``, quotes and the escape character mean. It does not know
which variables exist: the caller passes them. Rule: BuildKit ``frontend/dockerfile/shell/lex.go``.

BuildKit uses the same reader in several ways, one function here for each:

========================  ===========================================================================================
``expand``                arguments of COPY, ENV, WORKDIR, …: quotes and escapes go away, unset variables become empty
``expand_words``          EXPOSE: as ``expand``, then split at blanks outside quotes
``expand_body``           the body of a COPY or ADD here-document: variables only, quotes are plain text
``expand_keeping_quotes`` the printed name of a RUN step: quotes stay, unset variables stay, errors leave the text alone
``expand_or_keep``        the printed name of COPY, ADD and WORKDIR steps: ``expand``, errors leave the text alone
========================  ===========================================================================================
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from layerlab.dockerfile import patterns
from layerlab.dockerfile.chars import SPACE_SET, SPACES, quoted
from layerlab.errors import DockerfileError

_ANY_SPACE = re.compile(f"[{SPACES}]")
SPECIAL_PARAMETERS = frozenset("@*#?-$!0")
MODIFIERS = frozenset("+-?#%")

BALANCE = "Close every quote and brace; write a literal $ as \\$ and a literal quote as \\' or \\\"."
KNOWN_FORMS = (
    "The forms are ${V}, ${V:-x}, ${V-x}, ${V:+x}, ${V+x}, ${V:?x}, ${V?x}, ${V#p}, ${V##p}, ${V%p}, ${V%%p}, ${V/p/x}, ${V//p/x}."
)
ESCAPES = "In a pattern a backslash stands before *, ?, / or another backslash only."
# Linux takes no longer string into an environment (MAX_ARG_STRLEN). Without a limit, a dozen lines that each repeat the variable of
# the line before fill the memory of whoever plans the build.
LONGEST = 128 << 10
# Characters that all variables of one file may come to, and steps that their patterns may take.
ALL = 4 << 20


class Allowance:
    """What all expansions of one file may come to, so that thousands of long ones do not take minutes. ``left``: in characters."""

    def __init__(self, left: int = ALL) -> None:
        self.left = left

    def take(self, characters: int) -> None:
        """Use up some of it. Raises ``TooMuchError`` when there is no more."""
        self.left -= characters
        if self.left < 0:
            raise TooMuchError(
                f"the variables of this file come to more than {ALL} characters", remedy="Use shorter values, or fewer of them."
            )


class TooMuchError(DockerfileError):
    """More than ``Allowance`` allows: no text of its own is at fault, and none may be left as it is."""


def expand(
    word: str,
    env: Mapping[str, str],
    *,
    escape: str = "\\",
    file: str | None = None,
    line: int | None = None,
    allowance: Allowance | None = None,
) -> str:
    """``word`` with variables replaced, quotes and escapes removed. BuildKit ``ProcessWord``.

    Args:
        word: the text as written.
        env: the variables in scope; one that is missing counts as unset and becomes empty.
        escape: the escape character of the file.
        file, line: where the word stands, for the error.
        allowance: of the file that it stands in; without it, the word has one of its own.

    Raises:
        DockerfileError: unbalanced quotes or braces, an unknown modifier, ``${NAME:?message}`` without a value.
    """
    if "$" not in word and "'" not in word and '"' not in word and escape not in word:
        return word
    return _Lexer(word, env, escape, allowance=allowance).run(file, line)


def expand_words(
    word: str,
    env: Mapping[str, str],
    *,
    escape: str = "\\",
    file: str | None = None,
    line: int | None = None,
    allowance: Allowance | None = None,
) -> list[str]:
    """As ``expand``, then split at blanks that are neither quoted nor escaped. BuildKit ``ProcessWords``.

    Raises:
        DockerfileError: as ``expand``.
    """
    lexer = _Lexer(word, env, escape, allowance=allowance)
    lexer.run(file, line)
    return lexer.words


def expand_body(
    text: str, env: Mapping[str, str], *, file: str | None = None, line: int | None = None, allowance: Allowance | None = None
) -> str:
    """The body of a here-document with variables replaced; quotes are ordinary characters, a backslash still escapes.

    The escape character is the backslash whatever the file says. BuildKit ``dockerfile2llb/convert.go``.

    Raises:
        DockerfileError: as ``expand``.
    """
    if "$" not in text and "\\" not in text:
        return text
    return _Lexer(text, env, "\\", plain_quotes=True, allowance=allowance).run(file, line)


def expand_keeping_quotes(text: str, env: Mapping[str, str], escape: str = "\\", *, allowance: Allowance | None = None) -> str:
    """The name under which a RUN step is printed. BuildKit ``dockerfile2llb/convert.go``.

    Quotes stay, variables without a value stay as written. Text that cannot be read (an odd quote, a shell construct that
    Dockerfiles do not know) comes back unchanged. Escape characters outside single quotes are removed.
    Raises ``TooMuchError`` and nothing else.
    """
    try:
        return _Lexer(text, env, escape, keep_quotes=True, keep_unset=True, allowance=allowance).run(None, None)
    except TooMuchError:
        raise
    except DockerfileError:
        return text


def expand_or_keep(text: str, env: Mapping[str, str], escape: str = "\\", *, allowance: Allowance | None = None) -> str:
    """``expand`` that returns the text unchanged where ``expand`` would raise: the printed name of COPY, ADD and WORKDIR.

    Raises ``TooMuchError`` and nothing else."""
    try:
        return expand(text, env, escape=escape, allowance=allowance)
    except TooMuchError:
        raise
    except DockerfileError:
        return text


def split_keeping(text: str, *, quotes: bool, escapes: bool = False, strict: bool = True) -> list[str]:
    """Words of ``text`` with no variable known and all of them left as written, for the markers of here-documents.

    With ``strict`` off, text that cannot be read has no words.

    Raises:
        DockerfileError: as ``expand``, if ``strict``.
    """
    lexer = _Lexer(text, {}, "\\", keep_quotes=quotes, keep_escapes=escapes, keep_unset=True)
    try:
        lexer.run(None, None)
    except DockerfileError:
        if strict:
            raise
        return []
    return lexer.words


class _SyntaxError(Exception):
    """What is wrong with the text; becomes a DockerfileError at the border of this module."""

    def __init__(self, message: str, remedy: str = BALANCE) -> None:
        super().__init__(message)
        self.remedy = remedy


class _Lexer:
    """One pass over one text. ``words`` is filled as a side product."""

    def __init__(
        self,
        text: str,
        env: Mapping[str, str],
        escape: str,
        *,
        keep_quotes: bool = False,
        keep_escapes: bool = False,
        keep_unset: bool = False,
        plain_quotes: bool = False,
        allowance: Allowance | None = None,
    ) -> None:
        self.text = text
        self.env = env
        self.escape = escape
        self.keep_quotes = keep_quotes
        self.keep_escapes = keep_escapes
        self.keep_unset = keep_unset
        self.plain_quotes = plain_quotes
        self.position = 0
        self.words: list[str] = []
        self._filled_in = 0
        self._allowance = allowance or Allowance()

    def run(self, file: str | None, line: int | None) -> str:
        try:
            result, self.words = self._until("", self.keep_escapes)
            return result
        except _SyntaxError as error:
            message, remedy = f"failed to process {quoted(self.text)}: {error}", error.remedy
        except RecursionError:
            message, remedy = f"failed to process {quoted(self.text[:60])}: too deeply nested", "Nest fewer ${…}."
        column = 1 if line is not None else None
        raise DockerfileError(message, file=file, line=line, column=column, remedy=remedy)

    def _peek(self) -> str:
        """The next character, or an empty string at the end."""
        return self.text[self.position : self.position + 1]

    def _next(self) -> str:
        char = self.text[self.position : self.position + 1]
        self.position += 1
        return char

    @property
    def _ended(self) -> bool:
        return self.position >= len(self.text)

    def _until(self, stop: str, keep_escapes: bool) -> tuple[str, list[str]]:
        """Read up to ``stop`` (which is consumed) or, for an empty ``stop``, to the end."""
        outer_keep_escapes, self.keep_escapes = self.keep_escapes, keep_escapes
        try:
            return self._read_until(stop)
        finally:
            self.keep_escapes = outer_keep_escapes

    def _read_until(self, stop: str) -> tuple[str, list[str]]:
        result: list[str] = []
        words: list[str] = []
        word: list[str] = []

        def end_word() -> None:
            if any(word):
                words.append("".join(word))
            word.clear()

        def add_splitting(text: str) -> None:
            first, *others = _ANY_SPACE.split(text)
            word.append(first)
            for piece in others:
                end_word()
                word.append(piece)

        while not self._ended:
            char = self._peek()
            if stop and char == stop:
                self.position += 1
                end_word()
                return "".join(result), words
            if char == "$":
                text = self._dollar()
                add_splitting(text)
            elif char == "<":
                text = self._heredoc_operator()
                word.append(text)
            elif char == "'" and not self.plain_quotes:
                text = self._single_quoted()
                word.append(text)
            elif char == '"' and not self.plain_quotes:
                text = self._double_quoted()
                word.append(text)
            elif char == self.escape:
                self.position += 1
                text = (char if self.keep_escapes else "") + self._next()
                word.append(text)
            else:
                self.position += 1
                text = char
                if char in SPACE_SET:
                    end_word()
                else:
                    word.append(char)
            result.append(text)
        if stop:
            raise _SyntaxError(f"unexpected end of statement while looking for matching {stop}")
        end_word()
        return "".join(result), words

    def _single_quoted(self) -> str:
        end = self.text.find("'", self.position + 1)
        if end < 0:
            self.position = len(self.text)
            raise _SyntaxError("unexpected end of statement while looking for matching single-quote")
        inner = self.text[self.position + 1 : end]
        self.position = end + 1
        return f"'{inner}'" if self.keep_quotes else inner

    def _double_quoted(self) -> str:
        self.position += 1
        parts = ['"'] if self.keep_quotes else []
        while not self._ended:
            char = self._peek()
            if char == '"':
                self.position += 1
                if self.keep_quotes:
                    parts.append(char)
                return "".join(parts)
            if char == "$":
                parts.append(self._dollar())
                continue
            self.position += 1
            if char == self.escape:
                if self.keep_escapes:
                    parts.append(char)
                following = self._peek()
                if not following:
                    break
                if following in ('"', "$", self.escape):
                    char = self._next()
            parts.append(char)
        raise _SyntaxError("unexpected end of statement while looking for matching double-quote")

    def _heredoc_operator(self) -> str:
        """``<``, or ``<<`` with the blanks behind it, so that splitting keeps the marker in the same word."""
        start = self.position
        self.position += 1
        if self._peek() == "<":
            self.position += 1
            while self._peek() and self._peek() in "\t\r ":
                self.position += 1
        return self.text[start : self.position]

    def _name(self) -> str:
        """A variable name, a number or one special parameter; possibly empty."""
        start = self.position
        first = self._peek()
        if first.isdecimal():
            while self._peek().isdecimal():
                self.position += 1
        elif first and first in SPECIAL_PARAMETERS:
            self.position += 1
        else:
            while (char := self._peek()) and (char.isalpha() or char.isdecimal() or char == "_"):
                self.position += 1
        return self.text[start : self.position]

    def _dollar(self) -> str:
        value = self._value()
        self._filled_in += len(value)
        if self._filled_in > LONGEST:
            raise _SyntaxError(f"the variables come to more than {LONGEST} characters", "Use shorter values.")
        self._allowance.take(len(value))
        return value

    def _value(self) -> str:
        self.position += 1
        if self._peek() != "{":
            name = self._name()
            if not name:
                return "$"
            value = self.env.get(name)
            return value if value is not None else f"${name}" if self.keep_unset else ""
        self.position += 1
        return self._braced()

    def _braced(self) -> str:
        if self._ended:
            raise _SyntaxError("syntax error: missing '}'")
        if self._peek() in "{}:":
            raise _SyntaxError("syntax error: bad substitution")
        name = self._name()
        if self._ended:
            raise _SyntaxError("syntax error: missing '}'")
        operator = self._next()
        if operator == "}":
            value = self.env.get(name)
            return value if value is not None else f"${{{name}}}" if self.keep_unset else ""
        if operator == "/":
            return self._replacement(name)
        if operator == ":":
            return self._with_modifier(name, operator + self._next())
        if operator in MODIFIERS:
            return self._with_modifier(name, operator)
        raise _SyntaxError(f"unsupported modifier ({operator}) in substitution", KNOWN_FORMS)

    def _operand(self, stop: str, keep_escapes: bool) -> str:
        try:
            return self._until(stop, keep_escapes)[0]
        except _SyntaxError:
            if not self._ended:
                raise
            where = " in ${}" if stop == "/" else ""
            raise _SyntaxError(f"syntax error: missing '{stop}'{where}") from None

    def _with_modifier(self, name: str, modifier: str) -> str:
        operator = modifier[-1]
        empty_is_unset = len(modifier) == 2
        if empty_is_unset and operator in "#%":
            raise _SyntaxError(f"unsupported modifier ({modifier}) in substitution", KNOWN_FORMS)
        word = self._operand("}", keep_escapes=operator in "#%")
        value = self.env.get(name)
        if value is None and self.keep_unset:
            return f"${{{name}{modifier}{word}}}"
        missing = value is None or (empty_is_unset and value == "")
        text = value or ""
        if operator == "-":
            return word if missing else text
        if operator == "+":
            return "" if missing else word
        if operator == "?":
            if missing:
                state = "unset" if value is None else "empty"
                raise _SyntaxError(
                    f"{name}: {word or f'is not allowed to be {state}'}", f"Give {name} a value with ARG, ENV or --build-arg."
                )
            return text
        if operator not in "#%":
            raise _SyntaxError(f"unsupported modifier ({modifier}) in substitution", KNOWN_FORMS)
        longest = word.startswith(operator)
        pattern = word[1:] if longest else word
        trim = patterns.trim_suffix if operator == "%" else patterns.trim_prefix
        try:
            return trim(pattern, text, longest=longest, charge=self._allowance.take)
        except patterns.PatternError as error:
            raise _SyntaxError(f"invalid pattern ({pattern}) in substitution: {error}", ESCAPES) from None

    def _replacement(self, name: str) -> str:
        every = self._peek() == "/"
        if every:
            self.position += 1
        pattern = self._operand("/", keep_escapes=True)
        replacement = self._operand("}", keep_escapes=True)
        value = self.env.get(name)
        if value is None and self.keep_unset:
            return f"${{{name}/{pattern}/{replacement}}}"
        try:
            return patterns.replace(pattern, value or "", replacement, every=every, charge=self._allowance.take)
        except patterns.PatternError as error:
            raise _SyntaxError(f"invalid pattern ({pattern}) in substitution: {error}", ESCAPES) from None
