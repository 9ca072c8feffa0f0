"""Progress of a build on a terminal or in a log: each step as its verdict falls, and what a running step writes."""

from __future__ import annotations

import sys
from typing import IO

from layerlab.control_characters import without_controls
from layerlab.engines.api import Event
from layerlab.model import StepRecord
from layerlab.render import Painter


class TextProgress:
    """Writes progress line by line. ``quiet`` keeps back what steps write, and shows the end of it when one fails."""

    def __init__(self, stream: IO[str] | None = None, *, quiet: bool = False) -> None:
        self.stream = stream or sys.stderr
        self.quiet = quiet
        self._painter = Painter(self.stream)
        self._partial = ""
        self._last: list[str] = []

    def __call__(self, event: Event) -> None:
        """Take one event."""
        if event.kind == "note":
            self._line(f"note: {event.text}")
        elif event.kind == "log":
            self._log(event.text)
        elif event.step is not None:
            self._flush()
            if event.kind == "start":
                self._line(f"{self._head(event.step)} …")
                self._last.clear()
            else:
                self._done(event.step)
        self.stream.flush()

    def _head(self, step: StepRecord) -> str:
        place = f"[{step.stage + ' ' if step.stage != '0' else ''}{step.index}] " if step.index else ""
        return place + " ".join(step.instruction.split())

    def _done(self, step: StepRecord) -> None:
        if step.status == "metadata":
            return
        if step.status == "failed" and self.quiet:
            for line in self._last[-20:]:
                self._line("  | " + line)
        words = {"executed": f"done in {step.seconds:.1f} s", "cached": "CACHED", "base": "base image", "failed": "FAILED"}
        self._line(f"{self._head(step)}: {self._painter.paint(words.get(step.status, step.status), step.status)}")

    def _log(self, text: str) -> None:
        self._partial += text.replace("\r\n", "\n").replace("\r", "\n")
        *lines, self._partial = self._partial.split("\n")
        for line in lines:
            self._output(line)

    def _flush(self) -> None:
        if self._partial:
            self._output(self._partial)
            self._partial = ""

    def _output(self, line: str) -> None:
        # What a step prints is not ours: it must not move the cursor or recolour the terminal.
        clean = without_controls(line, keep="\t", instead="")
        if self.quiet:
            self._last.append(clean)
            del self._last[:-40]
        elif clean.strip():
            self._line(self._painter.paint("  | " + clean, "metadata"))

    def _line(self, text: str) -> None:
        print(text, file=self.stream)
