"""The quiz: what is true comes from plans, predictions are read kindly, and guessing earns nothing."""

from __future__ import annotations

import json
import re
import stat
import time
from pathlib import Path
from typing import Any

import msgspec
import nbclient
import nbformat
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autograder.exercise.assignment import load_assignment, notebook_of
from autograder.exercise.starter import replace_answers
from autograder.judge.grade import grade
from autograder.judge.predictions import judge_question
from autograder.judge.prepare import Prepared, prepare
from autograder.judge.question_play import verdicts
from autograder.notebook import CheckFailed, Exercise
from autograder.quiz.picture import picture
from autograder.quiz.prediction import WORD_OF, read_prediction
from autograder.quiz.question import Question, Replace, Touch, Turn, listed, steps_to_predict
from autograder.release import reference
from autograder.submission.notebook_reader import Rejected, Submission, collect
from autograder.submission.record import SubmissionResult
from layerlab.errors import UsageError
from tests.autograder.material import APP, COURSE, cell_of

QUIZ = load_assignment(COURSE, "quiz")
QUESTIONS = {question.id: question for question in QUIZ.questions}


def truth(question: Question) -> dict[int, str]:
    """The right answer by step number, FROM left out."""
    return {step.number: WORD_OF[step.status] for step in verdicts(question, APP) if step.status != "base"}


def answer(question: Question, **changes: str) -> str:
    """The right answer as text, with other words for some steps (``s4="runs"``); ``""`` leaves one out."""
    words = {**truth(question), **{int(name[1:]): word for name, word in changes.items()}}
    return "".join(f"{number} {word}\n" for number, word in words.items())


def graded(files: dict[str, str], tmp_path: Path) -> SubmissionResult:
    """A whole submission; questions that are left out have what the notebook starts with. No place to build in is needed."""
    prepared = Prepared(app=str(APP), store="", cache="", results="", work=str(tmp_path), base="")
    starters = {cell.file: cell.starter for cell in QUIZ.answers}
    return grade(QUIZ, prepared, Submission(student="ann", files={**starters, **files}, digest=""), "seed")


# --- what is true ------------------------------------------------------------------------------------------------------------------


def test_the_reference_is_what_the_plan_says(tmp_path: Path) -> None:
    """Every line of it, in milliseconds, without a store or a sandbox."""
    started = time.monotonic()
    result = graded(reference(COURSE, "quiz").files, tmp_path)
    assert {check.status for check in result.checks} == {"passed"}, result.checks
    assert result.score == QUIZ.max_score == 100
    assert time.monotonic() - started < 5


def test_preparing_a_quiz_needs_no_engine(tmp_path: Path) -> None:
    """Only its directories: it is graded on machines that can isolate nothing, too."""
    place = tmp_path / "beside" / "place"
    prepare(COURSE, QUIZ, place, pytest.fail)
    assert sorted(path.name for path in place.iterdir()) == ["npm-cache", "results", "store", "work"]
    # What students wrote and earned.
    assert stat.S_IMODE(place.stat().st_mode) == 0o700
    place.chmod(0o755)
    prepare(COURSE, QUIZ, place, pytest.fail)
    assert stat.S_IMODE(place.stat().st_mode) == 0o700


@pytest.mark.parametrize(
    ("name", "runs"),
    [
        ("touch", []),
        ("readme", [5, 6, 7]),
        ("ignored", []),
        ("command", [3, 4, 5]),
        ("revert", [5, 6]),
        ("schema", [4, 5, 6, 7, 8, 9]),
        ("pattern", [3, 4, 5, 6]),
        ("argument", [5, 6, 7]),
        ("environment", [5, 6]),
        ("mode", [7, 8]),
        ("stages", [3, 4, 5, 6]),
    ],
)
def test_the_questions_ask_what_they_mean_to(name: str, runs: list[int]) -> None:
    """By hand, from docs/cache.md: a plan that said otherwise would be wrong, or the question."""
    found = truth(QUESTIONS[name])
    assert [number for number, word in found.items() if word == "runs"] == runs
    assert [number for number, word in found.items() if word == "undecided"] == ([9, 10] if name == "stages" else [])


