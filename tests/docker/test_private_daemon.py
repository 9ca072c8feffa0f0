"""Whose daemon it is: nobody's build cache is emptied and nobody's images are taken by accident."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docker.private import FLAG, PRIVATE, SharedDaemonError, borrowed, check_private

ROOT = Path(__file__).resolve().parents[2]
TOOLS = {
    "bench/engine.py": ["bench/engine.py", "--only", "small"],
    "bench/grading.py": ["bench/grading.py"],
    "conformance": ["-m", "pytest", "-q", "tests/conformance", "--engine", "docker"],
    "record": ["-m", "tests.conformance.record", "--docker", "tests/conformance/cases/none.json"],
}
# A client that keeps a diary, for a daemon with images in a folder: a file for each tag, in it the ID.
_DOCKER = """\
#!/bin/sh
echo "$*" >> "$DIARY"
case "$1 $2" in
"image inspect") cat "$IMAGES/$5" 2>/dev/null || exit 1 ;;
"rmi -f") shift 2; for name; do rm -f "$IMAGES/$name"; done ;;
tag*) echo "$2" > "$IMAGES/$3" ;;
esac
"""


@pytest.fixture
def diary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What a stand-in for the Docker client was asked to do."""
    for name in ("bin", "images"):
        (tmp_path / name).mkdir()
    client = tmp_path / "bin" / "docker"
    client.write_text(_DOCKER, encoding="utf-8")
    client.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{os.environ['PATH']}")
    monkeypatch.setenv("DIARY", str(tmp_path / "diary"))
    monkeypatch.setenv("IMAGES", str(tmp_path / "images"))
    monkeypatch.setenv("DOCKER_HOST", "unix:///somebodys.sock")
    monkeypatch.delenv(PRIVATE, raising=False)
    (tmp_path / "diary").touch()
    return tmp_path / "diary"


@pytest.mark.parametrize("command", TOOLS.values(), ids=TOOLS.keys())
def test_a_daemon_that_is_not_ours_is_refused_before_anything_is_asked_of_it(diary: Path, command: list[str]) -> None:
    done = subprocess.run([sys.executable, "-P", *command], cwd=ROOT, env=_with_path(), capture_output=True, text=True, check=False)
    assert done.returncode != 0
    said = done.stdout + done.stderr
    assert "empties the whole build cache" in said
    assert "unix:///somebodys.sock" in said
    assert FLAG in said
    assert [line for line in diary.read_text().splitlines() if line != "version"] == []


def _with_path() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT)}


@pytest.mark.parametrize("told", [True, False])
def test_a_private_daemon_or_the_flag_is_enough(diary: Path, monkeypatch: pytest.MonkeyPatch, told: bool) -> None:
    with pytest.raises(SharedDaemonError):
        check_private(told=False)
    if not told:
        monkeypatch.setenv(PRIVATE, "1")
    check_private(told=told)


@pytest.mark.parametrize("theirs", ["", "sha256:theirs"])
@pytest.mark.parametrize("fails", [True, False])
def test_tags_are_given_back_and_what_was_made_is_gone(diary: Path, theirs: str, fails: bool) -> None:
    images = diary.parent / "images"
    if theirs:
        (images / "node:alpine").write_text(f"{theirs}\n")

    def work() -> None:
        with borrowed("docker", ["node:alpine", "base:1"]) as made:
            (images / "node:alpine").write_text("sha256:stub\n")
            (images / "sha256:built").write_text("sha256:built\n")
            made |= {"sha256:built", theirs}
            if fails:
                raise RuntimeError

    if fails:
        with pytest.raises(RuntimeError):
            work()
    else:
        work()
    assert {path.name: path.read_text().strip() for path in images.iterdir()} == ({"node:alpine": theirs} if theirs else {})
    assert diary.read_text().splitlines()[-1] == "builder prune -af"
