"""The grades as CSV: nbgrader's columns, and one that says what a score is worth.

nbgrader's own exporter writes 0.0 for a student without a submission, and for a submission without a score. Here both are blank.
"""

from __future__ import annotations

import csv
import io
from typing import Any, Final

from nbgrader.plugins import ExportPlugin

from autograder.publish.gradebook_rows import row
from layerlab.fsutil import write_atomically

COLUMNS: Final = (
    *("assignment", "duedate", "timestamp", "student_id", "last_name", "first_name", "email"),
    *("raw_score", "late_submission_penalty", "score", "max_score", "status"),
)


class GradesCsv(ExportPlugin):  # type: ignore[misc]  # nbgrader carries no types
    """``nbgrader export`` with this course's settings. The destination is ``grades.csv``, or what ``--to`` says."""

    def export(self, gradebook: Any) -> None:
        """Write all grades, or those of the students and assignments that were named. Raises ``OSError``."""
        text = io.StringIO()
        writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
        writer.writeheader()
        for assignment in gradebook.assignments:
            if self.assignment and assignment.name not in [str(name) for name in self.assignment]:
                continue
            for student in gradebook.students:
                if not self.student or student.id in [str(name) for name in self.student]:
                    writer.writerow(_line(gradebook, assignment, student))
        write_atomically(self.to or "grades.csv", text.getvalue().encode())


def _line(gradebook: Any, assignment: Any, student: Any) -> dict[str, Any]:
    status = row(gradebook, assignment.name, student.id)
    line = {
        "assignment": assignment.name,
        "duedate": assignment.duedate,
        "student_id": student.id,
        "last_name": student.last_name,
        "first_name": student.first_name,
        "email": student.email,
        "max_score": assignment.max_score,
        "status": "" if status == "none" else status,
    }
    if status in ("graded", "stale"):
        submission = gradebook.find_submission(assignment.name, student.id)
        penalty = submission.late_submission_penalty
        line |= {
            "timestamp": submission.timestamp,
            "raw_score": submission.score,
            "late_submission_penalty": penalty,
            "score": max(0.0, submission.score - penalty),
        }
    return line
