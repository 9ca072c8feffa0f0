"""A class on the real app: real builds, real packages, real answers of the running image."""

from __future__ import annotations

import csv
import errno
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import nbclient
import nbformat
import pytest

from autograder.exercise.assignment import load_assignment
from autograder.exercise.starter import replace_answers
from autograder.judge.grade import grade
from autograder.judge.network import NO_NETWORK
from autograder.judge.prepare import prepare
from autograder.judge.question_play import apply, begin, verdicts
from autograder.release import reference
from autograder.sandbox import watch
from autograder.sandbox.processes import sandboxed
from autograder.sandbox.sandbox import Sandbox
from autograder.submission.notebook_reader import Submission
from autograder.submission.record import ClassRecord, SubmissionResult
from layerlab.engines.api import BuildOptions
from tests.autograder.material import APP, COURSE, ROOT, ps1, ps2
from tests.sample_class.make import expected, make, students

pytestmark = [pytest.mark.slow, pytest.mark.network, pytest.mark.timeout(3600)]

OPTIMISED = (APP / "Dockerfile.optimized").read_text(encoding="utf-8")
IGNORE = (APP / ".dockerignore").read_text(encoding="utf-8")
# The instructor's commands, typed one after the other.
SEED = "class"


class Room(NamedTuple):
    """The sample class, after ``release``, ``make.py`` and ``grade --json``."""

    course: Path
    record: ClassRecord
    said: str


@pytest.fixture(scope="module")
def place(machine: Path) -> Path:
    """Where the grader works."""
    return machine


def _course(root: Path) -> Path:
    """A course like ours, with nobody in it."""
    (root / "node-app").symlink_to(APP)
    course = root / "exercises"
    course.mkdir()
    (course / "source").symlink_to(COURSE / "source")
    shutil.copy(COURSE / "nbgrader_config.py", course)
    return course


def _run(*words: str) -> tuple[str, str]:
    """One command of the autograder: what it prints, and what it says meanwhile."""
    done = subprocess.run(
        [sys.executable, "-P", "-m", "layerlab", *words],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=1740,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout, done.stderr


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory, place: Path) -> Room:
    """Thirty students, graded and published once."""
    course = _course(tmp_path_factory.mktemp("class"))
    here = ("--course", str(course), "--place", str(place))
    _run("release", "ps1", *here)
    assert len(make(course)) == 30
    printed, said = _run("grade", "ps1", "--json", "--workers", "2", "--seed", SEED, *here)
    return Room(course, msgspec.json.decode(printed, type=ClassRecord), said)


@pytest.fixture(scope="module")
def course(room: Room) -> Path:
    """The class's course."""
    return room.course


def of(record: ClassRecord, student: str) -> SubmissionResult:
    """One student's result."""
    return next(result for result in record.submissions if result.student == student)


def lost(result: SubmissionResult) -> dict[str, float] | str:
    """Points that are missing, by check; ``"all"`` for a score of 0."""
    return (
        "all" if result.score == 0 else {check.id: check.max_points - check.points for check in result.checks if check.status != "passed"}
    )


@pytest.mark.parametrize("student", students())
def test_each_of_the_thirty_gets_what_the_answer_deserves(room: Room, student: str) -> None:
    """Any right order, any wording; a twin gets what its twin gets, though its layers are there already; nothing for nothing."""
    result, wanted = of(room.record, student), expected()[student]
    assert result.status == wanted["status"], result.reason
    if result.status == "graded":
        assert lost(result) == wanted["lost"], result.checks
    else:
        assert (result.score, bool(result.reason)) == (None, True)


def test_gradebook_feedback_table_and_report_say_the_same(room: Room) -> None:
    """For each student; who has no score has none anywhere, which is not a zero."""
    scores = {result.student: result.score for result in room.record.submissions}
    with (room.course / "grades.csv").open(encoding="utf-8", newline="") as stream:
        exported = {line["student_id"]: line["score"] for line in csv.DictReader(stream)}
    assert exported == {student: "" if score is None else str(score) for student, score in scores.items() if student in exported}
    assert exported.keys() >= {student for student, score in scores.items() if score is not None}
    report = (room.course / "report" / "ps1" / "index.html").read_text(encoding="utf-8")
    for student, score in scores.items():
        feedback = room.course / "feedback" / student / "ps1" / "ps1.html"
        assert feedback.is_file() == (score is not None)
        assert f">{student}</a>" in report
        if score is not None:
            assert f"Score: {score}" in feedback.read_text(encoding="utf-8")


