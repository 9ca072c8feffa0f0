"""Grading a quiz: predictions beside what the plan says.

Every step that makes a layer counts alike. A wrong or missing one takes away what a right one gives, so that a coin earns nothing on
average. A step that makes none gives nothing, since that can be told from its keyword, and takes away as much when it is wrong. An answer
that says one and the same verdict of all steps (``no verdict`` aside) counts only where it is right throughout. What is left to guess is
where the cache breaks: the questions must differ in that.
"""

from __future__ import annotations

from pathlib import Path

from autograder.exercise.assignment import Assignment
from autograder.judge.checks.base import Finding, why
from autograder.judge.points import result_of
from autograder.judge.question_play import verdicts
from autograder.quiz.prediction import CACHED, NO_VERDICT, RUNS, UNDECIDED, WORD_OF, Prediction, read_prediction
from autograder.quiz.question import Question, steps_to_predict
from autograder.submission.notebook_reader import Submission
from autograder.submission.record import CheckResult
from layerlab.model import StepRecord


def predictions(assignment: Assignment, submission: Submission) -> dict[str, Prediction]:
    """What a submission predicts, by the question's id."""
    return {
        question.id: read_prediction(submission.files[question.id], [step.number for step in steps_to_predict(question)])
        for question in assignment.questions
    }


def judge_quiz(assignment: Assignment, submission: Submission, app: Path) -> tuple[CheckResult, ...]:
    """Every question, in the assignment's order. Raises what ``question_play.verdicts`` raises."""
    given = predictions(assignment, submission)
    questions = {question.id: question for question in assignment.questions}
    return tuple(result_of(check, judge_question(questions[check.id], given[check.id], app)) for check in assignment.checks)


def judge_question(question: Question, prediction: Prediction, app: Path) -> Finding:
    """One prediction. What is true is told only to those who predicted every step."""
    steps = verdicts(question, app)
    asked = [step for step in steps if step.status != "base"]
    missing = [step.number for step in asked if step.number not in prediction.given]
    wrong = [step for step in asked if prediction.given.get(step.number) != WORD_OF[step.status]]
    right = len(asked) - len(wrong)
    said = {word for word in prediction.given.values() if word != NO_VERDICT}
    layers = [step for step in asked if step.status != "metadata"] or asked
    share = max(0, sum(step not in wrong for step in layers) - len(wrong)) / len(layers)
    told = [f"{right} of {len(asked)} steps are right."]
    if missing:
        told = [f"{_these(missing)} no prediction; what is right is told when every step has one.", *prediction.problems]
    elif wrong:
        told += [_difference(step, prediction.given[step.number], steps) for step in wrong]
    if wrong and len(said) < 2:
        share = 0
        if not missing:
            told.append("One and the same verdict for all steps counts only where it is right throughout.")
    return Finding(parts={"steps": share}, message=" ".join(told))


def _these(numbers: list[int]) -> str:
    if len(numbers) == 1:
        return f"Step {numbers[0]} has"
    return f"Steps {', '.join(map(str, numbers[:-1]))} and {numbers[-1]} have"


def _difference(step: StepRecord, said: str, steps: tuple[StepRecord, ...]) -> str:
    real = WORD_OF[step.status]
    if real == RUNS:
        because = why(step, steps)
    elif real == UNDECIDED:
        because = f"what it copies is known only when step {step.waits_for} has run"
    elif real == CACHED:
        because = "its own text, what it reads and what it stands on are as in a build before"
    else:
        because = "it makes no layer, so there is nothing to reuse and nothing to run"
    return f"Step {step.number}, {step.instruction}: you said {said!r}, the plan says {real!r}: {because}."
