"""Which of the two fuzzers runs: the one that ``--engine`` names."""

from __future__ import annotations

from pathlib import Path

import pytest

_ENGINES = {"test_on_docker.py": "docker", "test_modes.py": "embedded"}


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """The other fuzzer is no test that was skipped."""
    engine = _ENGINES.get(collection_path.name)
    return True if engine is not None and engine != config.getoption("--engine") else None