def test_what_a_cached_stage_made_is_known() -> None:
    """An edit that reaches no stage leaves COPY --from cached; undecided is only what must wait for a step."""
    question = msgspec.structs.replace(QUESTIONS["stages"], turns=(Turn(changes=(Touch(path="package.json"),)),))
    assert set(truth(question).values()) == {"cached", "no verdict"}


def test_a_question_whose_change_does_not_fit_is_refused() -> None:
    """It would ask for something else than it shows."""
    for change in (Replace(path="README.md", old="not there", new="x"), Touch(path="gone.txt")):
        question = msgspec.structs.replace(QUESTIONS["readme"], turns=(Turn(changes=(change,)),))
        with pytest.raises(UsageError, match="the question readme changes"):
            verdicts(question, APP)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"kind": "quiz", "questions": []}, "a quiz has questions"),
        ({"answers": [{"grade_id": "a", "magic": "%%a", "file": "a", "starter": ""}]}, "follow from its questions"),
        ({"questions": [{"id": "up", "turns": [{"changes": [{"do": "touch", "path": "../x"}]}]}]}, "inside the build context"),
        ({"questions": [{"id": "bad", "dockerfile": ["FROM"]}]}, "FROM requires"),
        ({"questions": [{"id": "one"}, {"id": "one"}]}, "same id"),
        ({"questions": [{"id": "none", "turns": []}]}, "turns"),
    ],
)
def test_a_wrong_assignment_is_refused(tmp_path: Path, change: dict[str, Any], words: str) -> None:
    """With its file, before anybody is graded."""
    question = {
        "title": "t",
        "text": "t",
        "points": 1,
        "read": "r",
        "dockerfile": ["FROM node:alpine"],
        "turns": [{}],
    }
    written: dict[str, Any] = {"schema": 1, "name": "q", "kind": "quiz", "app": "node-app", "questions": [{"id": "a"}], **change}
    written["questions"] = [{**question, **given} for given in written["questions"]]
    place = tmp_path / "source" / "q" / "assignment.json"
    place.parent.mkdir(parents=True)
    place.write_bytes(msgspec.json.encode(written))
    with pytest.raises(UsageError, match=words):
        load_assignment(tmp_path, "q")


# --- how predictions are read ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "word"),
    [
        ("3 cached", "cached"),
        ("  3.  CACHED   # COPY . .", "cached"),
        ("step 3: hit", "cached"),
        ("Step #3 = Runs", "runs"),
        ("3) executed", "runs"),
        ("3\truns!", "runs"),
        ("3 - run", "runs"),
        ("3: no-verdict", "no verdict"),
        ("3 No  Verdict.", "no verdict"),
        ("3 metadata", "no verdict"),
        ("3 `undecided`", "undecided"),
    ],
)
def test_spelling_does_not_matter(line: str, word: str) -> None:
    """What is meant counts."""
    found = read_prediction(f"### BEGIN SOLUTION\r\n{line}\r\n\r\n", [2, 3])
    assert (found.given, found.problems) == ({3: word}, ())


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("3 perhaps", "none of the words"),
        ("cached", "does not begin with the number"),
        ("9 cached", "no step 9"),
        ("3 cached\n3 runs", "twice"),
    ],
)
def test_what_cannot_be_read_is_told(text: str, words: str) -> None:
    """And is no prediction; of two the first one counts."""
    found = read_prediction(text, [2, 3])
    assert len(found.problems) == 1
    assert words in found.problems[0]
    assert found.given == ({3: "cached"} if words == "twice" else {})


@given(st.text(max_size=200))
def test_any_text_is_read(text: str) -> None:
    """Nothing a student writes stops the grading."""
    assert set(read_prediction(text, [2, 3]).given.values()) <= set(WORD_OF.values())