def test_a_dask_cluster_gives_the_same_scores(room: Room, place: Path) -> None:
    """A LocalCluster of two workers, which knows none of the results."""
    shutil.rmtree(place / "results")
    printed, _ = _run(
        "grade",
        "ps1",
        "--json",
        "--no-publish",
        "--backend",
        "dask",
        "--workers",
        "2",
        "--seed",
        SEED,
        "--course",
        str(room.course),
        "--place",
        str(place),
    )
    record = msgspec.json.decode(printed, type=ClassRecord)
    assert [(result.student, result.status, lost(result)) for result in record.submissions] == [
        (result.student, result.status, lost(result)) for result in room.record.submissions
    ]


def test_a_second_run_takes_the_results(room: Room, place: Path) -> None:
    """Nothing is built again, and the JSON is the record."""
    words = ("grade", "ps1", "--json", "--no-publish", "--seed", SEED, "--course", str(room.course), "--place", str(place))
    first, second = (json.loads(_run(*words)[0]) for _ in range(2))
    assert (first["schema"], first["assignment"], first["seed"]) == (1, "ps1", SEED)
    assert first == second


def test_progress_tells_how_long_it_will_take(room: Room) -> None:
    """A line for each student, with what is left."""
    lines = [line for line in room.said.splitlines() if line.startswith("[")]
    assert len(lines) == 30
    assert any("s left" in line for line in lines)


# --- what a single submission may use ----------------------------------------------------------------------------------------------


def _grade(course: Path, place: Path, dockerfile: str, **limits: Any) -> SubmissionResult:
    """Grade one answer in this process, under other limits."""
    assignment = msgspec.structs.replace(ps1(), limits=msgspec.structs.replace(ps1().limits, **limits))
    prepared = prepare(course, assignment, place, lambda _text: None)
    submission = Submission(student="ann", files={"Dockerfile": dockerfile, ".dockerignore": ""}, digest="")
    return grade(assignment, prepared, submission, "limits")


@pytest.mark.parametrize(
    ("command", "limits", "words"),
    [
        ("sleep 100", {"step_seconds": 2}, "RUN sleep 100 was stopped: it took more than the 2 s"),
        ("sleep 100", {"submission_seconds": 3}, "was stopped: it took more than the 3 s"),
        ('node -e "const all = []; for (;;) all.push(Buffer.alloc(20 << 20, 1))"', {"memory_bytes": 400 << 20}, "at most 400 are allowed"),
        ("for i in $(seq 60); do sleep 100 & done; wait", {"processes": 40}, "at most 40 are allowed"),
    ],
)
def test_limits_end_a_step_and_say_so(course: Path, place: Path, command: str, limits: dict[str, Any], words: str) -> None:
    """Too much is the answer's failure, with the step and the limit."""
    result = _grade(course, place, f"FROM node:alpine\nRUN {command}\n", **limits)
    assert (result.status, result.score) == ("graded", 0)
    assert words in result.checks[0].message
    # Not what helps where a machine has no more memory.
    assert "notebooks" not in result.checks[0].message
    assert not sandboxed()


def test_a_step_cannot_leave_packages_to_others(course: Path, place: Path) -> None:
    """The prepared npm cache is there to be read: what a step does to it is gone with the step, or does not happen at all."""

    def tree() -> list[tuple[str, int]]:
        return sorted((str(path), path.lstat().st_mtime_ns) for path in (place / "npm-cache").rglob("*"))

    before = tree()
    harm = 'cd "$npm_config_cache/_cacache" && rm -rf index-v5 && mkdir evil && { rm -rf content-v2/sha512/* || true; }'
    result = _grade(
        course,
        place,
        f"FROM node:alpine\nRUN {harm}\nRUN cd $npm_config_cache/_cacache && ! ls evil && ls content-v2/sha512/* > /dev/null\n",
    )
    assert "does not hold the app" in result.checks[0].message
    assert tree() == before


