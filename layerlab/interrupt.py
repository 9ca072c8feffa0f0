"""Stopping a build: Ctrl-C and SIGTERM, or a request from another thread. All end it in the same, orderly way."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """Turn SIGTERM into ``KeyboardInterrupt`` for the length of the block, so that a stopped build cleans up as on Ctrl-C."""

    def stop(_number: int, _frame: object) -> None:
        raise KeyboardInterrupt

    try:
        before = signal.signal(signal.SIGTERM, stop)
    except ValueError:  # not the main thread
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


class Stop:
    """A request to stop a build that runs in another thread, where no signal arrives.

    The building thread asks at its safe points and raises ``KeyboardInterrupt`` itself, so that there is one way to clean up. What it
    waits for meanwhile is ended by the calls that it has registered.
    """

    def __init__(self) -> None:
        self._requested = threading.Event()
        self._lock = threading.Lock()
        self._calls: list[Callable[[], None]] = []

    @property
    def requested(self) -> bool:
        """Whether somebody asked."""
        return self._requested.is_set()

    def request(self) -> None:
        """Ask, from any thread. Does not wait for the build to end."""
        with self._lock:
            self._requested.set()
            calls = list(self._calls)
        for call in calls:
            call()

    def check(self) -> None:
        """Raise ``KeyboardInterrupt`` when somebody asked."""
        if self.requested:
            raise KeyboardInterrupt

    def pause(self, seconds: float) -> None:
        """Wait, but no longer than until somebody asks; then raise as ``check`` does."""
        self._requested.wait(seconds)
        self.check()

    @contextlib.contextmanager
    def calling(self, call: Callable[[], None]) -> Iterator[None]:
        """For the length of the block, let a request call ``call`` (in the thread of whoever asks): it ends what the block waits for."""
        with self._lock:
            self._calls.append(call)
            late = self.requested
        if late:
            call()
        try:
            yield
        finally:
            with self._lock:
                self._calls.remove(call)
