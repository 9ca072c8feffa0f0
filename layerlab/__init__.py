"""layerlab: see which image layers a build reuses, which it rebuilds, and exactly why."""

from __future__ import annotations

from layerlab.version import __version__ as __version__


def load_ipython_extension(ipython: object) -> None:
    """What ``%load_ext layerlab`` calls."""
    from layerlab.notebook import load

    load(ipython)
