"""Process 1 of a sandbox: where a command begins, as whom, with what, and how its end is told. For each machine whose code is made here."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace

import pytest

from layerlab.engines.embedded.executors.switch_user import program

ENDS = {
    "a status": ("exit 7", "/tmp", 7),
    "a signal": ("kill -TERM $$", "/tmp", 143),
    "being killed": ("kill -9 $$", "/", 137),
    "another process ends before": ("(exit 3) & sleep 0.2; exit 4", "/tmp", 4),
    "a directory that is not there": ("exit 0", "/not/there", 255),
    "a directory that is a file": ("exit 0", "/etc/passwd", 255),
    "a directory by a descriptor that is shut": ("exit 0", "/proc/self/fd/{held}", 255),
}


@pytest.fixture(params=["x86_64", "aarch64"])
def machine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What runs a program of that machine here."""
    name: str = request.param
    runner = [] if os.uname().machine == name else [shutil.which(f"qemu-{name}-static") or ""]
    if runner == [""]:
        pytest.skip(f"needs qemu-{name} (apt-get install qemu-user-static)")
    monkeypatch.setattr(os, "uname", lambda: SimpleNamespace(machine=name))
    return runner


_VARIABLES = {"A": "1", "B": "two words"}


def _run(
    machine: list[str],
    place: Path,
    cwd: str,
    command: str,
    ids: tuple[int, int, tuple[int, ...]] | None = None,
    environment: Mapping[str, str] = _VARIABLES,
) -> tuple[int, str]:
    words = [*machine, str(place / "program"), "/bin/sh", "-c", command]
    held = os.open("/", os.O_PATH)
    guard, alive = (one.detach() for one in socket.socketpair())
    try:
        content = program(ids, environment, cwd.format(held=held), guard)
        assert content is not None
        (place / "program").write_bytes(content)
        (place / "program").chmod(0o755)
        done = subprocess.run(
            words, env={"PWD": "/", "OTHER": "x"}, capture_output=True, text=True, check=False, timeout=180, pass_fds=(held, guard)
        )
        # It says that it begins, whatever comes of it.
        assert os.read(alive, 9) == b"t"
    finally:
        for descriptor in (held, guard, alive):
            os.close(descriptor)
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize(("command", "cwd", "status"), ENDS.values(), ids=ENDS.keys())
def test_how_a_command_ends(machine: list[str], tmp_path: Path, command: str, cwd: str, status: int) -> None:
    found, said = _run(machine, tmp_path, cwd, command)
    assert found == status
    assert ("the working directory cannot be entered" in said) == (status == 255)


def test_where_it_begins_and_what_it_was_left(machine: list[str], tmp_path: Path) -> None:
    status, said = _run(machine, tmp_path, str(tmp_path), "pwd; ls /proc/self/fd | tr '\\n' ' '")
    assert status == 0
    assert said.split() == [str(tmp_path), "0", "1", "2", "3"]


def test_with_which_variables(machine: list[str], tmp_path: Path) -> None:
    """Its own, and none of whoever started it."""
    status, said = _run(machine, tmp_path, "/", "tr '\\0' '\\n' </proc/self/environ")
    assert (status, said.splitlines()) == (0, [f"{key}={value}" for key, value in _VARIABLES.items()])
    # More than bwrap takes. The shell adds some of its own.
    many = {f"V{number}": "x" * 20 for number in range(20_000)}
    status, said = _run(machine, tmp_path, "/", "exec env", environment=many)
    assert (status, many.items() - dict(line.split("=", 1) for line in said.splitlines()).items()) == (0, set())


@pytest.mark.parametrize("first", [True, False])
def test_it_ends_with_whoever_started_it(machine: list[str], tmp_path: Path, first: bool) -> None:
    """Whether that ended before it began, or later."""
    guard, alive = (one.detach() for one in socket.socketpair())
    content = program(None, {}, "/", guard)
    assert content is not None
    (tmp_path / "program").write_bytes(content)
    (tmp_path / "program").chmod(0o755)
    words = [*machine, str(tmp_path / "program"), "/bin/sleep", "60"]
    if first:
        os.close(alive)
    started = time.monotonic()
    with subprocess.Popen(words, pass_fds=(guard,), process_group=0) as process:
        os.close(guard)
        if not first:
            time.sleep(0.5)
            assert process.poll() is None
            os.close(alive)
        try:
            assert process.wait(timeout=20) == 137
        finally:
            # In a pid namespace what it started would be gone with it.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
    assert time.monotonic() - started < 20


def test_as_whom(machine: list[str], tmp_path: Path) -> None:
    if os.getuid() != 0:
        pytest.skip("only root becomes others")
    assert _run(machine, tmp_path, "/", "id -u; id -g; id -G", (4321, 1234, (5, 6)))[1].split() == ["4321", "1234", "1234", "5", "6"]
