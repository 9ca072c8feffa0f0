"""Ignore rules: what ``.dockerignore`` keeps out of a build context.

The rules are moby/patternmatcher's (``patternmatcher.go``, ``ignorefile/ignorefile.go``), quirks included: the last
matching line wins, ``*`` stops at ``/``, ``**`` does not, a directory that matches takes what is below it along
unless a later ``!`` line brings it back. A pattern becomes a regular expression of Go's, which ``expressions`` reads.
"""

from __future__ import annotations

import math
import posixpath
import re
from typing import TYPE_CHECKING, Final

from layerlab.errors import DockerfileError
from layerlab.wildcards import Automaton, Folders, Run, Token

if TYPE_CHECKING:
    from layerlab.context.expressions import Expression

# What patternmatcher escapes (``shouldEscape``): it means to escape "|", "{" and "}", too, but its table ends before them.
_ESCAPED: Final = frozenset(".$+()")
# Patterns that Go's ``filepath.Match`` takes.
_WELL_FORMED: Final = re.compile(r"(?:[^\\\[]|\\.|\[\^?(?:(?:[^\\\]-]|\\.)(?:-(?:[^\\\]-]|\\.))?)++\])*+", re.DOTALL)
# ``re`` is quick, but tries one way after the other: as many as there are choices of a place for each wildcard. So it matches what
# can never take more steps than this; all else is matched by an automaton.
_STEPS: Final = 200_000
EXCLUDED: Final = "--exclude"
SENT: Final = "the build context"
_FEW: Final = 4
_LONG: Final = 1024


def parse_ignore_file(text: bytes) -> list[tuple[int, str]]:
    """(line number, pattern) of every pattern in an ignore file, cleaned as moby's ``ignorefile.ReadAll`` does.

    Raises nothing: a pattern that cannot be compiled is reported by ``IgnoreRules``.
    """
    patterns: list[tuple[int, str]] = []
    for number, raw in enumerate(text.split(b"\n"), start=1):
        line = raw.removeprefix(b"\xef\xbb\xbf") if number == 1 else raw
        pattern = line.decode("utf-8", "surrogateescape")
        if pattern.startswith("#"):
            continue
        pattern = pattern.strip()
        if not pattern:
            continue
        inverted = pattern.startswith("!")
        if inverted:
            pattern = pattern[1:].strip()
        if pattern:
            pattern = clean_path(pattern)
            if len(pattern) > 1 and pattern.startswith("/"):
                pattern = pattern[1:]
        patterns.append((number, "!" + pattern if inverted else pattern))
    return patterns


def clean_path(path: str) -> str:
    """Go's ``path.Clean``: unlike ``posixpath.normpath`` it never keeps two leading slashes."""
    cleaned = posixpath.normpath(path) if path else "."
    return cleaned[1:] if cleaned.startswith("//") else cleaned


class _MalformedError(ValueError):
    """A pattern that Go's ``filepath.Match`` refuses, before an expression is made of it."""


class _Pattern:
    __slots__ = ("_automaton", "_exact", "_expression", "_longest", "_odd", "_plain", "_prefix", "_suffix", "_tokens", "exclusion", "text")

    def __init__(self, text: str, *, exclusion: bool) -> None:
        self.text = text
        self.exclusion = exclusion
        self._exact: str | None = None
        self._prefix: str | None = None
        self._suffix: str | None = None
        self._expression: re.Pattern[str] | None = None
        self._tokens: list[Token] = []
        # For longer paths the expression might take too long.
        self._longest = 0
        self._automaton: Automaton | None = None
        self._odd: Expression | None = None
        self._plain = re.split(r"[*?\[\\]", text, maxsplit=1)[0]
        self._compile()

    def _compile(self) -> None:
        """Rule: ``Pattern.compile``, its way through the kinds of match included."""
        text = self.text
        if _WELL_FORMED.fullmatch(text) is None:
            raise _MalformedError(text)
        kind = "exact"
        expression = ["^"]
        position = 0
        turn = 0
        while position < len(text):
            char = text[position]
            position += 1
            if char == "*":
                if text[position : position + 1] == "*":
                    position += 1
                    if text[position : position + 1] == "/":
                        position += 1
                    if position < len(text):
                        expression.append("(.*/)?")
                        kind = "regex"
                    elif kind == "exact":
                        kind = "prefix"
                    else:
                        expression.append(".*")
                        kind = "regex"
                    if turn == 0:
                        kind = "suffix"
                else:
                    expression.append("[^/]*")
                    kind = "regex"
            elif char == "?":
                expression.append("[^/]")
                kind = "regex"
            elif char in _ESCAPED:
                expression.append("\\" + char)
            else:
                if char == "\\":
                    char += text[position]
                    position += 1
                expression.append(char)
                if char[0] in "\\[]":
                    kind = "regex"
            turn += 1
        if kind == "exact":
            self._exact = text
        elif kind == "prefix":
            self._prefix = text[:-2]
        elif kind == "suffix":
            self._suffix = text[2:]
        else:
            self._read("".join(expression) + "$")

    def _read(self, expression: str) -> None:
        # Many builds have no pattern that needs it.
        from layerlab.context.expressions import Expression, parse, plain

        alternatives = parse(expression)
        tokens = plain(alternatives)
        if tokens is None:
            # It may match anywhere.
            self._odd = Expression(alternatives)
            self._plain = ""
            return
        self._tokens = tokens
        wild = sum(isinstance(token, Run | Folders) for token in tokens)
        if wild <= _FEW and len(self.text) <= _LONG:
            self._longest = int((_STEPS * math.factorial(wild)) ** (1 / max(1, wild)))
            self._expression = re.compile("".join(map(_translated, tokens)) + r"\Z")

    def matches(self, path: str) -> bool:
        if self._exact is not None:
            return path == self._exact
        if self._prefix is not None:
            return path.startswith(self._prefix)
        if self._suffix is not None:
            return path.endswith(self._suffix) or (self._suffix.startswith("/") and path == self._suffix[1:])
        if self._expression is not None and len(path) <= self._longest:
            return self._expression.match(path) is not None
        if self._odd is not None:
            return self._odd.matches(path)
        if self._automaton is None:
            self._automaton = Automaton(self._tokens)
        return self._automaton.matches(path)

    def may_match_below(self, directory: str) -> bool:
        """Whether an exclusion could bring back something below ``directory``; errs on the side of yes."""
        text, plain = self.text, self._plain
        if plain == text:
            return (text + "/").startswith(directory + "/")
        return plain.startswith(directory + "/") or (directory + "/").startswith(plain)


