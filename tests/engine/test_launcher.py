"""The small program that stands between proot and a step: what it passes on, and what it sets before."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from layerlab.engines.embedded.executors.launcher import Setup, launcher
from layerlab.engines.embedded.executors.seccomp import bwrap_filter, proot_filter


def _written(tmp_path: Path, argv: list[str], environment: dict[str, str], setup: Setup, machine: str = "") -> str:
    program = launcher(argv, environment, setup, machine)
    if program is None:
        pytest.skip(f"no launcher for {os.uname().machine}")
    path = tmp_path / "program"
    path.write_bytes(program)
    path.chmod(0o755)
    return str(path)


def test_arguments_and_environment_arrive_as_they_are(tmp_path: Path) -> None:
    """Whatever bytes they have, and nothing of the environment that the program itself was started with."""
    words = ["a b", "", "ü\n$(x)", "-c"]
    environment = {"EMPTY": "", "SPACE": "a b", "LD_PRELOAD": "/nowhere", "LONG": "x" * 100_000}
    code = "import os, sys; print(ascii((sys.argv[1:], {k: v for k, v in os.environ.items() if k != 'LC_CTYPE'})))"
    program = _written(tmp_path, [sys.executable, "-S", "-c", code, *words], environment, Setup())
    done = subprocess.run([program], env={"OUR": "own"}, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ascii((words, environment))


@pytest.mark.parametrize(("command", "status"), [("exit 0", 0), ("exit 7", 7), ("kill -9 $$", -9), ("kill -15 $$", -15)])
def test_how_the_command_ended_is_told_on_a_descriptor(tmp_path: Path, command: str, status: int) -> None:
    """proot itself gives the exit status of whatever it followed last."""
    report, told = os.pipe()
    program = _written(tmp_path, ["/bin/sh", "-c", command], {}, Setup(report=told))
    subprocess.run([program], pass_fds=(told,), check=True)
    os.close(told)
    with os.fdopen(report, "rb") as stream:
        assert os.waitstatus_to_exitcode(int.from_bytes(stream.read(), "little")) == status


def test_the_descriptor_is_not_the_command_s(tmp_path: Path) -> None:
    """It cannot write a status of its own."""
    report, told = os.pipe()
    program = _written(tmp_path, ["/bin/sh", "-c", f"echo 1234 >&{told}"], {}, Setup(report=told))
    subprocess.run([program], pass_fds=(told,), capture_output=True, check=True)
    os.close(told)
    with os.fdopen(report, "rb") as stream:
        content = stream.read()
    assert len(content) == 4
    assert os.waitstatus_to_exitcode(int.from_bytes(content, "little")) != 0


def test_a_program_that_is_not_there_is_255(tmp_path: Path) -> None:
    """As in a shell."""
    program = _written(tmp_path, ["/no/such/program"], {}, Setup())
    assert subprocess.run([program], check=False).returncode == 255


@pytest.mark.parametrize(
    ("code", "network", "answer"),
    [
        ("import os; os.chown('.', 12345, 54321); print('done')", True, "done"),
        ("import os; os.mknod('device', 0o20666, 0x103); print(os.path.exists('device'))", True, "False"),
        ("import os; os.mkfifo('pipe'); print(os.path.exists('pipe'))", True, "True"),
        ("import ctypes as c; l = c.CDLL(None, use_errno=True); l.syscall(437, -1, 0, 0, 0); print(c.get_errno())", True, "38"),
        ("import socket; socket.socket(); print('made')", True, "made"),
        ("import socket; socket.socket()", False, "Permission denied"),
        ("import socket; socket.socket(socket.AF_INET6)", False, "Permission denied"),
        ("import socket; socket.socket(socket.AF_UNIX); print('made')", False, "made"),
    ],
    ids=["chown", "device", "fifo", "openat2", "socket", "no-socket", "no-socket-6", "unix-socket"],
)
def test_what_the_filter_of_proot_answers(tmp_path: Path, code: str, network: bool, answer: str) -> None:
    """Owners and devices as if root had made them, calls that proot does not know, and no network where there must be none."""
    filter_ = proot_filter(network=network)
    assert filter_ is not None
    program = _written(tmp_path, [sys.executable, "-c", code], {}, Setup(seccomp=filter_))
    done = subprocess.run([program], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert answer in done.stdout + done.stderr


def test_the_program_for_another_machine(tmp_path: Path) -> None:
    """Run by an emulator: the same arguments, environment and status."""
    emulator = shutil.which("qemu-aarch64-static") or shutil.which("qemu-aarch64")
    if emulator is None:
        pytest.skip("needs qemu-aarch64 (apt-get install qemu-user-static)")
    report, told = os.pipe()
    code = "import os; print(sorted(os.environ)); raise SystemExit(9)"
    program = _written(tmp_path, [sys.executable, "-c", code], {"A": "b"}, Setup(report=told, death_signal=3), "aarch64")
    # The emulator makes system calls of this machine, so what is executed is this machine's.
    done = subprocess.run([emulator, program], pass_fds=(told,), capture_output=True, text=True, check=False)
    os.close(told)
    with os.fdopen(report, "rb") as stream:
        assert os.waitstatus_to_exitcode(int.from_bytes(stream.read(), "little")) == 9
    assert "'A'" in done.stdout


def test_all_filters_are_whole_instructions() -> None:
    """Of eight bytes each, and within the kernel's limit."""
    for program in (bwrap_filter(faked_root=True), bwrap_filter(faked_root=False), proot_filter(network=True), proot_filter(network=False)):
        assert program is not None
        assert len(program) % 8 == 0
        assert len(program) // 8 <= 4096
