"""A build as ``docker build`` shows it, with the cause of each miss below its step."""

from __future__ import annotations

import os
import textwrap
import threading
import time

from layerlab.engines.api import Event
from layerlab.model import BuildRecord, StepRecord
from layerlab.records import replace
from layerlab.render import of_steps, prediction, printable, size

_WIDTH = 92
_LOG_LINES = 12


class BuildLook:
    """Collects the events of a build; ``text()`` is how it looks now, in any thread. ``head`` is said first, e.g. how long it may take."""

    def __init__(self, engine: str, head: str = "") -> None:
        self._engine = engine
        self._head = head
        self._began = time.monotonic()
        self._notes: list[str] = []
        self._done: list[StepRecord] = []
        self._running: StepRecord | None = None
        self._since = 0.0
        self._log: list[str] = []
        self._partial = ""
        self._record: BuildRecord | None = None
        self._lock = threading.Lock()

    def take(self, event: Event) -> None:
        """One event of the build."""
        with self._lock:
            self._take(event)

    def _take(self, event: Event) -> None:
        if event.kind == "note":
            self._notes = [*self._notes[-2:], event.text]
        elif event.kind == "log":
            *lines, self._partial = (self._partial + event.text).replace("\r", "\n").split("\n")
            self._log = [*self._log, *(printable(line) for line in lines if line.strip())][-_LOG_LINES:]
        elif event.step is not None and event.kind == "start":
            self._running, self._since, self._log, self._partial = event.step, time.monotonic(), [], ""
        elif event.step is not None:
            self._running = None
            self._done.append(event.step)

    def finish(self, record: BuildRecord, *, stand_in: bool = True) -> None:
        """The build has ended: what is shown from now on is its record. ``stand_in``: whether it is told what one is."""
        with self._lock:
            self._record = record if stand_in else replace(record, stand_in=())
            self._done = list(record.steps)
            self._running = None

    def text(self) -> str:
        """All of it, as plain text."""
        with self._lock:
            return self._text()

    def _text(self) -> str:
        record = self._record
        shown = [step for step in self._done if step.status not in ("metadata", "skipped")]
        predicted = record.predicted if record is not None else ()
        seconds = record.seconds if record is not None else time.monotonic() - self._began
        state = "" if record is None else " FINISHED" if record.failure is None else " PREDICTED, NOT RUN" if predicted else " FAILED"
        lines = [_row(f"[+] Building {seconds:.1f}s{state}", self._engine + " engine")]
        if record is None and self._head:
            lines.append(f" => {self._head}")
        if record is None:
            lines += [f" => {printable(note)}" for note in self._notes]
        for step in () if predicted else shown:
            lines += _step(step)
        for step in predicted:
            lines += _forecast(step)
        if self._running is not None:
            lines.append(_row(f" => {_label(self._running)}", f"{time.monotonic() - self._since:.1f}s"))
            lines += [f" => => {line}"[:_WIDTH] for line in self._log[-3:]]
        if record is not None:
            lines += _end(record, self._log)
        return "\n".join(lines)


def _row(left: str, right: str) -> str:
    room = _WIDTH - len(right) - 1
    return f"{left if len(left) <= room else left[: room - 1] + '…':<{room}} {right}"


def _label(step: StepRecord) -> str:
    stage = f"{step.stage} " if step.index and step.stage not in ("0", "stage-0") else ""
    place = f"[{stage}{step.index}] " if step.index else ""
    return place + printable(" ".join(step.instruction.split()))


def _step(step: StepRecord) -> list[str]:
    word = {"cached": "CACHED ", "failed": "ERROR "}.get(step.status, "")
    cost = f"{step.seconds:.1f}s"
    if step.status == "executed" and step.makes_layer:
        cost = f"{size(step.size):>7}  {cost:>6}"
    return [_row(f" => {word}{_label(step)}", cost), *_why(step)]


def _why(step: StepRecord) -> list[str]:
    if step.cause is None:
        return []
    text = printable(step.cause.text)
    return textwrap.wrap(text, _WIDTH, initial_indent=" =>   └ ", subsequent_indent=" =>     ", break_on_hyphens=False)


def _forecast(step: StepRecord) -> list[str]:
    """A step that was not run: what a build would do with it."""
    word = {"executed": "would run", "cached": "would be cached", "undecided": "cannot be decided"}.get(step.status)
    if word is None:
        return []
    lines = [_row(f" => {_label(step)}", word)]
    return lines + _why(step)


def _end(record: BuildRecord, log: list[str]) -> list[str]:
    ran = sum(1 for step in record.steps if step.status == "executed")
    reused = sum(1 for step in record.steps if step.status == "cached")
    failure = record.failure
    if failure is None:
        name = f"{(record.image or '')[7:19]}{' ' + record.tag if record.tag else ''}"
        lines = [_row(f" => naming to {name}", "0.0s"), ""]
        lines.append(f"{of_steps(ran, ran + reused)} ran, {reused} came from the cache ({record.engine} engine, {record.executor}).")
        # The whole sentence is in the history; below each build of a notebook its head is enough.
        return lines + [f"note: {text.partition(' (')[0]}; %docker history says more." for text in record.stand_in]
    if record.predicted:
        return ["", prediction(record), f"  {printable(failure.message)}", *([f"  {failure.remedy}"] if failure.remedy else [])]
    failed = next((step for step in record.steps if step.status == "failed"), None)
    lines = []
    if failed is not None:
        tail = [printable(line) for line in failed.log.splitlines() if line.strip()][-_LOG_LINES:] or log
        lines += ["------", f" > {_label(failed)}:", *tail, "------"]
    lines += _excerpt(failure.file, failure.line)
    lines.append(f"ERROR: failed to solve: {printable(failure.message)}")
    if failure.remedy:
        lines.append(f"  {failure.remedy}")
    return lines


def _excerpt(file: str | None, line: int | None) -> list[str]:
    """The Dockerfile around a line, as BuildKit shows it; nothing where the file cannot be read any more."""
    if file is None or line is None:
        return []
    try:
        with open(file, encoding="utf-8", errors="replace") as stream:
            text = stream.read().splitlines()
    except OSError:
        return []
    rule = "-" * 20
    lines = [f"{os.path.basename(file)}:{line}", rule]
    for number in range(max(1, line - 2), min(len(text), line + 2) + 1):
        mark = ">>>" if number == line else "   "
        lines.append(f"{number:>4} | {mark} {printable(text[number - 1])}")
    return [*lines, rule]
