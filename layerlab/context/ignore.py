"""Ignore rules: what ``.dockerignore`` keeps out of a build context.

The rules are moby/patternmatcher's (``patternmatcher.go``, ``ignorefile/ignorefile.go``), quirks included: the last
matching line wins, ``*`` stops at ``/``, ``**`` does not, a directory that matches takes what is below it along
unless a later ``!`` line brings it back.
"""

from __future__ import annotations

import math
import posixpath
import re
from typing import Final

from layerlab.errors import DockerfileError
from layerlab.wildcards import Automaton, Folders, One, Run, Token

_ESCAPED_IN_REGEX: Final = frozenset(".$+()|{}^")
# Wildcards that match any number of characters, as regular expressions.
_STAR: Final = "[^/]*"
_FOLDERS: Final = "(?:.*/)?"
_REST: Final = ".*"
_ONE: Final = "[^/]"
_WILD: Final[dict[str, Token]] = {_STAR: Run("/"), _FOLDERS: Folders(), _REST: Run(), _ONE: One("/")}
# ``re`` is quick, but tries one way after the other: as many as there are choices of a place for each wildcard. So it matches what
# can never take more steps than this; all else is matched by an automaton.
_STEPS: Final = 200_000
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


class _Pattern:
    __slots__ = ("_automaton", "_exact", "_expression", "_longest", "_parts", "_plain", "_prefix", "_suffix", "exclusion", "text")

    def __init__(self, text: str, *, exclusion: bool) -> None:
        self.text = text
        self.exclusion = exclusion
        self._exact: str | None = None
        self._prefix: str | None = None
        self._suffix: str | None = None
        self._expression: re.Pattern[str] | None = None
        self._parts: list[str] = []
        # For longer paths the expression might take too long.
        self._longest = 0
        self._automaton: Automaton | None = None
        self._plain = re.split(r"[*?\[\\]", text, maxsplit=1)[0]
        self._compile()

    def _compile(self) -> None:
        text = self.text
        kind = "exact"
        expression: list[str] = []
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
                    if position >= len(text):
                        if kind == "exact":
                            kind = "prefix"
                        else:
                            expression.append(_REST)
                            kind = "regex"
                    else:
                        expression.append(_FOLDERS)
                        kind = "regex"
                    if turn == 0:
                        kind = "suffix"
                else:
                    expression.append(_STAR)
                    kind = "regex"
            elif char == "?":
                expression.append(_ONE)
                kind = "regex"
            elif char in _ESCAPED_IN_REGEX:
                expression.append("\\" + char)
            elif char == "\\":
                if position < len(text):
                    following = text[position]
                    position += 1
                    # Go's regexp refuses an escape of an ordinary letter or digit that means nothing to it.
                    if following.isalnum():
                        raise ValueError(text)
                    expression.append(re.escape(following))
                    kind = "regex"
                else:
                    raise ValueError(text)
            elif char == "[":
                end = _class_end(text, position)
                expression.append(_translate_class(text[position:end]))
                position = end + 1
                kind = "regex"
            else:
                expression.append(re.escape(char))
            turn += 1
        if kind == "exact":
            self._exact = text
        elif kind == "prefix":
            self._prefix = text[:-2]
        elif kind == "suffix":
            self._suffix = text[2:]
        else:
            wild = sum(map(expression.count, (_STAR, _FOLDERS, _REST)))
            try:
                if wild <= _FEW and len(text) <= _LONG:
                    self._longest = int((_STEPS * math.factorial(wild)) ** (1 / max(1, wild)))
                    self._expression = re.compile("".join(expression) + r"\Z", re.DOTALL)
                else:
                    for part in set(expression) - _WILD.keys():
                        if part.startswith("["):
                            re.compile(part, re.DOTALL)
            except re.error as error:
                raise ValueError(text) from error
            self._parts = expression

    def matches(self, path: str) -> bool:
        if self._exact is not None:
            return path == self._exact
        if self._prefix is not None:
            return path.startswith(self._prefix)
        if self._suffix is not None:
            return path.endswith(self._suffix) or (self._suffix.startswith("/") and path == self._suffix[1:])
        if self._expression is not None and len(path) <= self._longest:
            return self._expression.match(path) is not None
        if self._automaton is None:
            self._automaton = Automaton(_WILD.get(part) or _character(part) for part in self._parts)
        return self._automaton.matches(path)

    def may_match_below(self, directory: str) -> bool:
        """Whether an exclusion could bring back something below ``directory``; errs on the side of yes."""
        text, plain = self.text, self._plain
        if plain == text:
            return (text + "/").startswith(directory + "/")
        return plain.startswith(directory + "/") or (directory + "/").startswith(plain)


def _character(part: str) -> Token:
    """One character of a pattern or a class of them, from its regular expression."""
    if len(part) == 1:
        return part
    return part[1] if len(part) == 2 and part[0] == "\\" else re.compile(part, re.DOTALL)


def _class_end(text: str, start: int) -> int:
    position = start
    if text[position : position + 1] == "^":
        position += 1
    first = position
    while position < len(text):
        if text[position] == "\\":
            position += 2
            continue
        if text[position] == "]" and position > first:
            return position
        position += 1
    raise ValueError(text)


def _translate_class(body: str) -> str:
    negated = body.startswith("^")
    inner = body[1:] if negated else body
    if re.match(r"^(?:[^\\-]|\\.)(?:-(?:[^\\-]|\\.)|[^\\-]|\\.)*$", inner, re.DOTALL) is None:
        raise ValueError(body)
    return ("[^/" if negated else "[") + inner.replace("[", "\\[").replace("&&", "&\\&").replace("||", "|\\|").replace("~~", "~\\~") + "]"


class IgnoreRules:
    """Compiled ignore patterns.

    ``patterns`` are as ``parse_ignore_file`` gives them. Raises ``DockerfileError`` with BuildKit's key words
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
            except ValueError:
                raise DockerfileError(
                    f"failed to match excludepatterns: syntax error in pattern: {written!r}",
                    file=file,
                    line=line,
                    remedy="A [ needs its ], and a backslash may only stand before a character that is special in patterns.",
                ) from None
        # The folders above the last path that was asked for, and what was found of them.
        self._trail: list[tuple[str, bytes]] = []
        self.has_exclusions = any(pattern.exclusion for pattern in self.patterns)
        self.signature = "\n".join(("!" if p.exclusion else "") + p.text for p in self.patterns)

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
