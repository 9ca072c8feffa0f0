"""A prediction of a quiz as a picture: the stack of the build that is to come, as its author sees it."""

from __future__ import annotations

from autograder.quiz.prediction import NO_VERDICT, Prediction
from autograder.quiz.question import Question, steps_to_predict
from layerlab.widgets.scale import height
from layerlab.widgets.shapes import Step, Verdict
from layerlab.widgets.stills import still
from layerlab.widgets.words import face, one_line

_VERDICTS: dict[str, Verdict] = {"cached": "cached", "runs": "runs", "undecided": "undecided", NO_VERDICT: "metadata"}


def picture(question: Question, prediction: Prediction) -> str:
    """HTML without script or style sheet. What is not predicted waits; nothing of what is true is in it."""
    steps = []
    for step in steps_to_predict(question):
        said = face(_VERDICTS.get(prediction.given.get(step.number, ""), "waiting"))
        steps.append(
            Step(
                verdict=said.verdict,
                word=said.word if step.number in prediction.given else "not predicted",
                sign=said.sign,
                why="",
                number=step.number,
                instruction=one_line(step.instruction),
                stage=str(step.stage),
                line=step.line,
                end_line=step.end_line,
                layer=said.verdict != "metadata",
                height=height(0),
                size="",
                seconds="",
                said="",
                key="",
                origin=False,
            )
        )
    return still(steps, scaled=False)
