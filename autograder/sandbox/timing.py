"""Builds under a time limit, for each step and for the whole submission."""

from __future__ import annotations

import threading
import time

from autograder.exercise.assignment import Limits
from autograder.sandbox.limits import Bounds
from layerlab.engines.api import BuildOptions, Event
from layerlab.engines.embedded.engine import EmbeddedEngine
from layerlab.errors import BuildInterruptedError
from layerlab.interrupt import Stop
from layerlab.model import BuildRecord, PlanRecord

_INTERVAL = 0.1


class TooSlow(Exception):  # noqa: N818 - a verdict, not a fault of the program
    """A build that was stopped. ``instruction``: the step that ran then; empty where none did. ``seconds``: the limit."""

    def __init__(self, instruction: str, seconds: float) -> None:
        super().__init__(f"stopped after {seconds:g} s")
        self.instruction = instruction
        self.seconds = seconds


class Clock:
    """The time of one submission, from the moment that it is made. ``bounds`` of this process are told what it spends it on."""

    def __init__(self, limits: Limits, bounds: Bounds | None = None) -> None:
        self._limits = limits
        self._bounds = bounds or Bounds(limits)
        self._end = time.monotonic() + limits.submission_seconds

    def left(self) -> float:
        """Seconds that are left, at least 0."""
        return max(0.0, self._end - time.monotonic())

    def build(self, engine: EmbeddedEngine, options: BuildOptions) -> BuildRecord:
        """Build. Raises ``TooSlow`` and what ``Engine.build`` raises."""
        stop, done = Stop(), threading.Event()
        running: tuple[str, float] = ("", float("inf"))

        def watch(event: Event) -> None:
            nonlocal running
            if event.step is not None and event.kind == "start":
                running = (event.step.instruction, time.monotonic() + self._limits.step_seconds)
            elif event.kind == "done":
                running = ("", float("inf"))

        def guard() -> None:
            while not done.wait(_INTERVAL):
                if time.monotonic() > min(self._end, running[1]):
                    stop.request()
                    return

        thread = threading.Thread(target=guard, name="time limit", daemon=True)
        thread.start()
        try:
            with self._bounds.during("building"):
                return engine.build(options, watch, stop)
        except BuildInterruptedError:
            if not stop.requested:
                raise
            over = time.monotonic() > self._end
            raise TooSlow(running[0], self._limits.submission_seconds if over else self._limits.step_seconds) from None
        finally:
            done.set()
            thread.join()

    def plan(self, engine: EmbeddedEngine, options: BuildOptions) -> PlanRecord:
        """Plan. Raises what ``Engine.plan`` raises."""
        with self._bounds.during("planning its build"):
            return engine.plan(options)