def test_what_students_start_with_names_every_step() -> None:
    """With the instruction behind it, and predicts nothing."""
    for question in QUIZ.questions:
        starter = listed(question)
        assert [line.split("# ")[1] for line in starter.splitlines()] == [step.instruction for step in steps_to_predict(question)]
        found = read_prediction(starter, [step.number for step in steps_to_predict(question)])
        assert (found.given, found.problems) == ({}, ())


def test_the_first_line_says_which_question_is_answered() -> None:
    """A cell that names another question is refused, whatever its marks say; blanks do not matter."""
    notebook = json.loads(notebook_of(COURSE, "quiz").read_text(encoding="utf-8"))
    cell = cell_of(notebook, "predict-mode")
    cell["source"] = "%%prediction   mode \n3 cached"
    assert collect(json.dumps(notebook).encode(), QUIZ, "ann").files["mode"] == "3 cached"
    for first in ("%%prediction touch", "%%prediction"):
        cell["source"] = f"{first}\n3 cached"
        with pytest.raises(Rejected, match="does not start with %%prediction mode"):
            collect(json.dumps(notebook).encode(), QUIZ, "ann")


# --- points ------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "share"),
    [
        ({}, 1),
        ({"s4": "runs"}, 3 / 5),
        ({"s4": ""}, 3 / 5),
        ({"s3": "runs", "s4": "runs"}, 1 / 5),
        ({"s2": "runs", "s3": "runs", "s4": "runs"}, 0),
        ({"s4": "no verdict"}, 3 / 5),
        # What makes no layer (CMD) gives nothing and can be wrong.
        ({"s7": "runs"}, 4 / 5),
        ({"s3": "runs", "s7": "runs"}, 2 / 5),
        # One word for all that has a verdict: four of six are right, and it is a guess.
        ({"s5": "cached", "s6": "cached"}, 0),
        ({"s2": "runs", "s3": "runs", "s4": "runs", "s7": "runs"}, 0),
    ],
)
def test_a_wrong_step_takes_away_what_a_right_one_gives(changes: dict[str, str], share: float) -> None:
    """Down to nothing, and nothing for one word throughout, unless it is right."""
    question = QUESTIONS["revert"]
    prediction = read_prediction(answer(question, **changes), list(truth(question)))
    assert judge_question(question, prediction, APP).parts["steps"] == pytest.approx(share)


@pytest.mark.parametrize(
    ("word", "full"), [("cached", {"touch", "ignored"}), ("runs", set()), ("undecided", set()), ("no verdict", set()), ("", set())]
)
def test_one_word_for_everything_earns_what_it_gets_right(word: str, full: set[str], tmp_path: Path) -> None:
    """Even with the right answer for what only sets metadata."""
    files = {}
    for question in QUIZ.questions:
        words = {number: real if real == "no verdict" else word for number, real in truth(question).items()}
        files[question.id] = "".join(f"{number} {said}\n" for number, said in words.items())
    result = graded(files, tmp_path)
    assert {check.id for check in result.checks if check.points} == full
    assert result.score is not None
    assert result.score <= 10


def place_of_break(question: Question, rule: str) -> int:
    """How many of a question's steps with a verdict are cached by a rule that reads no question."""
    steps = [step for step in steps_to_predict(question) if truth(question)[step.number] != "no verdict"]
    if rule == "what installs":
        installs = [place for place, step in enumerate(steps) if "npm" in step.instruction and step.keyword == "RUN"]
        return installs[0] + 1 if installs else len(steps) // 2
    if rule == "the last COPY":
        return max(place for place, step in enumerate(steps) if step.keyword == "COPY")
    return int(rule) if rule.isdigit() else int(len(steps) * float(rule))


