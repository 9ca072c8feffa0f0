"""The small world of the engine's tests, for attacks on it."""

from __future__ import annotations

from tests.engine.conftest import layouts, make_lab, template_stores

__all__ = ["layouts", "make_lab", "template_stores"]
