"""The card of one build: the stack as it falls and grows, what was predicted beside what happened, and the output folded away."""

from __future__ import annotations

import html
import threading
from typing import Any, Final

import traitlets

from layerlab.engines.api import Event
from layerlab.model import BuildRecord, PlanRecord
from layerlab.widgets.base import LabWidget
from layerlab.widgets.fallback import paragraph, verbatim
from layerlab.widgets.live import LiveBuild, finished
from layerlab.widgets.prediction import Compared
from layerlab.widgets.problems import problem_of
from layerlab.widgets.shapes import Guess, Step, plain
from layerlab.widgets.stills import still

NO_GUESS: Final = Compared({}, 0)


class BuildCard(LabWidget):
    """One build, while it runs and afterwards. ``plan`` has its steps before the first of them ran; without one they come as they run.

    ``take`` hears the build's events in any thread, ``show`` sends what they changed to the page; ``printed`` is the build as
    ``docker build`` prints it.
    """

    title = traitlets.Unicode("").tag(sync=True)
    busy = traitlets.Bool(True).tag(sync=True)
    status = traitlets.Unicode("Building …").tag(sync=True)
    steps: traitlets.List[Any] = traitlets.List().tag(sync=True)
    guesses: traitlets.Dict[str, Any] = traitlets.Dict().tag(sync=True)
    score = traitlets.Unicode("").tag(sync=True)
    notes: traitlets.List[Any] = traitlets.List().tag(sync=True)
    problem: traitlets.Dict[str, Any] = traitlets.Dict().tag(sync=True)
    printed = traitlets.Unicode("").tag(sync=True)
    unfolded = traitlets.Bool(False).tag(sync=True)

    def __init__(self, title: str, plan: PlanRecord | None = None) -> None:
        self._live = LiveBuild(plan)
        self._lock = threading.Lock()
        self._shown: list[Step] = []
        super().__init__(kind="build", title=title, steps=plain(self._live.steps()))

    def take(self, event: Event) -> None:
        """One event of the build."""
        self._live.take(event)

    def show(self, printed: str) -> None:
        """Send the build as it is now. Called by a clock; after the end of the build it changes the printed text alone."""
        with self._lock:
            self.printed = printed
            if self.busy:
                self.status = self._live.status
                self._draw(self._live.steps())

    def _draw(self, steps: list[Step]) -> None:
        # A step that runs has another clock each time; where nothing does, nothing is sent.
        if steps != self._shown:
            self._shown = steps
            self.steps = plain(steps)

    def finish(self, record: BuildRecord, compared: Compared = NO_GUESS, tally: str = "", notes: tuple[str, ...] = ()) -> None:
        """The build has ended. ``tally``: how the predictions went so far, in words."""
        steps, status = finished(record)
        with self._lock, self.hold_sync():
            self._draw(steps)
            self.busy = False
            self.status = status
            self.guesses = {str(number): plain(guess) for number, guess in compared.guesses.items()}
            self.score = f"Your prediction: {compared.score}.{' ' + tally if tally else ''}" if compared.score else ""
            self.notes = list(notes)
            if record.failure is not None:
                failed = next((step for step in record.steps if step.status == "failed"), None)
                self.problem = plain(problem_of(record.failure, failed.log if failed is not None else ""))

    def end(self, status: str) -> None:
        """The build came to no record: it was refused, or stopped."""
        with self._lock, self.hold_sync():
            self._draw(self._live.stopped())
            self.busy = False
            self.status = status

    def text(self) -> str:
        """The build as ``docker build`` prints it, and how the prediction went."""
        wrong = [f"  step {number}: you said {guess['said']}" for number, guess in self.guesses.items() if not guess["right"]]
        return "\n".join(filter(None, [self.printed, self.score, *wrong]))

    def html(self) -> str:
        """A still of the stack, with all that is said of it."""
        guesses = {int(number): Guess(**guess) for number, guess in self.guesses.items()}
        parts = [
            paragraph(f"{self.title}: {self.status}" if self.title else str(self.status)),
            still(self._shown or self._live.steps(), guesses),
            paragraph(self.score),
            *(paragraph(note) for note in self.notes),
        ]
        if self.printed:
            parts.append(f"<details><summary>{html.escape('As docker build prints it')}</summary>{verbatim(self.printed)}</details>")
        return "".join(parts)
