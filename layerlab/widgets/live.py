"""A build as it goes on: from the engine's events to the steps, the log and the sentence that a person sees."""

from __future__ import annotations

import re
import threading
import time
from typing import Final

from layerlab.control_characters import without_controls
from layerlab.engines.api import Event
from layerlab.model import BuildRecord, PlanRecord, StepRecord
from layerlab.records import replace
from layerlab.render import prediction
from layerlab.widgets.shapes import Step, Verdict
from layerlab.widgets.words import one_line, shown, summary

LOG_LIMIT: Final = 24_000
_LINE_LIMIT: Final = 2_000
_ESCAPES: Final = re.compile(r"\x1b(?:\[[0-9;?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\^_])")


class LiveBuild:
    """What is known of a build in progress. ``take`` is called by the building thread, the rest by any."""

    def __init__(self, plan: PlanRecord | None) -> None:
        self._lock = threading.Lock()
        self._steps: dict[int, tuple[StepRecord, Verdict]] = {}
        for step in plan.steps if plan is not None else ():
            self._steps[step.number] = (step, step.status if step.status in ("base", "metadata") else "waiting")
        self._log = ""
        # Of the step that runs: since when, and where its output begins.
        self._since = 0.0
        self._said = ""
        self._status = "Building …"

    def take(self, event: Event) -> None:
        """One event of the build."""
        with self._lock:
            if event.kind == "note":
                self._log += f"{event.text}\n"
                self._status = one_line(event.text)
            elif event.kind == "log":
                self._log += event.text
                self._said = (self._said + event.text)[-_LINE_LIMIT:]
            elif event.step is not None:
                self._step(event.kind, event.step)
            if len(self._log) > 2 * LOG_LIMIT:
                self._log = self._log[-LOG_LIMIT:]

    def _step(self, kind: str, step: StepRecord) -> None:
        verdict: Verdict = "running" if kind == "start" else step.status
        self._steps[step.number] = (step, verdict)
        if kind == "start":
            self._since, self._said = time.monotonic(), ""
            self._status = f"Step {step.number} runs: {one_line(step.instruction)}"
            self._log += f"▸ {step.number}. {one_line(step.instruction)}\n"

    def steps(self) -> list[Step]:
        """All steps that are known, in order; the one that runs with its clock and its last line."""
        with self._lock:
            return [self._shown(step, verdict) for _, (step, verdict) in sorted(self._steps.items())]

    def _shown(self, step: StepRecord, verdict: Verdict) -> Step:
        if verdict != "running":
            return shown(step, verdict)
        lines = [line for line in cleaned(self._said).splitlines() if line.strip()]
        return shown(step, verdict, seconds=time.monotonic() - self._since, said=lines[-1] if lines else "")

    def stopped(self) -> list[Step]:
        """The steps after a stop: what ran then was stopped, and what waited was not run."""
        ends: dict[Verdict, Verdict] = {"running": "stopped", "waiting": "skipped"}
        with self._lock:
            return [shown(step, ends.get(verdict, verdict)) for _, (step, verdict) in sorted(self._steps.items())]

    @property
    def log(self) -> str:
        """The last part of what was written."""
        with self._lock:
            return cleaned(self._log)

    @property
    def status(self) -> str:
        """One sentence on what goes on."""
        with self._lock:
            return self._status


def cleaned(text: str) -> str:
    """Output without what moves a cursor or colours a terminal; the last part of it."""
    lines = _ESCAPES.sub("", text[-LOG_LIMIT:]).replace("\r\n", "\n").split("\n")
    # A line that is drawn over and over (a progress bar) counts as it was last.
    last = [line.rstrip("\r").rsplit("\r", 1)[-1] for line in lines]
    return without_controls("\n".join(last), keep="\n\t", instead="")


def finished(record: BuildRecord) -> tuple[list[Step], str]:
    """Steps and sentence of a build that is over, or that could only be predicted."""
    if record.predicted:
        rows = [shown(step, "runs" if step.status == "executed" else None) for step in record.predicted]
        labelled = ("runs", "cached", "undecided")
        return [replace(row, word=f"{row.word} (predicted)") if row.verdict in labelled else row for row in rows], prediction(record)
    return [shown(step) for step in record.steps], summary(record)
