"""The grader's own process: what a submission makes it do has one clock and a limit on memory; what it met is told apart from trouble."""

from __future__ import annotations

import re
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import pytest

from autograder.backends.children import Children
from autograder.backends.local import LocalBackend
from autograder.backends.worker import Job
from autograder.exercise.assignment import Limits
from autograder.exercise.workspace import sweep, work_place
from autograder.judge.prepare import Prepared
from autograder.sandbox import sandbox, watch
from autograder.sandbox.cgroups import group, memory_kills
from autograder.sandbox.limits import Bounds, TooMuch, doing
from autograder.submission.notebook_reader import Submission
from layerlab.engines.embedded.executors.base import Process, Root
from layerlab.engines.embedded.rootfs.copying import Copier, LimitError
from layerlab.engines.embedded.rootfs.modes import Tree
from tests.autograder.material import APP, ps1

MIB = 1 << 20
_WORK = "job = msgspec.json.decode(sys.stdin.buffer.read()); told = job['told']\n"


def _job(place: Path, **limits: float) -> Job:
    for name in ("results", "work", "store", "cache"):
        (place / name).mkdir(parents=True, exist_ok=True)
    prepared = Prepared(
        app=str(APP),
        store=str(place / "store"),
        cache=str(place / "cache"),
        results=str(place / "results"),
        work=str(place / "work"),
        base="",
    )
    files = {"Dockerfile": "FROM node:alpine\nRUN true\n", ".dockerignore": ""}
    assignment = msgspec.structs.replace(ps1(), limits=msgspec.structs.replace(ps1().limits, **limits))
    return Job(assignment=assignment, prepared=prepared, submission=Submission(student="ann", files=files, digest=""), seed="s")


def _broken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    """Workers that do this instead of grading."""
    package = tmp_path / "broken"
    package.mkdir()
    (package / "worker.py").write_text(f"import msgspec, os, signal, sys, time\n{_WORK}{code}\n", encoding="utf-8")
    monkeypatch.setattr("autograder.backends.children.package", "broken")
    monkeypatch.setattr("autograder.backends.children._GRACE_SECONDS", 1.0)
    monkeypatch.syspath_prepend(str(tmp_path))


def test_a_worker_that_computes_without_end_is_the_submission_s_doing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By its own word it worked on the submission, and it was not waiting for anything: a score of 0 that names the limit."""
    _broken(tmp_path, monkeypatch, "os.pwrite(told, b'planning its build', 0)\nwhile True: pass")
    result = Children().grade(_job(tmp_path / "place", submission_seconds=1.0))
    assert (result.status, result.score) == ("graded", 0.0)
    assert re.search("more than the 1 s that are allowed.* while planning its build", result.reason)


@pytest.mark.parametrize(
    ("code", "words"),
    [
        pytest.param("os.pwrite(told, b'planning its build', 0)\ntime.sleep(60)", "timed out", id="it waits"),
        pytest.param("while True: pass", "timed out", id="it computes for itself"),
        pytest.param("os.pwrite(told, b'planning its build', 0)\nos.kill(os.getpid(), signal.SIGKILL)", "status -9", id="it is killed"),
        pytest.param("os.pwrite(told, b'planning its build', 0)\nraise RuntimeError('oh')", "oh", id="it fails"),
    ],
)
def test_what_is_no_submission_s_doing_stays_trouble(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str, words: str) -> None:
    """Whatever the worker was doing meanwhile."""
    _broken(tmp_path, monkeypatch, code)
    with LocalBackend(1) as backend:
        (outcome,) = backend.run([_job(tmp_path / "place", submission_seconds=1.0)])
    assert outcome.result is None
    assert words in outcome.trouble


_BOUND = """
import os, sys
from autograder.exercise.assignment import Limits
from autograder.sandbox import limits as module
module._LATER_SECONDS = 0.2
bounds = module.Bounds(Limits(submission_seconds={seconds}, own_bytes=200 << 20))
try:
    with bounds:
        with bounds.during("reading the answer"):
            {work}
except (module.TooMuch, MemoryError) as error:
    print(type(error).__name__, bounds.doing, error)
