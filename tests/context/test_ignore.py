"""Ignore rules, as moby's: a table that people can read, and a slow model that agrees on everything."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from layerlab.context import IgnoreRules, parse_ignore_file
from layerlab.context.expressions import Expression, parse
from layerlab.errors import DockerfileError
from layerlab.wildcards import Automaton, Folders, Run, Token

# Ignore file, paths that it hides, paths that it does not.
TABLE: dict[str, tuple[str, str, str]] = {
    "a name": ("a", "a a/b a/b/c", "b b/a aa"),
    "a star stays in one directory": ("*.md", "x.md .md", "d/x.md x.mdx"),
    "two stars go everywhere": ("**/*.md", "x.md d/x.md d/e/x.md", "x.txt"),
    "a directory anywhere": ("**/node_modules", "node_modules a/node_modules a/node_modules/b", "node_modules2"),
    "everything below": ("d/**", "d/x d/e/x", "d e"),
    "a question mark": ("?.txt", "a.txt", "ab.txt .txt /.txt"),
    "a class": ("[a-c].txt", "a.txt c.txt", "d.txt"),
    "not a class": ("[^a-c].txt", "d.txt", "a.txt"),
    "slashes at the ends do not count": ("/a/\n./b/\nc/../d", "a b d d/x", "c"),
    "the last line wins": ("*.md\n!README.md", "a.md", "README.md"),
    "order matters": ("!README.md\n*.md", "README.md a.md", "a.txt"),
    "back from a directory": ("docs\n!docs/keep.md", "docs/x", "docs/keep.md"),
    "back and away again": ("docs\n!docs/keep\ndocs/keep/not", "docs/x docs/keep/not", "docs/keep docs/keep/x"),
    "all but one": ("*\n!src", "a b/c", "src src/x"),
    "blanks and comments": ("  a  \n#b\n\n #c", "a #c", "b #b"),
    "a blank after the mark": ("*\n! a", "b", "a"),
    "line ends and the mark of bytes": ("\ufeffa\r\nb\r\n", "a b", "c"),
    "case counts": ("A", "A", "a"),
    "characters of other languages of patterns": ("a.b\n(c)\nd+\n{e,f}", "a.b (c) d+ {e,f}", "axb c dd e"),
    "an escaped character": ("\\*", "*", "a"),
    "upwards is accepted": ("../x", "", "x"),
    # What reaches Go's regular expression as it is.
    "a class by its letter": ("bin\\Debug", "bin/ebug binDebug", "bin/Debug bin1ebug"),
    "a class by its letter in a class": ("a[\\d]", "a1 a1/b", "ad"),
    "an edge of words": ("q\\b.y", "q.y", "qb.y"),
    "no edge of words": ("q\\B?y", "qay", "q.y"),
    "a class of POSIX": ("[[:alpha:]]x", "ax Zx", "1x :]x"),
    "a class of Unicode": ("\\p{Lu}?", "Éa", "éa"),
    "a character by its number": ("\\x41?", "Ab", "x41b"),
    "a class that is not has the slash, too": ("x[^a]y", "xby x/y", "xay"),
    "the start of a text within": ("*^x", "", "^x a^x"),
    "alternatives, the first with a start, the last with an end": ("a*|*z", "ab/c a z b/z", "b zb"),
    "a number of times": ("a{2}?{1,2}", "aab aabc", "aa aabcd a{2}?"),
    "braces that are no number": ("*.{js,ts}", "a.{js,ts}", "a.js"),
    "a wildcard in a class": ("[a*b]", "b] ab] /b]", "a * b *b]"),
    "a quotation": ("\\Qab*", "ab[^/]*$", "abc"),
    "a bracket alone": ("**]", "] a/]", "a"),
}


@pytest.mark.parametrize(("text", "hidden", "shown"), TABLE.values(), ids=TABLE.keys())
def test_table(text: str, hidden: str, shown: str) -> None:
    rules = IgnoreRules(parse_ignore_file(text.encode()))
    assert [path for path in hidden.split() if not rules.ignores(path)] == []
    assert [path for path in shown.split() if rules.ignores(path)] == []


@pytest.mark.parametrize(
    ("text", "words", "line"),
    [
        ("a\n!\n", 'illegal exclusion pattern: "!"', 2),
        ("[\n", "syntax error in pattern", 1),
        ("a\nb\n\\README\n", "syntax error in pattern", 3),
        *((f"{pattern}\n", "syntax error in pattern", 1) for pattern in ("[]a]", "[a-]", "*{2}", "a{2}{3}?", "a{1001}?", "a\\é", "a\\1")),
        *((f"{pattern}\n", "syntax error in pattern", 1) for pattern in ("[\\b]", "[[:nope:]]", "x\\project", "a\\", "a|{2}*")),
        ("a\\p{Greek}\n", "not supported", 1),
    ],
)
def test_errors_name_the_line(text: str, words: str, line: int) -> None:
    with pytest.raises(DockerfileError) as caught:
        IgnoreRules(parse_ignore_file(text.encode()))
    assert (words in caught.value.message, caught.value.line) == (True, line)
    assert caught.value.remedy


def _matches(pattern: str, path: str) -> bool:
    expression = ""
    for piece in re.split(r"(\*\*/|/\*\*\Z|\*\*|\*|\?)", pattern.removeprefix("!")):
        expression += {"**/": "(.*/)?", "/**": "/.*", "**": ".*", "*": "[^/]*", "?": "[^/]"}.get(piece, re.escape(piece))
    return re.fullmatch(expression, path) is not None


def _model(patterns: list[str], path: str) -> bool:
    """The last line that matches a path or a directory above it decides; a line that would change nothing is not looked at."""
    parts = path.split("/")
    above: set[int] = set()
    ignored = False
    for length in range(1, len(parts) + 1):
        ignored = False
        here = set()
        for number, pattern in enumerate(patterns):
            exclusion = pattern.startswith("!")
            if number in above or (exclusion == ignored and _matches(pattern, "/".join(parts[:length]))):
                here.add(number)
                ignored = not exclusion
        above = here
    return ignored


_word = st.sampled_from(["a", "b", "ab", "*", "a*", "*b", "?", "**"])
_pattern = st.builds(lambda mark, words: mark + "/".join(words), st.sampled_from(["", "", "!"]), st.lists(_word, min_size=1, max_size=3))
_path = st.lists(st.sampled_from(["a", "b", "ab", "ba"]), min_size=1, max_size=4).map("/".join)


@settings(max_examples=400, deadline=None)
@given(patterns=st.lists(_pattern, min_size=1, max_size=4), path=_path)
def test_the_rules_agree_with_a_slow_model(patterns: list[str], path: str) -> None:
    rules = IgnoreRules(parse_ignore_file("\n".join(patterns).encode()))
    assert rules.ignores(path) == _model(patterns, path)


@settings(max_examples=200, deadline=None)
@given(patterns=st.lists(_pattern, min_size=1, max_size=4), path=_path)
def test_a_directory_that_may_keep_something_is_never_passed_over(patterns: list[str], path: str) -> None:
    rules = IgnoreRules(parse_ignore_file("\n".join(patterns).encode()))
    parts = path.split("/")
    for length in range(1, len(parts)):
        above = "/".join(parts[:length])
        if rules.ignores(above) and not rules.ignores(path):
            assert rules.may_keep_below(above)


def test_a_large_expression_takes_neither_memory_nor_time() -> None:
    with pytest.raises(DockerfileError, match="syntax error in pattern"):
        IgnoreRules(parse_ignore_file(b"[a]{1000}" * 500))
    IgnoreRules(parse_ignore_file(b"[" + b"[:" * 100_000 + b"x]\n" + b"\\Qa\\E" * 50_000 + b"*"))
    rules = IgnoreRules(parse_ignore_file(b"x|" + b"*a" * 200 + b"b"))
    assert not rules.ignores("a" * 250)


_odd = st.text(alphabet="ab/*?.^|{}2[]\\\\d-,", min_size=1, max_size=8)


@settings(max_examples=400, deadline=None)
@given(pattern=_odd, path=st.text(alphabet="ab/2^|{}.d", min_size=1, max_size=6))
def test_both_ways_of_matching_agree(pattern: str, path: str) -> None:
    try:
        compiled = IgnoreRules([(1, pattern)]).patterns
    except DockerfileError:
        return
    for one in compiled:
        if one._expression is not None:
            alternatives = parse("^" + "".join(map(_written, one._tokens)) + "$")
            assert one.matches(path) == Expression(alternatives).matches(path) == Automaton(one._tokens).matches(path)


def _written(token: Token) -> str:
    if isinstance(token, str):
        return re.escape(token) if not token.isalnum() else token
    if isinstance(token, re.Pattern):
        return token.pattern
    return "(.*/)?" if isinstance(token, Folders) else "[^/]*" if isinstance(token, Run) else "[^/]"
