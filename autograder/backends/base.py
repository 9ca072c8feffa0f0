"""What a backend is asked and what it answers."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Protocol

import msgspec

from autograder.backends.worker import Job
from autograder.submission.record import SubmissionResult


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What came of a job: a result, or what went wrong with the process or the machine that it ran on."""

    student: str
    result: SubmissionResult | None = None
    trouble: str = ""


class Backend(contextlib.AbstractContextManager["Backend"], Protocol):
    """Runs jobs. Leaving the context ends those that still run."""

    def run(self, jobs: Sequence[Job]) -> Iterator[Outcome]:
        """One outcome for each job, as they come. Nothing that happens to one job is raised."""
        ...
