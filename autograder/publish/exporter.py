"""A plain ``nbgrader autograde``: nbgrader asks this exporter for a submitted notebook, and gets the published one.

nbgrader's preprocessors see a notebook only after nbgrader has parsed it, so what takes the place of ``Execute`` stands earlier: where
the file is read. The file is read by ``notebook_reader`` alone; the results are those that ``grade`` keeps, or new ones. Before nbgrader
does anything, submissions that are refused are taken off its list, so that they get no row.

What nbgrader itself still does with a submission here: it lists its folder, reads ``timestamp.txt``, and copies its other plain files,
which are deleted from ``autograded/`` again before anything of them could reach the feedback. ``./lab grade`` does none of that.
"""

from __future__ import annotations

import os
import shutil
import stat
from pathlib import Path
from typing import Any

import traitlets
from nbconvert.exporters import NotebookExporter
from nbgrader.converters import NbGraderException

from autograder.exercise.assignment import load_assignment
from autograder.publish.gradebook_rows import register, withdraw
from autograder.publish.rebuild import published_notebook, trusted_notebook
from autograder.publish.timestamp import TIMESTAMP, read_timestamp
from autograder.submission.messages import printable
from autograder.submission.notebook_reader import Rejected, collect, read_submission
from layerlab.errors import LayerlabError


class GradedExporter(NotebookExporter):
    """``c.Autograde.exporter_class``. Made by nbgrader's ``Autograde``, which is its parent, when the list of submissions is there."""

    place = traitlets.Unicode(help="Where the grader works and keeps results; default: beside the store.").tag(config=True)

    def __init__(self, config: Any = None, **settings: Any) -> None:
        super().__init__(config=config, **settings)  # type: ignore[no-untyped-call]
        converter: Any = self.parent
        self._course = converter.coursedir
        self._made: dict[str, Any] = {}
        reasons = []
        for folder in list(converter.assignments):
            student, name = Path(folder).parts[-2:]
            if reason := self._refusal(Path(folder), student, name):
                del converter.assignments[folder]
                left = withdraw(self._course.db_url, self._course.course_id, name, student)
                note = "; its earlier score is marked stale" if left == "stale" else ""
                reasons.append(f"{name} of {student} is not graded and has no score{note}: {printable(reason)}")
                self.log.error("%s", reasons[-1])
        if reasons and not converter.assignments:
            # Formgrader's button would call it a success.
            raise NbGraderException(reasons[0])

    def from_filename(self, filename: str, resources: dict[str, Any] | None = None, **settings: Any) -> tuple[Any, dict[str, Any]]:
        """The published notebook for a submitted one. nbgrader asks a second time, for what it has written to ``autograded/``: it gets
        the same notebook, whatever its steps did to the first, because a test cell that lost its output would read as full points.

        Raises ``LayerlabError`` for a submission that could not be graded; then it has no row, or a stale one.
        """
        if resources is None:
            raise LayerlabError("this exporter is for nbgrader autograde")
        name, student = resources["nbgrader"]["assignment"], resources["nbgrader"]["student"]
        graded = Path(self._course.format_path(self._course.autograded_directory, student, name))
        if os.path.abspath(Path(filename).parent) == os.path.abspath(graded):
            notebook = self._made.pop(student)
        else:
            try:
                notebook = self._made[student] = self._published(name, student)
                _keep_only(graded, TIMESTAMP)
            except BaseException:
                withdraw(self._course.db_url, self._course.course_id, name, student)
                raise
        result: tuple[Any, dict[str, Any]] = self.from_notebook_node(notebook, resources, **settings)  # type: ignore[no-untyped-call]
        return result

    def _published(self, name: str, student: str) -> Any:
        # Every command of nbgrader loads this module with its settings; only this one grades.
        from autograder.classroom.grading import answers_of, default_place, grade_class

        course, place = Path(self._course.root), Path(self.place) if self.place else default_place()
        assignment = load_assignment(course, name)
        register(self._course.db_url, self._course.course_id, name, trusted_notebook(course, assignment))
        found = grade_class(course, name, place=place, workers=1, students=(student,), report=self._say)
        result = found.submissions[0]
        if result.status != "graded":
            raise LayerlabError(f"{result.status}: {printable(result.reason)}")
        return published_notebook(course, assignment, answers_of(course, assignment, place, result, found.seed), result)

    def _say(self, text: str) -> None:
        self.log.info("%s", printable(text))

    def _refusal(self, folder: Path, student: str, name: str) -> str:
        """Why nbgrader must not touch a submission; empty where it may."""
        course = Path(self._course.root)
        try:
            assignment = load_assignment(course, name)
            collect(read_submission(course, assignment, student), assignment, student)
        except (Rejected, LayerlabError) as error:
            return str(error)
        for place, folders, files in os.walk(folder):
            for entry in (*folders, *files):
                mode = os.lstat(os.path.join(place, entry)).st_mode
                # nbgrader would follow a link out of the submission, and wait for a pipe.
                if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
                    return f"{entry} is neither a plain file nor a folder"
        # nbgrader ends the whole run over a time that it cannot read.
        return "" if read_timestamp(course, name, student) is not None else f"{TIMESTAMP} has no time in it"


def _keep_only(folder: Path, name: str) -> None:
    for entry in list(folder.iterdir()) if folder.is_dir() else []:
        if entry.name == name:
            continue
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink()
