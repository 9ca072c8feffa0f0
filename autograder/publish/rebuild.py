"""The notebook that is published: the trusted source, the answers as they were collected, and the recorded results.

Nothing else of a submission is in it, so no markup, output, metadata or extra cell of a student's reaches formgrader or the feedback.

How nbgrader reads points (``nbgrader.utils.determine_grade``): an error gives 0, the first ``execute_result`` its number, and anything
that it cannot read gives all points. So every test cell gets exactly one of the two, and what does not fit raises.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import nbformat
from nbgrader.utils import compute_checksum

from autograder.exercise.assignment import Assignment, notebook_of
from autograder.exercise.starter import replace_answers
from autograder.submission.messages import printable, verdict, visible
from autograder.submission.notebook_reader import Submission
from autograder.submission.record import CheckResult, SubmissionResult
from layerlab.errors import LayerlabError, UsageError


def trusted_notebook(course: Path, assignment: Assignment) -> Any:
    """An assignment's notebook as it is released: starter texts, no outputs, nbgrader's checksums. Raises ``UsageError``."""
    path = notebook_of(course, assignment.name)
    try:
        notebook: Any = nbformat.read(path, as_version=4)
    except (OSError, ValueError) as error:
        raise UsageError(f"{path} cannot be read: {error}") from error
    replace_answers(notebook, assignment)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
        if marks := cell.metadata.get("nbgrader"):
            marks.cell_type = cell.cell_type
            marks.checksum = compute_checksum(cell)
    return notebook


def published_notebook(course: Path, assignment: Assignment, submission: Submission, result: SubmissionResult) -> Any:
    """The notebook with a student's answers and results.

    Raises ``LayerlabError`` for results without a score, of another student, or that do not fit the test cells one to one.
    """
    if result.status != "graded" or result.score is None:
        raise LayerlabError(f"{result.student} has no score: {result.reason}")
    if submission.student != result.student:
        raise LayerlabError(f"the answers are of {submission.student}, the result is of {result.student}")
    notebook = trusted_notebook(course, assignment)
    cells = _by_grade_id(notebook)
    for answer in assignment.answers:
        cells[answer.grade_id].source = f"{answer.magic}\n{visible(submission.files[answer.file])}"
    tests = [grade_id for grade_id, cell in cells.items() if cell.metadata.nbgrader.get("grade")]
    if sorted(tests) != sorted(check.id for check in result.checks):
        raise LayerlabError(f"the test cells are {sorted(tests)}, the checks are {sorted(check.id for check in result.checks)}")
    for check in result.checks:
        _put(cells[check.id], check)
    if not math.isclose(result.score, sum(check.points for check in result.checks), abs_tol=1e-6):
        raise LayerlabError(f"the score of {result.student} is not the sum of its checks")
    return notebook


def _by_grade_id(notebook: Any) -> dict[str, Any]:
    marked = [cell for cell in notebook.cells if "nbgrader" in cell.metadata]
    found = {cell.metadata.nbgrader.grade_id: cell for cell in marked}
    if len(found) != len(marked):
        raise UsageError("a grade_id stands twice in the source notebook")
    return found


def _put(cell: Any, check: CheckResult) -> None:
    maximum = float(cell.metadata.nbgrader.points)
    if cell.cell_type != "code" or cell.metadata.nbgrader.get("solution"):
        raise UsageError(f"the test cell {check.id} of the source notebook must be code, and no answer")
    if check.max_points != maximum or not math.isfinite(check.points) or not 0 <= check.points <= maximum:
        raise LayerlabError(f"{check.id} has {check.points} of {check.max_points} points; the test cell has {maximum:g}")
    words = printable(verdict(check))
    if check.points > 0:
        cell.outputs = [
            nbformat.v4.new_output("stream", name="stdout", text=f"{words}\n"),
            nbformat.v4.new_output("execute_result", {"text/plain": repr(float(check.points))}),
        ]
    else:
        cell.outputs = [nbformat.v4.new_output("error", ename="CheckFailed", evalue=words, traceback=[words])]