@pytest.mark.parametrize(
    "rule", ["0", "1", "2", "3", "4", "5", "6", "7", "0.25", "0.34", "0.5", "0.67", "0.75", "what installs", "the last COPY"]
)
def test_one_rule_for_all_questions_does_not_pass(rule: str, tmp_path: Path) -> None:
    """So much is cached, the rest runs, and what makes no layer has no verdict: who has not read the questions has hardly half."""
    files = {}
    for question in QUIZ.questions:
        numbers = [number for number, real in truth(question).items() if real != "no verdict"]
        cached = numbers[: place_of_break(question, rule)]
        files[question.id] = "".join(
            f"{number} {real if real == 'no verdict' else 'cached' if number in cached else 'runs'}\n"
            for number, real in truth(question).items()
        )
    result = graded(files, tmp_path)
    print(rule, result.score)
    assert result.score is not None
    assert result.score <= 60


def test_an_untouched_notebook_scores_zero_by_rule(tmp_path: Path) -> None:
    """And so does an empty one."""
    for files in ({}, {question.id: "# nothing\n\n" for question in QUIZ.questions}):
        result = graded(files, tmp_path)
        assert (result.status, result.score) == ("graded", 0)
        assert "by rule" in result.reason


def test_one_question_alone_is_graded(tmp_path: Path) -> None:
    """The others have no prediction, which is told of them."""
    result = graded({"argument": answer(QUESTIONS["argument"])}, tmp_path)
    assert result.score == 10
    assert "have no prediction" in result.checks[0].message


# --- what is told ------------------------------------------------------------------------------------------------------------------


def test_a_wrong_step_is_told_with_the_cause_of_the_plan() -> None:
    """What was said, what is true, why, and where to read."""
    question = QUESTIONS["argument"]
    wrong = answer(question, s4="runs", s5="cached", s8="cached")
    message = judge_question(question, read_prediction(wrong, list(truth(question))), APP).message
    assert message.startswith("4 of 7 steps are right.")
    assert "Step 5, RUN ls data > first.txt: you said 'cached', the plan says 'runs'" in message
    assert "VERSION is '2' and was '1'" in message
    assert "Step 4, COPY data ./data: you said 'runs', the plan says 'cached'" in message
    assert "makes no layer" in message


def test_steps_with_one_reason_are_told_of_once() -> None:
    question = QUESTIONS["schema"]
    words = {f"s{number}": "cached" for number in (4, 5, 6, 7, 8)}
    message = judge_question(question, read_prediction(answer(question, **words), list(truth(question))), APP).message
    assert message.count("you said") == 2
    assert "Steps 4 and 8: you said 'cached', the plan says 'runs': prisma/schema.prisma changed." in message
    assert "Steps 5, 6 and 7: you said 'cached', the plan says 'runs': it builds on step 4, which runs." in message


@pytest.mark.parametrize("name", QUESTIONS)
def test_without_the_answers_wrong_steps_are_named_and_nothing_says_what_they_do(name: str) -> None:
    """Whatever is wrong: the hint of a step is the same, be it cached or not."""
    question = QUESTIONS[name]
    true = truth(question)
    for number, real in true.items():
        messages = set()
        for word in ("cached", "runs", "undecided", "no verdict"):
            if word == real:
                continue
            text = answer(question, **{f"s{number}": word})
            found = judge_question(question, read_prediction(text, list(true)), APP, answers=False)
            messages.add(found.message.replace(" One and the same verdict for all steps counts only where it is right throughout.", ""))
        (message,) = messages
        assert f"{len(true) - 1} of {len(true)} steps are right. Step {number} is wrong. Think of this: " in message
        assert not re.search(r"you said|plan says|cached|\bruns\b|undecided|no verdict", message)


