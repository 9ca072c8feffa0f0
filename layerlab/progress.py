"""Progress of a build: in a log each step as its verdict falls and all that it writes, on a terminal the step that runs, in place."""

from __future__ import annotations

import shutil
import sys
import threading
import time
from collections import deque
from typing import IO, Final

from layerlab.control_characters import without_controls
from layerlab.engines.api import Event
from layerlab.model import StepRecord
from layerlab.render import Painter

_LINES: Final = 4
_TAIL: Final = 20
_INTERVAL: Final = 0.2


def head_of(step: StepRecord) -> str:
    """A step as BuildKit names it: its stage and place, and the instruction on one line."""
    place = f"[{step.stage + ' ' if step.stage != '0' else ''}{step.index}] " if step.index else ""
    return place + " ".join(step.instruction.split())


class LiveProgress:
    """On a terminal: the step that runs, its clock and the last lines that it wrote, drawn in place until ``close``.

    Steps that are done are not told of: the report that follows has each of them, once. What a failed step wrote last stays.
    """

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream
        self._lock = threading.Lock()
        self._running: StepRecord | None = None
        self._since = 0.0
        self._said: deque[str] = deque(maxlen=_TAIL)
        self._partial = ""
        self._drawn = 0
        self._over = threading.Event()
        self._clock = threading.Thread(target=self._tick, name="build shown", daemon=True)
        self._clock.start()

    def __call__(self, event: Event) -> None:
        """Take one event."""
        with self._lock:
            if event.kind == "note":
                self._tell(f"note: {event.text}")
            elif event.kind == "log":
                self._log(event.text)
            elif event.kind == "start" and event.step is not None:
                self._running, self._since, self._partial = event.step, time.monotonic(), ""
                self._said.clear()
                self._draw()
            elif event.step is not None and event.step.status in ("executed", "failed"):
                self._running = None
                if event.step.status == "failed":
                    self._tell(*(f"  | {line}" for line in [*self._said, self._partial] if line.strip()))
                self._draw()

    def close(self) -> None:
        """Take away what was drawn in place."""
        self._over.set()
        self._clock.join()
        with self._lock:
            self._running = None
            self._draw()

    def _tick(self) -> None:
        while not self._over.wait(_INTERVAL):
            with self._lock:
                self._draw()

    def _log(self, text: str) -> None:
        self._partial += text.replace("\r\n", "\n").replace("\r", "\n")
        *lines, self._partial = self._partial.split("\n")
        # What a step prints is not ours: it must not move the cursor or recolour the terminal.
        clean = (without_controls(line, keep="\t", instead="") for line in lines)
        self._said.extend(line for line in clean if line.strip())
        self._partial = without_controls(self._partial[-1000:], keep="\t", instead="")

    def _tell(self, *lines: str) -> None:
        """Lines that stay, above what is drawn in place."""
        self._erase()
        self._stream.writelines(f"{line}\n" for line in lines)
        self._draw()

    def _erase(self) -> None:
        if self._drawn:
            self._stream.write(f"\x1b[{self._drawn}A\x1b[J")
            self._drawn = 0

    def _draw(self) -> None:
        self._erase()
        if self._running is not None:
            columns = shutil.get_terminal_size((100, 24)).columns - 1
            clock = f" {time.monotonic() - self._since:.1f} s"
            lines = [f"{head_of(self._running)[: max(10, columns - len(clock))]}{clock}"]
            lines += [f"  | {line.expandtabs()}"[:columns] for line in list(self._said)[-_LINES:]]
            self._stream.writelines(f"{line}\n" for line in lines)
            self._drawn = len(lines)
        self._stream.flush()


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
                self._line(f"{head_of(event.step)} …")
                self._last.clear()
            else:
                self._done(event.step)
        self.stream.flush()

    def _done(self, step: StepRecord) -> None:
        if step.status == "metadata":
            return
        if step.status == "failed" and self.quiet:
            for line in self._last[-20:]:
                self._line("  | " + line)
        words = {"executed": f"done in {step.seconds:.1f} s", "cached": "CACHED", "base": "base image", "failed": "FAILED"}
        self._line(f"{head_of(step)}: {self._painter.paint(words.get(step.status, step.status), step.status)}")

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
