"""Engines for widgets: the one that a person asked for, and what is said of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from layerlab.engines.connect import connect

if TYPE_CHECKING:
    from layerlab.engines.api import Engine


def engine_for(engine: Engine | str | None) -> Engine:
    """An engine itself, or the one of that name (default: ``auto``). Raises ``UsageError``, ``DockerError``."""
    return connect(engine or "auto") if engine is None or isinstance(engine, str) else engine


def described(engine: Engine) -> dict[str, str]:
    """Engine and executor in words. May take a moment: it looks at what this machine allows. Raises ``StoreError``."""
    about = engine.about()
    return {"engine": about.title, "executor": f"{about.executor}, {about.snapshotter}"}
