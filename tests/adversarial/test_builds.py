"""Hostile Dockerfiles, graded as a class on the real app, and a look at this machine before and after.

What each may score and what is said about it stands in ``attacks``. The class is graded once, by the command that instructors type;
then nothing of it may be left but results: no process, no mount, no file, no connection, and no change to what all submissions share.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import re
import secrets
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from autograder.classroom.grading import grade_class, prepare_class
from autograder.exercise.edits import draw
from autograder.exercise.workspace import read_app
from autograder.judge.grade import _digest
from autograder.sandbox.processes import sandboxed
from autograder.submission.notebook_reader import Submission
from autograder.submission.record import ClassRecord, SubmissionResult
from layerlab.cli import main
from layerlab.engines.embedded.engine import EmbeddedEngine
from layerlab.engines.embedded.rootfs.messages import Remove
from tests.adversarial.attacks import ATTACKS, GREEDY, LIMITS, TIME, Attack
from tests.autograder.material import APP, COURSE, notebook, submit

pytestmark = [pytest.mark.slow, pytest.mark.network, pytest.mark.timeout(3600)]

# No promise: only so that a test that hangs ends, on a machine however busy.
_LONG_SECONDS = 600
TOKEN = secrets.token_hex(8)
# What a student must never do to a terminal or a page: controls, and letters that change how others are read.
CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")
# Those that mean something only beside each other, and those whose output is looked at below.
ALWAYS = frozenset(
    (
        *("aa-cache-mount", "zz-cache-mount", "aa-npm-cache", "zz-npm-cache", "aa-same-key", "zz-same-key"),
        *("escapes", "escapes-in-text", "markup", "markup-served"),
    )
)
# The answers for which the edit must be a new file of sources.
NEW_FILE = ("named-files", "ignored-by-negation", "heredoc-source")


class _Listener:
    """Sockets of this machine that nobody may reach: TCP on every address, and one without a file."""

    def __init__(self) -> None:
        self.reached: list[str] = []
        self._tcp = socket.create_server(("", 0))
        self._unix = socket.socket(socket.AF_UNIX)
        self._unix.bind(f"\0{TOKEN}")
        self._unix.listen()
        self.port: int = self._tcp.getsockname()[1]
        for name, listening in (("tcp", self._tcp), ("abstract", self._unix)):
            threading.Thread(target=self._serve, args=(name, listening), daemon=True).start()

    def _serve(self, name: str, listening: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listening.accept()
                connection.close()
                self.reached.append(name)

    def close(self) -> None:
        for listening in (self._tcp, self._unix):
            with contextlib.suppress(OSError):
                listening.shutdown(socket.SHUT_RDWR)
            listening.close()


class Machine(msgspec.Struct, kw_only=True):
    """What this machine looks like from outside."""

    mounts: list[str]
    cache: list[tuple[str, int, int]]
    base: tuple[str, tuple[str, ...]]
    canary: dict[str, str]
    course: list[str]


class Graded(msgspec.Struct, kw_only=True):
    """All that came of the two classes."""

    records: dict[str, ClassRecord]
    said: str
    courses: dict[str, Path]
    place: Path
    scratch: Path
    outside: Path
    before: Machine
    after: Machine
    reached: list[str]
    left: list[str]

    def of(self, kind: str, student: str) -> SubmissionResult:
        records = [self.records[kind]]
        if kind == "greedy" and "unhurried" in self.records:
            records.insert(0, self.records["unhurried"])
        return next(result for record in records for result in record.submissions if result.student == student)


def _messages(result: SubmissionResult) -> str:
    return "\n".join([result.reason, *(check.message for check in result.checks)])


def _hurried(record: ClassRecord, student: str, attack: Attack) -> bool:
    messages = next(_messages(result) for result in record.submissions if result.student == student)
    return TIME in messages and re.search(attack.says, messages) is None


def _processes_of(place: Path) -> list[str]:
    """Processes of any user that have a file system of this place; a sandbox cannot hide its mounts."""
    found = []
    for process in Path("/proc").iterdir():
        if process.name.isdigit() and int(process.name) != os.getpid():
            with contextlib.suppress(OSError):
                if str(place) in (process / "mountinfo").read_text(encoding="utf-8", errors="replace"):
                    found.append((process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace"))
    return found


def _mounts() -> list[str]:
    """The mounts of this machine. Beside these tests a Docker daemon and a container of Binder's may be made, in folders of their own."""
    lines = [line.split(" ", 2)[2] for line in Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines()]
    return sorted(line for line in lines if not re.match(r"/.*/layerlab-(?:binder|docker)", line.split(" ")[2]))


