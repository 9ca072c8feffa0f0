"""A whole class: every submission in a process of its own, several side by side; results are kept, so a run can be taken up again."""

from __future__ import annotations

import concurrent.futures
import contextlib
import hashlib
import os
import secrets
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec

from autograder import __name__ as package
from autograder import record
from autograder.assignment import Assignment, load_assignment
from autograder.collect import Rejected, Submission, collect, read_submission, students_of
from autograder.prepare import Prepared, prepare
from autograder.record import ClassRecord, SubmissionResult
from autograder.rubric import check_rubric
from autograder.worker import Job
from layerlab import __version__
from layerlab.engines.embedded.store import default_store
from layerlab.errors import UsageError
from layerlab.fsutil import write_atomically

# Raise it when the same answer could now get another result: results of earlier versions are not reused.
GRADER_VERSION: Final = 1
# A worker ends by itself at the submission's limit; this much later it is ended.
_GRACE_SECONDS: Final = 120

Report = Callable[[str], None]


def default_place() -> Path:
    """Where this machine grades: beside the store, never in it."""
    return Path(default_store()).parent / "grading"


def grade_class(
    course: Path,
    name: str,
    *,
    place: Path,
    workers: int = 2,
    seed: str | None = None,
    students: tuple[str, ...] = (),
    report: Report,
) -> ClassRecord:
    """Grade an assignment for all students, or for those named.

    ``seed``  draws the edits; without it, one is drawn for this assignment on this machine, and kept.
    Raises ``UsageError`` for a course, assignment or student that is not there, ``ExecutorError`` where nothing isolates.
    """
    assignment = load_assignment(course, name)
    check_rubric(assignment)
    known = students_of(course, name)
    absent = sorted(set(students) - set(known))
    if absent:
        raise UsageError(
            f"there is no submission of {', '.join(absent)}", remedy=f"Submissions stand in {course}/submitted/STUDENT/{name}/."
        )
    if not known:
        raise UsageError(f"{course}/submitted has no submission of {name}")
    place.mkdir(parents=True, exist_ok=True)
    prepared = prepare(course, assignment, place, report)
    if seed is None:
        seed = _kept_seed(place, assignment)
    wanted = list(students) or known
    started = time.monotonic()
    results: list[SubmissionResult] = []
    children = _Children()
    pool = concurrent.futures.ThreadPoolExecutor(max_workers=max(1, workers))
    try:
        futures = [pool.submit(_one, course, assignment, prepared, student, seed, children) for student in wanted]
        for future in concurrent.futures.as_completed(futures):
            result = future.result()
            results.append(result)
            left = (time.monotonic() - started) / len(results) * (len(wanted) - len(results))
            report(f"[{len(results)}/{len(wanted)}] {result.student}: {_short(result)}" + (f"; about {left:.0f} s left" if left else ""))
    except BaseException:
        for future in futures:
            future.cancel()
        children.end()
        raise
    finally:
        pool.shutdown(wait=True)
    return ClassRecord(assignment=name, seed=seed, submissions=tuple(sorted(results, key=lambda result: result.student)))


def _short(result: SubmissionResult) -> str:
    if result.score is None:
        return f"{result.status}: {result.reason}"
    return f"{result.score:g} of {result.max_score:g}"


def _kept_seed(place: Path, assignment: Assignment) -> str:
    file = place / f"seed-{assignment.digest()[:32]}"
    with contextlib.suppress(FileExistsError):
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="ascii") as stream:
            stream.write(secrets.token_hex(16))
    return file.read_text(encoding="ascii")


