"""Mount points that an image lacks are lent to a command: one set of them serves every step that needs the same."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from layerlab.engines.embedded.engine import EmbeddedEngine

if TYPE_CHECKING:
    from .conftest import Lab

_CACHE = "RUN --mount=type=cache,target=/made/cache "


def _lent(lab: Lab) -> list[Path]:
    return list(Path(lab.engine.store.path, lab.engine.store.scratch()).glob("stubs-*"))


def test_what_a_step_does_to_them_is_its_own(each_lab: Lab) -> None:
    lab = each_lab
    record = lab.build(
        "FROM base:1\n"
        f"{_CACHE}chmod 700 /made && echo x > /made/x\n"
        "FROM base:1\n"
        f"{_CACHE}ls -ld /made && test ! -e /made/x && touch /made/y\n"
        f"{_CACHE}rm /made/y && echo last > /made/z\n"
        "COPY --from=0 /made/x /\n"
    )
    assert "drwxr-xr-x" in lab.output
    assert [sorted(layer) for layer in lab.layers(record)][-3:] == [["made", "made/y"], ["made", "made/y", "made/z"], ["x"]]


def test_many_steps_use_one_and_it_goes_with_the_engine(lab: Lab) -> None:
    if lab.engine.host.snapshotter != "overlay":
        pytest.skip("a copied tree has its mount points in itself")
    lab.build("FROM base:1\n" + "".join(f"RUN echo {number} > /f\n" for number in range(4)))
    assert len(_lent(lab)) == 1
    lab.build("FROM base:1\nRUN --mount=type=tmpfs,target=/elsewhere echo > /g\n")
    assert len(_lent(lab)) == 2
    with EmbeddedEngine(lab.engine.store_path) as other:
        other.build(lab.options("FROM base:1\nRUN echo > /h\n"))
        assert len(_lent(lab)) == 3
    assert len(_lent(lab)) == 2
    lab.engine.close()
    assert os.listdir(Path(lab.engine.store.path, lab.engine.store.scratch())) == []


def test_one_that_has_gone_is_made_again(lab: Lab) -> None:
    lab.build("FROM base:1\nRUN echo > /f\n")
    for place in _lent(lab):
        shutil.rmtree(place)
    lab.build("FROM base:1\nRUN test -d /proc/1 && echo > /g\n")


_NAMESPACE = """
import ctypes, json, os, sys
from layerlab.engines.embedded.rootfs import namespaces
namespaces.enter(mapped_root=False)
mount = ctypes.CDLL(None, use_errno=True).mount
read, write = os.pipe()
for kind, place in json.loads(sys.argv[1]):
    os.makedirs(place, exist_ok=True)
    # A process of the automounter's own group triggers nothing.
    options = f"fd={write},pgrp={os.getpgrp()},minproto=5,maxproto=5,direct".encode() if kind == "autofs" else None
    assert mount(b"x", place.encode(), kind.encode(), 0, options) == 0, (kind, place, os.strerror(ctypes.get_errno()))
namespaces.drop_kernels()
for line in open("/proc/self/mountinfo", "rb").read().decode().split("\\n"):
    words = line.split(" ")
    if line:
        print(json.dumps([words[words.index("-") + 1], words[4].replace("\\\\040", " ")]))
"""

# What is mounted, and whether it stays.
_MOUNTS = (
    ("tmpfs", "plain", True),
    ("tmpfs", "a b/deep", True),
    ("tmpfs", "carriage\rreturn", True),
    ("tmpfs", "data", True),
    ("tmpfs", "data\N{NO-BREAK SPACE}-\N{NO-BREAK SPACE}sysfs", True),
    ("proc", "p", True),
    ("sysfs", "loose", False),
    ("devpts", "terminals", False),
    ("sysfs", "held", True),
    ("tmpfs", "held/fs", True),
    ("sysfs", "hidden/b", True),
    ("tmpfs", "hidden", True),
    ("tmpfs", "hidden/b", True),
    ("autofs", "automatic", True),
    ("sysfs", "automatic", True),
    ("autofs", "/proc/sys/fs", False),
    ("tmpfs", "/proc/sys/fs", False),
)


@pytest.mark.skipif(os.getuid() != 0, reason="an ordinary user cannot take a mount away that it was given")
def test_a_worker_has_the_kernels_file_systems_no_more_and_all_others_still(tmp_path: Path) -> None:
    before = Path("/proc/self/mountinfo").read_bytes()
    automatic = "\tautofs\n" in Path("/proc/filesystems").read_text()
    mounts = [(kind, place, stays) for kind, place, stays in _MOUNTS if automatic or (place != "automatic" and kind != "autofs")]
    asked = json.dumps([(kind, place if place.startswith("/") else str(tmp_path / place)) for kind, place, _ in mounts])
    command = [sys.executable, "-c", _NAMESPACE, asked]
    completed = subprocess.run(command, check=False, capture_output=True, text=True, env={"PYTHONPATH": ":".join(sys.path)})
    if "Operation not permitted" in completed.stderr:
        pytest.skip("root of a user namespace may not mount what this needs")
    assert completed.returncode == 0, completed.stderr
    left = [tuple(json.loads(line)) for line in completed.stdout.splitlines()]
    assert sorted(row for row in left if row[1].startswith(f"{tmp_path}/")) == sorted(
        (kind, str(tmp_path / place)) for kind, place, stays in mounts if stays
    )
    assert [place for _, place in left if place.startswith(("/sys", "/proc/sys"))] == []
    assert {kind for kind, place in left if not place.startswith(f"{tmp_path}/")} & {"cgroup", "cgroup2", "devpts", "mqueue"} == set()
    rows = [line.decode("utf-8", "surrogateescape").split(" ") for line in before.split(b"\n") if line]
    kept = {row[4] for row in rows if row[row.index("-") + 1] in ("ext4", "xfs", "btrfs", "overlay", "proc")}
    assert kept <= {place for _, place in left}
    assert Path("/proc/self/mountinfo").read_bytes() == before
