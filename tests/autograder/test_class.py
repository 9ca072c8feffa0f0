"""A class on the real app: real builds, real packages, real answers of the running image."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import nbclient
import nbformat
import pytest

from autograder.assignment import load_assignment
from autograder.classroom import grade_class
from autograder.cli import main
from autograder.collect import Submission
from autograder.grade import grade
from autograder.network import NO_NETWORK
from autograder.prepare import prepare
from autograder.processes import sandboxed
from autograder.record import ClassRecord, SubmissionResult
from autograder.release import reference
from autograder.sandbox import GradingEngine
from autograder.scenario import apply, begin, verdicts
from autograder.starter import replace_answers
from layerlab.engines.base import BuildOptions
from layerlab.engines.embedded.engine import EmbeddedEngine
from tests.autograder.material import APP, COURSE, cell_of, notebook, ps1, ps2, submit

pytestmark = [pytest.mark.slow, pytest.mark.network]

NAIVE = ps1().answers[0].starter
OPTIMISED = (APP / "Dockerfile.optimized").read_text(encoding="utf-8")
IGNORE = (APP / ".dockerignore").read_text(encoding="utf-8")
# Lower case, CRLF, another folder, another user, only what is needed copied: none of it matters.
MULTI_STAGE = """\
from node:alpine as build
workdir /src
copy package*.json .
run npm ci
copy prisma prisma/
copy prisma.config.ts .
run npx prisma generate
copy tsconfig.json .
copy src src/
run npm run build

FROM node:alpine
WORKDIR /srv
ENV DATABASE_URL=file:/tmp/dev.db
COPY --from=build /src/node_modules node_modules
COPY --from=build /src/dist dist
COPY --from=build /src/package.json .
USER node
CMD ["node", "dist/index.js"]
""".replace("\n", "\r\n")
HARD_CODED = (
    "FROM node:alpine\nCMD node -e \"require('http').createServer((q, s) => s.end('Hello from layer land!')).listen(process.env.PORT)\"\n"
)
ANSWERS: dict[str, tuple[str | None, str]] = {
    "reference": (None, ""),
    "naive": (NAIVE.replace("/app", "/srv"), ""),
    "naive-twin": ("# the same as another's\n" + NAIVE.replace("/app", "/srv"), ""),
    "unchanged": ("# mine\n" + NAIVE, ""),
    "empty": ("# nothing yet\n", ""),
    "no-ignore": (OPTIMISED, ""),
    "lesson": (OPTIMISED, IGNORE),
    "multi-stage": (MULTI_STAGE, "node_modules\n"),
    "cache-mount": (OPTIMISED.replace("RUN npm install", "RUN --mount=type=cache,target=/root/.npm npm install"), IGNORE),
    "wrong-command": (OPTIMISED.replace("dist/index.js", "index.js"), IGNORE),
    "hard-coded": (HARD_CODED, ""),
    "online": ("FROM node:alpine\nRUN node -e \"fetch('$(npm config get registry)').catch(() => process.exit(7))\"\n", ""),
}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where the grader works. What steps left there only the worker can remove."""
    # Notebooks grade in the folder "grading" beside the store.
    path = tmp_path_factory.mktemp("machine") / "grading"
    yield path
    with EmbeddedEngine(str(path / "store")) as engine:
        engine.worker.ask("remove", paths=["s"])


