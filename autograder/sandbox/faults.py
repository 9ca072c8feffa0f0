"""Whose fault an error of the engine is: the Dockerfile's and what it made, or this machine's and ours."""

from __future__ import annotations

from typing import Final

from layerlab.errors import InvalidReferenceError

# What a student's Dockerfile, or the image that was made of it, can bring about. All else is the grader's own trouble.
STUDENTS: Final = frozenset({"dockerfile", "context", "missing-source", "step-failed", "unsupported", "base-image", "remote-file"})


def is_students(kind: str, code: str) -> bool:
    """Whether an error is the answer's fault, by its kind and its code."""
    # Of the names of images in a build, only those in the Dockerfile are not ours.
    return kind in STUDENTS or code == InvalidReferenceError.code
