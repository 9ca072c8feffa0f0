"""In which order a class is graded. Most answers begin like another one, and find the layers of that beginning built.

Whoever builds a beginning first takes the longest, by far. These go first: nobody else has to wait for what they build, and the class
does not end with one of them while all other workers are idle.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from autograder.backends.worker import Job
from autograder.submission.messages import meaningful_lines

# What the first build of a beginning takes, in builds of an answer whose beginning is there. It is an estimate, for the time left.
FIRST: Final = 8.0
_OTHER: Final = 1.0


def in_order(jobs: Sequence[Job]) -> dict[str, float]:
    """The students of these jobs in the order in which they should be graded, with what each is likely to take, in no unit."""
    begun: set[tuple[str, ...]] = set()
    found: dict[str, float] = {}
    for job in jobs:
        beginning = _beginning(job.submission.files.get("Dockerfile", ""))
        found[job.submission.student] = FIRST if beginning and beginning not in begun else _OTHER
        begun.add(beginning)
    return dict(sorted(found.items(), key=lambda item: -item[1]))


def _beginning(dockerfile: str) -> tuple[str, ...]:
    """A Dockerfile up to its first command; empty where it has none."""
    lines = meaningful_lines(dockerfile)
    first = next((number for number, line in enumerate(lines) if line.startswith("RUN ")), None)
    return () if first is None else tuple(lines[: first + 1])
