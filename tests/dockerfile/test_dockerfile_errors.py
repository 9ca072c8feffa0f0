"""What is refused, with which words and where. The table is ``cases/errors.toml``."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest

from layerlab.dockerfile import parse
from layerlab.errors import DockerfileError

ERRORS = tomllib.loads((Path(__file__).parent / "cases" / "errors.toml").read_text(encoding="utf-8"))["case"]


@pytest.mark.parametrize("case", ERRORS, ids=lambda case: case["name"])
def test_table(case: dict[str, Any]) -> None:
    text = case["text"] if case.get("whole") else f"FROM base\n{case['text']}"
    with pytest.raises(DockerfileError) as caught:
        parse(text, "dir/Dockerfile")
    error = caught.value
    assert case["message"] in error.message
    assert (error.file, error.line, error.column) == ("dir/Dockerfile", case.get("line", 2), case.get("column", 1))
    assert error.remedy