def test_the_notebook_tells_the_answers_after_some_tries(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Three different whole predictions; the same one again is no try, and one with a hole is none."""
    monkeypatch.setenv("LAYERLAB_STORE", str(tmp_path / "store"))
    exercise = Exercise(COURSE, "quiz", tmp_path / "place")
    question = QUESTIONS["argument"]

    def told(**words: str) -> str:
        exercise.answer("argument", answer(question, **words))
        capsys.readouterr()
        try:
            exercise.check("argument")
        except CheckFailed as failed:
            return str(failed)
        return capsys.readouterr().out

    assert "tries" not in told(s5="")
    for _ in range(2):
        assert told(s5="cached").strip().endswith("The answers are told after 2 more tries.")
    assert told(s5="cached", s4="runs").strip().endswith("The answers are told after 1 more try.")
    assert "VERSION is '2' and was '1'" in told(s5="cached", s6="cached")
    # Another question has its own tries.
    exercise.answer("touch", answer(QUESTIONS["touch"], s2="runs"))
    capsys.readouterr()
    exercise.check("touch")
    assert "2 more tries" in capsys.readouterr().out


def test_a_prediction_is_drawn_as_it_was_given() -> None:
    """The newest step on top, what is left out as such, and nothing of what is true."""
    question = QUESTIONS["argument"]
    page = picture(question, read_prediction("4 runs\n5 cached\n3 no verdict\n", list(truth(question))))
    said = re.findall(r"<b>(\d+)\.</b> <code>[^<]*</code> — (?:\S+ )?([a-z ]+)<", page)
    assert said == [
        ("8", "not predicted"),
        ("7", "not predicted"),
        ("6", "not predicted"),
        ("5", "cached"),
        ("4", "runs"),
        ("3", "no verdict"),
        ("2", "not predicted"),
    ]


def test_what_is_told_in_a_notebook_is_no_other_assignment() -> None:
    assert msgspec.structs.replace(QUIZ, tries=0).digest() == QUIZ.digest()
    assert msgspec.structs.replace(QUIZ, app="other").digest() != QUIZ.digest()


def test_what_waits_is_told() -> None:
    """With the step that it waits for."""
    question = QUESTIONS["stages"]
    message = judge_question(question, read_prediction(answer(question, s9="runs"), list(truth(question))), APP).message
    assert "the plan says 'undecided': what it copies is known only when step 6 has run" in message


def test_nothing_is_told_before_every_step_is_predicted() -> None:
    """Else one would ask instead of thinking. What cannot be read is told, of course."""
    question = QUESTIONS["argument"]
    text = answer(question, s5="", s6="cached", s7="what?")
    message = judge_question(question, read_prediction(text, list(truth(question))), APP).message
    assert "Steps 5 and 7 have no prediction" in message
    assert "Step 7: 'what?' is none of the words" in message
    assert "plan says" not in message
    assert "are right" not in message


# --- in a notebook -----------------------------------------------------------------------------------------------------------------


def test_the_notebook_says_what_grading_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The source notebook passes every check, the released one none; running an answer cell tells nothing of what is true."""
    monkeypatch.setenv("LAYERLAB_STORE", str(tmp_path / "store"))
    for kind in ("source", "released"):
        read: Any = nbformat.read(notebook_of(COURSE, "quiz"), as_version=4)
        if kind == "released":
            replace_answers(read, QUIZ)
        # The kernel may send a line and its end in two messages.
        client = nbclient.NotebookClient(
            read, timeout=180, allow_errors=True, coalesce_streams=True, resources={"metadata": {"path": str(COURSE / "source" / "quiz")}}
        )
        client.execute()
        outputs = {cell.id: cell.outputs for cell in read.cells if cell.cell_type == "code"}
        results = {name: [item for item in outputs[name] if item.output_type == "execute_result"] for name in QUESTIONS}
        errors = [item.ename for rows in outputs.values() for item in rows if item.output_type == "error"]
        if kind == "source":
            assert errors == []
            assert {name: float(rows[0].data["text/plain"]) for name, rows in results.items()} == {
                name: question.points for name, question in QUESTIONS.items()
            }
            assert outputs["predict-mode"][0].text == "7 of 7 steps are predicted.\n"
        else:
            assert errors == ["CheckFailed"] * len(QUESTIONS)
            assert outputs["predict-mode"][0].text == "0 of 7 steps are predicted.\n"
