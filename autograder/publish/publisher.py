"""What ``grade`` does with each result: gradebook, feedback and grades, one student at a time, in this one process.

nbgrader never opens a submission here. It is shown a folder of our own with the published notebooks, so what a student handed in
besides the answers cannot matter.
"""

from __future__ import annotations

import contextlib
import io
import logging
import os
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import msgspec
import nbformat
from nbconvert.exporters import NotebookExporter
from nbconvert.writers.files import FilesWriter
from nbgrader.api import Gradebook
from nbgrader.converters import Autograde, GenerateFeedback, NbGraderException
from nbgrader.coursedir import CourseDirectory
from sqlalchemy.exc import SQLAlchemyError
from traitlets.config import Config

from autograder.exercise.assignment import load_assignment
from autograder.publish.gradebook_rows import programs_on_path, register, withdraw
from autograder.publish.grades import GradesCsv
from autograder.publish.rebuild import published_notebook, trusted_notebook
from autograder.publish.settings import CONFIG, autograde_steps, load_settings
from autograder.publish.timestamp import TIMESTAMP, read_timestamp
from autograder.submission.notebook_reader import Rejected, Submission
from autograder.submission.record import ClassRecord, SubmissionResult
from layerlab.errors import LayerlabError, UsageError
from layerlab.fsutil import locked

GRADES: Final = "grades.csv"
_LOCK: Final = ".publish.lock"
_STAGE: Final = ".publish-"
_EVERY: Final = 20


class Published(msgspec.Struct, frozen=True, kw_only=True):
    """What reached nbgrader: students by what became of them. ``failed``: graded, but not published, and why.

    ``gradebook``  the database's address. ``feedback``: the folder of the pages. ``grades``: the CSV file.
    """

    published: tuple[str, ...]
    stale: tuple[str, ...]
    without_score: tuple[str, ...]
    failed: dict[str, str]
    gradebook: str
    feedback: str
    grades: str


def publish(
    course: Path, record: ClassRecord, answers: Callable[[SubmissionResult], Submission], report: Callable[[str], None]
) -> Published:
    """Publish a record. ``answers``: see ``Publisher``, which also says what this raises."""
    size = len(record.submissions)
    report(f"publishing {size} submission{'' if size == 1 else 's'}")
    publisher = Publisher(course, record.assignment, answers, report)
    for number, result in enumerate(record.submissions, start=1):
        publisher.add(result)
        if number % _EVERY == 0 and number < size:
            report(f"published {number} of {size}")
    return publisher.finish()


@contextlib.contextmanager
def _stage(course: Path) -> Iterator[Path]:
    """A folder below the course, where nbgrader looks for submissions. Whoever has the lock also removes what a killed run left."""
    for left in course.glob(f"{_STAGE}*"):
        shutil.rmtree(left, ignore_errors=True)
    with tempfile.TemporaryDirectory(dir=course, prefix=_STAGE) as stage:
        yield Path(stage)


