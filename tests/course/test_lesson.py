"""What a notebook's helpers and ``%docker`` say when they are used wrongly, twice, or out of order."""

from __future__ import annotations

import http.server
import json
import os
import re
import threading
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from layerlab.engines.api import Event
from layerlab.engines.embedded.engine import EmbeddedEngine
from layerlab.errors import UsageError
from layerlab.lesson.questions import question
from layerlab.model import StepRecord
from layerlab.notebook import Lesson, Session, at_start, docker_magic, load
from layerlab.notebook.docker_magic import docker
from layerlab.notebook.docker_output import BuildLook
from layerlab.notebook.reopened import stills
from layerlab.records import replace
from layerlab.widgets import BuildCard
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
        lambda: lab.reveal(None),  # type: ignore[arg-type]
        lambda: lab.ask("no-such-question"),
        lambda: lab.predict("no-such-question"),
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


class Shown:
    """What ``%docker`` and ``lab`` show, without a notebook: cards as they are in the end, and Markdown."""

    def __init__(self) -> None:
        self.cards: list[BuildCard] = []
        self.told: list[str] = []

    def display(self, shown: Any, **_: Any) -> Shown:
        if isinstance(shown, dict):
            self.told.append(shown["text/markdown"])
        else:
            self.cards.append(shown)
        return self

    def update(self, card: BuildCard) -> None:
        assert card is self.cards[-1]


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> Shown:
    made = Shown()
    monkeypatch.setattr("IPython.display.display", made.display)
    return made


TINY = "FROM node:alpine\nRUN echo one > /one\nRUN echo two > /two\n"


def test_a_prediction_waits_for_a_build_that_comes_to_an_end(
    lab: Lesson, session: Session, shown: Shown, capsys: pytest.CaptureFixture[str]
) -> None:
    lab.write("../tiny/Dockerfile", TINY)
    docker(session, "build -t tiny ../tiny")
    lab.write("../tiny/Dockerfile", TINY.replace("two", "three"))
    guess = lab.predict("And now?", context="../tiny")
    guess.commit([3])
    docker(session, "build --help")
    assert lab.last_build().tag == "tiny"
    # Refused, told wrongly, failed, or of another Dockerfile: none of these answers it.
    lab.write("../tiny/Dockerfile", TINY.replace("RUN", "RUNN"))
    for line in ("build -t tiny ../tiny", "build --nonsense .", "build --secret x=y ."):
        docker(session, line)
        with pytest.raises(UsageError, match="did not come to an end"):
            lab.last_build()
    assert shown.cards[-1].status == "Not built: see the error."
    lab.write("../tiny/Dockerfile", TINY.replace("echo two", "exit 3 #"))
    docker(session, "build -t tiny ../tiny")
    assert shown.cards[-1].problem["message"]
    lab.write("../other/Dockerfile", "FROM node:alpine\nRUN true\n")
    docker(session, "build ../other")
    assert not any(card.guesses for card in shown.cards)
    assert guess.score == ""
    lab.write("../tiny/Dockerfile", TINY.replace("two", "three"))
    docker(session, "build -t tiny ../tiny --iidfile ../tiny/id")
    assert shown.cards[-1].score == "Your prediction: 2 of 2 right. So far in the course: 2 of 2."
    assert guess.score == "2 of 2 right"
    assert (session.app.parent / "tiny" / "id").read_text(encoding="utf-8") == lab.image_id("tiny")
    assert "Traceback" not in capsys.readouterr().err


def test_a_build_answers_once(lab: Lesson, session: Session, shown: Shown) -> None:
    """The cell that builds, run a second time, builds nothing: that makes no right answer a wrong one."""
    lab.write("../tiny/Dockerfile", TINY)
    guess = lab.predict("The first time?", context="../tiny")
    guess.commit([2, 3])
    for _ in range(2):
        docker(session, "build -t tiny ../tiny")
        assert guess.score == "2 of 2 right"
    assert [bool(card.guesses) for card in shown.cards] == [True, False]


def test_what_happened_is_told_after_the_build_and_not_before(lab: Lesson, session: Session, shown: Shown) -> None:
    lab.write("../tiny/Dockerfile", TINY)
    guess = lab.predict("touched", context="../tiny")
    state = json.dumps(guess.get_state(), default=str)
    assert question("touched").happened
    assert "times are not part of the key" not in state + guess.text() + guess.html()
    docker(session, "build -t tiny ../tiny")
    assert shown.told == [question("touched").happened]


