"""An assignment as its author wrote it down: ``source/NAME/assignment.json``, validated before anything is graded."""

from __future__ import annotations

import hashlib
import math
from pathlib import Path
from typing import Annotated, Literal

import msgspec

from autograder.quiz.question import Question, listed
from layerlab.errors import DockerfileError, UsageError

Positive = Annotated[float, msgspec.Meta(gt=0)]
PositiveInt = Annotated[int, msgspec.Meta(gt=0)]


class AnswerCell(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A cell that the student fills: its ``grade_id``, the magic that its first line begins with, the file it stands for, the text it
    starts with."""

    grade_id: str
    magic: str
    file: str
    starter: str


class CheckSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One check of the rubric.

    ``weights``  share of the points for each part of the check, by the part's name; they sum to 1. ``read``: where the matter is taught.
    ``limits``   for a check that measures: the most bytes with which a part holds, by the part's name.
    """

    id: str
    points: Positive
    weights: dict[str, Positive]
    read: str
    limits: dict[str, PositiveInt] = {}

    def __post_init__(self) -> None:
        if not math.isclose(sum(self.weights.values()), 1.0):
            raise ValueError(f"the weights of {self.id} do not sum to 1")


class Limits(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What one submission may use. Times in seconds, sizes in bytes.

    ``wasted_bytes`` is the limit of the ``size`` check; the others keep the grader safe. ``memory_bytes`` is for what runs in sandboxes,
    ``own_bytes`` for the grader's own process, which reads, plans and copies.
    """

    notebook_bytes: PositiveInt = 1 << 20
    notebook_depth: PositiveInt = 64
    answer_bytes: PositiveInt = 64 << 10
    steps: PositiveInt = 60
    step_seconds: Positive = 300
    submission_seconds: Positive = 900
    answer_seconds: Positive = 60
    memory_bytes: PositiveInt = 3 << 30
    own_bytes: PositiveInt = 1 << 30
    processes: PositiveInt = 512
    file_bytes: PositiveInt = 2 << 30
    disk_bytes: PositiveInt = 4 << 30
    log_bytes: PositiveInt = 16 << 20
    wasted_bytes: PositiveInt = 8 << 20


class Assignment(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An assignment.

    ``kind``  ``build``: the answers are built and what the build did is judged. ``quiz``: the answers are predictions, which are compared
              with plans; ``answers`` and ``checks`` then follow from the ``questions`` and are not in the file.
    ``app``   directory of the trusted app, relative to the course's parent. ``base``: the base image that is prepared.
    ``tries`` of a quiz: after so many whole predictions of a question ``check`` tells the answers in the notebook; 0: never before grading.
    ``bases`` patterns (``fnmatch``) of the base image names that an answer may end on.
    """

    schema: int
    name: str
    kind: Literal["build", "quiz"] = "build"
    app: str
    base: str = ""
    bases: tuple[str, ...] = ()
    answers: tuple[AnswerCell, ...] = ()
    checks: tuple[CheckSpec, ...] = ()
    questions: tuple[Question, ...] = ()
    tries: Annotated[int, msgspec.Meta(ge=0)] = 3
    limits: Limits = msgspec.field(default_factory=Limits)

    def __post_init__(self) -> None:
        if self.kind == "build" and not (self.base and self.answers and self.checks and not self.questions):
            raise ValueError("an assignment with builds has a base, answers and checks, and no questions")
        if self.kind == "quiz" and not self.questions:
            raise ValueError("a quiz has questions")
        if len({question.id for question in self.questions}) != len(self.questions):
            raise ValueError("two questions have the same id")

    @property
    def max_score(self) -> float:
        """Points of all checks."""
        return sum(check.points for check in self.checks)

    def digest(self) -> str:
        """Identity of the rules: results under another digest are not reused. Hexadecimal."""
        rules = msgspec.to_builtins(self)
        # What is told in a notebook changes no grade.
        del rules["tries"]
        return hashlib.sha256(msgspec.json.encode(rules, order="sorted")).hexdigest()


def notebook_of(course: Path, name: str) -> Path:
    """The source notebook of an assignment."""
    return course / "source" / name / f"{name}.ipynb"


def load_assignment(course: Path, name: str) -> Assignment:
    """Read an assignment of a course. Raises ``UsageError`` where it is not there or not valid."""
    if not name or name != Path(name).name or name.startswith("."):
        raise UsageError(f"{name!r} is not the name of an assignment")
    path = course / "source" / name / "assignment.json"
    try:
        assignment = msgspec.json.decode(path.read_bytes(), type=Assignment)
        if assignment.kind == "quiz":
            assignment = _with_questions(assignment)
    except OSError as error:
        raise UsageError(
            f"there is no assignment {name}: {path}: {error.strerror}", remedy="Name a folder of source/ that has an assignment.json."
        ) from error
    except (msgspec.MsgspecError, DockerfileError, ValueError) as error:
        raise UsageError(f"{path} is not valid: {error}") from error
    if assignment.name != name or assignment.schema != 1:
        raise UsageError(f"{path} is of another assignment or of another schema than 1")
    return assignment


def answer_id(question: Question) -> str:
    """The ``grade_id`` of a question's answer cell; the question's own is the test cell's."""
    return f"predict-{question.id}"


def _with_questions(assignment: Assignment) -> Assignment:
    """A quiz with the answer cells and the checks of its questions."""
    if assignment.answers or assignment.checks:
        raise ValueError("the answers and checks of a quiz follow from its questions")
    return msgspec.structs.replace(
        assignment,
        answers=tuple(
            AnswerCell(grade_id=answer_id(question), magic=f"%%prediction {question.id}", file=question.id, starter=listed(question))
            for question in assignment.questions
        ),
        checks=tuple(
            CheckSpec(id=question.id, points=question.points, weights={"steps": 1.0}, read=question.read)
            for question in assignment.questions
        ),
    )
