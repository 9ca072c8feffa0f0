"""The report's pages. Every string is escaped by Jinja and loses its control characters; the pages run no script and load nothing."""

from __future__ import annotations

import hashlib
import re
import shlex
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import jinja2

from autograder.report.summary import summarise
from autograder.submission.messages import printable
from autograder.submission.record import ClassRecord, SubmissionResult
from layerlab.fsutil import write_atomically

_PLAIN: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")

Answers = Callable[[SubmissionResult], Mapping[str, str]]


def write_report(record: ClassRecord, directory: Path, answers: Answers, *, course: str = "") -> Path:
    """Write the report and return its first page, ``index.html``. Pages of an earlier report are removed.

    ``answers``  the files of a submission, name to text; may be empty. ``course``: as the command to replay names it; empty for the
    default. Raises ``OSError``.
    """
    directory.mkdir(parents=True, exist_ok=True)
    students = directory / "students"
    shutil.rmtree(students, ignore_errors=True)
    students.mkdir()
    pages = {result.student: f"students/{_file(result.student)}" for result in record.submissions}
    environment = _environment()
    known: dict[str, Any] = {"record": record, "summary": summarise(record), "pages": pages}
    for result in record.submissions:
        text = environment.get_template("student.html").render(
            **known, result=result, files=answers(result), replay=_replay(record, result, course)
        )
        write_atomically(str(directory / pages[result.student]), text.encode("utf-8"))
    index = directory / "index.html"
    write_atomically(str(index), environment.get_template("class.html").render(**known).encode("utf-8"))
    return index


def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("autograder.report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.finalize = lambda value: printable(value) if isinstance(value, str) and not hasattr(value, "__html__") else value
    environment.filters["points"] = lambda value: f"{value:g}"
    return environment


def _file(student: str) -> str:
    """A file name that no student's name can bend, and that no two share, on file systems that fold case, too."""
    digest = hashlib.sha256(student.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    return f"{student if _PLAIN.fullmatch(student) else 'student'}-{digest}.html"


def _replay(record: ClassRecord, result: SubmissionResult, course: str) -> str:
    words = ["./lab", "grade", record.assignment, "--student", result.student, "--seed", record.seed, "--no-publish"]
    return shlex.join([*words, *(["--course", course] if course else [])])
