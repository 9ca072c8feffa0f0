"""The worker processes that run on this machine: started with limits, waited for, and all of them ended when a run is stopped."""

from __future__ import annotations

import contextlib
import itertools
import logging
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from typing import Final

import msgspec

from autograder.backends import __name__ as package
from autograder.backends.worker import Job
from autograder.judge.grade import over_a_limit
from autograder.sandbox.cgroups import group
from autograder.sandbox.limits import doing, too_slow
from autograder.submission.record import SubmissionResult, fits

# A worker ends by itself at the submission's limit; this much later it is ended.
_GRACE_SECONDS: Final = 120
# Who computes for all but a little of this time, and says that it works on the submission, does so because of the submission.
_LOOK_SECONDS: Final = 1.0
_LOOKS: Final = 50


class BusyError(Exception):
    """A worker needs a step that another one runs, and its job says not to wait for it."""


class StoppedError(Exception):
    """The run was stopped, and this worker with it: no fault of anybody's."""


class _ComputingError(Exception):
    """A worker does not end because it is computing; the message says what, in words that follow "while"."""


class Children:
    """Worker processes of this process.

    ``cpus``  one for each that runs at the same time: a submission's limits of time then mean the same whatever its neighbours do. Empty
    where there are not enough of them.
    """

    def __init__(self, cpus: Iterable[int] = ()) -> None:
        self._lock = threading.Lock()
        self._running: set[subprocess.Popen[bytes]] = set()
        self._ended = False
        self._numbers = itertools.count()
        # As it is now: nbgrader, which publishes meanwhile, changes this process's.
        self._environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
        self._cpus: queue.SimpleQueue[int] = queue.SimpleQueue()
        for cpu in cpus:
            self._cpus.put(cpu)

    def grade(self, job: Job) -> SubmissionResult:
        """Grade a submission in a process of its own.

        A worker that does not end is ended. If it was computing then, for the submission by its own word, that is the submission's
        doing and scores 0; one that was killed, failed, or waited for something, is not, whatever it was doing.
        Raises ``RuntimeError`` for a worker that fails, ``ValueError`` for an answer that is none, ``TimeoutExpired`` for one that
        does not end, ``BusyError`` for a job that is not patient, ``StoppedError`` after ``end``.
        """
        limits = job.assignment.limits
        with group(f"layerlab-{os.getpid()}-{next(self._numbers)}", limits) as groups, self._cpu() as cpu:
            told = os.memfd_create("doing", 0)
            try:
                data = msgspec.json.encode(msgspec.structs.replace(job, groups=groups, parent=os.getpid(), cpu=cpu, told=told))
                command = [sys.executable, "-P", "-m", f"{package}.worker"]
                output, errors = self._run(job.submission.student, command, data, limits.submission_seconds + _GRACE_SECONDS, told)
            except _ComputingError as stuck:
                return over_a_limit(job.assignment, job.submission.student, too_slow(limits, str(stuck)))
            finally:
                os.close(told)
        result = msgspec.json.decode(output, type=SubmissionResult)
        if not fits(result, job.submission.student, job.assignment):
            raise ValueError("the worker answered for another submission")
        if result.status == "infrastructure-error":
            if self._ended:
                # A build that was stopped.
                raise StoppedError("the run was stopped")
            _log(job.submission.student, errors)
        return result

    def end(self) -> None:
        """Ask every worker to stop, as Ctrl-C does, and start no more."""
        with self._lock:
            self._ended = True
            for child in self._running:
                child.terminate()

    @contextlib.contextmanager
    def _cpu(self) -> Iterator[int | None]:
        try:
            cpu = self._cpus.get_nowait()
        except queue.Empty:
            yield None
            return
        try:
            yield cpu
        finally:
            self._cpus.put(cpu)

    def _run(self, student: str, command: list[str], data: bytes, seconds: float, told: int) -> tuple[bytes, bytes]:
        with self._lock:
            if self._ended:
                raise StoppedError("the run was stopped")
            child = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=self._environment,
                process_group=0,
                pass_fds=(told,),
            )
            self._running.add(child)
        try:
            output, errors = child.communicate(data, timeout=seconds)
        except subprocess.TimeoutExpired as error:
            if (what := doing(told)) and _computes(child.pid):
                raise _ComputingError(what) from error
            raise
        finally:
            with self._lock:
                self._running.discard(child)
            if child.poll() is None:
                os.killpg(child.pid, signal.SIGKILL)
                child.communicate()
        if child.returncode == os.EX_TEMPFAIL:
            raise BusyError
        if child.returncode != 0 and self._ended:
            raise StoppedError("the run was stopped")
        if child.returncode != 0:
            _log(student, errors)
            raise RuntimeError(f"the worker ended with status {child.returncode}: {errors.decode('utf-8', 'replace').strip()[-500:]}")
        return output, errors


def _computes(process: int) -> bool:
    """Whether a process has work for a processor, be it busy with others, and does not wait for a disk or another process."""
    found = []
    for _ in range(_LOOKS):
        with contextlib.suppress(OSError), open(f"/proc/{process}/stat", encoding="ascii", errors="replace") as stream:
            found.append(stream.read().rpartition(")")[2].split()[:1] == ["R"])
        time.sleep(_LOOK_SECONDS / _LOOKS)
    return sum(found) > 0.8 * _LOOKS


def _log(student: str, errors: bytes) -> None:
    """Keep what a worker said on standard error; a result has room for a sentence of it."""
    logging.getLogger(__name__).error("the worker for %s said:\n%s", student, errors.decode("utf-8", "replace").strip())
