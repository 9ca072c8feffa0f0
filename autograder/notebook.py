"""``%load_ext autograder.notebook``: the answer cells' magics, and ``check``, which says in a notebook what grading would say.

It is the same code on the same app, with edits drawn anew each time the answer changes. The grade itself is never taken from here:
grading reads the notebook as data. nbgrader gives points only for a plain number, so a check that holds no part raises.
"""

from __future__ import annotations

import os
import secrets
import tempfile
from pathlib import Path
from typing import Any

import msgspec

from autograder.exercise.assignment import AnswerCell, Assignment, CheckSpec, load_assignment
from autograder.exercise.places import default_place, own_course
from autograder.judge.grade import grade
from autograder.judge.points import result_of
from autograder.judge.predictions import judge_question
from autograder.judge.prepare import Prepared, locate, prepare
from autograder.planned import LABEL, plan_of, planned
from autograder.quiz.picture import picture
from autograder.quiz.prediction import read_prediction
from autograder.quiz.question import steps_to_predict
from autograder.sandbox.sandbox import NotIsolatedError
from autograder.scorecard import Scorecard, notebook_display, shown
from autograder.submission.messages import verdict, wrapped
from autograder.submission.notebook_reader import Submission
from autograder.submission.record import CheckResult, SubmissionResult
from layerlab.engines.api import BuildOptions
from layerlab.engines.embedded.engine import EmbeddedEngine
from layerlab.errors import LayerlabError, UsageError
from layerlab.render import error_text, steps_table


class CheckFailed(Exception):  # noqa: N818 - a verdict, not a fault of the program
    """A check that holds no part. Notebooks show its words and no traceback."""

    def _render_traceback_(self) -> list[str]:
        return wrapped(str(self))


