"""The result of grading, as ``--json`` has it. A value that could be misread as a score cannot be made.

A score is there only for a submission that was graded: a rejected one, and one that the grader itself failed on, have none, so that
neither ever reads as a zero.
"""

from __future__ import annotations

import math
from typing import Literal

import msgspec

from autograder.exercise.assignment import Assignment
from autograder.submission.notebook_reader import Skipped

SCHEMA = 1

CheckStatus = Literal["passed", "partial", "failed", "not-run"]
SubmissionStatus = Literal["graded", "rejected", "infrastructure-error"]


class CheckResult(msgspec.Struct, frozen=True, kw_only=True):
    """One check. ``points`` agree with ``status``: all for ``passed``, none for ``failed`` and ``not-run``, some for ``partial``.

    Raises ``ValueError`` for anything else, NaN and infinities included.
    """

    id: str
    status: CheckStatus
    points: float
    max_points: float
    message: str

    def __post_init__(self) -> None:
        if not math.isfinite(self.max_points) or self.max_points <= 0:
            raise ValueError(f"{self.id}: max_points must be a positive number")
        fits = {
            "passed": self.points == self.max_points,
            "partial": 0 < self.points < self.max_points,
            "failed": self.points == 0,
            "not-run": self.points == 0,
        }
        if not fits.get(self.status, False):
            raise ValueError(f"{self.id}: {self.points} of {self.max_points} points do not fit the status {self.status}")


class SubmissionResult(msgspec.Struct, frozen=True, kw_only=True):
    """One submission.

    ``digest``  of the submission, the assignment, the grader and the seed together: a result is reused only under the same one.
    ``reason``  why there is no score, or, for a score by rule, the rule. ``network``: what the student's steps could reach.
    ``seconds`` wall time; no score depends on it. ``shaken``: a command failed, was ended or kept silent, for which the machine or what
    else ran there could be the reason.
    """

    student: str
    status: SubmissionStatus
    score: float | None
    max_score: float
    checks: tuple[CheckResult, ...] = ()
    reason: str = ""
    digest: str = ""
    network: Literal["none"] = "none"
    stand_in: tuple[str, ...] = ()
    seconds: float = 0.0
    shaken: bool = False

    def __post_init__(self) -> None:
        if not math.isfinite(self.max_score) or self.max_score <= 0:
            raise ValueError("max_score must be a positive number")
        if self.status != "graded":
            if self.score is not None or self.checks or not self.reason:
                raise ValueError(f"a submission that is {self.status} has a reason, no score and no checks")
            return
        if self.score is None or not self.checks:
            raise ValueError("a graded submission has a score and checks")
        if len({check.id for check in self.checks}) != len(self.checks):
            raise ValueError("a check counts once")
        if not math.isclose(self.score, sum(check.points for check in self.checks), abs_tol=1e-6):
            raise ValueError("the score is not the sum of the checks' points")
        if not math.isclose(self.max_score, sum(check.max_points for check in self.checks), abs_tol=1e-6):
            raise ValueError("max_score is not the sum of the checks' max_points")


class ClassRecord(msgspec.Struct, frozen=True, kw_only=True):
    """All submissions of one run, sorted by student. ``seed`` draws the same edits again. ``skipped``: folders that were not graded."""

    assignment: str
    seed: str
    submissions: tuple[SubmissionResult, ...]
    skipped: tuple[Skipped, ...] = ()
    schema: int = SCHEMA


def fits(result: SubmissionResult, student: str, assignment: Assignment) -> bool:
    """Whether a result that came from elsewhere is of this student, and has the checks and maxima of the assignment and no others."""
    if result.student != student or result.max_score != assignment.max_score:
        return False
    rules = {check.id: check.points for check in assignment.checks}
    return result.status != "graded" or {check.id: check.max_points for check in result.checks} == rules


def graded(student: str, checks: tuple[CheckResult, ...], *, reason: str = "") -> SubmissionResult:
    """The result of a submission with these checks."""
    return SubmissionResult(
        student=student,
        status="graded",
        score=round(sum(check.points for check in checks), 2),
        max_score=sum(check.max_points for check in checks),
        checks=checks,
        reason=reason,
    )


def without_score(
    student: str, status: Literal["rejected", "infrastructure-error"], max_score: float, reason: str, digest: str = ""
) -> SubmissionResult:
    """The result of a submission that has no score, and why."""
    return SubmissionResult(
        student=student, status=status, score=None, max_score=max_score, reason=reason or "no reason known", digest=digest
    )
