"""What a build does not need it does not load: the start of a process is most of the time that a build from the cache takes."""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Final

import pytest

from layerlab.cli import _VERBS

ROOT: Final = Path(__file__).parents[2]

# Of a registry, of Docker, of containers' ports, of notebooks.
UNNEEDED: Final = ("IPython", "asyncio", "docker", "requests", "ssl", "traitlets")

_PROGRAM: Final = """
import sys
from layerlab.cli import main
status = main(sys.argv[1:])
print(*sorted(sys.modules), sep="\\n", file=sys.stderr)
sys.exit(status)
"""


# Of what runs a step, and of containers.
OF_STEPS: Final = (
    *("concurrent", "subprocess", "layerlab.commands.containers", "layerlab.engines.embedded.builds.steps"),
    *("layerlab.engines.embedded.containers", "layerlab.engines.embedded.snapshotters"),
)


@pytest.fixture
def loaded(tmp_path: Path) -> Callable[[], set[str]]:
    """Builds, and returns the names of all that was loaded."""
    context = tmp_path / "context"
    context.mkdir()
    (context / "f").write_text("f", encoding="utf-8")
    (context / "Dockerfile").write_text("FROM scratch\nCOPY f /\n", encoding="utf-8")
    words = ["build", "-q", "--engine", "embedded", "--network", "none", "--offline", "--store", str(tmp_path / "store"), str(context)]

    def build() -> set[str]:
        done = subprocess.run([sys.executable, "-P", "-c", _PROGRAM, *words], cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return set(done.stderr.splitlines())

    return build


def test_a_build_loads_neither_network_nor_docker_nor_notebooks(loaded: Callable[[], set[str]]) -> None:
    found = {name.partition(".")[0] for name in loaded()}
    assert "layerlab" in found
    assert found.isdisjoint(UNNEEDED), sorted(found & {*UNNEEDED})


def test_a_build_in_which_nothing_runs_loads_nothing_that_runs_steps(loaded: Callable[[], set[str]]) -> None:
    assert "layerlab.engines.embedded.builds.steps" in loaded()
    assert loaded().isdisjoint(OF_STEPS)


@pytest.mark.parametrize("module", _VERBS)
def test_a_verb_is_looked_for_in_the_module_that_has_it(module: str) -> None:
    verbs = argparse.ArgumentParser().add_subparsers()
    import_module(f"layerlab.commands.{module}").add(verbs)
    assert set(verbs.choices) == set(_VERBS[module])
