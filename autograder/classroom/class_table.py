"""The record of a class as text for a terminal. What came from students is shown without control characters."""

from __future__ import annotations

import textwrap

from autograder.submission.messages import printable
from autograder.submission.record import ClassRecord, SubmissionResult


def class_table(record: ClassRecord) -> str:
    """Every submission with its score, and the message of each check that did not pass."""
    lines = [f"{record.assignment}, seed {record.seed}"]
    for result in record.submissions:
        lines += ["", *_submission(result)]
    for folder in record.skipped:
        lines += ["", f"{folder.name}: not graded", *_wrapped(folder.reason)]
    return "\n".join(lines)


def _submission(result: SubmissionResult) -> list[str]:
    if result.score is None:
        return [f"{result.student}: {result.status}", *_wrapped(result.reason)]
    lines = [f"{result.student}: {result.score:g} of {result.max_score:g}"]
    said = ""
    for check in result.checks:
        lines.append(f"  {check.status:8} {check.id:16} {check.points:g}/{check.max_points:g}")
        if check.status != "passed" and check.message != said:
            said = check.message
            lines += _wrapped(said)
    return lines


def _wrapped(text: str) -> list[str]:
    return [
        line
        for part in printable(text).splitlines()
        for line in textwrap.wrap(part, 110, initial_indent="      ", subsequent_indent="      ")
    ]
