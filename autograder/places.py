"""Where things are on this machine."""

from __future__ import annotations

from pathlib import Path

from layerlab.engines.embedded.store import default_store


def default_place() -> Path:
    """Where this machine grades: beside the store, never in it."""
    return Path(default_store()).parent / "grading"
