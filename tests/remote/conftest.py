"""A server for each test, and the world of the engine's tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.docker.conftest import daemon
from tests.engine.conftest import lab, layouts, make_lab, template_stores

from .server import Server

__all__ = ["daemon", "lab", "layouts", "make_lab", "template_stores"]


@pytest.fixture
def server() -> Iterator[Server]:
    """A server without files."""
    found = Server()
    yield found
    found.close()