@pytest.fixture(scope="module")
def course(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A course with a submission for each answer, and two that cannot be graded."""
    root = tmp_path_factory.mktemp("class")
    (root / "node-app").symlink_to(APP)
    (root / "exercises").mkdir()
    (root / "exercises" / "source").symlink_to(COURSE / "source")
    for student, (dockerfile, dockerignore) in ANSWERS.items():
        submit(root / "exercises", student, notebook(dockerfile, dockerignore))
    twice = notebook()
    twice["cells"].append(cell_of(twice, "dockerfile"))
    submit(root / "exercises", "tampered", twice)
    submit(root / "exercises", "garbage", {}).write_bytes(b"\xff")
    return root / "exercises"


@pytest.fixture(scope="module")
def graded(course: Path, place: Path) -> ClassRecord:
    """The class, graded once."""
    return grade_class(course, "ps1", place=place, workers=2, seed="class", report=lambda _text: None)


def of(record: ClassRecord, student: str) -> SubmissionResult:
    """One student's result."""
    return next(result for result in record.submissions if result.student == student)


@pytest.mark.parametrize(
    ("student", "lost"),
    [
        ("reference", {}),
        ("lesson", {}),
        ("multi-stage", {}),
        ("cache-mount", {}),
        ("no-ignore", {"edit-unrelated": 0}),
        ("wrong-command", {"serves": 0}),
        ("naive", {"edit-source": 0, "edit-unrelated": 0, "serves": 0}),
        ("naive-twin", {"edit-source": 0, "edit-unrelated": 0, "serves": 0}),
    ],
)
def test_scores(graded: ClassRecord, student: str, lost: dict[str, float]) -> None:
    """What each answer loses, and nothing else. A twin gets what its twin gets, though its layers are there already."""
    result = of(graded, student)
    assert result.status == "graded", result.reason
    assert {check.id: check.points for check in result.checks if check.points != check.max_points} == lost, result.checks


@pytest.mark.parametrize("student", ["unchanged", "empty", "hard-coded", "online"])
def test_nothing_for_nothing(graded: ClassRecord, student: str) -> None:
    """By rule, for an image without the app, and for a step that wanted the network."""
    assert of(graded, student).score == 0


def test_there_is_no_network(graded: ClassRecord) -> None:
    """The step itself says so."""
    assert "exit code: 7" in of(graded, "online").checks[0].message


@pytest.mark.parametrize("student", ["tampered", "garbage"])
def test_a_broken_submission_stops_nobody_and_has_no_score(graded: ClassRecord, student: str) -> None:
    """The class went on; the reason is in words."""
    result = of(graded, student)
    assert (result.status, result.score) == ("rejected", None)
    assert result.reason


def test_a_second_run_takes_the_results(graded: ClassRecord, course: Path, place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing is built again, and the JSON is the record."""
    status = main(["grade", "ps1", "--course", str(course), "--place", str(place), "--seed", "class", "--json"])
    printed = json.loads(capsys.readouterr().out)
    assert status == 0
    assert (printed["schema"], printed["assignment"], printed["seed"]) == (1, "ps1", "class")
    for row in printed["submissions"]:
        before = of(graded, row["student"])
        assert (row["status"], row["score"], row["seconds"]) == (before.status, before.score, before.seconds)


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
def test_limits_end_a_step_and_say_so(
    graded: ClassRecord, course: Path, place: Path, command: str, limits: dict[str, Any], words: str
) -> None:
    """Too much is the answer's failure, with the step and the limit."""
    result = _grade(course, place, f"FROM node:alpine\nRUN {command}\n", **limits)
    assert (result.status, result.score) == ("graded", 0)
    assert words in result.checks[0].message
    assert not sandboxed()


def test_a_step_cannot_leave_packages_to_others(graded: ClassRecord, course: Path, place: Path) -> None:
    """The prepared npm cache is there to be read: what a step does to it is gone with the step, or does not happen."""

    def tree() -> list[tuple[str, int]]:
        return sorted((str(path), path.lstat().st_mtime_ns) for path in (place / "npm-cache").rglob("*"))

    before = tree()
    harm = 'cd "$npm_config_cache/_cacache" && rm -rf index-v5 && mkdir evil && ! rm -rf content-v2/sha512/*'
    result = _grade(course, place, f"FROM node:alpine\nRUN {harm}\nRUN ! ls $npm_config_cache/_cacache/evil\n")
    assert "does not hold the app" in result.checks[0].message
    assert tree() == before


@pytest.mark.parametrize("command", ["npm install left-pad", "npm ci --cache /tmp/mine", "curl https://example.org"])
def test_a_step_that_wants_the_network_is_told_what_there_is(graded: ClassRecord, course: Path, place: Path, command: str) -> None:
    """Instead of words on proxies, which a student could not act on."""
    result = _grade(course, place, f"FROM node:alpine\nWORKDIR /app\nCOPY package*.json ./\nRUN {command}\n")
    assert (result.status, result.score) == ("graded", 0)
    assert NO_NETWORK in result.checks[0].message
    assert "proxy" not in result.checks[0].message


def test_trouble_of_the_grader_is_no_zero(graded: ClassRecord, course: Path, place: Path, tmp_path: Path) -> None:
    """Here the prepared base image is lost."""
    prepared = msgspec.structs.replace(prepare(course, ps1(), place, lambda _text: None), store=str(tmp_path / "a-file"))
    (tmp_path / "a-file").write_text("not a store")
    submission = Submission(student="ann", files={"Dockerfile": OPTIMISED, ".dockerignore": ""}, digest="")
    result = grade(ps1(), prepared, submission, "trouble")
    assert (result.status, result.score, result.checks) == ("infrastructure-error", None, ())
    assert "the grader failed, not the answer" in result.reason


def test_the_notebook_says_what_grading_says(graded: ClassRecord, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run from top to bottom: the source notebook passes every check, the released one none, each with a plain number or an error."""
    monkeypatch.setenv("LAYERLAB_STORE", str(place.parent / "store"))
    reports = {}
    for kind in ("source", "released"):
        read: Any = nbformat.read(COURSE / "source" / "ps1" / "ps1.ipynb", as_version=4)  # type: ignore[no-untyped-call]
        if kind == "released":
            replace_answers(read, ps1())
        client = nbclient.NotebookClient(
            read, timeout=300, allow_errors=True, resources={"metadata": {"path": str(COURSE / "source" / "ps1")}}
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
OTHER_WORDS = STAGES.replace("AS build", "as one").replace("--from=build", "--from=0").replace("\n", "\r\n")


@pytest.mark.parametrize(
    ("dockerfile", "lost"),
    [
        pytest.param(STAGES, {}, id="the reference"),
        pytest.param(OTHER_WORDS.replace("USER node", "user 1000:1000"), {}, id="the same in other words"),
        pytest.param(
            OTHER_WORDS.replace("USER node", "copy . ."), {"lean": 6, "unprivileged": 10}, id="sources in it, and it runs as root"
        ),
        pytest.param(OPTIMISED.replace("EXPOSE", "EXPOSE 8080"), {"small": 25, "lean": 20, "unprivileged": 10}, id="one stage"),
    ],
)
def test_stages(graded: ClassRecord, course: Path, place: Path, dockerfile: str, lost: dict[str, float]) -> None:
    """What each answer loses, and nothing else."""
    prepared = prepare(course, ps2(), place, lambda _text: None)
    files = {"Dockerfile": dockerfile, ".dockerignore": IGNORE}
    result = grade(ps2(), prepared, Submission(student="ann", files=files, digest=""), "stages")
    assert result.status == "graded", result.reason
    assert {check.id: check.max_points - check.points for check in result.checks if check.status != "passed"} == lost, result.checks


# --- the quiz ----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["argument", "environment", "mode"])
def test_a_quiz_is_right_about_real_builds(graded: ClassRecord, course: Path, place: Path, tmp_path: Path, name: str) -> None:
    """What it says without building anything is what the engine then does, and why."""
    prepared = prepare(course, ps1(), place, lambda _text: None)
    question = next(question for question in load_assignment(COURSE, "quiz").questions if question.id == name)
    context = tmp_path / "context"
    begin(question, APP, context)
    with GradingEngine(prepared.store, prepared.cache) as engine:
        built = engine.build(BuildOptions(context=str(context), offline=True, build_args=question.arguments))
        for turn in question.turns:
            for change in turn.changes:
                apply(question, change, context)
            built = engine.build(BuildOptions(context=str(context), offline=True, build_args=turn.arguments))
    assert [(step.instruction, step.status, step.cause) for step in built.steps] == [
        (step.instruction, step.status, step.cause) for step in verdicts(question, APP)
    ]