@pytest.mark.parametrize("command", ["npm install left-pad", "npm ci --cache /tmp/mine", "curl https://example.org"])
def test_a_step_that_wants_the_network_is_told_what_there_is(course: Path, place: Path, command: str) -> None:
    """Instead of words on proxies, which a student could not act on."""
    result = _grade(course, place, f"FROM node:alpine\nWORKDIR /app\nCOPY package*.json ./\nRUN {command}\n")
    assert (result.status, result.score) == ("graded", 0)
    assert NO_NETWORK in result.checks[0].message
    assert "proxy" not in result.checks[0].message


def test_trouble_of_the_grader_is_no_zero(course: Path, place: Path, tmp_path: Path) -> None:
    """Here the prepared base image is lost."""
    prepared = msgspec.structs.replace(prepare(course, ps1(), place, lambda _text: None), store=str(tmp_path / "a-file"))
    (tmp_path / "a-file").write_text("not a store")
    submission = Submission(student="ann", files={"Dockerfile": OPTIMISED, ".dockerignore": ""}, digest="")
    result = grade(ps1(), prepared, submission, "trouble")
    assert (result.status, result.score, result.checks) == ("infrastructure-error", None, ())
    assert "the grader failed, not the answer" in result.reason


@pytest.mark.parametrize("interval", [0.1, 0.0005], ids=["while it runs", "before it begins"])
def test_a_machine_that_cannot_measure_gives_no_zero(course: Path, place: Path, monkeypatch: pytest.MonkeyPatch, interval: float) -> None:
    """The command is ended, since nobody knows what it uses; but it is not to blame."""

    def fail(_found: frozenset[int]) -> int:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(watch, "memory_files", fail)
    monkeypatch.setattr(watch, "_INTERVAL", interval)
    result = _grade(course, place, "FROM node:alpine\nRUN sleep 60\n")
    assert (result.status, result.score, result.checks) == ("infrastructure-error", None, ())
    assert "Input/output error" in result.reason
    assert result.seconds < 30


