"""Control groups: where they are made, what they hold, and that nothing of them stays."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from autograder.exercise.assignment import Limits
from autograder.sandbox.cgroups import group

_LEAVES_ONE_BEHIND = """
import os, sys, time
for file in sys.argv[1:]:
    with open(file, "w") as stream:
        stream.write("0")
if os.fork() == 0:
    os.setsid()
time.sleep(600)
"""
LIMITS = Limits(memory_bytes=1 << 30, processes=100)


def _tree(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)


@pytest.mark.parametrize(
    ("membership", "files", "places"),
    [
        ("0::/user/app\n", {"user/app/cgroup.subtree_control": "", "user/cgroup.subtree_control": "cpu memory pids"}, ["user/g"]),
        ("0::/box\n", {"box/cgroup.subtree_control": "memory pids"}, ["box/g"]),
        ("0::/box\n", {"box/cgroup.subtree_control": "memory"}, []),
        (
            "8:pids:/\n4:memory:/mine\n0::/\n",
            {"pids/cgroup.procs": "", "memory/cgroup.procs": "", "memory/mine/x": ""},
            ["pids/g", "memory/mine/g"],
        ),
        ("", {}, []),
    ],
    ids=["beside-own", "below-own", "no-pids", "version-1", "none"],
)
def test_a_group_is_made_where_the_kernel_would_let_one(tmp_path: Path, membership: str, files: dict[str, str], places: list[str]) -> None:
    """In a directory of files in the kernel's place: this test is of where, not of the kernel."""
    _tree(tmp_path / "fs", files)
    (tmp_path / "cgroup").write_text(membership)
    with group("g", LIMITS, tmp_path / "fs", tmp_path / "cgroup") as joined:
        assert sorted(joined) == sorted(str(tmp_path / "fs" / place / "cgroup.procs") for place in places)
        written = [
            (tmp_path / "fs" / place / file).is_file() for place in places for file in ("pids.max", "memory.max", "memory.limit_in_bytes")
        ]
        assert any(written) == bool(places)
        for place in places:
            for file in (tmp_path / "fs" / place).iterdir():
                # What the kernel's directories allow: to go with their files in them.
                file.unlink()


def test_what_is_still_in_the_group_ends_with_it() -> None:
    """On this machine's kernel. A process that left its parent is found by its group."""
    with group(f"layerlab-test-{os.getpid()}", LIMITS) as files:
        if not files:
            pytest.skip("this user may make no control groups here (root, or a delegated group)")
        child = subprocess.Popen([sys.executable, "-c", _LEAVES_ONE_BEHIND, *files], start_new_session=True)
        procs = Path(files[0])
        end = time.monotonic() + 20
        while len(procs.read_text().split()) < 2 and time.monotonic() < end:
            time.sleep(0.02)
        members = [int(word) for word in procs.read_text().split()]
        assert len(members) == 2
    assert child.wait(timeout=10) == -9
    assert not any(Path(file).exists() for file in files)
    assert not any(_runs(member) for member in members)


def _runs(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] not in ("Z", "X")
    except OSError:
        return False