def _translated(token: Token) -> str:
    """A token as Python's regular expressions have it."""
    if isinstance(token, str):
        return re.escape(token)
    if isinstance(token, re.Pattern):
        return token.pattern
    if isinstance(token, Folders):
        return f"(?:[^{re.escape(token.but)}]*/)?"
    return f"[^{re.escape(token.but)}]" + ("*" if isinstance(token, Run) else "")


class IgnoreRules:
    """Compiled ignore patterns.

    ``patterns`` are as ``parse_ignore_file`` gives them. ``file``: where they stand; ``EXCLUDED``, a flag, or ``SENT``, the sources of a
    build. Raises ``DockerfileError`` with BuildKit's key words
    (``illegal exclusion pattern``, ``syntax error in pattern``) and the line of the ignore file.
    """

    def __init__(self, patterns: list[tuple[int, str]] | None = None, *, file: str = ".dockerignore") -> None:
        self.file = file
        self.patterns: list[_Pattern] = []
        for line, written in patterns or []:
            text = written.strip()
            if not text:
                continue
            text = clean_path(text)
            exclusion = text.startswith("!")
            if exclusion:
                if len(text) == 1:
                    raise DockerfileError(
                        'illegal exclusion pattern: "!"',
                        file=file,
                        line=line,
                        remedy="Write the path to keep after the exclamation mark, or remove the line.",
                    )
                text = text[1:]
            try:
                self.patterns.append(_Pattern(text, exclusion=exclusion))
            except DockerfileError as error:
                error.file, error.line = file, line
                raise
            except ValueError as error:
                raise DockerfileError(
                    f"{self._refusal(patterns or [], malformed=isinstance(error, _MalformedError))}syntax error in pattern: {written!r}",
                    file=file,
                    line=line,
                    remedy="A [ needs its ]; a backslash and a letter are a class of characters, as in regular expressions, or an error.",
                ) from None
        # The folders above the last path that was asked for, and what was found of them.
        self._trail: list[tuple[str, bytes]] = []
        self.has_exclusions = any(pattern.exclusion for pattern in self.patterns)
        self.signature = "\n".join(("!" if p.exclusion else "") + p.text for p in self.patterns)

    def _refusal(self, patterns: list[tuple[int, str]], *, malformed: bool) -> str:
        """How BuildKit begins to say that a pattern is none: an ignore file is the client's."""
        kind = "includepatterns" if self.file == SENT else "excludepatterns"
        if malformed:
            return f"invalid {kind}: [{' '.join(pattern for _, pattern in patterns)}]: " if self.file in (EXCLUDED, SENT) else ""
        return f"{'' if self.file == EXCLUDED else 'error from sender: '}failed to match {kind}: "

    def __bool__(self) -> bool:
        return bool(self.patterns)

    def match(self, path: str, parent: bytes) -> tuple[bool, bytes]:
        """Whether ``path`` (relative, no leading slash) is ignored, and the per-pattern result to pass on to its children.

        ``parent`` is the second result for the directory that holds ``path``, empty for the context root
        (``MatchesUsingParentResults``).
        """
        ignored = False
        found = bytearray(len(self.patterns))
        for number, pattern in enumerate(self.patterns):
            hit = bool(parent[number]) if parent else False
            if not hit:
                if pattern.exclusion != ignored:
                    continue
                hit = pattern.matches(path)
            if hit:
                found[number] = 1
                ignored = not pattern.exclusion
        return ignored, bytes(found)

    def ignores(self, path: str) -> bool:
        """Whether one path is ignored, its parents considered. Cheap for paths that come in the order of a tree."""
        parts = path.split("/")
        trail = self._trail
        depth = 0
        while depth < len(trail) and depth < len(parts) - 1 and trail[depth][0] == parts[depth]:
            depth += 1
        del trail[depth:]
        state = trail[-1][1] if trail else b""
        for end in range(depth, len(parts) - 1):
            _, state = self.match("/".join(parts[: end + 1]), state)
            trail.append((parts[end], state))
        return self.match(path, state)[0]

    def may_keep_below(self, directory: str) -> bool:
        """Whether an ignored directory must be walked because an exclusion could match inside it."""
        return self.has_exclusions and any(p.exclusion and p.may_match_below(directory) for p in self.patterns)
