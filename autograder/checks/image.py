"""Checks on the image itself: that it runs and serves what was edited, and what it wastes."""

from __future__ import annotations

from autograder.assignment import Assignment
from autograder.checks.base import Finding, served
from autograder.observe import Observation

_SHOWN = 120


def serves(seen: Observation, assignment: Assignment) -> Finding:
    """The image stands on an allowed base, runs, and answers with what the edited source says."""
    failed = {"serves": False}
    if not seen.base:
        return Finding(parts=failed, message=f"The image must stand on one of: {', '.join(assignment.bases)}.")
    if seen.source.problem:
        return Finding(parts=failed, message=f"After an edit of a source the build fails: {seen.source.problem}")
    answer = seen.answer
    if answer.body is None:
        message = f"The image does not serve: {answer.problem}."
        if answer.log.strip():
            message += f" Its last words: {_printable(answer.log.strip()[-400:])}"
        return Finding(parts=failed, message=message)
    if not served(seen):
        got = _printable(answer.body.strip()[:_SHOWN])
        return Finding(
            parts=failed,
            message=f"The source was edited so that GET / answers {seen.expected!r}; the image answers {got!r} (status {answer.status}).",
        )
    return Finding(parts={"serves": True}, message="The image runs and serves the content of the edited source.")


def size(seen: Observation, assignment: Assignment) -> Finding:
    """Not more bytes are wasted than the limit: files that a later layer replaces or hides still travel with the image."""
    limit = assignment.limits.wasted_bytes
    text = f"{seen.wasted:,} bytes of the image are hidden by later layers; at most {limit:,} are allowed."
    return Finding(parts={"wasted": seen.wasted <= limit}, message=text)


def _printable(text: str) -> str:
    return "".join(letter if letter.isprintable() else " " for letter in text)
