"""nbgrader's own commands, formgrader and Validate, for real, with the shipped settings: one small class, really graded."""

from __future__ import annotations

import contextlib
import csv
import json
import os
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from autograder.release import _check_answers, reference
from layerlab.cli import main
from layerlab.errors import LayerlabError
from tests.autograder.material import APP, COURSE, ROOT, cell_of, notebook, ps1, submit

pytestmark = [pytest.mark.slow, pytest.mark.network, pytest.mark.timeout(3600)]


class Class:
    """A course in a folder of its own. ``place``: where it is graded."""

    def __init__(self, base: Path, place: Path) -> None:
        self.root = base / "exercises"
        self.place = place
        self.root.mkdir()
        (base / "node-app").symlink_to(APP)
        (self.root / "source").symlink_to(COURSE / "source")
        shutil.copy(COURSE / "nbgrader_config.py", self.root)
        # nbgrader's programs are not on PATH, as when its command is called by its full name.
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("JUPYTER")},
            "PATH": os.pathsep.join(part for part in os.environ["PATH"].split(os.pathsep) if not Path(part, "alembic").exists()),
            "PYTHONPATH": str(ROOT),
            "LAYERLAB_STORE": str(place.parent / "store"),
            "JUPYTER_CONFIG_DIR": str(base / "config"),
            "JUPYTER_DATA_DIR": str(base / "data"),
            "IPYTHONDIR": str(base / "ipython"),
        }

    def nbgrader(self, *words: str) -> tuple[int, str]:
        """Run a command of nbgrader's in the course's folder. Its status, and all that it said."""
        command = [sys.executable, "-P", "-m", "nbgrader", *words]
        done = subprocess.run(
            command, cwd=self.root, env=self.environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=900, check=False
        )
        return done.returncode, done.stdout + done.stderr

    def released(self) -> dict[str, Any]:
        """The students' notebook, decoded."""
        decoded: dict[str, Any] = json.loads((self.root / "release" / "ps1" / "ps1.ipynb").read_text(encoding="utf-8"))
        return decoded

    def scores(self) -> dict[str, tuple[str, str]]:
        """Score and status in the exported CSV, by student."""
        with (self.root / "grades.csv").open(encoding="utf-8", newline="") as stream:
            return {line["student_id"]: (line["score"], line["status"]) for line in csv.DictReader(stream)}


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory, machine: Path) -> Class:
    """A released assignment, and three submissions: a good one, one as it was handed out, and one that is no notebook."""
    made = Class(tmp_path_factory.mktemp("room"), machine)
    assert main(["release", "ps1", "--course", str(made.root), "--place", str(made.place)]) == 0
    good = made.released()
    # The reference solution: then a step that Validate builds as well is built once.
    files = reference(COURSE, "ps1").files
    for answer in ps1().answers:
        cell_of(good, answer.grade_id)["source"] = f"{answer.magic}\n{files[answer.file]}"
    (submit(made.root, "ann", good).parent / "notes.txt").write_text("nobody asked for it", encoding="utf-8")
    submit(made.root, "bob", made.released())
    submit(made.root, "eve", {}).write_text("[" * 100_000, encoding="utf-8")
    return made


@pytest.fixture(scope="module")
def graded(room: Class) -> str:
    """The class, graded by a plain ``nbgrader autograde``. What it said."""
    status, said = room.nbgrader("autograde", "ps1")
    assert status == 0, said
    return said


def test_the_release_has_no_solution(room: Class) -> None:
    """Neither text nor outputs of it, and no file but the notebook; nbgrader's own command makes the same."""
    text = json.dumps(room.released())
    assert "SOLUTION" not in text
    assert "npm ci" not in text
    assert [path.name for path in (room.root / "release" / "ps1").iterdir()] == ["ps1.ipynb"]
    status, said = room.nbgrader("generate_assignment", "ps1", "--force")
    assert status == 0, said
    assert json.dumps(room.released()) == text


