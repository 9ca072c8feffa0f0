"""layerlab: see which image layers a build reuses, which it rebuilds, and exactly why."""

from __future__ import annotations

__version__ = "0.1.0"


def load_ipython_extension(ipython: object) -> None:
    """What ``%load_ext layerlab`` calls."""
    from layerlab.notebook import load

    load(ipython)
