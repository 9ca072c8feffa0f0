"""Grading a quiz: predictions beside what the plan says.

Every step that makes a layer counts alike. A wrong or missing one takes away what a right one gives, so that a coin earns nothing on
average. A step that makes none gives nothing, since that can be told from its keyword, and takes away as much when it is wrong. An answer
that says one and the same verdict of all steps (``no verdict`` aside) counts only where it is right throughout. What is left to guess is
where the cache breaks: the questions must differ in that.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from autograder.exercise.assignment import Assignment
from autograder.judge.checks.base import Finding, why
from autograder.judge.points import result_of
from autograder.judge.question_play import verdicts
from autograder.quiz.prediction import CACHED, NO_VERDICT, RUNS, UNDECIDED, WORD_OF, Prediction, read_prediction
from autograder.quiz.question import Question, steps_to_predict
from autograder.submission.notebook_reader import Submission
from autograder.submission.record import CheckResult
from layerlab.model import StepRecord
from layerlab.render import of_steps


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


def judge_question(question: Question, prediction: Prediction, app: Path, *, answers: bool = True) -> Finding:
    """One prediction. Without ``answers`` it is told which steps are wrong, and what their keys are made of, but not what they do.

    Nothing of what is true is told before every step has a prediction.
    """
    steps = verdicts(question, app)
    asked = [step for step in steps if step.status != "base"]
    missing = [step.number for step in asked if step.number not in prediction.given]
    wrong = [step for step in asked if prediction.given.get(step.number) != WORD_OF[step.status]]
    right = len(asked) - len(wrong)
    said = {word for word in prediction.given.values() if word != NO_VERDICT}
    layers = [step for step in asked if step.status != "metadata"] or asked
    share = max(0, sum(step not in wrong for step in layers) - len(wrong)) / len(layers)
    told = [f"{of_steps(right, len(asked))} {'is' if len(asked) == 1 else 'are'} right."]
    if missing:
        told = [f"{_steps(missing)} {_have(missing)} no prediction; what is right is told when every step has one.", *prediction.problems]
    elif wrong:
        told += _differences(wrong, prediction, steps) if answers else _hints(wrong)
    if wrong and len(said) < 2:
        share = 0
        if not missing:
            told.append("One and the same verdict for all steps counts only where it is right throughout.")
    return Finding(parts={"steps": share}, message=" ".join(told))


def _steps(numbers: Sequence[int]) -> str:
    if len(numbers) == 1:
        return f"Step {numbers[0]}"
    return f"Steps {', '.join(map(str, numbers[:-1]))} and {numbers[-1]}"


def _have(numbers: Sequence[int]) -> str:
    return "has" if len(numbers) == 1 else "have"


# What the key of a step is made of, by its keyword; every other makes no layer.
_HINTS: Final = {
    "RUN": "a RUN is keyed by its command, the variables that it sees, and the step before it",
    "COPY": "a COPY is keyed by its text, the names, contents and modes of all that it selects, and the step before it",
    "ADD": "an ADD is keyed by its text, the contents of all that it selects, and the step before it",
    "WORKDIR": "a WORKDIR is keyed by its path and the step before it",
}
_FROM_A_STAGE: Final = "a COPY --from is keyed by what it copies, which is known once that stage has run"
_NO_LAYER: Final = "does every instruction make a layer?"


def _hint(step: StepRecord) -> str:
    if step.keyword == "COPY" and "--from" in step.instruction:
        return _FROM_A_STAGE
    return _HINTS.get(step.keyword, _NO_LAYER)


def _hints(wrong: Sequence[StepRecord]) -> list[str]:
    """Which steps are wrong, and of each kind of them what its verdict depends on."""
    numbers = [step.number for step in wrong]
    first = (
        f"{_steps(numbers)} {'is' if len(numbers) == 1 else 'are'} wrong{'' if len(numbers) == 1 else f'; begin with step {numbers[0]}'}."
    )
    return [first, *(f"Think of this: {hint}{'' if hint.endswith('?') else '.'}" for hint in dict.fromkeys(map(_hint, wrong)))]


def _differences(wrong: Sequence[StepRecord], prediction: Prediction, steps: tuple[StepRecord, ...]) -> list[str]:
    """What was said, what is true and why; once for all steps that have the same reason."""
    groups: dict[tuple[str, str, str], list[StepRecord]] = {}
    for step in wrong:
        groups.setdefault((prediction.given[step.number], WORD_OF[step.status], _because(step, steps)), []).append(step)
    told = []
    for (said, real, because), those in groups.items():
        numbers = [step.number for step in those]
        name = f", {those[0].instruction}" if len(those) == 1 else ""
        told.append(f"{_steps(numbers)}{name}: you said {said!r}, the plan says {real!r}: {because}.")
    return told


def _because(step: StepRecord, steps: tuple[StepRecord, ...]) -> str:
    real = WORD_OF[step.status]
    if real == RUNS:
        cause = step.cause
        return f"it builds on step {cause.origin}, which runs" if cause is not None and cause.kind == "parent" else why(step, steps)
    if real == UNDECIDED:
        return f"what it copies is known only when step {step.waits_for} has run"
    if real == CACHED:
        return "its own text, what it reads and what it builds on are as in a build before"
    return "it makes no layer, so there is nothing to reuse and nothing to run"