"""


@pytest.mark.parametrize(
    ("work", "said"),
    [
        ("while True: pass", "TooMuch reading the answer It took more than the 0.3 s"),
        ("import re; re.match(r'(a*)*b', 'a' * 50)", "TooMuch reading the answer It took more than the 0.3 s"),
        ("import time; time.sleep(60)", "TooMuch reading the answer"),
        ("all = [bytearray(1 << 20) for _ in range(400)]", "MemoryError reading the answer"),
    ],
    ids=["a loop", "an expression", "a wait", "memory"],
)
def test_limits_of_the_grader_s_own_process(work: str, said: str) -> None:
    """Met in Python, in a library, while it waits; and they say where."""
    started = time.monotonic()
    seconds = 60 if said.startswith("Memory") else 0.3
    done = subprocess.run(
        [sys.executable, "-c", _BOUND.format(work=work, seconds=seconds)], capture_output=True, text=True, timeout=360, check=False
    )
    assert done.stdout.startswith(said), done.stdout + done.stderr
    assert time.monotonic() - started < 60


def test_a_limit_is_no_error_that_code_on_its_way_knows() -> None:
    """Or a handler meant for something else would go on with the work."""
    assert not issubclass(TooMuch, Exception)


def test_what_the_grader_is_doing_is_known_to_who_waits(tmp_path: Path) -> None:
    """Also when it can say nothing any more."""
    with (tmp_path / "told").open("w+b") as stream:
        bounds = Bounds(Limits(), stream.fileno())
        with bounds.during("building"):
            with bounds.during("copying files"):
                assert doing(stream.fileno()) == "copying files"
            assert doing(stream.fileno()) == "building"
        assert doing(stream.fileno()) == ""
        with pytest.raises(ValueError, match="x"), bounds.during("building"):
            raise ValueError("x")
        assert doing(stream.fileno()) == "building"


# --- sandboxes --------------------------------------------------------------------------------------------------------------------------


def test_only_sandboxes_join_the_groups_and_they_go_first(tmp_path: Path) -> None:
    """The executor is told which groups its command joins and whom the kernel is to end first; no limit of ours is passed on."""
    asked: list[tuple[Process, int]] = []

    class Recorder:
        name = "recorder"
        ids = "full"

        def start(self, _root: Root, process: Process) -> object:
            asked.append((process, resource.getrlimit(resource.RLIMIT_DATA)[0]))
            raise KeyError

    for part in ("index-v5", "content-v2"):
        (tmp_path / "_cacache" / part).mkdir(parents=True)
    groups = (str(tmp_path / "group" / "cgroup.procs"),)
    before = resource.getrlimit(resource.RLIMIT_DATA)
    old = signal.getsignal(signal.SIGALRM)
    try:
        with Bounds(Limits()) as bounds, watch.Watch(Limits(), str(tmp_path), groups) as watching:
            confined = sandbox._Confined(Recorder(), str(tmp_path), watching, bounds, filling=False, overlay=False)  # type: ignore[arg-type]
            with pytest.raises(KeyError):
                confined.start(Root(tree=str(tmp_path)), Process(argv=("true",), environment={}, cwd="/"))
            assert resource.getrlimit(resource.RLIMIT_DATA)[0] == Limits().own_bytes
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, before)
        signal.signal(signal.SIGALRM, old)
    ((process, limit),) = asked
    assert (process.cgroups, process.oom_score_adj, process.network) == (groups, 1000, "none")
    assert limit == before[0]


@pytest.mark.parametrize("file", ["memory.events", "memory.oom_control"])
def test_a_kill_at_the_group_s_limit_is_seen(tmp_path: Path, file: str) -> None:
    """In files in the kernel's place, of both versions: no machine with a delegated group is at hand."""
    (tmp_path / file).write_text("low 0\noom 3\noom_kill 2\noom_group_kill 0\n", encoding="ascii")
    assert memory_kills((str(tmp_path / "cgroup.procs"),)) == 2
    assert memory_kills(()) == 0


def test_a_delegated_group_is_used_by_itself(tmp_path: Path) -> None:
    """As ``systemd-run --user --scope -p Delegate=yes`` makes one: a made tree of files, since no such machine is at hand."""
    scope = tmp_path / "user.slice" / "run.scope"
    scope.mkdir(parents=True)
    (scope.parent / "cgroup.subtree_control").write_text("memory pids", encoding="ascii")
    (scope / "memory.swap.max").write_text("max", encoding="ascii")
    membership = tmp_path / "membership"
    membership.write_text("0::/user.slice/run.scope\n", encoding="ascii")
    with group("g", Limits(memory_bytes=MIB), tmp_path, membership) as files:
        made = scope.parent / "g"
        assert files == (str(made / "cgroup.procs"),)
        assert int((made / "memory.max").read_text(encoding="ascii")) >= MIB
        assert (made / "memory.swap.max").read_text(encoding="ascii") == "0"
        for file in made.iterdir():
            file.unlink()


# --- copies -----------------------------------------------------------------------------------------------------------------------------


def test_a_copy_stops_before_it_is_too_much(tmp_path: Path) -> None:
    """The file that would be too much is not begun, be it made of holes."""
    source, root = tmp_path / "source", tmp_path / "root"
    source.mkdir()
    root.mkdir()
    for number in range(8):
        with (source / str(number)).open("wb") as stream:
            stream.truncate(MIB)
    copier = Copier(Tree(str(root)), real_ids=False, owner=None, limit=3 * MIB + 100_000)
    with pytest.raises(LimitError):
        copier.copy(Tree(str(source)), "", "", "/x", rows=None)
    assert len(list((root / "x").iterdir())) == 3


# --- what a killed grader leaves --------------------------------------------------------------------------------


def test_places_of_graders_that_were_killed_are_removed_and_no_others(tmp_path: Path) -> None:
    """Who lives holds the lock; who was killed, by whatever, cannot."""
    work = tmp_path / "work"
    work.mkdir()
    code = "import os, signal, sys; from autograder.exercise.workspace import work_place\n"
    code += "with work_place(sys.argv[1]) as p:\n os.mkdir(p + '/d', 0)\n"
    subprocess.run([sys.executable, "-c", code + " os.kill(os.getpid(), signal.SIGKILL)", str(work)], check=False)
    (left,) = [path.name for path in work.iterdir() if path.is_dir()]
    old = work / "sabcdefgh"
    old.mkdir()
    (work / "notes").touch()
    with work_place(str(work)) as mine:
        assert sweep(str(work)) == sorted([left, old.name])
        assert Path(mine).is_dir()
        assert {path.name for path in work.iterdir()} == {"notes", Path(mine).name, Path(mine).name + ".held"}
    assert [path.name for path in work.iterdir()] == ["notes"]
