"""One submission in a process of its own: a job on standard input, a result on standard output. ``python -m autograder.backends.worker``.

A process for each submission can be given limits and be ended, and what one answer does to it reaches no other.
"""

from __future__ import annotations

import ctypes
import logging
import os
import signal
import sys
from typing import Final

import msgspec

from autograder import __name__ as package
from autograder.exercise.assignment import Assignment
from autograder.judge.grade import grade, over_a_limit
from autograder.judge.prepare import Prepared
from autograder.sandbox.limits import Bounds, TooMuch, too_large
from autograder.sandbox.watch import limit_processes
from autograder.submission.notebook_reader import Submission
from layerlab.errors import StepBusyError
from layerlab.interrupt import interruptible

# prctl(2).
_PR_SET_PDEATHSIG: Final = 1


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """What a worker is asked. ``groups``: the control groups of its sandboxes (``cgroups``). ``parent``: the process that waits for it.
    ``told``: see ``Bounds``.
    ``cpu``: the one that its steps run on, or ``None`` for all. ``patient``: see ``grade``."""

    assignment: Assignment
    prepared: Prepared
    submission: Submission
    seed: str
    groups: tuple[str, ...] = ()
    parent: int = 0
    told: int = -1
    cpu: int | None = None
    patient: bool = True


def _stop_with(parent: int) -> None:
    """Stop, as for Ctrl-C, when the process that started this one is killed: nobody would take the result."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if parent and os.getppid() != parent:
        sys.exit(1)


def main() -> int:
    """Grade one job. Standard output has the result and nothing else, whatever a library may print.

    Exit status ``EX_TEMPFAIL``: another submission runs a step that this one needs; try again later.
    """
    job = msgspec.json.decode(sys.stdin.buffer.read(), type=Job)
    output = os.dup(1)
    os.dup2(2, 1)
    # Who started this keeps it where there was trouble.
    logging.getLogger(package).addHandler(logging.StreamHandler())
    logging.getLogger(package).setLevel(logging.INFO)
    _stop_with(job.parent)
    limit_processes(job.assignment.limits)
    if job.told >= 0:
        os.set_inheritable(job.told, False)
    bounds = Bounds(job.assignment.limits, job.told)
    with interruptible():
        try:
            with bounds:
                result = grade(
                    job.assignment,
                    job.prepared,
                    job.submission,
                    job.seed,
                    patient=job.patient,
                    bounds=bounds,
                    groups=job.groups,
                    cpu=job.cpu,
                )
        except StepBusyError:
            return os.EX_TEMPFAIL
        except TooMuch as limit:
            result = over_a_limit(job.assignment, job.submission.student, str(limit))
        except MemoryError:
            if not bounds.doing:
                raise
            result = over_a_limit(job.assignment, job.submission.student, too_large(job.assignment.limits, bounds.doing))
    with os.fdopen(output, "wb") as stream:
        stream.write(msgspec.json.encode(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
