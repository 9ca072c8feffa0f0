"""What a row of nbgrader's gradebook may say.

A submission that was not graded has no row: nbgrader would read one as 0 points. Where an earlier submission was graded, its row stays
and is marked stale, in the gradebook itself, so that every reader sees it: the answer cells carry ``STALE`` as their automatic comment,
which formgrader and the feedback show, every test cell asks for manual grading, which formgrader's lists show, and the exported CSV
has a column for it. The next grading that succeeds takes the mark away: nbgrader then writes both fields anew. What an instructor
gave (manual scores, extra credit, comments) is touched by neither.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from typing import Any, Final, Literal

from nbgrader.api import Gradebook, MissingEntry
from nbgrader.preprocessors import SaveCells

from layerlab.errors import UsageError

# Feedback renders comments as Markdown, so nothing that a student wrote may stand here.
STALE: Final = "Stale: this score belongs to an earlier submission. The latest one has no score."

Row = Literal["graded", "stale", "incomplete", "none"]


@contextlib.contextmanager
def programs_on_path() -> Iterator[None]:
    """Let nbgrader find ``alembic``, which it calls by name when it makes a gradebook: it lies beside this Python."""
    before = os.environ.get("PATH")
    os.environ["PATH"] = os.pathsep.join([os.path.dirname(sys.executable), before or os.defpath])
    try:
        yield
    finally:
        if before is None:
            del os.environ["PATH"]
        else:
            os.environ["PATH"] = before


def register(url: str, course_id: str, name: str, trusted: Any) -> None:
    """Make a gradebook know an assignment, and compare the test cells that it knows.

    ``url``  of the database, as SQLAlchemy has it. ``trusted``: the notebook as it is released.
    Raises ``UsageError`` where it has other points than the notebook: an edited assignment must be released anew.
    """
    with Gradebook(url, course_id) as gradebook:
        try:
            gradebook.find_notebook(name, name)
        except MissingEntry:
            gradebook.update_or_create_assignment(name)
            SaveCells().preprocess(trusted, {"nbgrader": {"notebook": name, "assignment": name, "student": ".", "db_url": url}})
    with Gradebook(url, course_id) as gradebook:
        found = gradebook.find_notebook(name, name)
        known = {cell.name: float(cell.max_score) for cell in found.grade_cells}
        answers = {cell.name for cell in found.solution_cells}
    marks = [cell.metadata.nbgrader for cell in trusted.cells if "nbgrader" in cell.metadata]
    if known != {mark.grade_id: float(mark.points) for mark in marks if mark.grade} or answers != {
        mark.grade_id for mark in marks if mark.solution
    }:
        raise UsageError(
            f"the gradebook has other cells or points for {name} than source/{name}/{name}.ipynb", remedy=f"Run `./lab release {name}`."
        )


def row(gradebook: Any, assignment: str, student: str) -> Row:
    """What the row of a submission is worth. ``incomplete``: a test cell has no score at all."""
    try:
        submission = gradebook.find_submission(assignment, student)
    except MissingEntry:
        return "none"
    grades = [grade for notebook in submission.notebooks for grade in notebook.grades]
    if not grades or any(grade.auto_score is None and grade.manual_score is None for grade in grades):
        return "incomplete"
    if any(comment.auto_comment == STALE for notebook in submission.notebooks for comment in notebook.comments):
        return "stale"
    return "graded"


def withdraw(url: str, course_id: str, assignment: str, student: str) -> Literal["stale", "none"]:
    """Say that the latest submission has no score: mark the row of an earlier one stale, or remove a row that never had a score."""
    with Gradebook(url, course_id) as gradebook:
        found = row(gradebook, assignment, student)
        if found == "none":
            return "none"
        submission = gradebook.find_submission(assignment, student)
        grades = [grade for notebook in submission.notebooks for grade in notebook.grades]
        if found == "incomplete" and all(grade.manual_score is None for grade in grades):
            gradebook.remove_submission(assignment, student)
            return "none"
        for notebook in submission.notebooks:
            for comment in notebook.comments:
                comment.auto_comment = STALE
        for grade in grades:
            grade.needs_manual_grade = True
        gradebook.db.commit()
        return "stale"
