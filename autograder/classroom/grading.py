"""A whole class: submissions are collected, what is known already is taken, the rest is handed to a backend; one never stops the others."""

from __future__ import annotations

import contextlib
import secrets
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, Literal

import msgspec

from autograder.backends.base import Backend, Outcome
from autograder.backends.results import Results
from autograder.backends.worker import Job
from autograder.classroom.grading_order import in_order
from autograder.exercise.assignment import Assignment, load_assignment
from autograder.exercise.places import default_place, make_place
from autograder.exercise.workspace import sweep
from autograder.judge.points import check_rubric
from autograder.judge.prepare import Prepared, locate, prepare
from autograder.sandbox.sandbox import Sandbox
from autograder.submission import record
from autograder.submission.notebook_reader import Rejected, Skipped, Submission, collect, read_submission, students_of
from autograder.submission.record import ClassRecord, SubmissionResult
from layerlab.errors import LayerlabError, UsageError
from layerlab.fsutil import locked, write_atomically
from layerlab.reports import Report

__all__ = ["answers_of", "default_place", "grade_class", "kept_seed", "prepare_class"]

# Of layers between two classes.
_KEPT_BYTES: Final = 20 << 30


def grade_class(
    course: Path,
    name: str,
    *,
    place: Path,
    workers: int = 2,
    backend: Literal["local", "dask"] = "local",
    scheduler: str = "",
    seed: str | None = None,
    students: tuple[str, ...] = (),
    report: Report,
    finished: Callable[[SubmissionResult], None] = lambda _result: None,
) -> ClassRecord:
    """Grade an assignment for all students, or for those named.

    ``seed``       draws the edits; without it, one is drawn for this assignment on this machine, and kept.
    ``scheduler``  address of a Dask cluster; empty for one of ``workers`` processes on this machine.
    ``finished``   gets each final result, as soon as it is there.
    Raises ``UsageError`` for a course, assignment, student or scheduler that is not there, ``ExecutorError`` where nothing isolates.
    """
    assignment = load_assignment(course, name)
    wanted, skipped = _wanted(course, name, students)
    for folder in skipped:
        report(f"not graded: {folder.name}: {folder.reason}")
    prepared = prepare_class(course, name, place, report)
    for swept in sweep(prepared.work):
        report(f"removed what a grader that was killed had left: {swept}")
    if seed is None:
        seed = kept_seed(place, assignment)
    run = _Run(Results(assignment, prepared, seed), len(wanted), report, finished)
    jobs = [job for student in wanted if (job := _collected(course, assignment, prepared, student, seed, run)) is not None]
    if jobs:
        run.weights = in_order(jobs)
        rank = {student: number for number, student in enumerate(run.weights)}
        jobs.sort(key=lambda job: rank[job.submission.student])
        with _backend(backend, scheduler, workers, place) as machine:
            left = run.take(jobs, machine, beside=len(jobs) > 1 and (bool(scheduler) or workers > 1))
            if left:
                report(f"grading {len(left)} again, alone: {', '.join(job.submission.student for job in left)}")
            for job in left:
                run.take([job], machine, last=True)
        _tidy(prepared)
    return ClassRecord(
        assignment=name, seed=seed, submissions=tuple(sorted(run.results, key=lambda result: result.student)), skipped=skipped
    )


def prepare_class(course: Path, name: str, place: Path, report: Report) -> Prepared:
    """Fetch what grading an assignment needs, and nothing else. Raises what ``grade_class`` raises before it grades."""
    assignment = load_assignment(course, name)
    check_rubric(assignment)
    make_place(place)
    return prepare(course, assignment, place, report)


def answers_of(course: Path, assignment: Assignment, place: Path, result: SubmissionResult, seed: str) -> Submission:
    """The answers that a result is about. Raises ``Rejected``, and ``UsageError`` where the submission has changed since."""
    data = read_submission(course, assignment, result.student)
    if Results(assignment, locate(course, assignment, place), seed).digest(data) != result.digest:
        raise UsageError(f"the submission of {result.student} has changed since it was graded", remedy="Grade it again.")
    return collect(data, assignment, result.student)


def _tidy(prepared: Prepared) -> None:
    """Keep the grading store within bounds: each class leaves layers that hardly any other will use. Trouble waits for the next time."""
    with contextlib.suppress(LayerlabError, OSError), Sandbox(prepared.cache) as sandbox, sandbox.engine(prepared.store) as engine:
        engine.prune(_KEPT_BYTES, lambda _text: None)


