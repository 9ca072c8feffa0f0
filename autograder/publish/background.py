"""Publishing while a class is graded: a thread takes each result as it comes, so hardly anything is left when the last one is there."""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Self

from autograder.submission.notebook_reader import Submission
from autograder.submission.record import SubmissionResult

if TYPE_CHECKING:
    from autograder.publish.publisher import Published


class BackgroundPublisher(contextlib.AbstractContextManager["BackgroundPublisher"]):
    """Publishes what it is given, in the order in which it comes, until ``finish``; leaving the context before that drops the rest.

    ``answers``  gives what a result is about. ``report``: called from the thread, too.
    """

    def __init__(self, course: Path, name: str, answers: Callable[[SubmissionResult], Submission], report: Callable[[str], None]) -> None:
        self._course = course
        self._name = name
        self._answers = answers
        self._report = report
        # ``None`` is the end.
        self._results: queue.SimpleQueue[SubmissionResult | None] = queue.SimpleQueue()
        self._dropped = threading.Event()
        self._done: Published | None = None
        self._trouble: BaseException | None = None
        self._thread = threading.Thread(target=self._work, name="publish")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._dropped.set()
        self._results.put(None)
        if self._thread.ident is not None:
            self._thread.join()

    def put(self, result: SubmissionResult) -> None:
        """Have a result published. Trouble is told by ``finish``."""
        self._results.put(result)
        # Not before: bad usage must leave the course as it is.
        self._start()

    def _start(self) -> None:
        if self._thread.ident is None:
            self._thread.start()

    def finish(self) -> Published:
        """Wait until everything is published. Raises what ``Publisher`` raises."""
        left = self._results.qsize()
        if left:
            self._report(f"publishing {left} more submission{'' if left == 1 else 's'}")
        self._results.put(None)
        self._start()
        self._thread.join()
        if self._trouble is not None:
            raise self._trouble
        assert self._done is not None
        return self._done

    def _work(self) -> None:
        try:
            # It takes seconds, in which a class can be graded already.
            from autograder.publish.publisher import Publisher

            publisher = Publisher(self._course, self._name, self._answers, self._report)
            while (result := self._results.get()) is not None and not self._dropped.is_set():
                publisher.add(result)
            if not self._dropped.is_set():
                self._done = publisher.finish()
        except BaseException as error:  # noqa: BLE001 - it is raised where somebody waits for the end
            self._trouble = error
