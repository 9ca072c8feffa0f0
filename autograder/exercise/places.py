"""Where things are on this machine."""

from __future__ import annotations

import os
from pathlib import Path

from layerlab.engines.data_directory import default_store
from layerlab.errors import UsageError


def default_place() -> Path:
    """Where this machine grades: beside the store, never in it."""
    return Path(default_store()).parent / "grading"


def own_course() -> Path:
    """The exercises of this checkout; no directory where the package is installed, which has none."""
    return Path(__file__).resolve().parents[2] / "exercises"


def make_place(place: Path) -> None:
    """A directory to grade in: what students wrote and earned is nobody else's on this machine, nor are its locks.

    Raises ``UsageError`` for another user's.
    """
    place.mkdir(mode=0o700, parents=True, exist_ok=True)
    status = place.stat()
    if status.st_uid != os.geteuid():
        raise UsageError(f"{place} belongs to another user, who could change what is graded there", remedy="Choose another --place.")
    if status.st_mode & 0o077:
        place.chmod(0o700)
