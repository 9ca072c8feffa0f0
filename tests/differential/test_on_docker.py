"""Drawn builds on Docker and on the embedded engine agree: a fresh seed each time, which is printed.

``LAYERLAB_DRAWN_SEED``, ``LAYERLAB_DRAWN`` (how many) and ``LAYERLAB_DRAWN_WITHOUT`` (themes) say otherwise;
``python -m tests.differential`` goes on with a seed.
"""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conformance.cases import ENGINES
from tests.conformance.docker import engine_name

ROOT = Path(__file__).parents[2]


@pytest.mark.timeout(3600)
def test_drawn_builds_agree(capsys: pytest.CaptureFixture[str]) -> None:
    name = engine_name()
    if name not in ENGINES:
        pytest.skip(f"the embedded engine is compared with Docker {', '.join(ENGINES)}, and this is {name}")
    seed, cases = os.environ.get("LAYERLAB_DRAWN_SEED") or secrets.token_hex(4), os.environ.get("LAYERLAB_DRAWN", "60")
    words = [sys.executable, "-m", "tests.differential", "--seed", seed, "--cases", cases, "--tries", "0"]
    if without := os.environ.get("LAYERLAB_DRAWN_WITHOUT", "").split():
        words += ["--without", *without]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    with capsys.disabled():
        print("\n" + next((line for line in reversed(done.stdout.splitlines()) if line.startswith("seed ")), f"seed {seed}"))
    assert done.returncode == 0, f"seed {seed}\n{done.stdout}\n{done.stderr}"
