"""Where things are on this machine."""

from __future__ import annotations

from pathlib import Path

from layerlab.engines.embedded.store import default_store


def default_place() -> Path:
    """Where this machine grades: beside the store, never in it."""
    return Path(default_store()).parent / "grading"


def make_place(place: Path) -> None:
    """A directory to grade in: what students wrote and earned is nobody else's on this machine."""
    place.mkdir(mode=0o700, parents=True, exist_ok=True)
