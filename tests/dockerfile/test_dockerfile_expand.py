"""Quotes, escapes and variables. The tables are in ``cases/expand.toml``."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from layerlab.dockerfile import expand, expand_body, expand_keeping_quotes, expand_or_keep, expand_words
from layerlab.errors import DockerfileError

TABLES = tomllib.loads((Path(__file__).parent / "cases" / "expand.toml").read_text(encoding="utf-8"))
ENV = {"HOME": "/root", "NAME": "world", "EMPTY": "", "WORDS": "a b", "FILE": "dir/a.tar.gz"}


def rows(*names: str) -> list[tuple[str, str]]:
    return [(text, result) for name in names for text, result in TABLES[name]]


@pytest.mark.parametrize(("text", "result"), rows("plain", "quotes_and_escapes", "variables", "defaults", "patterns"))
def test_expand(text: str, result: str) -> None:
    assert expand(text, ENV) == result


@pytest.mark.parametrize(("text", "message"), rows("errors"))
def test_errors(text: str, message: str) -> None:
    with pytest.raises(DockerfileError) as caught:
        expand(text, ENV, file="D", line=3)
    assert message in caught.value.message
    assert (caught.value.file, caught.value.line, caught.value.column) == ("D", 3, 1)
    assert expand_or_keep(text, ENV) == text


@pytest.mark.parametrize(("text", "words"), TABLES["words"])
def test_words(text: str, words: list[str]) -> None:
    assert expand_words(text, ENV) == words


@pytest.mark.parametrize(("text", "result"), rows("bodies"))
def test_heredoc_bodies(text: str, result: str) -> None:
    assert expand_body(text, ENV) == result


@pytest.mark.parametrize(("text", "result"), rows("names"))
def test_names_of_run_steps(text: str, result: str) -> None:
    assert expand_keeping_quotes(text, ENV) == result


def test_names_of_copy_steps_lose_quotes_and_unset_variables() -> None:
    assert expand_or_keep('COPY "$NAME" $UNSET/x', ENV) == "COPY world /x"


def test_the_escape_character_of_the_file() -> None:
    assert expand("`$NAME c:\\$NAME", ENV, escape="`") == "$NAME c:\\world"


def test_a_value_is_not_expanded_again() -> None:
    assert expand("$A", {"A": "$B'", "B": "x"}) == "$B'"


def test_a_dollar_in_the_text_of_replace_all() -> None:
    """BuildKit hands the replacement to Go's regular expressions, where a dollar means something; a single replacement is literal."""
    env = {"V": "a-b", "R": "<$0>", "M": "5$$"}
    assert expand("${V//-/$R}", env) == "a<->b"
    assert expand("${V//-/$M}", env) == "a5$b"
    assert expand("${V/-/$R}", env) == "a<$0>b"


def test_wildcards_do_not_cross_lines() -> None:
    assert expand("${V#*b}", {"V": "a\nb"}) == "a\nb"


def test_many_wildcards_stay_quick() -> None:
    assert expand("${V##" + "*a" * 40 + "b}", {"V": "a" * 400}) == "a" * 400
