"""One build at a time in a thread of its own, so that the kernel stays free, and a way to stop it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from layerlab.engines.api import BuildOptions, Progress
from layerlab.errors import BuildInterruptedError, ExecutorError, LayerlabError, UsageError
from layerlab.interrupt import Stop
from layerlab.model import BuildRecord

if TYPE_CHECKING:
    from layerlab.engines.api import Engine

Outcome = BuildRecord | LayerlabError


class Runner:
    """Builds with one engine. ``started`` and ``ended`` are called in the thread that asks and in the building thread."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._lock = threading.Lock()
        self._stop: Stop | None = None
        self._over = threading.Event()
        self._over.set()
        self._outcome: Outcome | None = None

    @property
    def busy(self) -> bool:
        """Whether a build runs."""
        return not self._over.is_set()

    def claim(self) -> bool:
        """Take the turn to build; false when a build runs already. Whoever has the turn calls ``start``, and in the end ``release``."""
        with self._lock:
            if self.busy:
                return False
            self._over.clear()
            self._stop = Stop()
            self._outcome = None
            return True

    def release(self) -> None:
        """Give the turn back, once."""
        self._over.set()

    def start(self, options: BuildOptions, progress: Progress, ended: Callable[[Outcome], None]) -> None:
        """Build in a thread; ``ended`` gets the record, or the error that kept it from being a build, and calls ``release`` last."""
        threading.Thread(target=self._run, args=(options, progress, ended), name="layerlab-build", daemon=True).start()

    def _run(self, options: BuildOptions, progress: Progress, ended: Callable[[Outcome], None]) -> None:
        # For a bug of ours: whoever waits must not take it for a success.
        outcome: Outcome = ExecutorError("the build ended unexpectedly", remedy="This is a bug of layerlab.")
        try:
            outcome = self.engine.build(options, progress, self._stop)
        except LayerlabError as error:
            outcome = error
        finally:
            self._outcome = outcome
            try:
                ended(outcome)
            except BaseException:
                # Only where it did not come to it: after it the turn may be somebody else's.
                self.release()
                raise

    def stop(self) -> None:
        """Ask the running build to stop; harmless when none runs."""
        with self._lock:
            if self._stop is not None:
                self._stop.request()

    def join(self, timeout: float | None = None) -> BuildRecord:
        """Wait for the build and return its record. Ctrl-C stops it.

        Raises what kept it from being a build: ``DockerfileError``, ``BuildInterruptedError`` and others; ``TimeoutError``.
        """
        try:
            if not self._over.wait(timeout):
                raise TimeoutError("the build still runs")
        except KeyboardInterrupt:
            self.stop()
            self._over.wait()
            raise
        if isinstance(self._outcome, LayerlabError):
            raise self._outcome
        if self._outcome is None:
            raise UsageError("there is no build to wait for", remedy="Call build() or start() first.")
        return self._outcome


def was_stopped(outcome: Outcome) -> bool:
    """Whether a build ended because somebody stopped it."""
    return isinstance(outcome, BuildInterruptedError)
