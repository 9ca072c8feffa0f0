"""The shipped exercise is whole: notebook, rubric and release belong together."""

from __future__ import annotations

import importlib.util
from typing import Any

import nbformat
import pytest

from autograder.assignment import notebook_of
from autograder.collect import collect
from autograder.grade import by_rule
from autograder.release import reference
from autograder.rubric import check_rubric
from autograder.starter import replace_answers, solution
from layerlab.dockerfile import parse
from layerlab.errors import UsageError
from tests.autograder.material import APP, COURSE, ps1


def test_the_notebook_is_what_its_text_builds() -> None:
    """Nobody edits the one without the other."""
    place = COURSE / "source" / "ps1"
    spec = importlib.util.spec_from_file_location("build_ps1", place / "build.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.build((place / "ps1.md").read_text(encoding="utf-8")) == (place / "ps1.ipynb").read_text(encoding="utf-8")


def test_the_reference_parses_and_the_points_agree() -> None:
    """``reference`` compares the points of the test cells with the rubric."""
    check_rubric(ps1())
    assert ps1().max_score == 100
    assert len(parse(reference(COURSE, "ps1").files["Dockerfile"]).stages) == 1


def test_the_starter_is_the_naive_file() -> None:
    """That of the lesson, without its comments."""
    naive = [line for line in (APP / "Dockerfile").read_text(encoding="utf-8").splitlines(True) if not line.startswith("#")]
    assert ps1().answers[0].starter == "".join(naive)


def test_a_released_notebook_has_no_solution_and_scores_zero() -> None:
    """What students get, handed in as it is."""
    source: Any = nbformat.read(notebook_of(COURSE, "ps1"), as_version=4)  # type: ignore[no-untyped-call]
    replace_answers(source, ps1())
    text: str = nbformat.writes(source)  # type: ignore[no-untyped-call]
    assert "SOLUTION" not in text
    assert "npm ci" not in text
    rule = by_rule(ps1(), collect(text.encode(), ps1(), "ann"))
    assert rule is not None
    assert "unchanged" in rule


@pytest.mark.parametrize(
    "source", ["FROM a", "### BEGIN SOLUTION\nFROM a", "### END SOLUTION\n### BEGIN SOLUTION", "### BEGIN SOLUTION\n" * 2]
)
def test_markers_must_pair(source: str) -> None:
    """Else a release could show a solution."""
    with pytest.raises(UsageError, match="markers"):
        solution(source, "dockerfile")
