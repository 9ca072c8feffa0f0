"""Drawn builds on Docker and on the embedded engine agree.

One seed, until long runs of fresh ones find nothing any more (``docs/roadmap.md``): ``LAYERLAB_DRAWN_SEED`` and ``LAYERLAB_DRAWN`` (how
many) say otherwise.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conformance.cases import REFERENCE
from tests.conformance.docker import engine_name

ROOT = Path(__file__).parents[2]


def test_drawn_builds_agree(capsys: pytest.CaptureFixture[str]) -> None:
    name = engine_name()
    if name != REFERENCE:
        pytest.skip(f"the embedded engine follows Docker {REFERENCE}, and this is {name}")
    seed, cases = os.environ.get("LAYERLAB_DRAWN_SEED", "s3"), os.environ.get("LAYERLAB_DRAWN", "40")
    words = [sys.executable, "-m", "tests.differential", "--seed", seed, "--cases", cases, "--tries", "0"]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    with capsys.disabled():
        print(f"\n{(done.stdout.splitlines() or [seed])[-1]}")
    assert done.returncode == 0, f"seed {seed}\n{done.stdout}\n{done.stderr}"