def _look(place: Path, canary: Path, courses: dict[str, Path]) -> Machine:
    with EmbeddedEngine(str(place / "store")) as engine:
        row = engine.image_row("node:alpine")
        base = (row.config, tuple(engine.image_config("node:alpine")["rootfs"]["diff_ids"]))
    return Machine(
        mounts=_mounts(),
        cache=sorted((str(path), path.lstat().st_size, path.lstat().st_mtime_ns) for path in (place / "npm-cache").rglob("*")),
        base=base,
        canary={str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(canary.rglob("*")) if path.is_file()},
        course=sorted(str(path) for course in courses.values() for path in course.rglob("*") if "report" not in path.parts),
    )


def _course(root: Path, attacks: dict[str, Attack], limits: dict[str, Any], words: dict[str, str]) -> Path:
    course = root / "exercises"
    source = course / "source" / "ps1"
    source.mkdir(parents=True)
    (root / "node-app").symlink_to(APP)
    rules = json.loads((COURSE / "source" / "ps1" / "assignment.json").read_text(encoding="utf-8"))
    rules["limits"].update(limits)
    (source / "assignment.json").write_text(json.dumps(rules), encoding="utf-8")
    for student, attack in attacks.items():
        submit(course, student, notebook(_filled(attack.dockerfile, words), attack.ignore))
    return course


def _filled(text: str, words: dict[str, str]) -> str:
    for word, value in words.items():
        text = text.replace(f"@{word}@", value)
    return text


def _seed() -> str:
    """A seed that draws a new file for each of these answers."""
    app = read_app(APP)
    salts = []
    for student in NEW_FILE:
        files = {"Dockerfile": ATTACKS[student].dockerfile, ".dockerignore": ATTACKS[student].ignore}
        salts.append(_digest(Submission(student="x", files=files, digest="")))
    return next(seed for seed in map(str, range(10_000)) if all("new file" in draw(seed, app, salt=salt).source.what for salt in salts))


