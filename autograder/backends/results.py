"""Finished results, kept so that a run can be taken up again: one file for each, under the digest of all that could change it."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Final

import msgspec

from autograder.exercise.assignment import Assignment
from autograder.exercise.workspace import tree_digest
from autograder.judge.prepare import Prepared
from autograder.submission.record import SubmissionResult, fits
from layerlab.fsutil import write_atomically
from layerlab.version import __version__

# Raise it when the same answer could now get another result: results of earlier versions are not reused.
GRADER_VERSION: Final = 6


class Results:
    """The kept results of one assignment under one seed. ``prepared``: where they are, and the app that they are about."""

    def __init__(self, assignment: Assignment, prepared: Prepared, seed: str) -> None:
        self._directory = Path(prepared.results)
        self._assignment = assignment
        self._rules = f"{GRADER_VERSION}\0{__version__}\0{seed}\0{assignment.digest()}\0{tree_digest(Path(prepared.app))}\0".encode()

    def digest(self, data: bytes) -> str:
        """Identity of a result: the bytes of a submission and everything that could change what comes of it. Hexadecimal."""
        return hashlib.sha256(self._rules + data).hexdigest()

    def kept(self, student: str, digest: str) -> SubmissionResult | None:
        """A result that is there already."""
        try:
            result = msgspec.json.decode(self._file(student, digest).read_bytes(), type=SubmissionResult)
        except (OSError, msgspec.MsgspecError, ValueError):
            return None
        return result if result.digest == digest and fits(result, student, self._assignment) else None

    def keep(self, result: SubmissionResult) -> None:
        """Keep a result, if it has a score: trouble of the grader is tried again by the next run. Raises ``OSError``."""
        if result.status == "graded":
            write_atomically(str(self._file(result.student, result.digest)), msgspec.json.encode(result))

    def _file(self, student: str, digest: str) -> Path:
        who = hashlib.sha256(student.encode()).hexdigest()[:16]
        return self._directory / f"{who}-{digest}.json"
