"""Work that follows a person's typing: done in a thread, and of several requests that wait only the last counts."""

from __future__ import annotations

import threading
from collections.abc import Callable


class CoalescingWorker:
    """Runs ``work`` after each request. A request while it runs makes it run once more, however many come."""

    def __init__(self, work: Callable[[], None]) -> None:
        self._work = work
        self._state = threading.Condition()
        self._asked = False
        self._running = False

    def request(self) -> None:
        """Ask for a run; returns at once."""
        with self._state:
            self._asked = True
            if not self._running:
                self._running = True
                threading.Thread(target=self._run, name="layerlab-plan", daemon=True).start()

    def join(self, timeout: float | None = None) -> bool:
        """Wait until nothing is left to do; false when that took longer than ``timeout`` seconds."""
        with self._state:
            return self._state.wait_for(lambda: not self._running, timeout)

    def _run(self) -> None:
        while True:
            with self._state:
                if not self._asked:
                    self._running = False
                    self._state.notify_all()
                    return
                self._asked = False
            try:
                self._work()
            except BaseException:
                with self._state:
                    self._running = False
                    self._state.notify_all()
                raise
