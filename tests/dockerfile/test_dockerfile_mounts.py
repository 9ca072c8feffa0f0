"""``RUN --mount``. The table is ``cases/mounts.toml``."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest

from layerlab.dockerfile import Mount, expand, parse, parse_mount
from layerlab.errors import DockerfileError

CASES = tomllib.loads((Path(__file__).parent / "cases" / "mounts.toml").read_text(encoding="utf-8"))["case"]


def expander(text: str) -> str:
    return expand(text, {"NAME": "world"})


@pytest.mark.parametrize("case", [case for case in CASES if "expect" in case], ids=lambda case: case["value"])
def test_accepted(case: dict[str, Any]) -> None:
    assert parse_mount(case["value"], expander) == Mount(**case["expect"])


@pytest.mark.parametrize("case", [case for case in CASES if "error" in case], ids=lambda case: case["value"] or "empty")
def test_refused(case: dict[str, Any]) -> None:
    with pytest.raises(DockerfileError) as caught:
        parse_mount(case["value"], expander, file="D", line=4, column=5)
    assert case["error"] in caught.value.message
    assert caught.value.where() == "D:4:5"
    assert caught.value.remedy


def test_options_are_judged_only_when_variables_are_known() -> None:
    """As in BuildKit, parsing the file accepts any option; the step that uses the mount refuses it."""
    (run,) = parse("FROM base\nRUN --mount=type=$T,nonsense=1 true").stages[0].instructions
    with pytest.raises(DockerfileError, match="unexpected key 'nonsense'"):
        parse_mount(run.flag_values("mount")[0], lambda text: expand(text, {"T": "cache"}))


def test_an_error_of_the_expander_passes_through() -> None:
    with pytest.raises(DockerfileError, match="missing '}'"):
        parse_mount("target=${NAME", expander)
