"""Releasing: the reference solution is graded on this machine first, and only where it scores full is the notebook written."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nbformat

from autograder.exercise.assignment import Assignment, load_assignment, notebook_of
from autograder.exercise.places import make_place
from autograder.exercise.starter import solution, starter_cell
from autograder.judge.grade import grade
from autograder.judge.points import check_rubric
from autograder.judge.prepare import prepare
from autograder.submission.notebook_reader import Submission
from layerlab.errors import LayerlabError, UsageError

_SECONDS = 180


def reference(course: Path, name: str) -> Submission:
    """The reference solution of an assignment, from the markers in its source notebook. Raises ``UsageError``."""
    assignment = load_assignment(course, name)
    path = notebook_of(course, name)
    try:
        notebook: Any = nbformat.read(path, as_version=4)
    except (OSError, ValueError) as error:
        raise UsageError(f"{path} cannot be read: {error}") from error
    texts = {}
    for answer in assignment.answers:
        cells = [cell for cell in notebook.cells if cell.metadata.get("nbgrader", {}).get("grade_id") == answer.grade_id]
        if len(cells) != 1:
            raise UsageError(f"{path} has {len(cells)} cells {answer.grade_id!r}; it needs one")
        texts[answer.file] = solution(cells[0].source, answer.grade_id)
    points = {
        cell.metadata["nbgrader"]["grade_id"]: cell.metadata["nbgrader"]["points"]
        for cell in notebook.cells
        if cell.metadata.get("nbgrader", {}).get("grade")
    }
    rules = {check.id: check.points for check in assignment.checks}
    if points != rules:
        raise UsageError(f"the test cells of {path} have the points {points}; assignment.json has {rules}")
    return Submission(student="reference", files=texts, digest="")


def release(course: Path, name: str, *, place: Path, report: Callable[[str], None]) -> Path:
    """Check the reference solution, let nbgrader write the notebook for students, and return its path.

    Raises ``LayerlabError`` where the reference solution does not score full, or nbgrader fails.
    """
    assignment = load_assignment(course, name)
    check_rubric(assignment)
    answer = reference(course, name)
    make_place(place)
    prepared = prepare(course, assignment, place, report)
    report("grading the reference solution")
    with tempfile.TemporaryDirectory(dir=prepared.work) as seed:
        result = grade(assignment, prepared, answer, Path(seed).name)
    if result.score != assignment.max_score:
        lost = "; ".join(f"{check.id}: {check.message}" for check in result.checks if check.status != "passed") or result.reason
        raise LayerlabError(f"the reference solution scores {result.score} of {assignment.max_score:g}, so nothing is released: {lost}")
    _generate(course, name)
    path = course / "release" / name / f"{name}.ipynb"
    if not path.is_file():
        raise LayerlabError(f"nbgrader wrote no {path}")
    try:
        _check_answers(path, assignment)
    except LayerlabError:
        shutil.rmtree(path.parent, ignore_errors=True)
        raise
    return path


def _check_answers(path: Path, assignment: Assignment) -> None:
    """Whatever nbgrader's settings did: the students' answer cells hold the starter texts. Raises ``LayerlabError``."""
    notebook: Any = nbformat.read(path, as_version=4)
    found = {cell.metadata["nbgrader"]["grade_id"]: cell.source for cell in notebook.cells if "nbgrader" in cell.metadata}
    wrong = [answer.grade_id for answer in assignment.answers if found.get(answer.grade_id) != starter_cell(answer)]
    if wrong:
        raise LayerlabError(
            f"the release has something else than the starter text in {', '.join(wrong)}, so it was deleted",
            remedy="c.GenerateAssignment.preprocessors in nbgrader_config.py must have StarterSolutions.",
        )


def _generate(course: Path, name: str) -> None:
    # nbgrader calls alembic by its name.
    folders = [os.path.dirname(sys.executable), os.environ.get("PATH", os.defpath)]
    environment = {
        **os.environ,
        "PATH": os.pathsep.join(folders),
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
    }
    command = [sys.executable, "-m", "nbgrader", "generate_assignment", name, "--force", "--create"]
    done = subprocess.run(
        command, cwd=course, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=_SECONDS, check=False
    )
    if done.returncode != 0:
        shutil.rmtree(course / "release" / name, ignore_errors=True)
        raise LayerlabError(f"nbgrader could not make the release: {done.stderr.strip()[-1500:]}")
