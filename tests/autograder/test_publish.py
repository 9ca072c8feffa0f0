"""Publishing: what nbgrader's gradebook, feedback and CSV say about a record, and what they never say."""

from __future__ import annotations

import csv
import os
import shutil
import tarfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import nbformat
import pytest
from nbgrader.api import Gradebook, MissingEntry
from nbgrader.utils import determine_grade
from sqlalchemy.exc import OperationalError

from autograder.exercise.assignment import load_assignment
from autograder.publish import publisher as publisher_module
from autograder.publish import rebuild as rebuild_module
from autograder.publish.background import BackgroundPublisher
from autograder.publish.gradebook_rows import STALE, row, withdraw
from autograder.publish.publisher import Published, Publisher, publish, summary
from autograder.publish.rebuild import published_notebook, trusted_notebook
from autograder.submission.notebook_reader import Submission, collect, read_submission
from autograder.submission.record import CheckResult, ClassRecord, SubmissionResult, fits, graded, without_score
from layerlab.cli import main
from layerlab.errors import LayerlabError, UsageError
from tests.autograder.material import COURSE, cell_of, notebook, ps1, submit

EVIL = "<script>alert(1)</script><img src=x onerror=alert(2)>\x1b[31mred\x1b]0;title\x07\u202e"


def result(student: str, *, share: float = 1.0, message: str = "Well.") -> SubmissionResult:
    """A graded record: this share of the points of every check."""

    def status(points: float, maximum: float) -> Any:
        return "passed" if points == maximum else "partial" if points else "failed"

    checks = tuple(
        CheckResult(
            id=check.id,
            status=status(check.points * share, check.points),
            points=check.points * share,
            max_points=check.points,
            message=message,
        )
        for check in ps1().checks
    )
    return graded(student, checks)


def refused(student: str) -> SubmissionResult:
    """A record without a score."""
    return without_score(student, "rejected", ps1().max_score, f"no notebook {EVIL}")