@pytest.fixture(scope="module")
def graded(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[Graded]:
    """Both classes, graded by the command: who has a test in this run."""
    asked = {item.callspec.id for item in request.session.items if isinstance(item, pytest.Function) and hasattr(item, "callspec")}
    attacks = {student: attack for student, attack in ATTACKS.items() if student in ALWAYS or student in asked or not asked}
    greedy = {student: attack for student, attack in GREEDY.items() if student in asked} or GREEDY
    root = tmp_path_factory.mktemp("machine")
    place, scratch, canary = root / "grading", root / "scratch", root / "canary"
    outside = Path("/tmp") / f"layerlab-{TOKEN}"
    for directory in (scratch, canary, outside):
        directory.mkdir()
    for directory in (canary, outside):
        (directory / "file").write_text(TOKEN, encoding="utf-8")
    listener = _Listener()
    words = {"TCP": str(listener.port), "NAME": TOKEN, "TOKEN": TOKEN, "OUTSIDE": f"{outside}/escaped"}
    courses = {
        "attacks": _course(root / "attacks", attacks, {}, words),
        "greedy": _course(root / "greedy", greedy, LIMITS, words),
    }
    prepare_class(courses["attacks"], "ps1", place, lambda _text: None)
    before = _look(place, canary, courses)
    said = io.StringIO()
    records = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TMPDIR", str(scratch))
        patch.setenv("NBGRADER_EXECUTION", "autograde")
        patch.setenv("http_proxy", "http://user:secret-word@proxy.invalid:1")
        patch.setenv("HTTPS_PROXY", "http://user:secret-word@proxy.invalid:1")
        for kind, course in courses.items():
            with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
                main(["grade", "ps1", "--course", str(course), "--place", str(place), "--workers", "1", "--seed", _seed(), "--no-publish"])
            # What was graded is kept, so this is only read.
            records[kind] = grade_class(course, "ps1", place=place, workers=1, seed=_seed(), report=lambda _text: None)
        # On a machine that others keep busy, the clock may end what was to meet another limit: such get more time.
        hurried = {student: attack for student, attack in greedy.items() if _hurried(records["greedy"], student, attack)}
        if hurried:
            course = _course(root / "unhurried", hurried, {**LIMITS, "step_seconds": 60, "submission_seconds": 300}, words)
            records["unhurried"] = grade_class(course, "ps1", place=place, workers=1, seed=_seed(), report=lambda _text: None)
    listener.close()
    end = time.monotonic() + 10
    while (left := _processes_of(place)) and time.monotonic() < end:
        time.sleep(0.1)
    yield Graded(
        records=records,
        said=said.getvalue(),
        courses=courses,
        place=place,
        scratch=scratch,
        outside=outside,
        before=before,
        after=_look(place, canary, courses),
        reached=listener.reached,
        left=left,
    )
    (outside / "file").unlink()
    outside.rmdir()
    with EmbeddedEngine(str(place / "store")) as engine:
        engine.worker.ask(Remove(paths=["s"]))


def _case(kind: str, student: str, attack: Attack) -> Any:
    return pytest.param(kind, student, attack, id=student, marks=[] if student in ALWAYS else [pytest.mark.many])


CASES = [
    *(_case("attacks", student, attack) for student, attack in ATTACKS.items()),
    *(_case("greedy", student, attack) for student, attack in GREEDY.items()),
]


@pytest.mark.parametrize(("kind", "student", "attack"), CASES)
def test_what_comes_of_an_attack(graded: Graded, kind: str, student: str, attack: Attack) -> None:
    """It is the answer's failure, never the grader's; it is told what happened; and it scores no more than it is worth."""
    result = graded.of(kind, student)
    assert result.status == "graded", result.reason
    assert result.score is not None
    messages = _messages(result)
    assert result.score <= attack.most, messages
    assert re.search(attack.says, messages), messages


# --- this machine, seen from outside -----------------------------------------------------------------------------------------------


def test_no_process_is_left(graded: Graded) -> None:
    """Not of ours, and not of anybody's in a sandbox."""
    assert not graded.left
    assert not sandboxed()


def test_no_mount_is_left(graded: Graded) -> None:
    """The mounts of this machine are what they were."""
    assert graded.after.mounts == graded.before.mounts


def test_no_file_outside_was_made_or_changed(graded: Graded) -> None:
    """Not where the attacks aimed, not beside the store, not in the course, not in the folder for temporary files."""
    assert [path.name for path in graded.outside.iterdir()] == ["file"]
    assert (graded.outside / "file").read_text(encoding="utf-8") == TOKEN
    assert graded.after.canary == graded.before.canary
    assert graded.after.course == graded.before.course
    assert list(graded.scratch.iterdir()) == []
    assert list((graded.place / "work").iterdir()) == []


def test_nobody_was_reached(graded: Graded) -> None:
    """No connection to this machine, by address or by name."""
    assert graded.reached == []


def test_what_all_share_is_unchanged(graded: Graded) -> None:
    """The npm cache to the byte and the second, the base image, and every layer of the store."""
    assert graded.after.cache == graded.before.cache
    assert graded.after.base == graded.before.base
    with EmbeddedEngine(str(graded.place / "store")) as engine:
        assert engine.verify(lambda _text: None).damaged == ()
        assert [image.name for image in engine.images() if "node" not in image.name] == []


# --- what people see ---------------------------------------------------------------------------------------------------------------


def test_nothing_that_a_student_wrote_acts_on_the_terminal(graded: Graded) -> None:
    """Neither in the progress lines nor in the table, though what was printed is quoted there."""
    assert "exit code: 7" in graded.said
    assert not CONTROLS.findall(graded.said.replace("\n", ""))


def test_nothing_that_a_student_wrote_acts_on_a_page(graded: Graded) -> None:
    """The report quotes logs, answers of the app and Dockerfiles; all of it is text."""
    pages = [path.read_text(encoding="utf-8") for path in (graded.courses["attacks"] / "report").rglob("*.html")]
    assert len(pages) == len(graded.records["attacks"].submissions) + 1
    whole = "".join(pages)
    assert "&lt;script&gt;alert(1)" in whole
    assert not re.search(r"<(script|img|iframe|object|link)\b", whole)
    assert not CONTROLS.findall(whole.replace("\n", ""))


# --- a grader that is killed -------------------------------------------------------------------------------------------------------


def test_a_killed_run_leaves_nothing_running_and_the_next_one_finishes(graded: Graded, tmp_path: Path) -> None:
    """kill -9 to the command while a step sleeps: its workers and sandboxes end by themselves."""
    sleeper = Attack(tries="", dockerfile="FROM node:alpine\nRUN sleep 6\n", says="")
    course = _course(tmp_path, {"ann": sleeper}, {}, {})
    command = [sys.executable, "-m", "layerlab", "grade", "ps1", "--course", str(course), "--place", str(graded.place), "--no-publish"]
    with subprocess.Popen(command, cwd=COURSE.parent, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, process_group=0) as run:
        _until(lambda: any("sleep 6" in words for words in _processes_of(graded.place)), _LONG_SECONDS)
        run.send_signal(signal.SIGKILL)
    _until(lambda: not _processes_of(graded.place), _LONG_SECONDS)
    assert not (course / "report").exists()
    done = subprocess.run([*command, "--json"], cwd=COURSE.parent, capture_output=True, text=True, timeout=_LONG_SECONDS, check=True)
    assert [(row["student"], row["status"], row["score"]) for row in json.loads(done.stdout)["submissions"]] == [("ann", "graded", 0.0)]


def _until(holds: Any, seconds: float) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "it took too long"
        time.sleep(0.05)
