"""Whose fault an error of the engine is: the Dockerfile's and what it made, or this machine's and ours."""

from __future__ import annotations

from typing import Final

from layerlab.oci.references import INVALID_REFERENCE

# What a student's Dockerfile, or the image that was made of it, can bring about. All else is the grader's own trouble.
STUDENTS: Final = frozenset({"dockerfile", "context", "missing-source", "step-failed", "unsupported", "base-image", "remote-file"})


def is_students(kind: str, message: str) -> bool:
    """Whether an error is the answer's fault, by its kind and its words."""
    # Of the names of images in a build, only those in the Dockerfile are not ours.
    return kind in STUDENTS or (kind == "usage" and message.startswith(INVALID_REFERENCE))