class Course:
    """A course with the shipped settings and assignment, and a gradebook of its own."""

    def __init__(self, root: Path) -> None:
        self.root = root / "exercises"
        self.root.mkdir()
        (self.root / "source").symlink_to(COURSE / "source")
        shutil.copy(COURSE / "nbgrader_config.py", self.root)
        self.url = f"sqlite:///{self.root / 'gradebook.db'}"
        self.said: list[str] = []

    def publish(self, *results: SubmissionResult) -> Published:
        """Publish these results of the submissions that are there."""
        record = ClassRecord(assignment="ps1", seed="s", submissions=results)
        return publish(self.root, record, self.answers, self.said.append)

    def answers(self, about: SubmissionResult) -> Submission:
        """What was submitted."""
        return collect(read_submission(self.root, ps1(), about.student), ps1(), about.student)

    def row(self, student: str) -> str:
        """What the gradebook says about a submission."""
        with Gradebook(self.url, "image-layers") as gradebook:
            found: str = row(gradebook, "ps1", student)
            return found

    def csv(self) -> dict[str, dict[str, str]]:
        """The exported lines by student."""
        with (self.root / "grades.csv").open(encoding="utf-8", newline="") as stream:
            return {line["student_id"]: line for line in csv.DictReader(stream)}

    def feedback(self, student: str) -> str:
        """The page that a student gets."""
        return (self.root / "feedback" / student / "ps1" / "ps1.html").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def gradebook(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A gradebook that knows the assignment. Making one takes a second."""
    course = Course(tmp_path_factory.mktemp("released"))
    course.publish()
    return course.root / "gradebook.db"


@pytest.fixture
def course(tmp_path: Path, gradebook: Path) -> Course:
    """A course with an empty gradebook."""
    made = Course(tmp_path)
    shutil.copy(gradebook, made.root)
    return made


def test_a_record_reaches_gradebook_feedback_and_csv(course: Course) -> None:
    """Partial credit with its words, zero points with theirs, and where all of it is."""
    submit(course.root, "ann", notebook())
    submit(course.root, "bob", notebook())
    done = course.publish(result("ann", share=0.5, message="Half of it."), result("bob", share=0, message="None of it."))
    assert (done.published, done.stale, done.without_score, done.failed) == (("ann", "bob"), (), (), {})
    assert {student: (line["score"], line["max_score"], line["status"]) for student, line in course.csv().items()} == {
        "ann": ("50.0", "100.0", "graded"),
        "bob": ("0.0", "100.0", "graded"),
    }
    assert "(Score: 50.0 / 100.0)" in course.feedback("ann")
    assert "Partly: 15 of 30 points. Half of it." in course.feedback("ann")
    assert "Not yet: 0 of 30 points. None of it." in course.feedback("bob")
    assert "Traceback (most" not in course.feedback("bob")
    assert summary(done).startswith("2 published, 0 stale, 0 without score: gradebook ")


def test_what_students_write_reaches_the_page_only_escaped(course: Course) -> None:
    """In an answer, in the message of a check, and in all that a notebook can hold besides."""
    decoded = notebook(f"FROM node:alpine\nRUN echo '{EVIL}'\n")
    decoded["metadata"]["title"] = EVIL
    for cell in decoded["cells"]:
        if cell["cell_type"] == "markdown":
            cell["source"] = EVIL
    cell_of(decoded, "serves")["outputs"] = [
        {"output_type": "execute_result", "data": {"text/html": EVIL, "text/plain": "25.0"}, "metadata": {}, "execution_count": 1}
    ]
    decoded["cells"].insert(0, {"cell_type": "markdown", "id": "mine", "metadata": {}, "source": f"FORGED {EVIL}"})
    submit(course.root, "ann", decoded)
    for share in (0.5, 0):
        course.publish(result("ann", share=share, message=EVIL))
        page = course.feedback("ann")
        assert "<script>alert" not in page
        assert "<img src=x" not in page
        assert "&lt;script&gt;alert(1)" in page
        assert "FORGED" not in page
        assert not set(page) & {"\x1b", "\x07", "\u202e"}


def test_the_published_notebook_is_the_trusted_one_with_the_answers(course: Course) -> None:
    """Cell by cell; outputs stand in test cells only. An answer is shown as it is, but for what would act or not show."""
    submission = Submission(student="ann", files={"Dockerfile": "FROM ä\r\n# \x1b[31m\u202e\n", ".dockerignore": ""}, digest="")
    answers = {"dockerfile": "%%dockerfile\nFROM ä\r\n# \\x1b[31m\\u202e\n", "dockerignore": "%%dockerignore\n"}
    made, trusted = published_notebook(COURSE, ps1(), submission, result("ann")), trusted_notebook(COURSE, ps1())
    assert made.metadata == trusted.metadata
    for cell, source in zip(made.cells, trusted.cells, strict=True):
        assert (cell.id, cell.cell_type, cell.metadata) == (source.id, source.cell_type, source.metadata)
        assert cell.source == answers.get(cell.id, source.source)
        assert bool(cell.get("outputs")) == bool(cell.metadata.get("nbgrader", {}).get("grade"))
    nbformat.validate(made)


@pytest.mark.parametrize("name", sorted(path.parent.name for path in COURSE.glob("source/*/assignment.json")))
def test_every_shipped_assignment_can_be_published(name: str) -> None:
    """Nothing depends on which assignment it is: the starter texts with full points."""
    assignment = load_assignment(COURSE, name)
    checks = tuple(
        CheckResult(id=check.id, status="passed", points=check.points, max_points=check.points, message="Well.")
        for check in assignment.checks
    )
    files = {answer.file: answer.starter for answer in assignment.answers}
    made = published_notebook(COURSE, assignment, Submission(student="ann", files=files, digest=""), graded("ann", checks))
    shown = {cell.id: determine_grade(cell) for cell in made.cells if cell.metadata.get("nbgrader", {}).get("grade")}
    assert shown == {check.id: (check.points, check.points) for check in assignment.checks}
    assert "SOLUTION" not in nbformat.writes(made)


def _forced(check: CheckResult, **values: Any) -> CheckResult:
    """A check that the record itself would refuse."""
    check = msgspec.structs.replace(check)
    for name, value in values.items():
        msgspec.structs.force_setattr(check, name, value)
    return check


@pytest.mark.parametrize(
    "change",
    [
        lambda checks: checks[:-1],
        lambda checks: (*checks, checks[-1]),
        lambda checks: (*checks[:-1], msgspec.structs.replace(checks[-1], id="another")),
        lambda checks: (_forced(checks[0], points=31.0), *checks[1:]),
        lambda checks: (_forced(checks[0], points=-1.0), *checks[1:]),
        lambda checks: (_forced(checks[0], points=float("nan")), *checks[1:]),
        lambda checks: (_forced(checks[0], points=float("inf")), *checks[1:]),
        lambda checks: (_forced(checks[0], points=10.0, max_points=10.0), *checks[1:]),
        lambda checks: (_forced(checks[0], points=29.0), *checks[1:]),
    ],
)
def test_what_does_not_fit_is_refused(change: Callable[[tuple[CheckResult, ...]], tuple[CheckResult, ...]]) -> None:
    """One check for each test cell, points between 0 and the cell's maximum, a score that is their sum."""
    submission = Submission(student="ann", files={"Dockerfile": "", ".dockerignore": ""}, digest="")
    wrong = result("ann")
    msgspec.structs.force_setattr(wrong, "checks", change(wrong.checks))
    with pytest.raises(LayerlabError):
        published_notebook(COURSE, ps1(), submission, wrong)


def test_a_submission_without_a_score_has_no_row(course: Course) -> None:
    """Not in the CSV either, where nbgrader itself would write 0.0 for a student whom it knows from elsewhere."""
    with Gradebook(course.url, "image-layers") as gradebook:
        gradebook.update_or_create_student("ann")
    unfit = result("cid")
    msgspec.structs.force_setattr(unfit, "checks", unfit.checks[:-1])
    submit(course.root, "cid", notebook())
    done = course.publish(refused("ann"), without_score("bob", "infrastructure-error", ps1().max_score, "a reason"), unfit)
    assert (done.published, done.without_score, list(done.failed)) == ((), ("ann", "bob", "cid"), ["cid"])
    assert {course.row(student) for student in ("ann", "bob", "cid")} == {"none"}
    assert {(line["score"], line["status"]) for line in course.csv().values()} == {("", "")}
    assert not (course.root / "feedback").exists()


def test_an_earlier_score_stays_and_is_marked_stale_until_the_next(course: Course) -> None:
    """Where formgrader looks (comments and what needs manual grading), in the page that the student gets, and in the CSV."""
    submit(course.root, "ann", notebook())
    course.publish(result("ann"))
    done = course.publish(refused("ann"))
    assert (done.stale, done.failed) == (("ann",), {})
    assert "ann keeps the score of an earlier submission, marked stale" in course.said
    assert (course.csv()["ann"]["score"], course.csv()["ann"]["status"]) == ("100.0", "stale")
    assert STALE in course.feedback("ann")
    with Gradebook(course.url, "image-layers") as gradebook:
        assert gradebook.find_submission("ps1", "ann").needs_manual_grade
        assert {comment.comment for comment in gradebook.find_submission_notebook("ps1", "ps1", "ann").comments} == {STALE}
    course.publish(result("ann", share=0.5))
    assert (course.csv()["ann"]["score"], course.csv()["ann"]["status"]) == ("50.0", "graded")
    assert STALE not in course.feedback("ann")
    with Gradebook(course.url, "image-layers") as gradebook:
        assert not gradebook.find_submission("ps1", "ann").needs_manual_grade


def test_grading_again_keeps_what_an_instructor_gave(course: Course) -> None:
    """Manual scores, extra credit and comments outlive a regrade, and a submission that is refused."""
    submit(course.root, "ann", notebook())
    course.publish(result("ann", share=0.5))
    with Gradebook(course.url, "image-layers") as gradebook:
        gradebook.find_grade("serves", "ps1", "ps1", "ann").manual_score = 20
        gradebook.find_grade("size", "ps1", "ps1", "ann").extra_credit = 2
        gradebook.find_comment("dockerfile", "ps1", "ps1", "ann").manual_comment = "Seen in class."
        gradebook.db.commit()
    for again in (refused("ann"), result("ann")):
        course.publish(again)
        with Gradebook(course.url, "image-layers") as gradebook:
            serves = gradebook.find_grade("serves", "ps1", "ps1", "ann")
            assert (serves.manual_score, serves.score, serves.needs_manual_grade) == (20, 20, True)
            assert gradebook.find_grade("size", "ps1", "ps1", "ann").extra_credit == 2
            assert gradebook.find_comment("dockerfile", "ps1", "ps1", "ann").comment == "Seen in class."
    assert course.csv()["ann"]["score"] == "97.0"
    assert "Seen in class." in course.feedback("ann")


def test_one_failure_is_one_students(course: Course) -> None:
    """Here the submission of one changed after grading. The others are published, and its own earlier score is stale."""
    for student in ("ann", "bob", "cid"):
        submit(course.root, student, notebook())
    course.publish(result("ann"), result("bob"))

    def answers(about: SubmissionResult) -> Submission:
        if about.student == "bob":
            raise UsageError("the submission of bob has changed since it was graded")
        return course.answers(about)

    record = ClassRecord(assignment="ps1", seed="s", submissions=(result("ann"), result("bob"), result("cid")))
    done = publish(course.root, record, answers, course.said.append)
    assert (done.published, done.stale) == (("ann", "cid"), ("bob",))
    assert done.failed == {"bob": "the submission of bob has changed since it was graded"}


def test_a_run_that_is_stopped_leaves_nothing_half_said(course: Course, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who was being published is stale, the others are as they were. The next run clears what a killed one left."""
    for student in ("ann", "bob"):
        submit(course.root, student, notebook())
    course.publish(result("ann"), result("bob"))
    (course.root / ".publish-left").mkdir()

    def stopped(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Publisher, "_feedback", stopped)
    with pytest.raises(KeyboardInterrupt):
        course.publish(result("ann"), result("bob"))
    assert (course.row("ann"), course.row("bob")) == ("stale", "graded")
    assert not list(course.root.glob(".publish-*"))


def test_what_else_lies_in_a_submission_does_not_matter(course: Course, tmp_path: Path) -> None:
    """Not a link to a file of the instructor's, not a pipe, not a time that is none: nbgrader would follow, wait and leave."""
    (tmp_path / "secret").write_text("a secret", encoding="utf-8")
    folder = submit(course.root, "ann", notebook()).parent
    (folder / "link").symlink_to(tmp_path / "secret")
    os.mkfifo(folder / "pipe")
    (folder / "timestamp.txt").write_text("no time", encoding="utf-8")
    submit(course.root, "bob", notebook()).with_name("timestamp.txt").write_text("2026-11-24 10:00:00 UTC\n", encoding="utf-8")
    done = course.publish(result("ann"), result("bob"))
    assert (done.published, done.failed) == (("ann", "bob"), {})
    assert [path.name for path in (course.root / "autograded" / "ann" / "ps1").iterdir()] == ["ps1.ipynb"]
    assert (course.csv()["ann"]["timestamp"], course.csv()["bob"]["timestamp"]) == ("", "2026-11-24 10:00:00")


def test_a_row_that_was_begun_and_not_finished_is_no_score(course: Course) -> None:
    """As a process leaves it that is killed: the CSV is blank, and the next refusal removes it."""
    submit(course.root, "ann", notebook())
    course.publish(result("ann"))
    with Gradebook(course.url, "image-layers") as gradebook:
        gradebook.find_grade("serves", "ps1", "ps1", "ann").auto_score = None
        gradebook.db.commit()
    course.publish()
    assert (course.csv()["ann"]["score"], course.csv()["ann"]["status"]) == ("", "incomplete")
    assert withdraw(course.url, "image-layers", "ps1", "ann") == "none"
    with Gradebook(course.url, "image-layers") as gradebook, pytest.raises(MissingEntry):
        gradebook.find_submission("ps1", "ann")


def test_a_gradebook_of_other_rules_is_not_written(course: Course) -> None:
    """Points that were changed after the release: the assignment must be released anew."""
    submit(course.root, "ann", notebook())
    course.publish(result("ann"))
    with Gradebook(course.url, "image-layers") as gradebook:
        gradebook.update_or_create_grade_cell("serves", "ps1", "ps1", max_score=99)
    with pytest.raises(UsageError, match="other cells or points"):
        course.publish(result("ann"))


def test_a_damaged_gradebook_or_setting_is_said_in_a_sentence(course: Course) -> None:
    """No traceback, and what to do."""
    (course.root / "gradebook.db").write_text("not a database " * 100, encoding="utf-8")
    with pytest.raises(LayerlabError, match="the gradebook cannot be used") as caught:
        course.publish()
    assert caught.value.remedy
    (course.root / "nbgrader_config.py").write_text("c = get_config(\n", encoding="utf-8")
    with pytest.raises(UsageError, match="cannot be loaded: SyntaxError"):
        course.publish()


def test_a_course_without_settings_is_not_published(tmp_path: Path) -> None:
    """And nothing is written there."""
    record = ClassRecord(assignment="ps1", seed="s", submissions=())
    with pytest.raises(UsageError, match="has no nbgrader_config"):
        publish(tmp_path, record, lambda about: pytest.fail(about.student), lambda _text: None)
    assert not list(tmp_path.iterdir())


def test_results_are_published_while_others_are_graded(course: Course) -> None:
    """Who was graded first has feedback before the last one is graded; the grades come at the end."""
    submit(course.root, "ann", notebook())
    submit(course.root, "bob", notebook())
    with BackgroundPublisher(course.root, "ps1", course.answers, course.said.append) as meanwhile:
        meanwhile.put(result("bob"))
        page = course.root / "feedback" / "bob" / "ps1" / "ps1.html"
        deadline = time.monotonic() + 60
        while not page.exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        assert page.exists()
        assert not (course.root / "grades.csv").exists()
        meanwhile.put(result("ann", share=0.5))
        meanwhile.put(refused("carl"))
        done = meanwhile.finish()
    assert (done.published, done.stale, done.without_score) == (("ann", "bob"), (), ("carl",))
    assert {student: float(line["score"]) for student, line in course.csv().items()} == {"ann": 50.0, "bob": 100.0}


def test_two_gradings_publish_to_one_course_at_once(course: Course) -> None:
    """Neither waits until the other has graded its class."""
    submit(course.root, "ann", notebook())
    submit(course.root, "bob", notebook())
    first, second = (Publisher(course.root, "ps1", course.answers, course.said.append) for _ in range(2))
    first.add(result("ann"))
    second.add(result("bob", share=0.5))
    assert second.finish().published == ("bob",)
    assert first.finish().published == ("ann",)
    assert {student: float(line["score"]) for student, line in course.csv().items()} == {"ann": 100.0, "bob": 50.0}


def test_a_grading_stays_in_the_directory_that_it_was_started_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """nbgrader's own commands work in the course's folder. While a class is graded, paths relative to another one are in use."""
    made = Course(tmp_path)
    (tmp_path / "node-app").symlink_to(COURSE.parent / "node-app")
    for student in ("ann", "bob", "carl"):
        path = made.root / "submitted" / student / "quiz" / "quiz.ipynb"
        path.parent.mkdir(parents=True)
        shutil.copy(COURSE / "source" / "quiz" / "quiz.ipynb", path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(os, "chdir", lambda where: pytest.fail(f"went to {where}"))
    command = ["grade", "quiz", "--course", "exercises", "--place", "place", "--seed", "s"]
    # The second time everything is known at once.
    assert [main(command), main(command)] == [0, 0]
    assert {student: float(line["score"]) for student, line in made.csv().items()} == dict.fromkeys(("ann", "bob", "carl"), 100.0)
    assert (made.root / "report" / "quiz" / "index.html").is_file()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["exercises", "node-app", "place"]


def test_one_result_that_the_gradebook_refuses_stops_no_other(course: Course, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody may only hold the database for a while."""
    submit(course.root, "ann", notebook())
    submit(course.root, "bob", notebook())
    publisher = Publisher(course.root, "ps1", course.answers, course.said.append)
    with monkeypatch.context() as patch:
        patch.setattr(publisher_module, "withdraw", _locked)
        patch.setattr(Publisher, "_grade", _locked)
        publisher.add(result("ann"))
    publisher.add(result("bob"))
    done = publisher.finish()
    assert done.published == ("bob",)
    assert list(done.failed) == ["ann"]
    assert "database is locked" in done.failed["ann"]


def _locked(*_: object) -> str:
    raise OperationalError("", {}, Exception("database is locked"))


def test_trouble_with_the_gradebook_is_told_at_the_end(tmp_path: Path) -> None:
    """The class is graded meanwhile, and its results are kept."""
    with BackgroundPublisher(tmp_path, "ps1", lambda about: pytest.fail(about.student), lambda _text: None) as meanwhile:
        meanwhile.put(result("ann"))
        with pytest.raises(UsageError, match="has no nbgrader_config"):
            meanwhile.finish()


def test_who_stops_the_grading_stops_publishing(course: Course, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is being published is finished, so that the gradebook is whole; nothing else is begun."""
    submit(course.root, "ann", notebook())
    submit(course.root, "bob", notebook())
    begun, go_on = threading.Event(), threading.Event()
    rebuild = rebuild_module.published_notebook

    def slow(*arguments: Any) -> Any:
        begun.set()
        go_on.wait(30)
        return rebuild(*arguments)

    monkeypatch.setattr(publisher_module, "published_notebook", slow)
    with pytest.raises(KeyboardInterrupt), BackgroundPublisher(course.root, "ps1", course.answers, course.said.append) as meanwhile:  # noqa: PT012
        meanwhile.put(result("ann"))
        meanwhile.put(result("bob"))
        assert begun.wait(60)
        threading.Timer(0.2, go_on.set).start()
        raise KeyboardInterrupt
    assert (course.row("ann"), course.row("bob")) == ("graded", "none")
    assert not list(course.root.glob(".publish-*"))


@pytest.fixture
def first_release(course: Course) -> ClassRecord:
    """What ``grade --json`` of the first release (commit dfdfd2e) printed for two submissions and a folder without one.

    Its gradebook is the course's: ann has 50 points in it, bob none.
    """
    with tarfile.open(Path(__file__).with_name("first-release-grades.tar.gz")) as archive:
        archive.extract("gradebook.db", course.root, filter="data")
        record = archive.extractfile("class.json")
        assert record is not None
        return msgspec.json.decode(record.read(), type=ClassRecord)


def test_a_gradebook_of_the_first_release_goes_on(course: Course, first_release: ClassRecord) -> None:
    """Who is graded anew has the new score; the score of the other stays."""
    submit(course.root, "ann", notebook())
    assert course.publish(result("ann", share=0.8)).failed == {}
    assert {student: (line["score"], line["status"]) for student, line in course.csv().items()} == {
        "ann": ("80.0", "graded"),
        "bob": ("0.0", "graded"),
    }


def test_a_record_of_the_first_release_can_be_published(course: Course, first_release: ClassRecord) -> None:
    for student in ("ann", "bob"):
        submit(course.root, student, notebook())
    assert all(fits(result, result.student, ps1()) for result in first_release.submissions)
    done = course.publish(*first_release.submissions)
    assert (done.published, done.without_score, done.failed) == (("ann", "bob"), ("cyd",), {})
    assert "Partly: 15 of 30 points. Half of it." in course.feedback("ann")
