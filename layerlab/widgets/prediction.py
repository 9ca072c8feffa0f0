"""Predict, then build: a person says where the cache breaks, and the build's own card says afterwards who was right."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from difflib import SequenceMatcher
from typing import Any, Final, NamedTuple

import traitlets

from layerlab.errors import UsageError
from layerlab.model import BuildRecord, PlanRecord, StepRecord
from layerlab.widgets.base import LabWidget
from layerlab.widgets.fallback import html_table, paragraph, text_table
from layerlab.widgets.shapes import AskedStep, CommitPrediction, Guess, heard, plain
from layerlab.widgets.words import face, one_line

CACHED: Final = "cached"
RUNS: Final = "runs"
_REAL: Final = {"cached": CACHED, "executed": RUNS, "failed": RUNS}


class Compared(NamedTuple):
    """A prediction beside a build: what was said of each step, by the build's number of it, and how many of those were right."""

    guesses: dict[int, Guess]
    right: int

    @property
    def score(self) -> str:
        """In words; empty where nothing was said of any of its steps."""
        return f"{self.right} of {len(self.guesses)} right" if self.guesses else ""


class Prediction(LabWidget):
    """Which steps of the next build will run? FROM, and what only sets metadata, get no verdict and are not asked.

    ``steps`` are those of a plan (or of a record). Commit on the page or with ``commit``; ``reveal`` compares with a build.
    """

    question = traitlets.Unicode().tag(sync=True)
    steps: traitlets.List[Any] = traitlets.List().tag(sync=True)
    turned: traitlets.Dict[str, Any] = traitlets.Dict().tag(sync=True)
    given: traitlets.Dict[str, Any] = traitlets.Dict().tag(sync=True)
    committed = traitlets.Bool(False).tag(sync=True)
    closed = traitlets.Bool(False).tag(sync=True)
    score = traitlets.Unicode("").tag(sync=True)

    def __init__(self, steps: Iterable[StepRecord], question: str = "Which steps of the next build will run?") -> None:
        asked = [
            AskedStep(
                number=step.number,
                instruction=one_line(step.instruction),
                stage=step.stage,
                asked=step.status not in ("base", "metadata"),
                **plain(face(step.status if step.status in ("base", "metadata") else "cached")),
            )
            for step in steps
        ]
        self._steps = asked
        super().__init__(kind="prediction", question=question, steps=plain(asked), turned=plain(face("runs")))

    @property
    def answers(self) -> dict[int, str]:
        """What was committed, by the number of the step: ``"cached"`` or ``"runs"``; empty when nothing was."""
        return {int(number): choice for number, choice in self.given.items()} if self.committed else {}

    def commit(self, runs: Iterable[int] = ()) -> None:
        """Commit to the numbers of the steps that will run; all others will be cached. Raises ``UsageError``; once only."""
        numbers = set(runs)
        asked = {step.number for step in self._steps if step.asked}
        for number in sorted(numbers - asked):
            raise UsageError(f"step {number} gets no verdict, or is not there", remedy=f"Steps to predict: {_listed(asked)}.")
        if self.committed or self.closed:
            raise UsageError("the prediction is committed already", remedy="Run the cell again for a fresh one.")
        self.given = {str(number): RUNS if number in numbers else CACHED for number in sorted(asked)}
        self.committed = True

    def compare(self, record: BuildRecord | PlanRecord) -> Compared:
        """What was committed beside what a build did. Steps of which either says nothing do not count."""
        found = _matched(self._steps, record.steps)
        guesses: dict[int, Guess] = {}
        for asked in self._steps:
            step = found.get(asked.number)
            said, real = self.answers.get(asked.number), _REAL.get(step.status) if step is not None else None
            if step is not None and said and real:
                guesses[step.number] = Guess(said=said, right=said == real)
        return Compared(guesses, sum(guess.right for guess in guesses.values()))

    def reveal(self, record: BuildRecord | PlanRecord) -> Compared:
        """Close the question: the build has answered it. Returns the comparison, which the card of the build shows."""
        compared = self.compare(record)
        self.score = compared.score
        self.closed = True
        return compared

    def receive(self, message: dict[str, Any]) -> None:
        """A message of the page: the numbers of the steps that will run."""
        said = heard(message, CommitPrediction)
        if said is not None and not self.committed and not self.closed:
            asked = {step.number for step in self._steps if step.asked}
            self.commit(number for number in said.runs if number in asked)

    def _rows(self) -> list[list[str]]:
        answers = self.answers
        return [
            [f"{step.number}. {step.instruction}", answers.get(step.number, "" if step.asked else "no verdict")]
            for step in self._steps
            if step.verdict != "base"
        ]

    def _state(self) -> str:
        if self.closed:
            return f"Your prediction: {self.score}." if self.score else "The build has answered it."
        return "Committed. Now build." if self.committed else ""

    def text(self) -> str:
        """The question, and the answers as far as they are known."""
        return "\n".join(filter(None, [self.question, "", text_table(["Step", "Your answer"], self._rows()), self._state()]))

    def html(self) -> str:
        """The same as a table."""
        return html_table(self.question, ["Step", "Your answer"], self._rows()) + paragraph(self._state())


def _listed(numbers: Iterable[int]) -> str:
    return ", ".join(map(str, sorted(numbers))) or "none"


def _matched(asked: Sequence[AskedStep], steps: Sequence[StepRecord]) -> dict[int, StepRecord]:
    """The step of a record for each that was asked, by number; the two may differ by lines that were added or changed."""
    texts = [one_line(step.instruction) for step in steps]
    found: dict[int, StepRecord] = {}
    for block in SequenceMatcher(None, [step.instruction for step in asked], texts, autojunk=False).get_matching_blocks():
        for offset in range(block.size):
            found[asked[block.a + offset].number] = steps[block.b + offset]
    return found
