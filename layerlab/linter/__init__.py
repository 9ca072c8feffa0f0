"""Build checks: what BuildKit warns of in a Dockerfile before anything is built (``docker build --check``)."""

from layerlab.linter.check import check
from layerlab.linter.show import report

__all__ = ["check", "report"]
