"""What a Dockerfile is warned of: the same rules, lines and words as Docker, and the same exit status."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from layerlab.engines.build_checks import is_reference
from layerlab.linter import check
from layerlab.linter.rules import RULES, url
from layerlab.platform import PLATFORM
from layerlab.solver.ops import BaseImage
from tests.linter.ours import answer, warned
from tests.linter.record import CASES

_CASES: list[dict[str, Any]] = json.loads(CASES.read_text(encoding="utf-8"))
# A base image of another platform cannot be recorded without a registry.
_OTHERWISE = {"InvalidBaseImagePlatform"}
_TEXT = """\
Check complete, 2 warnings have been found!

WARNING: FromAsCasing - https://docs.docker.com/go/dockerfile/rule/from-as-casing/
'as' and 'FROM' keywords' casing do not match
Dockerfile:1
--------------------
   1 | >>> FROM scratch as a
   2 |     COPY a /a
   3 |     CMD a \\
--------------------

WARNING: JSONArgsRecommended - https://docs.docker.com/go/dockerfile/rule/json-args-recommended/
JSON arguments recommended for CMD to prevent unintended behavior related to OS signals
Dockerfile:3
--------------------
   2 |     COPY a /a
   3 | >>> CMD a \\
   4 | >>>   b
   5 | BLANK
--------------------
""".replace("BLANK", " " * 4)


@pytest.mark.parametrize("case", _CASES, ids=lambda case: case["name"])
def test_docker_says_the_same(case: dict[str, Any]) -> None:
    recorded = dict(case["docker"])
    recorded.pop("version")
    assert answer(case) == recorded


@pytest.mark.parametrize("case", _CASES, ids=lambda case: case["name"])
def test_a_build_is_warned_of_the_same(case: dict[str, Any]) -> None:
    """Of what its target needs."""
    assert warned(case) == case["built"]


def test_each_rule_has_a_case_in_which_it_objects() -> None:
    found = {warning[0] for case in _CASES for warning in case["docker"]["warnings"]}
    assert found == set(RULES) - _OTHERWISE
    assert len(RULES) == 22


@pytest.mark.parametrize(
    ("rule", "page"),
    [
        ("JSONArgsRecommended", "json-args-recommended"),
        ("FromAsCasing", "from-as-casing"),
        ("UndefinedArgInFrom", "undefined-arg-in-from"),
        ("NoEmptyContinuation", "no-empty-continuation"),
        ("FromPlatformFlagConstDisallowed", "from-platform-flag-const-disallowed"),
    ],
)
def test_a_rule_names_its_page(rule: str, page: str) -> None:
    assert url(rule) == f"https://docs.docker.com/go/dockerfile/rule/{page}/"


def test_a_base_image_for_another_platform() -> None:
    """It has no page."""

    def resolve(name: str) -> BaseImage:
        return BaseImage(name, (), {"os": "linux", "architecture": "s390x", "config": {}})

    record = check(b"FROM other AS linux\n", "Dockerfile", resolve, is_reference)
    assert [(warning.rule, warning.line, warning.url) for warning in record.warnings] == [("InvalidBaseImagePlatform", 1, "")]
    assert record.warnings[0].detail == (
        f'Base image other was pulled with platform "linux/s390x", expected "{PLATFORM}" for current build'
    )


@settings(deadline=None)
@given(st.lists(st.sampled_from([line for case in _CASES for line in case["dockerfile"].splitlines(keepends=True)]), max_size=8))
def test_any_file_gets_an_answer(lines: list[str]) -> None:
    """An error of the file is part of it."""
    found = answer({"dockerfile": "".join(lines)})
    assert found["status"] == int(bool(found["warnings"] or found["error"]))


def _run(place: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "layerlab", *words, "--engine", "embedded", "--store", str(place / "store"), "--offline", "."]
    return subprocess.run(command, cwd=place / "context", capture_output=True, text=True, check=False, timeout=900)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "context").mkdir()
    (tmp_path / "context" / "Dockerfile").write_text("FROM scratch as a\nCOPY a /a\nCMD a \\\n  b\n")
    return tmp_path


@pytest.mark.parametrize("verb", ["build", "plan"])
def test_the_report_is_dockers_and_nothing_is_built(place: Path, verb: str) -> None:
    done = _run(place, verb, "--check")
    assert (done.returncode, done.stdout) == (1, _TEXT)
    found = _run(place, "build", "--check", "--json")
    assert found.returncode == 1
    assert [warning["rule"] for warning in json.loads(found.stdout)["warnings"]] == ["FromAsCasing", "JSONArgsRecommended"]
    assert not any((place / "store").glob("images/*"))


def test_a_file_without_a_warning(place: Path) -> None:
    (place / "context" / "Dockerfile").write_text("FROM scratch\nCOPY a /a\n")
    done = _run(place, "build", "--check")
    assert (done.returncode, done.stdout) == (0, "Check complete, no warnings found.\n")


def test_an_error_is_said_beside_the_warnings(place: Path) -> None:
    (place / "context" / "Dockerfile").write_text("FROM scratch as a\nSTOPSIGNAL nonsense\n")
    done = _run(place, "build", "--check")
    assert done.returncode == 1
    assert "1 warning has been found" in done.stdout
    assert "Dockerfile:2" in done.stderr
    assert "invalid signal: nonsense" in done.stderr


def test_a_base_that_cannot_be_reached_does_not_matter(place: Path) -> None:
    (place / "context" / "Dockerfile").write_text("FROM nobody/has:it\nCMD a\n")
    done = _run(place, "build", "--check")
    assert "JSONArgsRecommended" in done.stdout
    assert done.returncode == 1
