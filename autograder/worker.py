"""One submission in a process of its own: a job on standard input, a result on standard output. ``python -m autograder.worker``.

A process for each submission can be given limits and be ended, and what one answer does to it reaches no other.
"""

from __future__ import annotations

import os
import sys

import msgspec

from autograder.assignment import Assignment
from autograder.collect import Submission
from autograder.grade import grade
from autograder.prepare import Prepared
from autograder.watch import limit_files
from layerlab.interrupt import interruptible


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """What a worker is asked."""

    assignment: Assignment
    prepared: Prepared
    submission: Submission
    seed: str


def main() -> int:
    """Grade one job. Standard output has the result and nothing else, whatever a library may print."""
    job = msgspec.json.decode(sys.stdin.buffer.read(), type=Job)
    output = os.dup(1)
    os.dup2(2, 1)
    limit_files(job.assignment.limits)
    with interruptible():
        result = grade(job.assignment, job.prepared, job.submission, job.seed)
    with os.fdopen(output, "wb") as stream:
        stream.write(msgspec.json.encode(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