def test_a_release_with_anything_but_the_starter_text_is_refused(tmp_path: Path) -> None:
    """As settings without our step would make it."""
    (tmp_path / "ps1.ipynb").write_text(json.dumps(notebook(None)), encoding="utf-8")
    with pytest.raises(LayerlabError, match="something else than the starter text in dockerfile, dockerignore"):
        _check_answers(tmp_path / "ps1.ipynb", ps1())


def test_autograde_grades_what_can_be_graded(room: Class, graded: str) -> None:
    """The good one in full, the unchanged one with 0 points; what is no notebook has no row, and its reason is said."""
    assert "ps1 of eve is not graded and has no score: the notebook is nested too deeply" in graded
    status, said = room.nbgrader("export")
    assert status == 0, said
    assert room.scores() == {"ann": ("100.0", "graded"), "bob": ("0.0", "graded")}
    assert sorted(path.name for path in (room.root / "autograded" / "ann" / "ps1").iterdir()) == ["ps1.ipynb"]


def test_feedback_has_the_words_of_the_checks(room: Class, graded: str) -> None:
    """From nbgrader's own command."""
    status, said = room.nbgrader("generate_feedback", "ps1")
    assert status == 0, said
    pages = {student: (room.root / "feedback" / student / "ps1" / "ps1.html").read_text(encoding="utf-8") for student in ("ann", "bob")}
    assert "Passed: 25 of 25 points. The image runs and serves" in pages["ann"]
    assert "by rule an unchanged answer scores 0" in pages["bob"]


def test_a_submission_that_turns_bad_leaves_a_stale_score(room: Class, graded: str) -> None:
    """Also where it became a link that leads nowhere, which nbgrader takes for a missing notebook and gives zeros."""
    path = room.root / "submitted" / "ann" / "ps1" / "ps1.ipynb"
    kept = path.read_bytes()
    path.unlink()
    path.symlink_to("nowhere")
    status, said = room.nbgrader("autograde", "ps1", "--force", "--student", "ann")
    assert (status, "its earlier score is marked stale" in said) == (1, True), said
    room.nbgrader("export")
    assert room.scores()["ann"] == ("100.0", "stale")
    path.unlink()
    path.write_bytes(kept)


def test_grade_publishes_what_it_graded(room: Class, graded: str, capfd: pytest.CaptureFixture[str]) -> None:
    """``./lab grade`` takes the results that are there, and the stale mark goes. Standard output has the record and nothing else."""
    words = ["grade", "ps1", "--course", str(room.root), "--place", str(room.place), "--json"]
    before = (room.root / "gradebook.db").read_bytes()
    assert main([*words, "--no-publish"]) == 0
    assert (room.root / "gradebook.db").read_bytes() == before
    capfd.readouterr()
    status = main(words)
    printed = capfd.readouterr()
    assert status == 0, printed.err
    assert [row["status"] for row in json.loads(printed.out)["submissions"]] == ["graded", "graded", "rejected"]
    last = printed.err.splitlines()[-1]
    assert last.startswith("2 published, 0 stale, 1 without score: gradebook ")
    assert len(printed.err.splitlines()) < 12, printed.err
    assert room.scores() == {"ann": ("100.0", "graded"), "bob": ("0.0", "graded")}


@pytest.mark.parametrize(
    ("path", "words"),
    [("source/ps1/ps1.ipynb", "Success! Your notebook passes"), ("release/ps1/ps1.ipynb", "an unchanged answer scores 0")],
)
def test_validate_says_what_grading_says(room: Class, graded: str, path: str, words: str) -> None:
    """The command, on the author's notebook and on the students'."""
    said = room.nbgrader("validate", path)[1]
    assert words in " ".join(said.split()), said


# --- Jupyter ------------------------------------------------------------------------------------------------------------------------


class Server:
    """A running Jupyter server."""

    def __init__(self, url: str, log: Path) -> None:
        self.url = url
        self.log = log

    def ask(self, path: str, values: Mapping[str, str] | None = None) -> str:
        """Get a page, or post values as JSON."""
        data = None if values is None else json.dumps(values).encode()
        request = urllib.request.Request(self.url + path, data, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=360) as answer:
            text: str = answer.read().decode()
        return text


