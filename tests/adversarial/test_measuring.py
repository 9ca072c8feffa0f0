"""What a command uses can be measured, wherever it hides it; and where it cannot, that counts as too much."""

from __future__ import annotations

import errno
import itertools
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from autograder.quiz.question import base_image
from autograder.sandbox import disk, watch
from autograder.sandbox.cgroups import group
from autograder.sandbox.disk import DiskUse, memory_files, size_of, unlinked
from autograder.sandbox.memory_use import Uncountable
from layerlab.context.ignore import IgnoreRules
from layerlab.context.select import compile_glob
from layerlab.dockerfile import parse
from layerlab.errors import DockerfileError
from layerlab.fsutil import remove_written
from layerlab.solver.graph import build_graph
from tests.adversarial.users import ordinary_user
from tests.autograder.material import ps1

MIB = 1 << 20


@pytest.fixture
def deep(tmp_path: Path) -> Iterator[Path]:
    """A folder in which others are nested until no path leads to the last, with a file there."""
    top = tmp_path / "deep"
    top.mkdir()
    here = os.open(top, os.O_RDONLY | os.O_DIRECTORY)
    for _ in range(1500):
        os.mkdir("folder", dir_fd=here)
        below = os.open("folder", os.O_RDONLY | os.O_DIRECTORY, dir_fd=here)
        os.close(here)
        here = below
    os.close(os.open("file", os.O_WRONLY | os.O_CREAT, dir_fd=here))
    os.close(here)
    yield top
    # From the inside out, by names that are short enough.
    while list(top.iterdir()):
        inner = top / "folder"
        for _ in range(200):
            if not (inner / "folder").is_dir():
                break
            inner = inner / "folder"
        if (inner / "folder").is_dir():
            shutil.move(inner / "folder", tmp_path / "rest")
        shutil.rmtree(top / "folder")
        if (tmp_path / "rest").exists():
            (tmp_path / "rest").rename(top / "folder")


def test_empty_files_holes_and_other_names_count(tmp_path: Path) -> None:
    """A disk runs out of files, a reader reads holes, and a copy may have each name as a file of its own."""
    for number in range(100):
        (tmp_path / str(number)).touch()
    assert size_of(str(tmp_path)) >= 100 * 4096
    with (tmp_path / "hole").open("wb") as stream:
        stream.truncate(500 * MIB)
    assert size_of(str(tmp_path)) >= 500 * MIB
    os.link(tmp_path / "hole", tmp_path / "again")
    assert size_of(str(tmp_path)) >= 1000 * MIB


def test_what_no_path_leads_to_is_refused(deep: Path) -> None:
    """It is neither overlooked, nor called something else than it is, nor does it end the one who looks."""
    with pytest.raises(Uncountable, match="no path leads"):
        size_of(str(deep))


def test_a_folder_without_permissions_is_measured_by_who_may_look() -> None:
    """What cannot be measured from outside is no excess."""
    # Where an ordinary user may look; pytest's own folder is root's alone.
    with tempfile.TemporaryDirectory(dir="/tmp") as place:
        shut = Path(place) / "shut"
        shut.mkdir()
        (shut / "file").write_bytes(bytes(3 * MIB))
        shut.chmod(0)
        Path(place).chmod(0o755)
        try:
            with ordinary_user():
                with pytest.raises(PermissionError):
                    size_of(place)
                use = DiskUse(place, 10 * MIB)
                use.measure = lambda _place: 5 * MIB
                use.opened([place])
                use.measure = lambda _place: 8 * MIB
                assert not use.closed([place])
                assert use.left == 7 * MIB
        finally:
            shut.chmod(0o700)


def test_files_without_a_name_count(tmp_path: Path) -> None:
    """On disk, and in memory, where no file system shows them."""
    memory, disk = unlinked([os.getpid()])
    with (tmp_path / "file").open("wb") as stream:
        (tmp_path / "file").unlink()
        stream.write(bytes(3 * MIB))
        stream.flush()
        held = os.memfd_create("held")
        try:
            os.write(held, bytes(2 * MIB))
            more = unlinked([os.getpid()])
            counted = memory_files([os.getpid()])
        finally:
            os.close(held)
    assert (more[0] - memory, more[1] - disk) == (2 * MIB, 3 * MIB)
    assert counted >= 2 * MIB


def test_a_file_system_is_measured_as_what_it_was_taken_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While a sandbox gets its own root, a path in it leads to the host's, whose disk is nobody's memory, and then to its own."""
    shared = Path("/dev/shm").stat().st_dev
    if shared == tmp_path.stat().st_dev:
        pytest.skip("needs two file systems")
    places = itertools.cycle([str(tmp_path), "/dev/shm"])
    monkeypatch.setattr(disk, "_mounts", lambda _process: iter([(shared, "tmpfs", next(places))]))
    found = [disk._memory_mounts("self", ()) for _ in range(4)]
    assert found[0] == found[2] == {}
    assert [*found[1]] == [*found[3]] == [shared]


def test_a_file_system_to_which_no_path_leads_is_not_taken_for_empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever keeps renaming the folders above it is told that; who does it for a moment, like a sandbox in the making, is measured."""
    shared = Path("/dev/shm").stat().st_dev
    gone = str(tmp_path / "gone")
    places = iter([gone, gone, "/dev/shm"])
    monkeypatch.setattr(disk, "_mounts", lambda _process: iter([(shared, "tmpfs", next(places, gone))]))
    assert [*disk._memory_mounts("self", ())] == [shared]
    with pytest.raises(Uncountable, match="moving the folders"):
        disk._memory_mounts("self", ())
    # Of one that has ended nothing is left to be measured.
    assert disk._memory_mounts(str(1 << 30), ()) == {}


