"""The shipped exercises are whole: text, notebook, rubric and release belong together."""

from __future__ import annotations

import importlib.util
import json
from types import ModuleType
from typing import Any

import nbformat
import pytest

from autograder.exercise.assignment import load_assignment, notebook_of
from autograder.exercise.starter import replace_answers, solution
from autograder.judge.grade import by_rule
from autograder.judge.network import NO_NETWORK
from autograder.judge.points import check_rubric
from autograder.release import reference
from autograder.submission.notebook_reader import collect
from layerlab.dockerfile import parse
from layerlab.errors import UsageError
from tests.autograder.material import APP, COURSE, ps1, ps2

NAMES = ("ps1", "ps2", "quiz")


def _builder() -> ModuleType:
    spec = importlib.util.spec_from_file_location("build_exercises", COURSE / "build.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_assignment_is_tested_here() -> None:
    """One that is added belongs into the list above."""
    assert tuple(_builder().assignments()) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_the_notebook_is_what_its_text_builds(name: str) -> None:
    """Nobody edits the one without the other."""
    place = COURSE / "source" / name
    built = _builder().build((place / f"{name}.md").read_text(encoding="utf-8"), load_assignment(COURSE, name))
    assert built == (place / f"{name}.ipynb").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", NAMES)
def test_the_points_agree(name: str) -> None:
    """``reference`` compares the points of the test cells with the rubric."""
    assignment = load_assignment(COURSE, name)
    check_rubric(assignment)
    assert assignment.max_score == 100
    assert reference(COURSE, name).files.keys() == {answer.file for answer in assignment.answers}


@pytest.mark.parametrize(("name", "stages"), [("ps1", 1), ("ps2", 3)])
def test_the_reference_parses(name: str, stages: int) -> None:
    """That it scores full is tested by building it."""
    assert len(parse(reference(COURSE, name).files["Dockerfile"]).stages) == stages


@pytest.mark.parametrize(("name", "file"), [("ps1", "Dockerfile"), ("ps2", "Dockerfile.optimized")])
def test_the_starter_is_the_lessons_file(name: str, file: str) -> None:
    """Without its comments: first the naive one, then the one that the course ends with."""
    lesson = [line for line in (APP / file).read_text(encoding="utf-8").splitlines(True) if not line.startswith("#")]
    assert load_assignment(COURSE, name).answers[0].starter == "".join(lesson)


@pytest.mark.parametrize("name", NAMES)
def test_a_released_notebook_has_no_solution_and_scores_zero(name: str) -> None:
    """What students get, handed in as it is."""
    source: Any = nbformat.read(notebook_of(COURSE, name), as_version=4)
    assignment = load_assignment(COURSE, name)
    replace_answers(source, assignment)
    text: str = nbformat.writes(source)
    answers = "\n".join(cell.source for cell in source.cells if cell.metadata.get("nbgrader", {}).get("solution"))
    solutions = reference(COURSE, name).files
    assert "SOLUTION" not in text
    # An answer that may stay as it is (the second assignment's .dockerignore) is no secret.
    assert not any(solutions[cell.file] in answers for cell in assignment.answers if solutions[cell.file] != cell.starter)
    rule = by_rule(assignment, collect(text.encode(), assignment, "ann"))
    assert rule is not None
    assert "unchanged" in rule


@pytest.mark.parametrize("assignment", [ps1(), ps2()], ids=lambda assignment: assignment.name)
def test_the_text_says_beforehand_that_there_is_no_network(assignment: Any) -> None:
    """With the same examples as the message of a step that wanted it."""
    text = (COURSE / "source" / assignment.name / f"{assignment.name}.md").read_text(encoding="utf-8")
    assert "Grading builds have no network." in text
    for example in ("apk add", "curl", "URL", "package-lock.json", "--cache"):
        assert example in text
        assert example in NO_NETWORK


def test_a_quiz_shows_what_it_grades() -> None:
    """Every line of the Dockerfile, every file, every change."""
    quiz = load_assignment(COURSE, "quiz")
    cells = json.loads(notebook_of(COURSE, "quiz").read_text(encoding="utf-8"))["cells"]
    shown = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")
    for question in quiz.questions:
        for text in ("\n".join(question.dockerfile), *(text.strip() for text in question.files.values()), question.text):
            assert text in shown


def test_a_text_that_leaves_out_a_question_is_refused() -> None:
    """And one that asks for a question which is not there, or twice."""
    quiz = load_assignment(COURSE, "quiz")
    text = (COURSE / "source" / "quiz" / "quiz.md").read_text(encoding="utf-8")
    with pytest.raises(ValueError, match="leaves out the questions touch"):
        _builder().build(text.replace("{question} touch", "{other} touch"), quiz)
    with pytest.raises(ValueError, match="'touch' is not a question, or it is there twice"):
        _builder().build(text.replace("{question} mode", "{question} touch"), quiz)


@pytest.mark.parametrize(
    "source", ["FROM a", "### BEGIN SOLUTION\nFROM a", "### END SOLUTION\n### BEGIN SOLUTION", "### BEGIN SOLUTION\n" * 2]
)
def test_markers_must_pair(source: str) -> None:
    """Else a release could show a solution."""
    with pytest.raises(UsageError, match="markers"):
        solution(source, "dockerfile")
