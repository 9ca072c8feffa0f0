"""What a notebook's helpers and ``%docker`` say when they are used wrongly, twice, or out of order."""

from __future__ import annotations

import contextlib
import http.server
import os
import re
import threading
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from layerlab.engines.api import Event
from layerlab.engines.embedded.engine import EmbeddedEngine
from layerlab.errors import UsageError
from layerlab.model import StepRecord
from layerlab.notebook import Lesson, Session, docker_magic
from layerlab.notebook.docker_magic import docker
from layerlab.notebook.docker_output import BuildLook
from tests.conformance import bases


@pytest.fixture
def session(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Session]:
    """A notebook on a store of its own, in its working copy."""
    monkeypatch.setenv("LAYERLAB_WORK", str(tmp_path / "work"))
    monkeypatch.setenv("LAYERLAB_STORE", str(tmp_path / "store"))
    monkeypatch.setenv("LAYERLAB_ENGINE", "embedded")
    base = next(base for base in bases.bases() if base.name == "node:alpine")
    bases.write_layout(base, tmp_path / "base")
    with EmbeddedEngine(str(tmp_path / "store")) as engine:
        if not engine.host.executor:
            pytest.skip("nothing on this machine can run a build step")
        engine.import_layout(str(tmp_path / "base"), "node:alpine")
    made = Session()
    monkeypatch.chdir(made.app)
    yield made
    made.close()


@pytest.fixture
def lab(session: Session) -> Lesson:
    return Lesson(session)


def test_a_cell_that_is_run_twice_edits_once(lab: Lesson, session: Session, capsys: pytest.CaptureFixture[str]) -> None:
    for _ in range(2):
        lab.edit("Dockerfile", "# Wrong on purpose", "LABEL a=b\n# Wrong on purpose")
        lab.say("again")
    assert (session.app / "Dockerfile").read_text(encoding="utf-8").count("LABEL a=b") == 1
    assert capsys.readouterr().out.count("nothing to do") == 2


def test_a_new_version_is_one_line_of_each_file(lab: Lesson, session: Session) -> None:
    before = {name: (session.app / name).read_text(encoding="utf-8") for name in ("package.json", "package-lock.json")}
    lab.bump(*before)
    versions = set()
    for name, text in before.items():
        lines = zip(text.splitlines(), (session.app / name).read_text(encoding="utf-8").splitlines(), strict=True)
        (changed,) = [new for old, new in lines if old != new]
        versions.add(changed.strip())
    (version,) = versions
    assert version.startswith('"version": "1.0.')
    with pytest.raises(UsageError, match="has no line"):
        lab.bump("tsconfig.json")


@pytest.mark.parametrize("greeting", ['She said "hi"', "back\\slash", "Grüße", "two\nlines", "$& \\1"])
def test_any_greeting_is_a_string_of_typescript(lab: Lesson, session: Session, greeting: str) -> None:
    before = (session.app / "src/index.ts").read_text(encoding="utf-8")
    lab.say(greeting)
    text = (session.app / "src/index.ts").read_text(encoding="utf-8")
    assert text.count("\n") == before.count("\n")
    lab.say("Hello from layer land!")
    assert (session.app / "src/index.ts").read_text(encoding="utf-8") == before


def test_what_makes_no_sense_is_one_message_and_changes_nothing(lab: Lesson, session: Session) -> None:
    before = (session.app / "src/index.ts").read_bytes()
    (session.app / "binary").write_bytes(b"\xff\xfe")
    for act in (
        lambda: lab.edit("src/index.ts", "", "x"),
        lambda: lab.edit("binary", "a", "x"),
        lambda: lab.edit("../../outside", "a", "x"),
        lambda: lab.write("src", "x"),
        lambda: lab.write("", "x"),
        lambda: lab.write("Dockerfile/x", "x"),
        lambda: lab.write("src/index.ts", 7),  # type: ignore[arg-type]
        lambda: lab.size_of("nope"),
        lambda: lab.get("foo"),
        lambda: lab.reveal(None),  # type: ignore[type-var]
    ):
        with pytest.raises(UsageError):
            act()
    (session.app / "src/index.ts").unlink()
    with pytest.raises(UsageError, match="not a file"):
        lab.say("x")
    lab.reset()
    assert (session.app / "src/index.ts").read_bytes() == before


