"""Choosing the engine: ``connect("auto" | "docker" | "embedded")``. Nothing is imported that the chosen engine does not need."""

from __future__ import annotations

import os

from layerlab.engines.api import Engine, StoreKeeper
from layerlab.errors import LayerlabError, UnsupportedError, UsageError

NAMES = ("auto", "docker", "embedded")
VARIABLE = "LAYERLAB_ENGINE"


def connect(name: str = "auto", store: str | None = None) -> Engine:
    """The engine of that name. ``store`` is where it keeps what it remembers.

    ``auto`` follows ``LAYERLAB_ENGINE``; where that is not set, it takes Docker when a daemon answers within a second and BuildKit is
    there to build with, else the embedded engine. Raises ``UsageError``; for ``docker`` the reason why it cannot be had.
    """
    chosen = choose(name)
    if chosen == "docker":
        from layerlab.engines.docker.engine import DockerEngine

        return DockerEngine(store)
    from layerlab.engines.embedded.engine import EmbeddedEngine

    return EmbeddedEngine(store)


def keeper_of(engine: Engine) -> StoreKeeper:
    """An engine whose store can be looked after. Raises ``UnsupportedError`` for one without."""
    if isinstance(engine, StoreKeeper):
        return engine
    raise UnsupportedError(
        "Docker's store is not layerlab's to verify or to empty: other projects use it, too",
        remedy="docker builder prune --keep-storage SIZE and docker image prune empty it; layerlab's own store has --engine embedded.",
    )


def choose(name: str) -> str:
    """``docker`` or ``embedded``. Raises ``UsageError``."""
    if name == "auto":
        name = os.environ.get(VARIABLE) or "auto"
        if name not in NAMES:
            raise UsageError(f"{VARIABLE} is {name!r}", remedy=f"It may be {', '.join(NAMES)}.")
    if name != "auto":
        return name
    return "docker" if _is_likely() and why_not_docker() is None else "embedded"


def why_not_docker() -> LayerlabError | None:
    """What keeps Docker from being used, or ``None``. Asks the daemon for at most a second."""
    from layerlab.engines.docker.client import DockerError, check_package, find_builder, probe

    problem = check_package() or probe()
    if problem is not None:
        return problem
    try:
        find_builder()
    except DockerError as error:
        return error
    return None


def _is_likely() -> bool:
    """Whether there is a sign of a daemon at all. Without one nothing more is imported or asked."""
    if os.environ.get("DOCKER_HOST"):
        return True
    directory = os.environ.get("DOCKER_CONFIG") or os.path.join(os.path.expanduser("~"), ".docker")
    return any(map(os.path.exists, ("/var/run/docker.sock", os.path.join(directory, "contexts", "meta"))))
