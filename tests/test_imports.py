"""The package's rooms import one way: the contracts are in ``pyproject.toml``."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[1]


def lint(config: Path) -> subprocess.CompletedProcess[str]:
    program = Path(sys.executable).with_name("lint-imports")
    return subprocess.run([program, "--config", config, "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False)


def test_every_contract_is_kept() -> None:
    done = lint(ROOT / "pyproject.toml")
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_contract_that_is_broken_is_seen(tmp_path: Path) -> None:
    config = tmp_path / "contracts.toml"
    config.write_text(
        '[tool.importlinter]\nroot_package = "layerlab"\n[[tool.importlinter.contracts]]\nname = "Upside down"\ntype = "layers"\n'
        'containers = ["layerlab"]\nlayers = ["dockerfile", "solver"]\n'
    )
    done = lint(config)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "layerlab.solver is not allowed to import layerlab.dockerfile" in done.stdout
