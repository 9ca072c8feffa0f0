"""The local backend: several worker processes side by side on this machine."""

from __future__ import annotations

import concurrent.futures
import contextlib
import logging
import os
from collections.abc import Iterator, Sequence

import msgspec

from autograder.backends.base import Outcome
from autograder.backends.children import BusyError, Children, StoppedError
from autograder.backends.worker import Job


class LocalBackend(contextlib.AbstractContextManager["LocalBackend"]):
    """``workers`` submissions at once."""

    def __init__(self, workers: int) -> None:
        workers = max(1, workers)
        cpus = sorted(os.sched_getaffinity(0))
        self._children = Children(cpus[:workers] if workers <= len(cpus) else ())
        self._pool = concurrent.futures.ThreadPoolExecutor(max_workers=workers)

    def __exit__(self, *_: object) -> None:
        self._children.end()
        self._pool.shutdown(wait=True, cancel_futures=True)

    def run(self, jobs: Sequence[Job]) -> Iterator[Outcome]:
        """See ``Backend.run``."""
        # Who needs what another is making lets the others go first.
        running = {self._pool.submit(self._grade, msgspec.structs.replace(job, patient=False)) for job in jobs}
        while running:
            done, running = concurrent.futures.wait(running, return_when=concurrent.futures.FIRST_COMPLETED)
            for future in done:
                outcome = future.result()
                if isinstance(outcome, Outcome):
                    yield outcome
                else:
                    running.add(self._pool.submit(self._grade, outcome))

    def _grade(self, job: Job) -> Outcome | Job:
        """What came of a job, or the job for another time."""
        student = job.submission.student
        try:
            return Outcome(student=student, result=self._children.grade(job))
        except BusyError:
            return msgspec.structs.replace(job, patient=True)
        except StoppedError as error:
            return Outcome(student=student, trouble=str(error))
        except Exception as error:
            # A fault of ours must not stop the class.
            logging.getLogger(__name__).exception("grading %s", student)
            return Outcome(student=student, trouble=f"{type(error).__name__}: {error}")