class Exercise:
    """One notebook's answers. ``course``: the nbgrader course; ``name``: of the assignment."""

    def __init__(self, course: Path, name: str, place: Path) -> None:
        self._course = course
        self._place = place
        self._assignment: Assignment = load_assignment(course, name)
        self._files = {answer.file: answer.starter for answer in self._assignment.answers}
        self._prepared: Prepared | None = None
        self._result: SubmissionResult | None = None
        # The whole predictions of each question that were checked.
        self._tried: dict[str, set[str]] = {}
        notebooks = course.resolve().parent / "course"
        self._card = Scorecard(self._assignment, notebooks if notebooks.is_dir() else None)

    @property
    def answers(self) -> tuple[AnswerCell, ...]:
        """The answer cells of the assignment."""
        return self._assignment.answers

    def answer(self, file: str, text: str) -> None:
        """Take an answer."""
        if self._files[file] != text:
            self._files[file] = text
            self._result = None
            # Of a quiz a file is a question, and its check has the same name.
            self._card.forget(*([file] if self._assignment.kind == "quiz" else []))

    def take(self, file: str, text: str) -> None:
        """Take an answer and print what can be said at once: of files the plan, of a prediction whether it can be read and is whole."""
        self.answer(file, text)
        if self._assignment.kind == "quiz":
            self.show_prediction(file)
        else:
            self.show_plan()

    def show_prediction(self, name: str) -> None:
        """Print how much of a question is predicted. What is true is only for ``check`` to say."""
        question = next(question for question in self._assignment.questions if question.id == name)
        steps = [step.number for step in steps_to_predict(question)]
        found = read_prediction(self._files[name], steps)
        print(f"{len(found.given)} of {len(steps)} steps are predicted.", *found.problems, sep="\n")
        if (display := notebook_display()) is not None:
            display({"text/html": picture(question, found), "text/plain": ""}, raw=True)

    def show_plan(self) -> None:
        """Print what the next build would do, or what keeps it from being one."""
        from autograder.exercise.workspace import Workspace

        try:
            prepared = self._prepare()
        except NotIsolatedError:
            self._plan_own()
            return
        with tempfile.TemporaryDirectory(dir=prepared.work, prefix="plan-") as place, EmbeddedEngine(prepared.store) as engine:
            workspace = Workspace(Path(prepared.app), Path(place) / "context", self._files)
            try:
                plan = engine.plan(BuildOptions(context=str(workspace.directory), offline=True))
            except LayerlabError as error:
                # The folder is made for this plan alone, and gone when its name is read.
                error.file = error.file and os.path.basename(error.file)
                print(error_text(error))
                return
        print(steps_table(plan.steps, planned=True))

    def _plan_own(self) -> None:
        print(LABEL)
        try:
            print(steps_table(plan_of(self._app(), self._files).steps, planned=True))
        except LayerlabError as error:
            error.file = error.file and os.path.basename(error.file)
            print(error_text(error))

    def _app(self) -> Path:
        return Path(locate(self._course, self._assignment, self._place).app)

    def check(self, name: str) -> float | None:
        """The points of one check of the answers as they are. The first check of an answer builds it.

        Where nothing isolates a build, what a plan says of it is printed, and there are no points. Raises ``CheckFailed`` for no points,
        ``UsageError`` for a check that is not in the assignment.
        """
        try:
            return self._checked(name)
        except NotIsolatedError:
            print(*wrapped(planned(name, self._app(), self._files)), sep="\n")
            return None

    def _checked(self, name: str) -> float:
        self._spec(name)
        if self._assignment.kind == "quiz":
            with shown(self._card, name, "planning the builds of the question", whole=False):
                found = self._question(name)
                self._card.take([found])
        else:
            # All checks of an answer are judged by the same builds: their table is shown once.
            with shown(self._card, name, "building your answer, and looking at what it does", whole=self._result is None):
                found = self._graded(name)
        text = verdict(found)
        if found.points <= 0:
            raise CheckFailed(text)
        print(text)
        return float(found.points)

    def _spec(self, name: str) -> CheckSpec:
        found = next((check for check in self._assignment.checks if check.id == name), None)
        if found is None:
            raise UsageError(f"there is no check {name!r}", remedy=f"There are {', '.join(check.id for check in self._assignment.checks)}.")
        return found

    def _question(self, name: str) -> CheckResult:
        """A question of a quiz. Which steps are wrong is told at once, the answers only after some tries: the assignment says how many."""
        spec = self._spec(name)
        question = next(question for question in self._assignment.questions if question.id == name)
        numbers = [step.number for step in steps_to_predict(question)]
        given = read_prediction(self._files[name], numbers)
        tried, most = self._tried.setdefault(name, set()), self._assignment.tries
        if not set(numbers) - given.given.keys():
            tried.add(repr(sorted(given.given.items())))
        answers = 0 < most <= len(tried)
        result = result_of(spec, judge_question(question, given, Path(self._prepare().app), answers=answers))
        left = most - len(tried)
        if result.status == "passed" or answers or not tried or not most:
            return result
        more = f"{result.message} The answers are told after {left} more {'try' if left == 1 else 'tries'}."
        return msgspec.structs.replace(result, message=more)

    def _graded(self, name: str) -> CheckResult:
        self._spec(name)
        if self._result is None:
            submission = Submission(student="you", files=dict(self._files), digest="")
            self._result = grade(self._assignment, self._prepare(), submission, secrets.token_hex(16))
        result = self._result
        if result.status != "graded":
            self._result = None
            raise CheckFailed(result.reason)
        self._card.take(result.checks)
        return next(check for check in result.checks if check.id == name)

    def _prepare(self) -> Prepared:
        if self._prepared is None:
            self._place.mkdir(parents=True, exist_ok=True)
            self._prepared = prepare(self._course, self._assignment, self._place, print)
        return self._prepared


def find_course(start: Path) -> tuple[Path, str]:
    """The course and the assignment that a notebook's directory belongs to, else this checkout's ``ps1``. Raises ``UsageError``."""
    for folder in (start, *start.parents):
        if (folder / "nbgrader_config.py").is_file():
            return folder, start.name if (folder / "source" / start.name / "assignment.json").is_file() else "ps1"
    course = own_course()
    if not course.is_dir():
        raise UsageError("there is no course here", remedy="Open the notebook inside the course's folder.")
    return course, start.name if (course / "source" / start.name / "assignment.json").is_file() else "ps1"


def load_ipython_extension(ipython: Any) -> None:
    """Give the notebook its magics and ``check``."""
    course, name = find_course(Path.cwd())
    exercise = Exercise(course, name, default_place())
    for magic in {answer.magic.split()[0] for answer in exercise.answers}:
        ipython.register_magic_function(_magic(exercise, magic), "cell", magic.removeprefix("%%"))
    ipython.push({"check": exercise.check})


def _magic(exercise: Exercise, name: str) -> Any:
    """The function behind a magic. Cells that share one say which of them they are in their first line."""
    files = {" ".join(answer.magic.split()[1:]): answer.file for answer in exercise.answers if answer.magic.split()[0] == name}

    def take(line: str, cell: str) -> None:
        words = " ".join(line.split())
        if words in files or "" in files:
            exercise.take(files.get(words, files.get("", "")), cell)
        else:
            print(f"The first line must be one of: {', '.join(f'{name} {known}' for known in files)}.")

    return take