@contextlib.contextmanager
def serving(room: Class, folder: Path, root: Path, environment: Mapping[str, str]) -> Iterator[Server]:
    """Start a server in a folder, with another as its root, on a port that the system picks; end it with its kernels."""
    runtime = Path(room.environment["IPYTHONDIR"]).parent / f"runtime-{time.monotonic_ns()}"
    runtime.mkdir()
    log = runtime / "server.log"
    command = [
        *(sys.executable, "-P", "-m", "jupyter_server", "--no-browser", "--allow-root", "--ip=127.0.0.1", "--port=0"),
        *("--IdentityProvider.token=", "--ServerApp.password=", "--ServerApp.disable_check_xsrf=True", f"--ServerApp.root_dir={root}"),
    ]
    variables = {**room.environment, "JUPYTER_RUNTIME_DIR": str(runtime), **environment}
    with log.open("wb") as stream:
        server = subprocess.Popen(command, env=variables, stdin=subprocess.DEVNULL, stdout=stream, stderr=stream, cwd=folder)
    try:
        deadline = time.monotonic() + 60
        while True:
            try:
                found = Server(json.loads(next(runtime.glob("jpserver-*.json")).read_text(encoding="utf-8"))["url"], log)
                found.ask("api/status")
                break
            except (StopIteration, ValueError, OSError):
                assert server.poll() is None, log.read_text(encoding="utf-8")
                assert time.monotonic() < deadline, log.read_text(encoding="utf-8")
                time.sleep(0.1)
        yield found
    finally:
        server.terminate()
        try:
            server.wait(30)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


def test_formgrader_shows_the_class(room: Class, graded: str) -> None:
    """In a server that an instructor starts in the course's folder: assignment, submissions, and one submission's page."""
    with serving(room, room.root, room.root, {}) as server:
        assignments = {item["name"]: item for item in json.loads(server.ask("formgrader/api/assignments"))}
        assert assignments["ps1"]["num_submissions"] == 3
        submissions = {item["student"]: item for item in json.loads(server.ask("formgrader/api/submissions/ps1"))}
        assert (submissions["ann"]["score"], submissions["ann"]["autograded"]) == (100, True)
        assert not submissions["eve"]["autograded"]
        rows = json.loads(server.ask("formgrader/api/submitted_notebooks/ps1/ps1"))
        page = server.ask(f"formgrader/submissions/{next(row['id'] for row in rows if row['student'] == 'ann')}/")
        assert "Passed: 25 of 25 points. The image runs and serves" in page
        pressed = {student: json.loads(server.ask(f"formgrader/api/submission/ps1/{student}/autograde", {})) for student in ("bob", "eve")}
        assert pressed["bob"]["success"], pressed["bob"]
        assert not pressed["eve"]["success"]
        assert "ps1 of eve is not graded and has no score" in pressed["eve"]["error"]


def test_the_validate_button_says_what_grading_says(room: Class, graded: str) -> None:
    """In a server as ``./lab`` starts it, on the notebook that students get: with the time that a build takes, and no formgrader."""
    with serving(room, ROOT, room.root, {"JUPYTER_CONFIG_PATH": str(ROOT / "jupyter-config")}) as server:
        answer = json.loads(server.ask("assignments/validate", {"path": "release/ps1/ps1.ipynb"}))
        assert answer["success"], answer
        assert len(answer["value"]["failed"]) == 7
        assert "by rule an unchanged answer scores 0" in " ".join(answer["value"]["failed"][0]["error"].split())
        assert "Traceback" not in answer["value"]["failed"][0]["raw_error"]
        assert "No nbgrader_config.py" not in server.log.read_text(encoding="utf-8")
        with pytest.raises(urllib.error.HTTPError):
            server.ask("formgrader/api/assignments")
