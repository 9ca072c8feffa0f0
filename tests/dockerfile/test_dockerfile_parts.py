"""The small pieces under the parser: durations, suggestions, patterns, markers."""

from __future__ import annotations

import pytest

from layerlab.dockerfile import parse_duration, parse_heredoc
from layerlab.dockerfile.chars import quoted
from layerlab.dockerfile.patterns import PatternError, compile_pattern, replace, trim_prefix, trim_suffix
from layerlab.dockerfile.suggest import closest, did_you_mean
from layerlab.errors import DockerfileError


@pytest.mark.parametrize(
    ("text", "nanoseconds"),
    [
        ("0", 0),
        ("5s", 5_000_000_000),
        ("1m30s", 90_000_000_000),
        ("1.5h", 5_400_000_000_000),
        ("100ms", 100_000_000),
        ("3us", 3_000),
        ("3µs", 3_000),
        ("-2ns", -2),
        ("+.5s", 500_000_000),
    ],
)
def test_duration(text: str, nanoseconds: int) -> None:
    assert parse_duration(text) == nanoseconds


@pytest.mark.parametrize("text", ["", "5", "s", "1x", "1s ", "--1s", "1..5s", ".s", "9999999h", "1s5"])
def test_not_a_duration(text: str) -> None:
    with pytest.raises(ValueError, match="time: "):
        parse_duration(text)


@pytest.mark.parametrize(
    ("word", "expected"),
    [("from", None), ("frm", "from"), ("chmox", "chmod"), ("chxxx", None), ("lin", "link"), ("", None)],
)
def test_closest(word: str, expected: str | None) -> None:
    assert closest(word, ["from", "chown", "chmod", "link"]) == expected


def test_no_suggestion_is_no_text() -> None:
    assert did_you_mean("completely", ["other"]) == ""
    assert did_you_mean("othr", ["other"]) == " (did you mean other?)"


def test_patterns() -> None:
    assert trim_prefix("*x*y", "xxyy", longest=False) == "y"
    assert trim_prefix("*x*y", "xxyy", longest=True) == ""
    assert trim_suffix("\\**", "a*b*c", longest=False) == "a*b"
    assert trim_suffix("\\**", "a*b*c", longest=True) == "a"
    assert replace("b*", "abbb", "-", every=True) == "a-"
    assert replace("*", "abc", "-", every=True) == "-"
    assert replace("[.", "a[.b", "-", every=False) == "a-b"


@pytest.mark.parametrize("pattern", ["\\", "\\x", "a\\\\\\"])
def test_bad_patterns(pattern: str) -> None:
    with pytest.raises(PatternError):
        compile_pattern(pattern)


@pytest.mark.parametrize("word", ["<<EOF", "<<-EOF", "<<'EOF'", '<<"EOF"', '<<EO"F"', "<< EOF", "7<<EOF"])
def test_marker(word: str) -> None:
    heredoc = parse_heredoc(word)
    assert heredoc is not None
    assert heredoc.name == "EOF"


@pytest.mark.parametrize("word", ["", "EOF", "<<", "<<-", "<EOF", "<<<EOF", "<<EOF sh", "x<<EOF"])
def test_no_marker(word: str) -> None:
    assert parse_heredoc(word) is None


@pytest.mark.parametrize("word", ["<<'EOF", '<<"EOF', "<<EOF'", '<<EOF"'])
def test_marker_with_an_odd_quote(word: str) -> None:
    with pytest.raises(DockerfileError):
        parse_heredoc(word)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain", '"plain"'),
        ('a "b" \\', '"a \\"b\\" \\\\"'),
        ("\a\b\f\n\r\t\v", '"\\a\\b\\f\\n\\r\\t\\v"'),
        ("\x01\x7f", '"\\x01\\x7f"'),
        ("\xa0\u2028\U000e0001", '"\\u00a0\\u2028\\U000e0001"'),
        ("é😀", '"é😀"'),
        ("\udcff", '"\\xff"'),
    ],
)
def test_quotes_are_those_of_go(text: str, shown: str) -> None:
    """What ``strconv.Quote`` prints, which is in BuildKit's messages and in the history of CMD."""
    assert quoted(text) == shown