def test_a_command_that_leaves_too_much_is_told_so_before_anything_is_read(tmp_path: Path) -> None:
    """Though the disk did not feel it."""
    use = DiskUse(str(tmp_path), 10 * MIB)
    use.opened([str(tmp_path)])
    with (tmp_path / "hole").open("wb") as stream:
        stream.truncate(20 * MIB)
    assert use.closed([str(tmp_path)])


@pytest.mark.parametrize(
    ("error", "machines"),
    [
        (RecursionError(), False),
        (OSError(errno.ENAMETOOLONG, "name"), False),
        (OSError(errno.EIO, "disk"), True),
        (KeyError("MemFree"), True),
    ],
    ids=["nested", "long", "disk", "ours"],
)
def test_a_watch_that_cannot_measure_ends_what_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, machines: bool
) -> None:
    """And goes on watching. Whose fault it is decides what comes of it: a failing disk, or a fault of ours, is no student's."""
    ended: list[frozenset[int]] = []

    def fail(_found: frozenset[int]) -> int:
        raise error

    monkeypatch.setattr(watch, "sandboxed", lambda: frozenset({1 << 30}))
    monkeypatch.setattr(watch, "memory_files", fail)
    monkeypatch.setattr(watch, "end", ended.append)
    with watch.Watch(ps1().limits, str(tmp_path)) as watching:
        end = time.monotonic() + 30
        while len(ended) < 2 and time.monotonic() < end:
            time.sleep(0.02)
    assert len(ended) >= 2
    assert "cannot be measured" in watching.told[0]
    assert bool(watching.trouble) == machines


def test_removing_what_a_command_left_follows_no_link(tmp_path: Path) -> None:
    """A link in a folder that may not be changed: neither the file that it leads to nor its permissions are touched."""
    secret = tmp_path / "secret"
    secret.write_text("x", encoding="utf-8")
    secret.chmod(0o640)
    place = tmp_path / "place"
    (place / "shut").mkdir(parents=True)
    (place / "shut" / "link").symlink_to(secret)
    (place / "shut").chmod(0o555)
    (place / "hidden").mkdir(mode=0)
    place.chmod(0)
    remove_written(str(place))
    assert not place.exists()
    assert secret.stat().st_mode & 0o777 == 0o640
    assert secret.read_text(encoding="utf-8") == "x"


def test_removing_what_a_command_left_reaches_any_depth(tmp_path: Path) -> None:
    """Folders nested deeper than Python recurses, and than a path can say."""
    place = tmp_path / "place"
    place.mkdir()
    here = os.open(place, os.O_RDONLY)
    for _ in range(5000):
        os.mkdir("d", dir_fd=here)
        below = os.open("d", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(here)
    remove_written(str(place))
    assert not list(tmp_path.iterdir())


def test_groups_of_a_grader_that_was_killed_are_removed_by_a_later_one(tmp_path: Path) -> None:
    """When they are old and empty, and no others."""
    place = tmp_path / "memory"
    for name in ("layerlab-1-0", "layerlab-2-0", "layerlab-3-0/inside", "another"):
        (place / name).mkdir(parents=True)
    (place / "cgroup.procs").touch()
    (tmp_path / "membership").write_text("1:memory:/\n", encoding="ascii")
    for name in ("layerlab-1-0", "layerlab-3-0", "another"):
        os.utime(place / name, (1, 1))
    with group("layerlab-4-0", ps1().limits, tmp_path, tmp_path / "membership"):
        pass
    assert {path.name for path in place.iterdir() if path.is_dir()} >= {"layerlab-2-0", "layerlab-3-0", "another"}
    assert not (place / "layerlab-1-0").exists()


# --- texts that take for ever to read --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("keyword", ["ENV", "ARG"])
def test_variables_do_not_grow_without_end(keyword: str) -> None:
    """A dozen lines would be more than the memory of any machine."""
    lines = [f"{keyword} A0={'x' * 100}", *(f"{keyword} A{number + 1}={f'$A{number}' * 50}" for number in range(12))]
    with pytest.raises(DockerfileError, match="the variables come to more than"):
        build_graph(parse("FROM a\n" + "\n".join(lines) + "\n"), base_image, build_args={})


@pytest.mark.parametrize(
    "work",
    [
        pytest.param(lambda: IgnoreRules([(1, "*?**?" * 30 + "!")]).ignores("a/" * 20 + "b" * 200), id="an ignore file"),
        pytest.param(lambda: compile_glob("*a" * 60 + "b").match("a" * 255), id="a source of COPY"),
    ],
)
def test_patterns_are_matched_in_no_time(work: object) -> None:
    """Stars beside stars, against names that nearly fit."""
    started = time.monotonic()
    assert callable(work)
    work()
    assert time.monotonic() - started < 1


def test_limits_cannot_be_left_out() -> None:
    """Every limit is a positive number."""
    for name in msgspec.structs.asdict(ps1().limits):
        with pytest.raises(msgspec.ValidationError):
            msgspec.convert({name: 0}, type(ps1().limits))