def test_a_question_of_the_course_keeps_its_answer_until_it_is_revealed(lab: Lesson, shown: Shown) -> None:
    asked = lab.ask("clock")
    known = question("clock")
    state = json.dumps(asked.get_state(), default=str) + asked.text() + asked.html()
    assert known.why not in state
    # The right choice is one among others, and by no means marked.
    assert state.count(known.answer) == state.count(next(choice for choice in known.choices if choice != known.answer))
    asked.commit("the present one")
    lab.reveal(asked)
    told = shown.told[-1]
    assert told.startswith(f"✕ **You said the present one.** It is {known.answer}. {known.why} So far in the course: 0 of 1.")
    assert told.endswith(known.happened)


def test_a_question_of_ones_own(lab: Lesson, shown: Shown) -> None:
    asked = lab.ask("How many are there?", ["one", "two"])
    asked.commit("two")
    lab.reveal(asked, "two", "Count them.")
    # What somebody asks themselves is not the course's.
    assert shown.told == ["✓ **Right.** It is two. Count them."]


def test_the_tally_survives_a_kernel_and_a_file_that_is_none(lab: Lesson, session: Session, shown: Shown) -> None:
    for again in (Lesson(session), Lesson(session)):
        asked = again.ask("clock")
        asked.commit("the first one")
        again.reveal(asked)
        # The same question again counts once.
        assert shown.told[-1].count("So far in the course: 1 of 1.") == 1
    (session.app.parent / "predictions.json").write_text("[", encoding="utf-8")
    asked = lab.ask("deleted")
    asked.commit("0 MB")
    lab.reveal(asked)
    assert "So far in the course: 0 of 1." in shown.told[-1]


@pytest.mark.parametrize(
    ("statuses", "words"),
    [
        (("(cache miss)", "(cache updated)", ""), "312 packages installed, 3 files fetched"),
        (("(cache miss)", "(cache hit)", "(cache stale)", "(cache revalidated)"), "312 packages installed, 1 files fetched"),
        ((), "312 packages installed, 0 files fetched"),
        (None, "npm installed nothing"),
    ],
)
def test_what_npm_fetched_is_counted(
    lab: Lesson, session: Session, capsys: pytest.CaptureFixture[str], statuses: tuple[str, ...] | None, words: str
) -> None:
    """As npm 11 logs it: archives, and not what it asks for their names."""
    asked = [
        f"npm http fetch GET 200 https://r/a {status}\nnpm http fetch GET 200 https://r/a/-/a-1.tgz 9ms {status}\n"
        for status in statuses or ()
    ]
    log = "".join(asked) + ("up to date\n" if statuses is None else "\nadded 312 packages in 3s\n")
    step = StepRecord(number=2, stage="0", instruction="RUN npm ci", line=2, end_line=2, status="executed", makes_layer=True, log=log)
    lab.write("../tiny/Dockerfile", "FROM node:alpine\n")
    session.record = replace(session.engine.build(session.options(context="../tiny")), steps=(step,))
    lab.fetched()
    assert words in capsys.readouterr().out


def test_what_a_stand_in_is_is_told_once(lab: Lesson, session: Session, shown: Shown, monkeypatch: pytest.MonkeyPatch) -> None:
    build = session.engine.build
    note = "node:alpine is a stand-in (made here)"
    monkeypatch.setattr(session.engine, "build", lambda *words: replace(build(*words), stand_in=(note,)))
    for _ in range(2):
        lab.write("../tiny/Dockerfile", TINY)
        docker(session, "build -t tiny ../tiny")
    assert [card.notes for card in shown.cards] == [[note], []]
    assert ["stand-in" in card.printed for card in shown.cards] == [True, False]


def test_a_step_that_says_nothing_is_seen_to_run(shown: Shown) -> None:
    """Its clock goes on, event or none, and what it said last stays."""
    printed: list[str] = []
    look = BuildLook("embedded")
    step = StepRecord(number=2, stage="0", instruction="RUN sleep 60", line=2, end_line=2, status="executed", makes_layer=True, index="1/1")
    card = BuildCard("tiny")
    card.observe(lambda change: printed.append(change["new"]), "printed")
    with docker_magic._live(card, look):
        for event in (Event(kind="start", step=step), Event(kind="log", step=step, text="half of it is done\n")):
            look.take(event)
            card.take(event)
        time.sleep(1.2)
        assert [(each["verdict"], each["said"]) for each in card.steps] == [("running", "half of it is done")]
        assert float(card.steps[0]["seconds"].removesuffix(" s")) >= 0.9
    running = [text for text in printed if "RUN sleep 60" in text]
    assert len(running) >= 3
    assert all(" => => half of it is done" in text for text in running[1:])
    clocks = [float(re.findall(r"RUN sleep 60 +(\d+\.\d)s", text)[0]) for text in running]
    assert clocks == sorted(clocks)
    assert clocks[-1] >= 1.0
    assert not card.busy


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


def test_removing_a_container_that_is_not_there_is_quiet(lab: Lesson, capsys: pytest.CaptureFixture[str]) -> None:
    lab.remove("left-from-before")
    assert capsys.readouterr() == ("", "")


