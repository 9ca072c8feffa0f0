"""One question with a single choice or a number, committed before the answer is shown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import traitlets

from layerlab.errors import UsageError
from layerlab.widgets.base import LabWidget
from layerlab.widgets.fallback import paragraph
from layerlab.widgets.shapes import CommitAnswer, Revealed, heard, plain


class Question(LabWidget):
    """A question to predict. With ``choices`` one of them is the answer, without it is a number in ``unit``."""

    question = traitlets.Unicode().tag(sync=True)
    choices: traitlets.List[Any] = traitlets.List().tag(sync=True)
    unit = traitlets.Unicode().tag(sync=True)
    given = traitlets.Unicode("").tag(sync=True)
    committed = traitlets.Bool(False).tag(sync=True)
    result: traitlets.Dict[str, Any] = traitlets.Dict().tag(sync=True)

    def __init__(self, text: str, choices: Sequence[str] = (), *, unit: str = "") -> None:
        super().__init__(kind="question", question=text, choices=list(choices), unit=unit)

    @property
    def answer(self) -> str | float | None:
        """What was committed: a choice or a number; ``None`` when nothing was."""
        if not self.committed:
            return None
        given: str = self.given
        return given if self.choices else float(given)

    def commit(self, answer: str | float) -> None:
        """Commit an answer. Raises ``UsageError`` for what is none; once only."""
        if self.committed or self.result:
            raise UsageError("the answer is committed already", remedy="Run the cell again for a fresh question.")
        if self.choices:
            if answer not in self.choices:
                raise UsageError(f"{answer!r} is no answer", remedy=f"It may be {', '.join(self.choices)}.")
            self.given = str(answer)
        else:
            try:
                self.given = f"{float(str(answer).replace(',', '.')):g}"
            except ValueError:
                raise UsageError(f"{answer!r} is no number", remedy="Write digits, for example 12.5.") from None
        self.committed = True

    def reveal(self, answer: str | float, why: str = "", *, tolerance: float = 0.0) -> None:
        """Show the answer and the reason for it. A number counts as right within ``tolerance`` of it."""
        given = self.answer
        if self.choices:
            if answer not in self.choices:
                raise UsageError(f"{answer!r} is not among the choices", remedy=f"They are {', '.join(self.choices)}.")
            right = given == answer
        else:
            try:
                number = float(answer)
            except ValueError:
                raise UsageError(f"{answer!r} is no number", remedy="A question without choices has a number for its answer.") from None
            right = given is not None and abs(float(given) - number) <= tolerance
        shown = str(answer) if self.choices else f"{float(answer):g}{' ' + self.unit if self.unit else ''}"
        self.result = plain(Revealed(answer=shown, why=why, right=right, answered=given is not None))

    def receive(self, message: dict[str, Any]) -> None:
        """A message of the page: the answer that was committed."""
        said = heard(message, CommitAnswer)
        if said is not None and not self.committed and not self.result:
            try:
                self.commit(said.answer)
            except UsageError:
                # Not among the choices or no number: the page asks again.
                self.send_state()

    def _lines(self) -> list[str]:
        lines = [str(self.question)]
        if self.choices and not self.result:
            lines.append(f"Choose one: {', '.join(self.choices)}.")
        if self.committed:
            lines.append(f"Your answer: {self.given}{' ' + self.unit if self.unit and not self.choices else ''}")
        if self.result:
            mark = ("Right. " if self.result["right"] else "Not quite. ") if self.result["answered"] else ""
            lines.append(f"{mark}It is {self.result['answer']}. {self.result['why']}".strip())
        return lines

    def text(self) -> str:
        """The question, and the answer as far as it is known."""
        return "\n".join(self._lines())

    def html(self) -> str:
        """The same in paragraphs."""
        return "".join(paragraph(line) for line in self._lines())