def _one(course: Path, assignment: Assignment, prepared: Prepared, student: str, seed: str, children: _Children) -> SubmissionResult:
    """One submission, whatever it is and whatever happens: nothing is raised that would stop the class."""
    digest = ""
    try:
        data = read_submission(course, assignment, student)
        digest = _digest(data, assignment, prepared, seed)
        kept = _kept(prepared, digest, student)
        if kept is not None:
            return kept
        submission = collect(data, assignment, student)
        result = _in_process(assignment, prepared, submission, seed, children)
        result = msgspec.structs.replace(result, digest=digest)
        if result.status == "graded":
            # Trouble of the grader is not kept: the next run tries again.
            write_atomically(_file(prepared, digest, student), msgspec.json.encode(result))
    except Rejected as error:
        return record.without_score(student, "rejected", assignment.max_score, str(error), digest)
    except Exception as error:  # noqa: BLE001 - a fault of ours must not stop the class, and must not read as a zero
        return record.without_score(student, "infrastructure-error", assignment.max_score, f"{type(error).__name__}: {error}", digest)
    return result


def _digest(data: bytes, assignment: Assignment, prepared: Prepared, seed: str) -> str:
    """Identity of a result: the submission and everything that could change what comes of it."""
    found = hashlib.sha256()
    rules = f"{GRADER_VERSION}\0{__version__}\0{seed}\0{assignment.digest()}\0{_tree_digest(Path(prepared.app))}\0"
    found.update(rules.encode())
    found.update(data)
    return found.hexdigest()


def _tree_digest(app: Path) -> str:
    found = hashlib.sha256()
    for folder, folders, files in os.walk(app):
        folders[:] = sorted(name for name in folders if name not in ("node_modules", "dist", ".git"))
        for name in sorted(files):
            path = Path(folder) / name
            found.update(f"{path.relative_to(app)}\0".encode())
            found.update(hashlib.sha256(path.read_bytes()).digest())
    return found.hexdigest()


def _file(prepared: Prepared, digest: str, student: str) -> str:
    who = hashlib.sha256(student.encode()).hexdigest()[:16]
    return str(Path(prepared.results) / f"{who}-{digest}.json")


def _kept(prepared: Prepared, digest: str, student: str) -> SubmissionResult | None:
    try:
        result = msgspec.json.decode(Path(_file(prepared, digest, student)).read_bytes(), type=SubmissionResult)
    except (OSError, msgspec.MsgspecError, ValueError):
        return None
    return result if result.digest == digest and result.student == student else None


def _in_process(assignment: Assignment, prepared: Prepared, submission: Submission, seed: str, children: _Children) -> SubmissionResult:
    job = msgspec.json.encode(Job(assignment=assignment, prepared=prepared, submission=submission, seed=seed))
    output = children.run([sys.executable, "-P", "-m", f"{package}.worker"], job, assignment.limits.submission_seconds + _GRACE_SECONDS)
    result = msgspec.json.decode(output, type=SubmissionResult)
    if result.student != submission.student or result.max_score != assignment.max_score:
        raise ValueError("the worker answered for another submission")
    return result


class _Children:
    """The worker processes that run, so that all of them can be ended."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: set[subprocess.Popen[bytes]] = set()
        self._ended = False

    def run(self, command: list[str], data: bytes, seconds: float) -> bytes:
        """Run to the end. Raises ``RuntimeError`` for a worker that fails, ``TimeoutExpired`` for one that does not end."""
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
        with self._lock:
            if self._ended:
                raise RuntimeError("the run was stopped")
            child = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=environment,
                process_group=0,
            )
            self._running.add(child)
        try:
            output, errors = child.communicate(data, timeout=seconds)
        finally:
            with self._lock:
                self._running.discard(child)
            if child.poll() is None:
                os.killpg(child.pid, signal.SIGKILL)
                child.communicate()
        if child.returncode != 0:
            raise RuntimeError(f"the worker ended with status {child.returncode}: {errors.decode('utf-8', 'replace').strip()[-500:]}")
        return output

    def end(self) -> None:
        """Ask every worker to stop, as Ctrl-C does."""
        with self._lock:
            self._ended = True
            for child in self._running:
                child.terminate()
