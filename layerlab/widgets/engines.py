"""Engines for widgets: the one that a person asked for, and a second one so that a plan never waits for a build."""

from __future__ import annotations

from typing import TYPE_CHECKING

from layerlab.engines.connect import connect

if TYPE_CHECKING:
    from layerlab.engines.connect import AnyEngine


def engine_for(engine: AnyEngine | str | None) -> AnyEngine:
    """An engine itself, or the one of that name (default: ``auto``). Raises ``UsageError``, ``DockerError``."""
    return connect(engine or "auto") if engine is None or isinstance(engine, str) else engine


def twin_of(engine: AnyEngine) -> AnyEngine:
    """Another engine on the same store, with a worker process of its own."""
    return connect(engine.name, engine.store_path)


def described(engine: AnyEngine) -> dict[str, str]:
    """Engine and executor in words. May take a moment: it looks at what this machine allows. Raises ``StoreError``."""
    if engine.name == "docker":
        return {"engine": "Docker engine", "executor": f"{engine.executor}, {engine.snapshotter}"}  # type: ignore[union-attr]
    host = engine.host  # type: ignore[union-attr]
    return {"engine": "embedded engine", "executor": f"{host.executor or 'no executor'}, {host.snapshotter}"}
