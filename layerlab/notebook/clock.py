"""A clock beside a cell: something is done every so often, in a thread, for as long as a block runs."""

from __future__ import annotations

import contextlib
import contextvars
import threading
from collections.abc import Callable, Iterator


@contextlib.contextmanager
def ticking(tick: Callable[[], None], seconds: float) -> Iterator[None]:
    """Call ``tick`` every so many seconds until the block ends; when this returns, no call is under way."""
    ended = threading.Event()

    def run() -> None:
        while not ended.wait(seconds):
            tick()

    # What a thread displays belongs to the cell whose context it has.
    thread = threading.Thread(target=contextvars.copy_context().run, args=(run,), name="clock of a cell", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
