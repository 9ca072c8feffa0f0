"""What a submission may cost the grader's own process, which reads, plans and copies it: one clock, and a limit on memory.

What runs in a sandbox has limits of its own (``watch``, ``timing``). These stand around everything else, so that a text that takes for ever
to read is its author's trouble and nobody else's. The process says what it is doing at the moment; a limit that is met while it does
something for the submission is a verdict, and at any other time a fault of the grader.
"""

from __future__ import annotations

import contextlib
import os
import resource
import signal
from collections.abc import Iterator
from types import FrameType
from typing import Final, Self

from autograder.exercise.assignment import Limits

# A build that takes too long is stopped with words of its own (``timing``), so these come a little later.
_LATER_SECONDS: Final = 10.0
_TOLD_BYTES: Final = 128


class TooMuch(BaseException):
    """A limit was met. Not an ``Exception``: nothing on its way may take it for an error that it knows. The message names the limit."""


class Bounds(contextlib.AbstractContextManager["Bounds"]):
    """The limits of this process, from entering the context to leaving it.

    ``told``  a descriptor of a file that holds what this process is doing, for the process that waits for it; -1 for none.
    ``doing`` the same in words that follow "while"; empty while it does nothing for the submission.
    """

    def __init__(self, limits: Limits, told: int = -1) -> None:
        self.doing = ""
        self._limits = limits
        self._told = told
        self._entered = False

    def __enter__(self) -> Self:
        signal.signal(signal.SIGALRM, self._late)
        signal.setitimer(signal.ITIMER_REAL, self._limits.submission_seconds + _LATER_SECONDS)
        self._entered = True
        self._limit_memory(self._limits.own_bytes)
        return self

    def __exit__(self, *_: object) -> None:
        signal.setitimer(signal.ITIMER_REAL, 0)
        self._entered = False
        self._limit_memory(resource.RLIM_INFINITY)

    @contextlib.contextmanager
    def during(self, what: str) -> Iterator[None]:
        """For the length of the block this is done; after a failure it stays, for those who ask where that was."""
        before = self.doing
        self._tell(what)
        yield
        self._tell(before)

    @contextlib.contextmanager
    def unlimited(self) -> Iterator[None]:
        """For the length of the block, what is started does not inherit the limit on memory: a sandbox has its own."""
        if not self._entered:
            yield
            return
        self._limit_memory(resource.RLIM_INFINITY)
        try:
            yield
        finally:
            self._limit_memory(self._limits.own_bytes)

    def _tell(self, what: str) -> None:
        self.doing = what
        if self._told >= 0:
            with contextlib.suppress(OSError):
                os.pwrite(self._told, what.encode().ljust(_TOLD_BYTES), 0)

    def _late(self, _number: int, _frame: FrameType | None) -> None:
        if not self.doing:
            raise TimeoutError("the grader took longer than a submission may")
        raise TooMuch(too_slow(self._limits, self.doing))

    @staticmethod
    def _limit_memory(size: int) -> None:
        # The soft limit alone, which can be lifted again.
        _, hard = resource.getrlimit(resource.RLIMIT_DATA)
        wanted = size if hard == resource.RLIM_INFINITY else hard if size == resource.RLIM_INFINITY else min(size, hard)
        resource.setrlimit(resource.RLIMIT_DATA, (wanted, hard))


def doing(told: int) -> str:
    """What the process that was given this descriptor was doing last."""
    try:
        return os.pread(told, _TOLD_BYTES, 0).decode("utf-8", "replace").strip()
    except OSError:
        return ""


def too_slow(limits: Limits, what: str) -> str:
    """The verdict on a submission that takes too long."""
    return f"It took more than the {limits.submission_seconds:g} s that are allowed for one submission, and was stopped while {what}."


def too_large(limits: Limits, what: str) -> str:
    """The verdict on a submission that needs too much memory of the grader."""
    return f"More than the {limits.own_bytes >> 20} MiB of memory that are allowed were needed while {what}."
