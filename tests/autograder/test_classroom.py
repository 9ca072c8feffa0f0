"""The machinery around a class, without builds: bad usage, workers that die, results that were tampered with."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from autograder.backends.base import Outcome
from autograder.backends.children import BusyError, Children
from autograder.backends.local import LocalBackend
from autograder.backends.results import Results
from autograder.backends.worker import Job
from autograder.classroom import grading as classroom
from autograder.classroom.grading import grade_class
from autograder.judge.points import none
from autograder.judge.prepare import Prepared
from autograder.submission.notebook_reader import Submission
from autograder.submission.record import CheckResult, ClassRecord, SubmissionResult, graded, without_score
from layerlab.cli import main
from tests.autograder.material import APP, COURSE, notebook, ps1, submit


def _prepared(tmp_path: Path) -> Prepared:
    """A place in which nothing can be built: the app is not there."""
    for name in ("results", "work", "store"):
        (tmp_path / name).mkdir(parents=True)
    place = {name: str(tmp_path / name) for name in ("app", "store", "cache", "results", "work", "base")}
    return msgspec.convert(place, Prepared)


def _job(prepared: Prepared, dockerfile: str = "FROM node:alpine\n", student: str = "ann") -> Job:
    submission = Submission(student=student, files={"Dockerfile": dockerfile, ".dockerignore": ""}, digest="")
    return Job(assignment=ps1(), prepared=prepared, submission=submission, seed="seed")


# --- workers -----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("import os; os.kill(os.getpid(), 9)", "status -9"),
        ("raise SystemExit('boom')", "boom"),
        ("print('{}')", "missing required field"),
        ("print('not JSON')", "JSON is malformed"),
    ],
)
def test_a_worker_that_fails_is_trouble_of_the_grader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str, words: str) -> None:
    """Whatever it does, the class goes on, and nothing of it is a score."""
    package = tmp_path / "broken"
    package.mkdir()
    (package / "worker.py").write_text(code)
    monkeypatch.setattr("autograder.backends.children.package", "broken")
    monkeypatch.syspath_prepend(str(tmp_path))
    with LocalBackend(1) as backend:
        outcomes = list(backend.run([_job(_prepared(tmp_path / "place"))]))
    assert [(outcome.student, outcome.result) for outcome in outcomes] == [("ann", None)]
    assert words in outcomes[0].trouble


def test_a_worker_that_hangs_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Soon after the submission's own limit."""
    package = tmp_path / "broken"
    package.mkdir()
    (package / "worker.py").write_text("import time; time.sleep(60)")
    monkeypatch.setattr("autograder.backends.children.package", "broken")
    monkeypatch.setattr("autograder.backends.children._GRACE_SECONDS", 0.5)
    monkeypatch.syspath_prepend(str(tmp_path))
    job = _job(_prepared(tmp_path / "place"))
    limits = msgspec.structs.replace(ps1().limits, submission_seconds=0.1)
    with pytest.raises(subprocess.TimeoutExpired):
        Children().grade(msgspec.structs.replace(job, assignment=msgspec.structs.replace(ps1(), limits=limits)))


@pytest.mark.parametrize("last_words", [None, without_score("ann", "infrastructure-error", ps1().max_score, "the build was stopped")])
def test_stopping_is_no_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, last_words: SubmissionResult | None
) -> None:
    """Ctrl-C ends the workers, at once or with a result that says so; nobody is told of faults then."""
    package = tmp_path / "broken"
    package.mkdir()
    lines = ["import os, pathlib, signal, time"]
    if last_words is not None:
        said = msgspec.json.encode(last_words)
        lines.append(f"signal.signal(signal.SIGTERM, lambda *_: (os.write(1, {said!r}), os._exit(0)))")
    lines += [f"pathlib.Path({str(tmp_path / 'begun')!r}).touch()", "time.sleep(60)"]
    (package / "worker.py").write_text("\n".join(lines))
    monkeypatch.setattr("autograder.backends.children.package", "broken")
    monkeypatch.syspath_prepend(str(tmp_path))
    backend = LocalBackend(1)
    outcomes = backend.run([_job(_prepared(tmp_path / "place"))])

    def stop() -> None:
        while not (tmp_path / "begun").exists():
            time.sleep(0.02)
        backend.__exit__()

    stopper = threading.Thread(target=stop)
    stopper.start()
    assert [outcome.trouble for outcome in outcomes] == ["the run was stopped"]
    stopper.join()
    assert caplog.text == ""