class Publisher:
    """Publishes the results of an assignment as they come. ``answers`` gives what a graded result is about; what it raises is that
    student's failure.

    Others may publish to the same course meanwhile: each result is written under the course's lock, which is held no longer.

    Raises, here and in its methods, ``UsageError`` for a course without settings, or a gradebook that knows other test cells than the
    source notebook; ``LayerlabError`` for a gradebook that cannot be read or written.
    """

    def __init__(self, course: Path, name: str, answers: Callable[[SubmissionResult], Submission], report: Callable[[str], None]) -> None:
        self._course = course.resolve()
        if not (self._course / CONFIG).is_file():
            raise UsageError(f"{self._course} has no {CONFIG}", remedy="Publishing needs nbgrader's settings; or grade with --no-publish.")
        self._assignment = load_assignment(self._course, name)
        self._answers = answers
        self._report = report
        self._found: dict[str, list[str]] = {"published": [], "stale": [], "none": []}
        self._failed: dict[str, str] = {}
        self._settings = load_settings(self._course)
        self._place = CourseDirectory(config=self._settings)
        self._place.assignment_id = name
        with self._alone():
            register(self._place.db_url, self._place.course_id, name, trusted_notebook(self._course, self._assignment))

    def add(self, result: SubmissionResult) -> None:
        """Publish one result, or withdraw what an earlier one left where this one has no score."""
        try:
            state, reason = self._one(result)
        except LayerlabError as error:
            # Others may still be published: somebody may only hold the gradebook for a while.
            self._failed[result.student] = str(error)
            self._report(f"{result.student} is graded but not published: {error}")
            return
        self._found[state].append(result.student)
        if reason:
            self._failed[result.student] = reason
            self._report(f"{result.student} is graded but not published: {reason}")
        if state == "stale":
            self._report(f"{result.student} keeps the score of an earlier submission, marked stale")

    def finish(self) -> Published:
        """Write the grades of the whole course, and tell what became of the results."""
        grades = self._course / GRADES
        with self._alone(), Gradebook(self._place.db_url, self._place.course_id) as gradebook:
            plugin = GradesCsv(config=self._settings)
            plugin.to = str(grades)
            plugin.export(gradebook)
        return Published(
            published=tuple(sorted(self._found["published"])),
            stale=tuple(sorted(self._found["stale"])),
            without_score=tuple(sorted(self._found["none"])),
            failed=self._failed,
            gradebook=self._place.db_url,
            feedback=str(self._course / self._place.feedback_directory),
            grades=str(grades),
        )

    @contextlib.contextmanager
    def _alone(self) -> Iterator[Path]:
        """The course's lock, and a folder that nbgrader can look for submissions in."""
        with locked(str(self._course / _LOCK)), programs_on_path(), _stage(self._course) as stage, warnings.catch_warnings():
            # nbconvert and the database warn about matters of theirs.
            warnings.simplefilter("ignore")
            try:
                yield stage
            except SQLAlchemyError as error:
                raise LayerlabError(
                    f"the gradebook cannot be used: {str(error).splitlines()[0]}",
                    remedy="Is it on a full or read-only disk? After an upgrade of nbgrader run `nbgrader db upgrade`. Then publish again.",
                ) from error

    def _one(self, result: SubmissionResult) -> tuple[str, str]:
        """What became of one submission, and why it failed. One student's failure is no other's."""
        reason, notebook = "", None
        if result.status == "graded":
            try:
                notebook = published_notebook(self._course, self._assignment, self._answers(result), result)
            except Exception as error:  # noqa: BLE001 - must not stop the class
                reason = _reason(result.student, error)
        with self._alone() as stage:
            return self._write(result.student, notebook, reason, stage)

    def _write(self, student: str, notebook: Any, reason: str, stage: Path) -> tuple[str, str]:
        """What the gradebook and the feedback say now: this notebook, or, without one, that there is no score of it."""
        if notebook is not None:
            try:
                self._grade(student, notebook, stage)
                self._feedback(student)
                return "published", ""
            except Exception as error:  # noqa: BLE001 - must not stop the class
                reason = _reason(student, error)
            except BaseException:
                # Stopped in the middle: what is written by then is no score.
                self._withdraw(student)
                raise
        state = self._withdraw(student)
        if state == "stale":
            # The student sees the mark, too. An earlier page that cannot be renewed is still that of the score.
            with contextlib.suppress(LayerlabError):
                self._feedback(student)
        return state, reason

    def _withdraw(self, student: str) -> str:
        state: str = withdraw(self._place.db_url, self._place.course_id, self._assignment.name, student)
        return state

    def _grade(self, student: str, notebook: Any, stage: Path) -> None:
        name = self._assignment.name
        folder = stage / student / name
        folder.mkdir(parents=True)
        (folder / f"{name}.ipynb").write_text(nbformat.writes(notebook), encoding="utf-8")
        if time := read_timestamp(self._course, name, student):
            (folder / TIMESTAMP).write_text(time, encoding="ascii")
        own = Config()
        own.CourseDirectory.submitted_directory = stage.name
        # The notebook is ours already. Whatever steps a course sets: one that cleared it would leave test cells without output, which
        # read as full points.
        own.Autograde.sanitize_preprocessors = []
        own.Autograde.autograde_preprocessors = autograde_steps()
        own.Autograde.exporter_class = NotebookExporter
        self._convert(Autograde, student, own)

    def _feedback(self, student: str) -> None:
        self._convert(GenerateFeedback, student, Config())

    def _convert(self, kind: Any, student: str, own: Config) -> None:
        settings = Config(self._settings)
        settings.merge(own)
        place = CourseDirectory(config=settings)
        place.assignment_id, place.student_id = self._assignment.name, student
        converter = kind(coursedir=place, config=settings)
        converter.force = True
        with _quiet(converter.log) as log:
            try:
                _start(converter)
            # nbgrader leaves the process for some faults.
            except (NbGraderException, SystemExit) as error:
                raise LayerlabError(f"nbgrader {kind.__name__}: {_last_words(log.getvalue()) or error}") from error


def _start(converter: Any) -> None:
    """What ``BaseConverter.start`` does, but for changing the directory of this process, in which a class is graded meanwhile: all paths
    here are absolute."""
    converter.init_notebooks()
    converter.writer = FilesWriter(parent=converter, config=converter.config)
    converter.exporter = converter.exporter_class(parent=converter, config=converter.config)
    for step in converter.preprocessors:
        converter.exporter.register_preprocessor(step)
    converter.convert_notebooks()


def _reason(student: str, error: Exception) -> str:
    if isinstance(error, LayerlabError | Rejected):
        return str(error)
    logging.getLogger(__name__).error("publishing %s", student, exc_info=error)
    return f"{type(error).__name__}: {error}"


@contextlib.contextmanager
def _quiet(log: logging.Logger) -> Iterator[io.StringIO]:
    """Keep what nbgrader logs from the terminal; its errors are in the text that this gives."""
    text = io.StringIO()
    handler = logging.StreamHandler(text)
    handler.setLevel(logging.ERROR)
    log.addHandler(handler)
    propagated, log.propagate = log.propagate, False
    try:
        yield text
    finally:
        log.removeHandler(handler)
        log.propagate = propagated


def _last_words(log: str) -> str:
    """The last line of the first traceback in a log, else the log's first line."""
    lines = log.splitlines()
    for number, line in enumerate(lines):
        if line.startswith("Traceback"):
            return next((end for end in lines[number + 1 :] if end and not end.startswith((" ", "\t"))), line)
    return lines[0] if lines else ""


def summary(done: Published) -> str:
    """Where things are, and how many students have which kind of score."""
    numbers = [f"{len(done.published)} published", f"{len(done.stale)} stale", f"{len(done.without_score)} without score"]
    gradebook = done.gradebook.removeprefix("sqlite:///").partition("?")[0]
    places = f"gradebook {_short(gradebook)}, feedback {_short(done.feedback)}, grades {_short(done.grades)}"
    return f"{', '.join(numbers)}: {places}"


def _short(path: str) -> str:
    found = os.path.relpath(path)
    return path if found.startswith("..") else found
