"""Predict, then build: a person says what each step will do, and sees afterwards what it did."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from difflib import SequenceMatcher
from typing import Any, Final

import traitlets

from layerlab.errors import UsageError
from layerlab.model import BuildRecord, PlanRecord, StepRecord
from layerlab.widgets.base import LabWidget
from layerlab.widgets.fallback import html_table, paragraph, text_table
from layerlab.widgets.shapes import CommitPrediction, Compared, heard, plain
from layerlab.widgets.words import one_line, shown

CHOICES: Final = ("cached", "runs", "no verdict")
_REAL: Final = {"cached": "cached", "executed": "runs", "failed": "runs", "base": "no verdict", "metadata": "no verdict"}


class Prediction(LabWidget):
    """A question for each step: cached, runs, or no verdict (FROM, and what only sets metadata).

    ``steps`` are instructions as text, or steps of a record. Commit on the page or with ``commit``; ``reveal`` shows what was right.
    """

    question = traitlets.Unicode().tag(sync=True)
    steps: traitlets.List[Any] = traitlets.List().tag(sync=True)
    choices: traitlets.List[Any] = traitlets.List(list(CHOICES)).tag(sync=True)
    given: traitlets.Dict[str, Any] = traitlets.Dict().tag(sync=True)
    committed = traitlets.Bool(False).tag(sync=True)
    results: traitlets.List[Any] = traitlets.List().tag(sync=True)
    score = traitlets.Unicode("").tag(sync=True)

    def __init__(self, steps: Iterable[str | StepRecord], question: str = "What will each step of the next build do?") -> None:
        lines = [one_line(step if isinstance(step, str) else step.instruction) for step in steps]
        super().__init__(kind="prediction", question=question, steps=lines)

    @property
    def answers(self) -> dict[int, str]:
        """What was committed, by the position of the step from 1; empty when nothing was."""
        return {int(number): choice for number, choice in self.given.items()} if self.committed else {}

    def commit(self, answers: Mapping[int, str] | Sequence[str]) -> None:
        """Commit answers: one for each step, or by the position of the step from 1. Raises ``UsageError``; once only."""
        pairs = dict(answers) if isinstance(answers, Mapping) else dict(enumerate(answers, 1))
        for number, choice in pairs.items():
            if not 1 <= number <= len(self.steps):
                raise UsageError(f"there is no step {number}", remedy=f"Steps are numbered from 1 to {len(self.steps)}.")
            if choice not in CHOICES:
                raise UsageError(f"step {number}: {choice!r} is no answer", remedy=f"It may be {', '.join(CHOICES)}.")
        if self.committed or self.results:
            raise UsageError("the prediction is committed already", remedy="Run the cell again for a fresh one.")
        self.given = {str(number): choice for number, choice in pairs.items()}
        self.committed = True

    def reveal(self, record: BuildRecord | PlanRecord) -> None:
        """Show what each step did, beside what was committed."""
        found = _matched(self.steps, record.steps)
        results = []
        right = asked = 0
        for number, instruction in enumerate(self.steps, 1):
            step = found.get(number - 1)
            real = _REAL.get(step.status, "") if step is not None else ""
            answer = self.answers.get(number, "")
            drawn = shown(step, "runs" if step.status == "executed" and isinstance(record, PlanRecord) else None) if step else None
            if answer and real:
                asked += 1
                right += answer == real
            results.append(
                Compared(
                    instruction=instruction,
                    answer=answer,
                    right=bool(answer) and answer == real,
                    counts=bool(answer and real),
                    verdict=drawn.verdict if drawn else "skipped",
                    word=drawn.word if drawn else "not in this build",
                    sign=drawn.sign if drawn else "–",
                    why=drawn.why if drawn else "",
                )
            )
        self.score = f"{right} of {asked} right" if asked else ""
        self.results = plain(results)

    def receive(self, message: dict[str, Any]) -> None:
        """A message of the page: the answers that were committed."""
        said = heard(message, CommitPrediction)
        if said is not None and not self.committed and not self.results:
            numbers = {str(number): number for number in range(1, len(self.steps) + 1)}
            self.commit({numbers[key]: choice for key, choice in said.answers.items() if choice in CHOICES and key in numbers})

    def _rows(self) -> tuple[list[str], list[list[str]]]:
        if not self.results:
            rows = [[f"{number}. {text}", self.answers.get(number, "")] for number, text in enumerate(self.steps, 1)]
            return ["Step", "Your answer"], rows
        rows = [
            [f"{number}. {row['instruction']}", row["answer"], f"{row['sign']} {row['word']}", row["why"]]
            for number, row in enumerate(self.results, 1)
        ]
        return ["Step", "Your answer", "What it did", "Cause"], rows

    def text(self) -> str:
        """The question, and the answers as far as they are known."""
        return "\n".join(filter(None, [self.question, "", text_table(*self._rows()), self.score]))

    def html(self) -> str:
        """The same as a table."""
        return html_table(self.question, *self._rows()) + paragraph(self.score)


def _matched(instructions: Sequence[str], steps: Sequence[StepRecord]) -> dict[int, StepRecord]:
    """The step of a record for each instruction, by position; the two may differ by lines that were added or changed."""
    texts = [one_line(step.instruction) for step in steps]
    found: dict[int, StepRecord] = {}
    for block in SequenceMatcher(None, list(instructions), texts, autojunk=False).get_matching_blocks():
        for offset in range(block.size):
            found[block.a + offset] = steps[block.b + offset]
    return found