def test_an_answer_that_is_an_error_is_not_waited_for(lab: Lesson) -> None:
    class NotFound(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_error(404)

        def log_message(self, *_: object) -> None: ...

    with http.server.HTTPServer(("127.0.0.1", 0), NotFound) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        with pytest.raises(UsageError, match="answers 404"):
            lab.get(f"http://127.0.0.1:{server.server_port}/nope")
        server.shutdown()


def test_a_prediction_is_not_compared_with_an_older_build(
    lab: Lesson, session: Session, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # No IPython here, so nothing to show a build in.
    monkeypatch.setattr(docker_magic, "_live", lambda _look: contextlib.nullcontext())
    lab.write("../tiny/Dockerfile", "FROM node:alpine\nRUN echo one > /one\n")
    docker(session, "build -t tiny ../tiny")
    guess = lab.predict("And now?", context="../tiny")
    docker(session, "build --help")
    assert lab.last_build().tag == "tiny"
    lab.write("../tiny/Dockerfile", "FROM node:alpine\nRUNN echo\n")
    for line in ("build -t tiny ../tiny", "build --nonsense .", "build --secret x=y ."):
        docker(session, line)
        with pytest.raises(UsageError, match="did not come to an end"):
            lab.reveal(guess)
    lab.write("../tiny/Dockerfile", "FROM node:alpine\nRUN echo one > /one\n")
    docker(session, "build -t tiny ../tiny --iidfile ../tiny/id")
    assert lab.reveal(guess).results
    assert (session.app.parent / "tiny" / "id").read_text(encoding="utf-8") == lab.image_id("tiny")
    assert "Traceback" not in capsys.readouterr().err


def test_a_step_that_says_nothing_is_seen_to_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its clock goes on, event or none, and what it said last stays."""
    shown: list[str] = []

    class Handle:
        def update(self, data: dict[str, str], *, raw: bool) -> None:
            assert raw
            shown.append(data["text/plain"])

    monkeypatch.setattr("IPython.display.display", lambda *_, **_more: Handle())
    look = BuildLook("embedded")
    step = StepRecord(number=2, stage="0", instruction="RUN sleep 60", line=2, end_line=2, status="executed", makes_layer=True, index="1/1")
    with docker_magic._live(look):
        look.take(Event(kind="start", step=step))
        look.take(Event(kind="log", step=step, text="half of it is done\n"))
        time.sleep(1.2)
    running = [text for text in shown if "RUN sleep 60" in text]
    assert len(running) >= 3
    assert all(" => => half of it is done" in text for text in running[1:])
    clocks = [float(re.findall(r"RUN sleep 60 +(\d+\.\d)s", text)[0]) for text in running]
    assert clocks == sorted(clocks)
    assert clocks[-1] >= 1.0


def test_an_archive_is_not_shown(session: Session, capsys: pytest.CaptureFixture[str]) -> None:
    docker(session, "save node:alpine")
    shown = capsys.readouterr()
    assert "-o FILE" in shown.err
    assert shown.out == ""


def test_a_folder_that_is_gone(lab: Lesson, session: Session, capsys: pytest.CaptureFixture[str]) -> None:
    for name in sorted(session.app.rglob("*"), reverse=True):
        name.rmdir() if name.is_dir() else name.unlink()
    session.app.rmdir()
    docker(session, "build .")
    assert "lab.reset()" in capsys.readouterr().err
    lab.reset()
    assert Path(os.getcwd()) == session.app


def test_a_prediction_that_was_answered_keeps_its_answer(lab: Lesson, session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    """The cell that builds and reveals, run a second time, builds nothing: that makes no right answer a wrong one."""
    monkeypatch.setattr(docker_magic, "_live", lambda _look: contextlib.nullcontext())
    lab.write("../tiny/Dockerfile", "FROM node:alpine\nRUN echo one > /one\n")
    guess = lab.predict("The first time?", context="../tiny")
    guess.commit(["runs"])
    for _ in range(2):
        docker(session, "build -t tiny ../tiny")
        lab.reveal(guess)
        assert guess.score == "1 of 1 right"


def test_removing_a_container_that_is_not_there_is_quiet(lab: Lesson, capsys: pytest.CaptureFixture[str]) -> None:
    lab.remove("left-from-before")
    assert capsys.readouterr() == ("", "")


def test_a_reset_keeps_all_that_it_removes(session: Session, lab: Lesson) -> None:
    """A repository, what its owner may not read, and a name that is no text."""
    git = session.app / ".git"
    git.mkdir()
    (git / "HEAD").write_text("ref: refs/heads/main\n", encoding="utf-8")
    secret = session.app / "shut" / "file"
    secret.parent.mkdir()
    secret.write_text("kept\n", encoding="utf-8")
    secret.chmod(0)
    secret.parent.chmod(0)
    Path(os.fsdecode(os.fsencode(session.app) + b"/na\xefve.txt")).write_text("old encoding\n", encoding="utf-8")
    lab.reset()
    assert not git.exists()
    assert not secret.parent.exists()
    (archive,) = (session.app.parent / "kept").glob("*.zip")
    with zipfile.ZipFile(archive) as kept:
        names = set(kept.namelist())
        assert kept.read("node-app/shut/file") == b"kept\n"
    assert {"node-app/.git/HEAD", "node-app/na\ufffdve.txt"} <= names
