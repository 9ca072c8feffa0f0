"""Promises that hold for any input: no crash, places inside the file, text without special characters unchanged."""

from __future__ import annotations

from collections.abc import Callable

from hypothesis import example, given
from hypothesis import strategies as st

from layerlab.dockerfile import (
    expand,
    expand_body,
    expand_keeping_quotes,
    expand_words,
    parse,
    parse_instruction,
    parse_mount,
)
from layerlab.dockerfile.instructions import BUILDERS
from layerlab.errors import DockerfileError

PIECES = st.sampled_from(
    [
        *BUILDERS,
        *("FROM base", "FROM base AS a", "# escape=`", "# syntax=x", "#", "--from=a", "--mount=type=cache,target=/x", "--link", "--"),
        *("\\", "`", "\n", "\n", "\r\n", " ", "\t", " ", "'", '"', "=", "<<E", "<<-'E'", "E", "[", "]", '["a"]', ",", "$A", "${A:-", "}"),
        *("CMD", "NONE", "--interval=1s", "é", "\u00a0", "\x1c", "a", "b=c"),
    ]
)
TEXTS = st.one_of(st.lists(PIECES, max_size=25).map("".join), st.lists(PIECES, max_size=25).map(" ".join), st.text(max_size=60))
WORDS = st.text(st.sampled_from("abN_1 \t'\"\\`${}:-+?#%/*<@\né"), max_size=25)
ENVS = st.dictionaries(st.sampled_from(["a", "b", "N", "Na"]), st.text(st.sampled_from("ab $'\\*/"), max_size=6), max_size=4)


def refusal(function: Callable[..., object], *arguments: object) -> DockerfileError | None:
    """The error that a call ends with; any other exception fails the test."""
    try:
        function(*arguments)
    except DockerfileError as error:
        return error
    return None


@given(TEXTS)
@example("ONBUILD " * 2000)
@example("FROM a\nCMD " + "[" * 100000)
@example("\ud800")
@example("\ufeff")
def test_any_text_parses_or_is_refused_at_a_place_in_it(text: str) -> None:
    lines = text.split("\n")
    error = refusal(parse, text, "D")
    if error is not None:
        assert error.file == "D"
        assert error.line is not None
        assert error.column is not None
        assert 1 <= error.line <= len(lines)
        assert 1 <= error.column <= len(lines[error.line - 1]) + 1
        return
    last = 0
    for stage in parse(text).stages:
        for instruction in (stage.from_instruction, *stage.instructions):
            assert last < instruction.line <= instruction.end_line <= len(lines)
            line = lines[instruction.line - 1].removeprefix("\ufeff")
            assert line[instruction.column - 1 :].upper().startswith((instruction.keyword, "\\", "`"))
            last = instruction.end_line


@given(st.binary(max_size=60))
def test_any_bytes(data: bytes) -> None:
    error = refusal(parse, b"FROM a\n" + data)
    assert error is None or error.line is not None


@given(TEXTS)
def test_any_trigger(text: str) -> None:
    error = refusal(parse_instruction, text, "D", 5)
    if error is None:
        assert parse_instruction(text, "D", 5).line == 5
    else:
        assert (error.file, error.line) == ("D", 5)


@given(WORDS, ENVS)
@example("${a:-" * 5000, {})
def test_expand_never_fails_otherwise(text: str, env: dict[str, str]) -> None:
    assert refusal(expand_keeping_quotes, text, env) is None
    for function in (expand, expand_words, expand_body):
        error = refusal(function, text, env)
        assert error is None or error.message.startswith("failed to process ")


@given(st.text(st.sampled_from("ab/.-_ é=,"), max_size=20), ENVS)
def test_text_without_special_characters_is_unchanged(text: str, env: dict[str, str]) -> None:
    assert expand(text, env) == text
    assert expand_keeping_quotes(text, env) == text
    assert expand_words(text, env) == text.split()


@given(st.text(st.characters(exclude_characters="'", exclude_categories=["Cs"]), max_size=20))
def test_single_quotes_protect_everything(text: str) -> None:
    assert expand(f"'{text}'", {"a": "x"}) == text


@given(st.text(st.sampled_from("ab$'\"\\ {}"), max_size=20))
def test_a_backslash_protects_any_character(text: str) -> None:
    assert expand("".join(f"\\{char}" for char in text), {"a": "x"}) == text


@given(st.text(st.sampled_from("abc,=\"'$ ro"), max_size=30))
def test_any_mount(value: str) -> None:
    error = refusal(parse_mount, value)
    assert error is None or error.message
