"""The local backend: several worker processes side by side on this machine."""

from __future__ import annotations

import concurrent.futures
import contextlib
import os
from collections.abc import Iterator, Sequence

from autograder.backends.base import Outcome
from autograder.backends.children import Children
from autograder.worker import Job


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
        futures = [self._pool.submit(self._grade, job) for job in jobs]
        for future in concurrent.futures.as_completed(futures):
            yield future.result()

    def _grade(self, job: Job) -> Outcome:
        student = job.submission.student
        try:
            return Outcome(student=student, result=self._children.grade(job))
        except Exception as error:  # noqa: BLE001 - a fault of ours must not stop the class
            return Outcome(student=student, trouble=f"{type(error).__name__}: {error}")
