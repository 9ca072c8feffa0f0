"""The Dask backend, for a class that is too large for one machine: ``distributed`` carries the jobs, and each runs in a process of its own.

No code of a student's ever runs in a Dask worker. A worker needs layerlab installed, in the same version, and no shared file system: the
trusted app travels with the job, and each machine prepares its own base image and npm cache once.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import logging
import tarfile
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from autograder.backends.base import Outcome
from autograder.backends.children import Children
from autograder.backends.results import GRADER_VERSION
from autograder.backends.worker import Job
from autograder.exercise.assignment import Assignment
from autograder.exercise.places import default_place, make_place
from autograder.exercise.workspace import NOT_OF_THE_APP
from autograder.judge.prepare import prepare
from autograder.submission.notebook_reader import Submission
from autograder.submission.record import SubmissionResult, fits
from layerlab.errors import UsageError
from layerlab.fsutil import locked
from layerlab.unpacking import unpack_data
from layerlab.version import __version__

_VERSION: Final = f"{__version__}/{GRADER_VERSION}"
# Workers that declare it (``dask worker --resources sandbox=1``) take so many submissions at once, and no other worker takes one.
_RESOURCE: Final = "sandbox"
_CONNECT_SECONDS: Final = 30


class Parcel(msgspec.Struct, frozen=True, kw_only=True):
    """A job that can travel. ``app``: a tar of the trusted app. ``place``: where to grade; empty for the other machine's own place."""

    version: str
    assignment: Assignment
    submission: Submission
    seed: str
    app: bytes
    place: str


class DaskBackend(contextlib.AbstractContextManager["DaskBackend"]):
    """``scheduler``: address of a cluster that runs already; empty for one of ``workers`` processes on this machine.

    Raises ``UsageError`` where ``distributed`` is not installed or the scheduler does not answer.
    """

    def __init__(self, scheduler: str, workers: int, place: Path) -> None:
        try:
            import dask
            import distributed
        except ImportError as error:
            raise UsageError("the Dask backend needs the package distributed", remedy="pip install distributed") from error
        # The package carries no types.
        self._distributed: Any = distributed
        self._stack = contextlib.ExitStack()
        self._place = "" if scheduler else str(place.resolve())
        self.security: Any = None
        """The keys of a cluster of this machine; ``None``: what the user's settings of Dask say."""
        # A worker that dies is the grader's trouble, which is retried by us, and told.
        settings: dict[str, Any] = {"distributed.scheduler.allowed-failures": 0}
        if not scheduler:
            # Nobody looks at the pages of a cluster that lives for one class.
            settings |= {"distributed.scheduler.http.routes": [], "distributed.worker.http.routes": []}
        self._stack.enter_context(dask.config.set(settings))
        with contextlib.ExitStack() as stack:
            if not scheduler:
                # Whoever reaches a port of a scheduler or a worker without TLS runs what they like as its user, and every user of this
                # machine reaches its loopback. These keys are in memory alone.
                self.security = self._distributed.Security.temporary()
                # In the system's directory for temporary files distributed would use one with a name that everybody knows, whoever has made
                # it, and write through its links.
                make_place(place)
                directory = stack.enter_context(tempfile.TemporaryDirectory(prefix="dask-", dir=place))
                stack.enter_context(dask.config.set({"temporary-directory": directory}))
                cluster = self._distributed.LocalCluster(
                    security=self.security,
                    local_directory=directory,
                    n_workers=max(1, workers),
                    threads_per_worker=1,
                    processes=True,
                    resources={_RESOURCE: 1},
                    dashboard_address="127.0.0.1:0",
                    # It would tell every user of this machine.
                    scheduler_kwargs={"dashboard": False},
                    host="127.0.0.1",
                    silence_logs=50,
                )
                stack.enter_context(cluster)
            try:
                self._client = stack.enter_context(self._distributed.Client(scheduler or cluster, timeout=_CONNECT_SECONDS))
            except (OSError, ValueError) as error:
                raise UsageError(
                    f"no Dask scheduler answers at {scheduler}: {error}", remedy="Give its address, for example tcp://HOST:8786."
                ) from error
            self._stack.push(stack.pop_all())

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def run(self, jobs: Sequence[Job]) -> Iterator[Outcome]:
        """See ``Backend.run``."""
        if not jobs:
            return
        declared = any(
            worker.get("resources", {}).get(_RESOURCE) for worker in self._client.scheduler_info(n_workers=-1)["workers"].values()
        )
        options: dict[str, Any] = {"resources": {_RESOURCE: 1}} if declared else {}
        futures = {self._client.submit(grade_parcel, self._parcel(job), pure=False, retries=0, **options): job for job in jobs}
        for future in self._distributed.as_completed(list(futures)):
            yield _outcome(future, futures[future])

    def _parcel(self, job: Job) -> bytes:
        return msgspec.json.encode(
            Parcel(
                version=_VERSION,
                assignment=job.assignment,
                submission=job.submission,
                seed=job.seed,
                app=_packed(job.prepared.app),
                place=self._place,
            )
        )


def _outcome(future: Any, job: Job) -> Outcome:
    student = job.submission.student
    try:
        result = msgspec.json.decode(future.result(), type=SubmissionResult)
    except Exception as error:
        # Whatever befell another machine must not stop the class.
        logging.getLogger(__name__).exception("grading %s", student)
        return Outcome(student=student, trouble=f"{type(error).__name__}: {error}")
    if not fits(result, student, job.assignment):
        return Outcome(student=student, trouble="the cluster answered for another submission")
    return Outcome(student=student, result=result)


def grade_parcel(data: bytes) -> bytes:
    """What a Dask worker does with a ``Parcel``: prepares this machine where that was not done yet, and grades in a process of its own.

    Returns an encoded ``SubmissionResult``. Raises ``UsageError`` for another version of layerlab, and what ``prepare`` and
    ``Children.grade`` raise.
    """
    parcel = msgspec.json.decode(data, type=Parcel)
    if parcel.version != _VERSION:
        raise UsageError(f"this worker has layerlab {_VERSION}; the class is graded with {parcel.version}")
    place = Path(parcel.place) if parcel.place else default_place()
    prepared = prepare(_unpacked(parcel, place), parcel.assignment, place, lambda _text: None)
    children = Children()
    try:
        result = children.grade(Job(assignment=parcel.assignment, prepared=prepared, submission=parcel.submission, seed=parcel.seed))
    finally:
        children.end()
    return msgspec.json.encode(result)


def _packed(app: str) -> bytes:
    def wanted(member: tarfile.TarInfo) -> tarfile.TarInfo | None:
        return None if set(Path(member.name).parts) & set(NOT_OF_THE_APP) else member

    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        archive.add(app, arcname="app", filter=wanted)
    return buffer.getvalue()


def _unpacked(parcel: Parcel, place: Path) -> Path:
    """A course whose app is the parcel's; made once for each app."""
    digest = hashlib.sha256(parcel.app).hexdigest()[:32]
    home = place / "apps" / digest
    make_place(place)
    with locked(str(place / "apps.lock")):
        target = home / parcel.assignment.app
        if not target.is_dir():
            with tempfile.TemporaryDirectory(dir=place) as scratch:
                with tarfile.open(fileobj=io.BytesIO(parcel.app)) as archive:
                    unpack_data(archive, Path(scratch))
                target.parent.mkdir(parents=True, exist_ok=True)
                (Path(scratch) / "app").rename(target)
    return home / "course"
