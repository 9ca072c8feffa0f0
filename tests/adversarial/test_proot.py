"""What holds where only proot can run a step: it is no wall, so the kernel's rules for files (Landlock) stand behind it."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest

from layerlab.engines.embedded.executors import landlock, proot
from layerlab.engines.embedded.executors.base import BindMount, Process, Root, TmpfsMount
from layerlab.engines.embedded.executors.launcher import Setup, launcher
from layerlab.engines.embedded.executors.programs import find_proot
from layerlab.engines.embedded.executors.proot import ProotExecutor
from layerlab.errors import DockerfileError
from tests.conformance import bases

TEXT = "canary-outside\n"
SHELL = os.path.realpath(shutil.which("sh") or "/bin/sh")

# What a shell does, and whether rules for the folder "inside" alone let it.
TRIES = {
    "reads inside": ("cat inside/f", True),
    "writes inside": ("echo x > inside/g && cat inside/g", True),
    "moves inside": ("mkdir inside/d && mv inside/f inside/d/f && cat inside/d/f", True),
    "reads": ("cat canary/f", False),
    "reads by a link": ("ln -s ../canary/f inside/l && cat inside/l", False),
    "reads by /proc": ("cat /proc/self/cwd/canary/f", False),
    "lists": ("ls canary", False),
    "writes": ("echo x >> canary/f", False),
    "makes": ("mkdir canary/d", False),
    "removes": ("rm -f canary/f", False),
    "moves out": ("mv inside/f canary/g", False),
    "takes": ("mv canary/f inside/g", False),
    "links": ("ln canary/f inside/g", False),
    "runs": ("canary/program", False),
}


@pytest.fixture
def place(tmp_path: Path) -> Path:
    if not landlock.version():
        pytest.skip("this kernel has no Landlock of use (Linux 5.19, named in /sys/kernel/security/lsm)")
    for folder in ("inside", "canary"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "f").write_text(TEXT)
    (tmp_path / "canary" / "program").write_text("#!/bin/sh\ntrue\n")
    (tmp_path / "canary" / "program").chmod(0o755)
    return tmp_path


@pytest.mark.parametrize(("command", "done"), TRIES.values(), ids=TRIES.keys())
def test_what_rules_let_a_command_do(place: Path, command: str, done: bool) -> None:
    rules = landlock.ruleset(
        [
            (str(place / "inside"), landlock.ALL),
            ("/proc", landlock.USE),
            *((path, landlock.READ) for path in ("/bin", "/lib", "/lib64", "/usr", "/etc/ld.so.cache", "/not/there")),
        ]
    )
    assert rules is not None
    program = launcher([SHELL, "-c", command], {"PATH": os.defpath}, Setup(landlock=rules))
    if program is None:
        pytest.skip(f"no launcher for {os.uname().machine}")
    (place / "start").write_bytes(program)
    (place / "start").chmod(0o755)
    try:
        ended = subprocess.run([place / "start"], cwd=place, pass_fds=(rules,), capture_output=True, text=True, check=False)
    finally:
        os.close(rules)
    assert (ended.returncode == 0) is done, ended.stderr
    assert (TEXT in ended.stdout) is (done and "cat" in command and "g" not in command)
    assert sorted(path.name for path in (place / "canary").iterdir()) == ["f", "program"]
    assert (place / "canary" / "f").read_text() == TEXT


def _opens_behind_proot(path: str) -> bytes:
    """An ELF file of x86_64 that opens a path with a call of 32 bits, which proot takes for another call and lets through as it is."""
    body = bytearray(b"\xbbPATH" + b"\x31\xc9\x31\xd2" + b"\xb8\x05\x00\x00\x00\xcd\x80")  # ebx = path; ecx = edx = 0; open by int 0x80
    body += b"\x85\xc0\x78\x1c" + b"\x89\xc7\x48\x89\xe6\xba\x40\x00\x00\x00\x31\xc0\x0f\x05"  # if >= 0: read(fd, rsp, 64)
    body += b"\x89\xc2\xbf\x01\x00\x00\x00\xb8\x01\x00\x00\x00\x0f\x05"  # write(1, rsp, what was read)
    body += b"\x31\xff\xb8\x3c\x00\x00\x00\x0f\x05"  # exit(0)
    start = 0x400000
    body[1:5] = (start + 120 + len(body)).to_bytes(4, "little")
    body += os.fsencode(path) + b"\0"
    size = 120 + len(body)
    header = b"\x7fELF\x02\x01\x01" + bytes(9)
    fields = ((2, 2), (62, 2), (1, 4), (start + 120, 8), (64, 8), (0, 8), (0, 4), (64, 2), (56, 2), (1, 2), (0, 2), (0, 2), (0, 2))
    segment = ((1, 4), (5, 4), (0, 8), (start, 8), (start, 8), (size, 8), (size, 8), (4096, 8))
    return header + b"".join(value.to_bytes(width, "little") for value, width in (*fields, *segment)) + bytes(body)


def _said_by_a_step(place: Path) -> str:
    binary = find_proot()
    if binary is None or os.uname().machine != "x86_64":
        pytest.skip("needs proot (apt-get install proot), on x86_64")
    tree = place / "tree"
    for folder in ("", "dev", "proc", "sys"):
        (tree / folder).mkdir()
    (tree / "p").write_bytes(_opens_behind_proot(str(place / "canary" / "f")))
    (tree / "p").chmod(0o755)
    said = bytearray()
    ProotExecutor(binary, str(place)).run(Root(tree=str(tree)), Process(argv=("/p",), environment={}, cwd="/"), said.extend)
    return said.decode()


def test_a_call_that_proot_does_not_translate_is_not_made(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(landlock, "ruleset", lambda _: None)
    assert _said_by_a_step(place) == ""


def test_a_command_that_gets_past_proot_reads_nothing(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the filter, which no list of calls can make whole."""
    monkeypatch.setattr(proot, "proot_filter", lambda **_: b"")
    assert _said_by_a_step(place) == ""


