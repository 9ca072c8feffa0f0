"""The tests' own daemon is started, and stopped, in a directory that nobody else has a say in."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

_SCRIPT = Path(__file__).with_name("daemon.sh")


def _planted(place: Path, precious: Path) -> None:
    place.mkdir()
    (place / "inner.sh").symlink_to(precious)
    (place / "pid").write_text("1\n", encoding="ascii")
    os.chown(place, 65534, 65534)


def _open(place: Path, precious: Path) -> None:
    _planted(place, precious)
    os.chown(place, 0, 0)
    place.chmod(0o777)


def _linked(place: Path, precious: Path) -> None:
    elsewhere = place.with_name("elsewhere")
    _planted(elsewhere, precious)
    os.chown(elsewhere, 0, 0)
    place.symlink_to(elsewhere)


@pytest.mark.skipif(os.geteuid() != 0, reason="a Docker daemon needs root")
@pytest.mark.parametrize("verb", ["start", "stop"])
@pytest.mark.parametrize("plant", [_planted, _open, _linked], ids=["another's", "everybody's", "a link"])
def test_a_directory_that_others_have_a_say_in_is_refused(tmp_path: Path, verb: str, plant: Callable[[Path, Path], None]) -> None:
    """Its name can be reckoned, and root runs what is in it."""
    precious = tmp_path / "precious"
    precious.write_text("of great worth", encoding="utf-8")
    plant(tmp_path / "place", precious)
    done = subprocess.run(["bash", str(_SCRIPT), verb, str(tmp_path / "place")], capture_output=True, text=True, check=False, timeout=180)
    assert done.returncode == 1
    assert "not a directory of this user" in done.stderr
    assert precious.read_text(encoding="utf-8") == "of great worth"
    assert sorted(path.name for path in (tmp_path / "place").iterdir()) == ["inner.sh", "pid"]