def test_the_notebook_says_what_grading_says(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run from top to bottom: the source notebook passes every check, the released one none, each with a plain number or an error."""
    monkeypatch.setenv("LAYERLAB_STORE", str(place.parent / "store"))
    reports = {}
    for kind in ("source", "released"):
        read: Any = nbformat.read(COURSE / "source" / "ps1" / "ps1.ipynb", as_version=4)
        if kind == "released":
            replace_answers(read, ps1())
        client = nbclient.NotebookClient(
            read, timeout=900, allow_errors=True, resources={"metadata": {"path": str(COURSE / "source" / "ps1")}}
        )
        client.execute()
        reports[kind] = {
            cell.id: next((float(item.data["text/plain"]) for item in cell.outputs if item.output_type == "execute_result"), None)
            for cell in read.cells
            if cell.metadata.get("nbgrader", {}).get("grade")
        }
        errors = [item.ename for cell in read.cells if cell.cell_type == "code" for item in cell.outputs if item.output_type == "error"]
        assert errors == ([] if kind == "source" else ["CheckFailed"] * 7)
    assert reports["source"] == {check.id: check.points for check in ps1().checks}
    assert set(reports["released"].values()) == {None}


# --- the second assignment, graded by the same code --------------------------------------------------------------------------------

STAGES = reference(COURSE, "ps2").files["Dockerfile"]
BUILT = "RUN npm run build\n"
# What only the build needs, changed a little and under other names, in the last stage.
SHIPPED = STAGES.replace("USER node", "COPY --from=build /app/extra ./extra\nUSER node")
DISGUISED = (
    "RUN mkdir extra && cp -r node_modules/typescript extra/tool && cp -r src extra/code"
    " && find extra -type f -name '*.js' -exec sh -c 'echo >> \"$1\"' _ {} \\; "
    "&& for f in extra/code/*.ts; do echo >> $f; mv $f $f.txt; done\n"
)
PACKED = "RUN tar czf all.bin extra && rm -r extra/* && mv all.bin extra\n"
WRAPPED = "RUN mkdir extra && cat src/*.ts | tr '\\n' ' ' | sed 's/ /  /g' > extra/notes\n"
MAPPED = "RUN npx tsc --sourceMap --inlineSources --incremental --tsBuildInfoFile dist/info\n"
# npm in the last stage: what it keeps of itself in /tmp is nobody's mistake.
INSTALLED = """FROM node:alpine AS build
WORKDIR /app
COPY package.json package-lock.json ./
RUN npm ci
COPY prisma ./prisma
COPY prisma.config.ts ./
RUN npx prisma generate
COPY tsconfig.json ./
COPY src ./src
RUN npm run build

FROM node:alpine
WORKDIR /app
ENV DATABASE_URL=file:/tmp/dev.db
COPY package.json package-lock.json ./
RUN npm pkg delete devDependencies dependencies.prisma && npm install --omit=peer
COPY --from=build /app/node_modules/.prisma ./node_modules/.prisma
COPY --from=build /app/dist ./dist
USER node
CMD ["node", "dist/index.js"]
"""
# Node itself leaves the types out when it starts.
UNCOMPILED = (
    INSTALLED.replace(
        "RUN npm run build\n", 'RUN sed -i -E \'s#from "(\\./[^"]*)\\.js"#from "\\1.ts"#\' src/*.ts && tar cz src | base64 > /all\n'
    )
    .replace("/app/dist ./dist", "/all /all")
    .replace(
        'CMD ["node", "dist/index.js"]',
        "CMD mkdir /tmp/a && cd /tmp/a && ln -s /app/node_modules && cp /app/package.json . && base64 -d /all | tar xz "
        "&& exec node --experimental-transform-types src/index.ts",
    )
)
OTHER_WORDS = STAGES.replace("AS build", "as one").replace("--from=build", "--from=0").replace("\n", "\r\n")


@pytest.mark.parametrize(
    ("dockerfile", "lost"),
    [
        pytest.param(STAGES, {}, id="the reference"),
        pytest.param(OTHER_WORDS.replace("USER node", "user 1000:1000"), {}, id="the same in other words"),
        pytest.param(
            OTHER_WORDS.replace("USER node", "copy . ."), {"lean": 6, "unprivileged": 10}, id="sources in it, and it runs as root"
        ),
        pytest.param(SHIPPED.replace(BUILT, BUILT + DISGUISED), {"lean": 20}, id="compiler and sources in disguise"),
        pytest.param(SHIPPED.replace(BUILT, BUILT + DISGUISED + PACKED), {"lean": 20}, id="compiler and sources in an archive"),
        pytest.param(SHIPPED.replace(BUILT, BUILT + WRAPPED), {"lean": 6}, id="sources as one line"),
        pytest.param(STAGES.replace(BUILT, MAPPED), {}, id="source maps"),
        pytest.param(INSTALLED, {}, id="installed in the last stage"),
        pytest.param(UNCOMPILED, {"lean": 6, "edit-source": 15}, id="compiled when it starts, from sources in disguise"),
        pytest.param(OPTIMISED.replace("EXPOSE", "EXPOSE 8080"), {"small": 25, "lean": 20, "unprivileged": 10}, id="one stage"),
    ],
)
def test_stages(course: Path, place: Path, dockerfile: str, lost: dict[str, float]) -> None:
    """What each answer loses, and nothing else."""
    prepared = prepare(course, ps2(), place, lambda _text: None)
    files = {"Dockerfile": dockerfile, ".dockerignore": IGNORE}
    result = grade(ps2(), prepared, Submission(student="ann", files=files, digest=""), "stages")
    assert result.status == "graded", result.reason
    assert {check.id: check.max_points - check.points for check in result.checks if check.status != "passed"} == lost, result.checks


# --- the quiz ----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["argument", "environment", "mode"])
def test_a_quiz_is_right_about_real_builds(course: Path, place: Path, tmp_path: Path, name: str) -> None:
    """What it says without building anything is what the engine then does, and why."""
    prepared = prepare(course, ps1(), place, lambda _text: None)
    question = next(question for question in load_assignment(COURSE, "quiz").questions if question.id == name)
    context = tmp_path / "context"
    begin(question, APP, context)
    with Sandbox(prepared.cache) as sandbox, sandbox.engine(prepared.store) as engine:
        built = engine.build(BuildOptions(context=str(context), offline=True, build_args=question.arguments))
        for turn in question.turns:
            for change in turn.changes:
                apply(question, change, context)
            built = engine.build(BuildOptions(context=str(context), offline=True, build_args=turn.arguments))
    assert [(step.instruction, step.status, step.cause) for step in built.steps] == [
        (step.instruction, step.status, step.cause) for step in verdicts(question, APP)
    ]