def test_what_was_reset_comes_back(lab: Lesson, session: Session, capsys: pytest.CaptureFixture[str]) -> None:
    """Twice: what stood in the way of what comes back is kept, too."""
    lab.restore()
    assert capsys.readouterr().out == "Nothing has been kept yet.\n"
    lab.say("my words")
    tool = session.app / "tool.sh"
    tool.write_text("#!/bin/sh\n", encoding="utf-8")
    tool.chmod(0o755)
    lab.reset()
    assert "lab.restore() lists it" in capsys.readouterr().out
    assert not tool.exists()
    lab.say("other words")
    lab.restore(1)
    assert "my words" in (session.app / "src/index.ts").read_text(encoding="utf-8")
    assert tool.stat().st_mode & 0o777 == 0o755
    lab.restore()
    assert len(re.findall(r"^ +\d  .* kB  .*\.zip$", capsys.readouterr().out, re.MULTILINE)) == 2
    lab.restore(1)
    assert "other words" in (session.app / "src/index.ts").read_text(encoding="utf-8")
    for which in (0, 99):
        with pytest.raises(UsageError, match="nothing was kept under number"):
            lab.restore(which)


def test_an_archive_that_is_broken_or_leads_elsewhere_changes_nothing_outside(lab: Lesson, session: Session) -> None:
    lab.say("mine")
    kept = session.app.parent / "kept"
    kept.mkdir()
    (kept / "node-app-1.zip").write_bytes(b"PK no")
    with pytest.raises(UsageError, match="cannot be brought back"):
        lab.restore(1)
    # One whose content was damaged is read to its end before anything is removed.
    with zipfile.ZipFile(kept / "node-app-1.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("node-app/file", "text " * 1000)
    data = bytearray((kept / "node-app-1.zip").read_bytes())
    data[50:60] = b"\xff" * 10
    (kept / "node-app-1.zip").write_bytes(data)
    with pytest.raises(UsageError, match="cannot be brought back"):
        lab.restore(1)
    assert "mine" in (session.app / "src/index.ts").read_text(encoding="utf-8")
    with zipfile.ZipFile(kept / "node-app-2.zip", "w") as archive:
        archive.writestr("node-app/../../../outside", "x")
        archive.writestr("node-app/fine", "x")
    lab.restore(1)
    assert {path.name for path in session.app.iterdir()} == {"fine", "outside"}
    assert not list(session.app.parents[2].glob("outside"))


class Shell:
    """What ``load`` wants of IPython."""

    def __init__(self) -> None:
        self.user_ns: dict[str, Any] = {}
        self.magics: list[str] = []

    def register_magic_function(self, _function: Any, _kind: str, name: str) -> None:
        self.magics.append(name)

    def set_custom_exc(self, *_: Any) -> None: ...

    def push(self, names: dict[str, Any]) -> None:
        self.user_ns |= names


def test_a_kernel_of_the_course_begins_with_lab_and_keeps_it(
    session: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A notebook goes on after a restart; its first cell, run then or not, makes no second session."""
    shell = Shell()
    monkeypatch.chdir(tmp_path)
    at_start.load_ipython_extension(shell)
    assert shell.user_ns == {}
    (tmp_path / "01-run-it-once.ipynb").touch()
    at_start.load_ipython_extension(shell)
    assert capsys.readouterr().out == ""
    lab = shell.user_ns["lab"]
    assert (shell.magics, Path.cwd()) == (["docker"], session.app)
    load(shell)
    assert "You work in" in capsys.readouterr().out
    assert shell.user_ns["lab"] is lab
    lab.session.close()


def test_a_kernel_starts_whatever_is_wrong_with_the_working_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "01-run-it-once.ipynb").touch()
    (tmp_path / "file").touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LAYERLAB_WORK", str(tmp_path / "file"))
    shell = Shell()
    at_start.load_ipython_extension(shell)
    assert shell.user_ns == {}


def test_views_of_a_kernel_that_is_gone_are_left_out_where_there_is_a_still() -> None:
    view = "application/vnd.jupyter.widget-view+json"

    def output(data: dict[str, Any], **metadata: Any) -> dict[str, Any]:
        return {"output_type": "display_data", "data": {view: {}, **data}, "metadata": metadata}

    mine = [output({"text/html": "<p>"}, layerlab={"process": process}) for process in (7, 8)]
    others = [output({"text/html": "<p>"}), output({"text/plain": ""}, layerlab={"process": 8}), {"output_type": "stream", "text": ""}]
    stills({"cells": [{"outputs": [*mine, *others]}, {"cell_type": "markdown"}]}, frozenset({7}))
    assert [view in each.get("data", {}) for each in [*mine, *others]] == [True, False, True, True, False]


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