def _wanted(course: Path, name: str, students: tuple[str, ...]) -> tuple[list[str], tuple[Skipped, ...]]:
    """Whom to grade; and, where nobody was named, the folders that are not graded."""
    found = students_of(course, name)
    absent = sorted(set(students) - set(found.names))
    if absent:
        why = "".join(f" {folder.name}: {folder.reason}." for folder in found.skipped if folder.name in absent)
        raise UsageError(
            f"there is no submission of {', '.join(absent)}.{why}", remedy=f"Submissions stand in {course}/submitted/STUDENT/{name}/."
        )
    if not found.names:
        why = "".join(f" {folder.name}: {folder.reason}." for folder in found.skipped)
        raise UsageError(f"{course}/submitted has no submission of {name}.{why}")
    if students:
        return sorted(set(students)), ()
    return list(found.names), found.skipped


def kept_seed(place: Path, assignment: Assignment) -> str:
    """The seed of an assignment on this machine, drawn the first time. Raises ``OSError``."""
    file = place / f"seed-{assignment.digest()[:32]}"
    with locked(str(place / "seed.lock")):
        # An empty one is what a full disk once left.
        if not file.is_file() or not file.stat().st_size:
            write_atomically(str(file), secrets.token_hex(16).encode("ascii"), mode=0o600)
        return file.read_text(encoding="ascii")


def _backend(backend: Literal["local", "dask"], scheduler: str, workers: int, place: Path) -> Backend:
    if backend == "dask":
        from autograder.backends.cluster import DaskBackend

        return DaskBackend(scheduler, workers, place)
    from autograder.backends.local import LocalBackend

    return LocalBackend(workers)


def _collected(course: Path, assignment: Assignment, prepared: Prepared, student: str, seed: str, run: _Run) -> Job | None:
    """The job that a submission needs; ``None`` where its result is known at once."""
    digest = ""
    try:
        data = read_submission(course, assignment, student)
        digest = run.kept_results.digest(data)
        kept = run.kept_results.kept(student, digest)
        if kept is not None:
            run.finish(kept)
            return None
        submission = collect(data, assignment, student)
    except Rejected as error:
        run.finish(record.without_score(student, "rejected", assignment.max_score, str(error), digest))
        return None
    except OSError as error:
        run.finish(record.without_score(student, "infrastructure-error", assignment.max_score, str(error), digest))
        return None
    run.digests[student] = digest
    return Job(assignment=assignment, prepared=prepared, submission=submission, seed=seed)


class _Run:
    """What has come of a class so far. ``total``: how many submissions there are. ``finished`` gets each final result.

    ``weights``  of those that are being graded: see ``in_order``.
    """

    def __init__(self, kept_results: Results, total: int, report: Report, finished: Callable[[SubmissionResult], None]) -> None:
        self.kept_results = kept_results
        self.results: list[SubmissionResult] = []
        self.digests: dict[str, str] = {}
        self.weights: dict[str, float] = {}
        self._total = total
        self._report = report
        self._finished = finished
        self._weighed = 0.0
        self._started = time.monotonic()

    def finish(self, result: SubmissionResult) -> None:
        """Note a result, keep it, and tell how far the class is."""
        self.kept_results.keep(result)
        self.results.append(result)
        done, left = len(self.results), self._total - len(self.results)
        said = f"[{done}/{self._total}] {result.student}: {_short(result)}"
        weight = self.weights.pop(result.student, 0.0)
        self._weighed += weight
        if left and self._weighed:
            said += f"; about {(time.monotonic() - self._started) / self._weighed * sum(self.weights.values()):.0f} s left"
        self._report(said)
        self._finished(result)

    def take(self, jobs: Sequence[Job], machine: Backend, *, beside: bool = False, last: bool = False) -> list[Job]:
        """Have jobs done. Returns those that are to be done again, alone: the grader had trouble with them, or, where they were graded
        ``beside`` others, a command failed, for which these may be the reason. The last time that is their result, and there are none."""
        by_student = {job.submission.student: job for job in jobs}
        again = []
        for outcome in machine.run(jobs):
            job = by_student[outcome.student]
            result = _result(outcome, job.assignment, self.digests[outcome.student])
            if not last and (result.status == "infrastructure-error" or (beside and result.shaken)):
                self._report(f"{result.student}: {_short(result)}; again when the others are done")
                again.append(job)
            else:
                self.finish(result)
        return again


def _result(outcome: Outcome, assignment: Assignment, digest: str) -> SubmissionResult:
    if outcome.result is None:
        return record.without_score(outcome.student, "infrastructure-error", assignment.max_score, outcome.trouble, digest)
    return msgspec.structs.replace(outcome.result, digest=digest)


def _short(result: SubmissionResult) -> str:
    if result.score is None:
        return f"{result.status}: {result.reason}"
    return f"{result.score:g} of {result.max_score:g}"
