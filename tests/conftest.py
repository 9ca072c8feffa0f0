"""Options of the whole test suite. They are declared here, so that they work whichever folder is named."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.docker.private import FLAG, FLAG_HELP, SharedDaemonError, check_private


def pytest_addoption(parser: pytest.Parser) -> None:
    """Where the conformance cases are, and which engine is tested against them."""
    group = parser.getgroup("conformance")
    group.addoption(
        "--cases", type=Path, default=Path(__file__).parent / "conformance" / "cases", metavar="DIR", help="folder of the conformance cases"
    )
    group.addoption("--engine", choices=("embedded", "docker"), default="embedded", help="the engine that the conformance cases are run on")
    group.addoption(FLAG, action="store_true", help=FLAG_HELP)
    group.addoption("--differences", type=Path, default=None, metavar="FILE", help="write all differences of images to this file")


def pytest_configure(config: pytest.Config) -> None:
    """Tests say which engine they mean: a daemon that happens to run must not change what they test, nor be changed."""
    os.environ["LAYERLAB_ENGINE"] = "embedded"
    if config.getoption("--engine") == "docker":
        try:
            check_private(told=config.getoption(FLAG))
        except SharedDaemonError as error:
            raise pytest.UsageError(str(error)) from error
