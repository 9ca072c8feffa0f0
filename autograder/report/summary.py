"""What a class record comes to: how often each check failed, the usual causes, the spread of scores. Numbers only, no markup."""

from __future__ import annotations

import re
import statistics
from collections import defaultdict
from typing import Final

import msgspec

from autograder.submission.record import CheckResult, ClassRecord, SubmissionResult

BANDS: Final = 10
_CAUSES: Final = 3
_CAUSE_LENGTH: Final = 300
# The same mistake stands on another line in every file.
_PLACE: Final = re.compile(r"\b(Dockerfile )?line \d+(, |: )")
_READ: Final = re.compile(r" Read: [^\n]*$")


class Cause(msgspec.Struct, frozen=True, kw_only=True):
    """A reason for lost points, and the students that it was told to."""

    text: str
    students: tuple[str, ...]


class CheckSummary(msgspec.Struct, frozen=True, kw_only=True):
    """One check over the class. ``counts``: status to number of students; ``mean`` in points."""

    id: str
    max_points: float
    counts: dict[str, int]
    mean: float
    causes: tuple[Cause, ...]

    def share(self, status: str) -> float:
        """Percent of the graded students whose check has this status."""
        return 100 * self.counts.get(status, 0) / max(1, sum(self.counts.values()))


class ClassSummary(msgspec.Struct, frozen=True, kw_only=True):
    """A class. ``bands``: how many students scored 0–10 %, 10–20 %, … of the maximum; the last band has 90–100 %.

    ``whole``  reasons for which an answer got no point at all, so that no check could say more.
    """

    graded: int
    rejected: int
    trouble: int
    mean: float
    median: float
    max_score: float
    bands: tuple[int, ...]
    whole: tuple[Cause, ...]
    checks: tuple[CheckSummary, ...]


def summarise(record: ClassRecord) -> ClassSummary:
    """Sum a record up. Submissions without a score count in none of the means."""
    scores = [result.score for result in record.submissions if result.score is not None]
    max_score = max((result.max_score for result in record.submissions), default=0.0)
    bands = [0] * BANDS
    for score in scores:
        bands[min(BANDS - 1, int(BANDS * score / max_score))] += 1
    by_check: dict[str, list[tuple[str, CheckResult]]] = defaultdict(list)
    whole: dict[str, list[str]] = defaultdict(list)
    for result in record.submissions:
        for check in result.checks:
            by_check[check.id].append((result.student, check))
        reason = _whole(result)
        if reason:
            whole[reason].append(result.student)
    silent = {student for students in whole.values() for student in students}
    return ClassSummary(
        graded=len(scores),
        rejected=sum(result.status == "rejected" for result in record.submissions),
        trouble=sum(result.status == "infrastructure-error" for result in record.submissions),
        mean=statistics.fmean(scores) if scores else 0.0,
        median=statistics.median(scores) if scores else 0.0,
        max_score=max_score,
        bands=tuple(bands),
        whole=_usual(whole, len(whole)),
        checks=tuple(_check(name, rows, silent) for name, rows in by_check.items()),
    )


def _whole(result: SubmissionResult) -> str:
    """The one reason for which all checks failed; empty where they have reasons of their own."""
    messages = {check.message for check in result.checks}
    return _cause(messages.pop()) if result.score == 0 and len(messages) == 1 and len(result.checks) > 1 else ""


def _usual(causes: dict[str, list[str]], most: int) -> tuple[Cause, ...]:
    found = sorted(causes.items(), key=lambda item: (-len(item[1]), item[0]))[:most]
    return tuple(Cause(text=text, students=tuple(students)) for text, students in found)


def _check(name: str, rows: list[tuple[str, CheckResult]], silent: set[str]) -> CheckSummary:
    counts: dict[str, int] = defaultdict(int)
    causes: dict[str, list[str]] = defaultdict(list)
    for student, check in rows:
        counts[check.status] += 1
        if check.status != "passed" and student not in silent:
            causes[_cause(check.message)].append(student)
    return CheckSummary(
        id=name,
        max_points=rows[0][1].max_points,
        counts=dict(counts),
        mean=statistics.fmean(check.points for _, check in rows),
        causes=_usual(causes, _CAUSES),
    )


def _cause(message: str) -> str:
    """A message without what differs between files with the same mistake."""
    first = _READ.sub("", message.split("\n", 1)[0])
    text = _PLACE.sub("", first).strip()
    return text if len(text) <= _CAUSE_LENGTH else text[: _CAUSE_LENGTH - 1] + "…"
