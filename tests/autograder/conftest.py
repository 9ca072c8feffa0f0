"""One grading machine for all tests here: preparing one takes a real install of the app's packages."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from layerlab.engines.embedded.engine import EmbeddedEngine
from layerlab.engines.embedded.rootfs.messages import Remove


@pytest.fixture(scope="session")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where the grader works. It is the folder beside the store ``machine.parent / "store"``, as notebooks expect it."""
    path = tmp_path_factory.mktemp("machine") / "grading"
    yield path
    if os.geteuid() == 0:
        # Root can remove everything, and there is much; nobody need wait for it.
        subprocess.Popen(["rm", "-rf", str(path)], stdin=subprocess.DEVNULL, start_new_session=True)
        return
    # What steps left there only the worker can remove.
    with EmbeddedEngine(str(path / "store")) as engine:
        engine.worker.ask(Remove(paths=["s"]))