def test_a_fault_is_one_student_s_and_no_zero(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The worker finds no app: that is trouble of the grader, for this submission."""
    with LocalBackend(2) as backend:
        outcomes = {outcome.student: outcome for outcome in backend.run(_two_jobs(tmp_path))}
    broken, empty = outcomes["ann"].result, outcomes["ben"].result
    assert broken is not None
    assert (broken.status, broken.score, broken.checks) == ("infrastructure-error", None, ())
    assert empty is not None
    assert (empty.status, empty.score) == ("graded", 0)
    # Where in the code it happened is known to who grades, and to nobody else.
    assert "the worker for ann said:\ngrading ann\nTraceback" in caplog.text
    assert "Traceback" not in broken.reason


def _two_jobs(tmp_path: Path) -> list[Job]:
    prepared = _prepared(tmp_path)
    return [_job(prepared), _job(prepared, "# empty\n", "ben")]


# --- results that are kept ---------------------------------------------------------------------------------------------------------


def test_results_are_kept_by_all_that_they_depend_on(tmp_path: Path) -> None:
    """The same submission, rules, seed and app: the same result. Anything else: graded anew. A damaged file counts for nothing."""
    prepared = _prepared(tmp_path)
    results = Results(ps1(), prepared, "seed")
    digest = results.digest(b"notebook")
    result = msgspec.structs.replace(graded("ann", none(ps1(), "x", status="failed")), digest=digest)
    results.keep(result)
    assert Results(ps1(), prepared, "seed").kept("ann", digest) == result
    other = msgspec.structs.replace(ps1(), checks=ps1().checks[:3])
    assert digest not in {
        results.digest(b"other notebook"),
        Results(other, prepared, "seed").digest(b"notebook"),
        Results(ps1(), prepared, "another").digest(b"notebook"),
        Results(ps1(), msgspec.structs.replace(prepared, app=str(APP)), "seed").digest(b"notebook"),
    }
    assert results.kept("ben", digest) is None
    file = next((tmp_path / "results").iterdir())
    whole = file.read_bytes()
    forged = graded("ann", none(ps1(), "x"))
    for damage in (whole[:-5], whole.replace(b'"score":0.0', b'"score":99.0'), msgspec.json.encode(forged)):
        file.write_bytes(damage)
        assert results.kept("ann", digest) is None


def test_trouble_is_not_kept(tmp_path: Path) -> None:
    """The next run tries again."""
    results = Results(ps1(), _prepared(tmp_path), "seed")
    results.keep(SubmissionResult(student="ann", status="infrastructure-error", score=None, max_score=100, reason="disk full", digest="d"))
    assert not list((tmp_path / "results").iterdir())


# --- a class -----------------------------------------------------------------------------------------------------------------------


class _Flaky:
    """A backend that fails on some students the first time, or always."""

    def __init__(self, once: set[str], always: set[str]) -> None:
        self.once, self.always = once, always
        self.asked: list[str] = []

    def __enter__(self) -> _Flaky:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def run(self, jobs: Sequence[Job]) -> Iterator[Outcome]:
        for job in jobs:
            student = job.submission.student
            self.asked.append(student)
            if student in self.always or student in self.once:
                self.once.discard(student)
                yield Outcome(student=student, trouble="the machine went away")
            else:
                yield Outcome(student=student, result=graded(student, none(job.assignment, "x", status="failed")))


def _class(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, backend: Any, students: tuple[str, ...]) -> tuple[ClassRecord, list[str]]:
    course = tmp_path / "exercises"
    if not course.exists():
        course.mkdir()
        (tmp_path / "node-app").symlink_to(APP)
        (course / "source").symlink_to(COURSE / "source")
        for student in students:
            submit(course, student, notebook())
    said: list[str] = []
    monkeypatch.setattr(classroom, "prepare", lambda _course, _assignment, place, _report: _prepared_once(place))
    monkeypatch.setattr(classroom, "_backend", lambda *_: backend)
    return grade_class(course, "ps1", place=tmp_path / "place", seed="s", report=said.append), said


def _prepared_once(place: Path) -> Prepared:
    return (
        msgspec.convert({name: str(place / name) for name in ("app", "store", "cache", "results", "work", "base")}, Prepared)
        if (place / "results").exists()
        else _prepared(place)
    )


def test_trouble_is_retried_once_reported_and_never_a_zero(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And the next run takes up only what has no result yet."""
    backend = _Flaky({"ann"}, {"ben"})
    record, said = _class(tmp_path, monkeypatch, backend, ("ann", "ben", "cleo"))
    assert backend.asked == ["ann", "ben", "cleo", "ann", "ben"]
    assert [(result.student, result.status, result.score) for result in record.submissions] == [
        ("ann", "graded", 0.0),
        ("ben", "infrastructure-error", None),
        ("cleo", "graded", 0.0),
    ]
    assert any("grading 2 again, alone" in line and "ann, ben" in line for line in said)
    again = _Flaky(set(), set())
    record, _ = _class(tmp_path, monkeypatch, again, ())
    assert again.asked == ["ben"]
    assert [result.status for result in record.submissions] == ["graded"] * 3


class _Shaken:
    """A backend under which a command of ann's fails for as long as she is graded beside others."""

    def __init__(self) -> None:
        self.asked: list[list[str]] = []

    def __enter__(self) -> _Shaken:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def run(self, jobs: Sequence[Job]) -> Iterator[Outcome]:
        """See ``Backend.run``."""
        self.asked.append([job.submission.student for job in jobs])
        for job in jobs:
            hit = job.submission.student == "ann" and len(jobs) > 1
            checks = none(job.assignment, "a command failed", status="failed")
            if not hit:
                checks = tuple(
                    CheckResult(id=check.id, status="passed", points=check.max_points, max_points=check.max_points, message="")
                    for check in checks
                )
            result = msgspec.structs.replace(graded(job.submission.student, checks), shaken=hit)
            yield Outcome(student=job.submission.student, result=result)


def test_who_fails_beside_others_is_graded_again_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What all of a machine share, one answer can take from the others; then that was no fault of theirs."""
    backend = _Shaken()
    record, said = _class(tmp_path, monkeypatch, backend, ("ann", "ben", "cleo"))
    assert backend.asked == [["ann", "ben", "cleo"], ["ann"]]
    assert {result.score for result in record.submissions} == {100.0}
    assert any("ann: 0 of 100; again when the others are done" in line for line in said)


def test_a_fault_in_our_own_code_leaves_its_traceback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """In a file that the end of the run names; standard output and the report have room for one line."""
    _class(tmp_path, monkeypatch, _Flaky(set(), set()), ("ann",))
    monkeypatch.undo()
    monkeypatch.setattr(classroom, "prepare", lambda _course, _assignment, place, _report: _prepared_once(place))
    monkeypatch.setattr(Children, "grade", lambda _self, _job: 1 // 0)
    command = ["grade", "ps1", "--course", str(tmp_path / "exercises"), "--place", str(tmp_path / "place"), "--no-publish"]

    assert main([*command, "--seed", "another", "--json"]) == 1

    said = capsys.readouterr()
    assert json.loads(said.out)["submissions"][0]["reason"] == "ZeroDivisionError: integer division or modulo by zero"
    log = tmp_path / "place" / "faults.log"
    assert f"faults of the grader are in {log}" in said.err
    assert "Traceback" not in said.err
    assert "autograder.backends.local: grading ann\nTraceback" in log.read_text(encoding="utf-8")
    log.unlink()
    assert main([*command, "--seed", "s", "--json"]) == 0
    assert not log.exists()
    # A file that cannot be written costs nobody a result.
    log.mkdir()
    capsys.readouterr()
    assert main([*command, "--seed", "a third", "--json"]) == 1
    said = capsys.readouterr()
    assert json.loads(said.out)["submissions"][0]["status"] == "infrastructure-error"
    assert "faults of the grader are in" not in said.err


def test_who_needs_what_another_is_making_lets_the_others_go_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And is asked again then, to wait as long as it takes; no outcome is lost or doubled."""
    asked: list[tuple[str, bool]] = []

    def grade(_: Children, job: Job) -> SubmissionResult:
        asked.append((job.submission.student, job.patient))
        if job.submission.student in ("ann", "dan") and not job.patient:
            raise BusyError
        return graded(job.submission.student, none(job.assignment, "x"))

    monkeypatch.setattr(Children, "grade", grade)
    prepared = _prepared(tmp_path)
    jobs = [_job(prepared, student=student) for student in ("ann", "ben", "cleo", "dan")]
    with LocalBackend(1) as backend:
        outcomes = list(backend.run(jobs))
    assert sorted(outcome.student for outcome in outcomes) == ["ann", "ben", "cleo", "dan"]
    assert all(outcome.result is not None for outcome in outcomes)
    assert asked == [("ann", False), ("ben", False), ("cleo", False), ("dan", False), ("ann", True), ("dan", True)]


_SLOW_WORKER = """
import json, os, sys, time
job = json.load(sys.stdin)
student = job["submission"]["student"]
open(os.path.join(job["prepared"]["work"], f"started-{student}-{os.getpid()}"), "w").close()
if student != "ann" and not os.path.exists(os.path.join(job["prepared"]["work"], "go")):
    time.sleep(600)
rules = job["assignment"]["checks"]
checks = [{"id": rule["id"], "status": "failed", "points": 0.0, "max_points": rule["points"], "message": "x"} for rule in rules]
print(json.dumps({"student": student, "status": "graded", "score": 0.0, "max_score": 100.0, "checks": checks}))
"""
_RUN = """
import sys, msgspec
from pathlib import Path
from autograder.classroom import grading as classroom
from autograder.backends import children
from tests.autograder.test_classroom import _prepared_once
children.package = "broken"
classroom.prepare = lambda course, assignment, place, report: _prepared_once(place)
report = lambda text: print(text, file=sys.stderr, flush=True)
record = classroom.grade_class(Path(sys.argv[1]), "ps1", place=Path(sys.argv[2]), workers=2, seed="s", report=report)
print(msgspec.json.encode(record).decode())
"""


def test_a_run_that_is_killed_is_taken_up_where_it_was(tmp_path: Path) -> None:
    """kill -9 to the grader: what was finished is kept, and the next run asks for the rest alone."""
    course, place = tmp_path / "exercises", tmp_path / "place"
    course.mkdir()
    (tmp_path / "node-app").symlink_to(APP)
    (course / "source").symlink_to(COURSE / "source")
    for student in ("ann", "ben", "cleo"):
        submit(course, student, notebook())
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "worker.py").write_text(_SLOW_WORKER)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join((str(COURSE.parent), str(tmp_path)))}
    command = [sys.executable, "-c", _RUN, str(course), str(place)]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as first:
        assert first.stderr is not None
        # ann is done; ben and cleo never will be.
        assert "ann" in first.stderr.readline()
        first.kill()
    work = place / "work"
    before = {file.name.split("-")[1] for file in work.glob("started-*")}
    for file in work.glob("started-*"):
        file.unlink()
    (work / "go").touch()
    second = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=180, check=True)
    assert "ann" in before
    assert {file.name.split("-")[1] for file in work.glob("started-*")} == {"ben", "cleo"}
    assert [row["status"] for row in json.loads(second.stdout)["submissions"]] == ["graded"] * 3


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["grade", "ps9"], "there is no assignment ps9"),
        (["grade", "../ps1"], "not the name of an assignment"),
        (["release", "nothing"], "there is no assignment nothing"),
        (["grade", "ps1", "--student", "nobody"], "no submission of nobody"),
    ],
)
def test_bad_usage_is_said_in_one_sentence(words: list[str], message: str, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """With status 2, before anything is prepared."""
    assert main([*words, "--course", str(COURSE), "--place", str(tmp_path / "place")]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "place").exists()


def test_a_course_without_its_app_is_said_in_one_sentence(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """A course that was copied alone."""
    course = shutil.copytree(COURSE, tmp_path / "exercises")
    submit(course, "ann", notebook())
    assert main(["grade", "ps1", "--course", str(course), "--place", str(tmp_path / "place")]) == 2
    assert "node-app has no package.json" in capsys.readouterr().err