def test_the_command_of_these_tests_would_get_past_proot(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proot, "proot_filter", lambda **_: b"")
    monkeypatch.setattr(landlock, "ruleset", lambda _: None)
    assert _said_by_a_step(place) == TEXT


@pytest.fixture
def executor(place: Path) -> ProotExecutor:
    binary = find_proot()
    if binary is None:
        pytest.skip("needs proot (apt-get install proot)")
    return ProotExecutor(binary, str(place))


@pytest.fixture
def tree(place: Path) -> Path:
    """The tree of a small image."""
    base = next(base for base in bases.bases() if base.name == "base:1")
    with tarfile.open(fileobj=io.BytesIO(base.layer)) as archive:
        # Python 3.11 has filters from 3.11.4 on.
        if hasattr(tarfile, "tar_filter"):
            archive.extraction_filter = tarfile.tar_filter
        archive.extractall(place / "image")
    for folder in ("dev", "proc", "sys"):
        (place / "image" / folder).mkdir(exist_ok=True)
    return place / "image"


# Mount points that lead out of the tree, into the kernel's, or to what runs the command; and what is said.
ODD_PLACES = {
    "above the root": ("/dev/../../../../../../..{outside}/made", None),
    "two slashes": ("/dev//x", None),
    "below a device": ("/dev/null/x", "there is a file where a directory must be"),
    "a link into /proc": ("/dev/fd/x", "the way to it has a link into /proc"),
    "the root": ("/dev/..", "what the sandbox has of its own"),
    "by a link of the image": ("/l/x", None),
    "a link of the image to /dev": ("/l", "what the sandbox has of its own"),
}


@pytest.mark.parametrize(("target", "refused"), ODD_PLACES.values(), ids=ODD_PLACES.keys())
def test_a_mount_point_is_made_in_the_tree_alone(executor: ProotExecutor, tree: Path, target: str, refused: str | None) -> None:
    outside = tree.parent / "outside"
    outside.mkdir()
    (tree / "l").symlink_to("/dev")
    process = Process(
        argv=("/bin/sh", "-c", "true"),
        environment={},
        cwd="/",
        mounts=(TmpfsMount(target=target.format(outside=outside), size=0),),
    )
    said = bytearray()
    if refused is None:
        assert executor.run(Root(tree=str(tree)), process, said.extend) == 0, said
        # In a build the mount points outside of /dev are made before.
        assert "{outside}" in target or b"proot" not in said
    else:
        with pytest.raises(DockerfileError, match=refused):
            executor.run(Root(tree=str(tree)), process, said.extend)
    assert list(outside.iterdir()) == []


def test_nothing_can_be_mounted_over_what_puts_the_filter_on(executor: ProotExecutor, tree: Path, tmp_path: Path) -> None:
    """It has another name each time, which no Dockerfile can know."""
    (tmp_path / "evil").write_text("#!/bin/sh\nexit 0\n")
    (tmp_path / "evil").chmod(0o755)
    names = set()
    for _ in range(2):
        said = bytearray()
        mount = BindMount(source=str(tmp_path / "evil"), target="/dev/.run", readonly=True)
        process = Process(
            argv=("/bin/sh", "-c", "for f in /dev/.[0-9a-f]*; do echo $f; done; exit 3"), environment={}, cwd="/", mounts=(mount,)
        )
        assert executor.run(Root(tree=str(tree)), process, said.extend) == 3
        names |= {line for line in said.decode().split() if line != "/dev/.run"}
    assert len(names) == 2
