"""layerlab: see which image layers a build reuses, which it rebuilds, and exactly why."""

__version__ = "0.1.0"
