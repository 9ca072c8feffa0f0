"""The verbs ``grade`` and ``release`` of ``layerlab``. Results on standard output, progress on standard error."""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec

from autograder.submission.record import ClassRecord, SubmissionResult
from layerlab.commands.common import print_json
from layerlab.control_characters import without_controls
from layerlab.errors import LayerlabError

if TYPE_CHECKING:
    from autograder.publish.background import BackgroundPublisher
    from autograder.submission.notebook_reader import Submission

DEFAULT_COURSE: Final = Path("exercises")


def add(verbs: Any) -> None:
    """Declare the verbs on an argparse subparsers object. layerlab finds this as an entry point (``pyproject.toml``).

    ``grade`` returns 1 when it left a folder out or had trouble of its own.
    """
    grade = verbs.add_parser("grade", help="grade the submissions of an assignment")
    _common(grade)
    grade.add_argument("--workers", type=_count, default=os.cpu_count() or 1, metavar="N", help="submissions at once (default: processors)")
    grade.add_argument(
        "--backend", choices=("local", "dask"), default="local", help="processes of this machine (default), or a Dask cluster"
    )
    grade.add_argument("--scheduler", default="", metavar="ADDRESS", help="with dask: a cluster that runs; default: one on this machine")
    grade.add_argument("--prepare", action="store_true", help="only fetch what grading needs, the base image and the packages, and stop")
    grade.add_argument("--seed", metavar="TEXT", help="draws the edits; default: one that is drawn once and kept on this machine")
    grade.add_argument("--student", action="append", default=[], metavar="ID", help="only this one; may be repeated")
    grade.add_argument("--json", action="store_true", help="print the record as JSON")
    grade.add_argument("--no-publish", dest="publish", action="store_false", help="leave nbgrader's gradebook, feedback and grades alone")
    grade.set_defaults(run=_grade, stopped="stopped; finished results are kept")
    release = verbs.add_parser("release", help="check the reference solution, then write the notebook for students")
    _common(release)
    release.add_argument("--json", action="store_true", help="print what was written as JSON")
    release.set_defaults(run=_release)


def _common(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("assignment", metavar="ASSIGNMENT", help="for example ps1")
    parser.add_argument("--course", type=Path, default=DEFAULT_COURSE, metavar="DIR", help="the nbgrader course (default: exercises)")
    parser.add_argument("--place", type=Path, metavar="DIR", help="where the grader works and keeps results (default: beside the store)")


def _count(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return number


def _grade(arguments: argparse.Namespace) -> int:
    from autograder.classroom.grading import default_place, grade_class, prepare_class

    if arguments.prepare:
        prepared = prepare_class(arguments.course, arguments.assignment, arguments.place or default_place(), _report)
        if arguments.json:
            print_json({"schema": 1, "assignment": arguments.assignment, "prepared": prepared})
        return 0
    with _faults(arguments.place or default_place()), _publisher(arguments) as publisher:
        found = grade_class(
            arguments.course,
            arguments.assignment,
            place=arguments.place or default_place(),
            workers=arguments.workers,
            backend="dask" if arguments.scheduler else arguments.backend,
            scheduler=arguments.scheduler,
            seed=arguments.seed,
            students=tuple(arguments.student),
            report=_report,
            finished=publisher.put if publisher is not None else lambda _result: None,
        )
        if arguments.json:
            print(msgspec.json.encode(found).decode(), flush=True)
        else:
            from autograder.classroom.class_table import class_table

            print(class_table(found), flush=True)
        if not arguments.student:
            _report(f"the class report is {_class_report(arguments, found)}")
        trouble = bool(found.skipped) or any(result.status == "infrastructure-error" for result in found.submissions)
        if publisher is not None:
            from autograder.publish.publisher import summary

            done = publisher.finish()
            _report(summary(done))
            trouble = trouble or bool(done.failed)
    return 1 if trouble else 0


def _class_report(arguments: argparse.Namespace, found: ClassRecord) -> Path:
    """Write the class report beside nbgrader's folders, and return its first page."""
    from autograder.classroom.grading import answers_of, default_place
    from autograder.exercise.assignment import load_assignment
    from autograder.report.pages import write_report
    from autograder.submission.notebook_reader import Rejected

    assignment, place = load_assignment(arguments.course, arguments.assignment), arguments.place or default_place()

    def answers(result: SubmissionResult) -> dict[str, str]:
        try:
            return answers_of(arguments.course, assignment, place, result, found.seed).files
        except (Rejected, LayerlabError):
            return {}

    course = "" if arguments.course == DEFAULT_COURSE else str(arguments.course)
    return write_report(found, arguments.course / "report" / arguments.assignment, answers, course=course)


class _FaultsFile(logging.FileHandler):
    """Opened when there is something to write. A file that cannot be written costs the class nothing: the fault is reported anyway."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, delay=True, encoding="utf-8")
        self.setFormatter(logging.Formatter("%(asctime)s %(name)s: %(message)s"))
        self.used = False

    def emit(self, record: logging.LogRecord) -> None:
        """See ``logging.Handler``."""
        with contextlib.suppress(OSError):
            super().emit(record)
            self.used = True


@contextlib.contextmanager
def _faults(place: Path) -> Iterator[None]:
    """Faults of the grader itself, with where in the code they happened, go to a file; a report has no room for that."""
    handler = _FaultsFile(place / "faults.log")
    log = logging.getLogger("autograder")
    log.addHandler(handler)
    propagates, log.propagate = log.propagate, False
    try:
        yield
    finally:
        log.removeHandler(handler)
        log.propagate = propagates
        if handler.used:
            _report(f"faults of the grader are in {handler.baseFilename}")
        handler.close()


@contextlib.contextmanager
def _publisher(arguments: argparse.Namespace) -> Iterator[BackgroundPublisher | None]:
    """What hands results to nbgrader while others are graded; ``None`` where that is not wanted, or there is no nbgrader."""
    from autograder.exercise.assignment import load_assignment

    if not arguments.publish:
        yield None
        return
    assignment = load_assignment(arguments.course, arguments.assignment)
    if not (arguments.course / "nbgrader_config.py").is_file():
        _report("nothing is published: the course has no nbgrader_config.py")
        yield None
        return
    from autograder.classroom.grading import answers_of, default_place, kept_seed
    from autograder.publish.background import BackgroundPublisher

    place = arguments.place or default_place()

    def answers(result: SubmissionResult) -> Submission:
        seed = kept_seed(place, assignment) if arguments.seed is None else arguments.seed
        return answers_of(arguments.course, assignment, place, result, seed)

    with BackgroundPublisher(arguments.course, assignment.name, answers, _report) as publisher:
        yield publisher


def _release(arguments: argparse.Namespace) -> int:
    from autograder.classroom.grading import default_place
    from autograder.release import release

    path = release(arguments.course, arguments.assignment, place=arguments.place or default_place(), report=_report)
    print(msgspec.json.encode({"schema": 1, "released": str(path)}).decode() if arguments.json else f"wrote {path}")
    return 0


def _report(text: str) -> None:
    print(without_controls(text), file=sys.stderr, flush=True)
