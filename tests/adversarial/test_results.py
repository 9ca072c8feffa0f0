"""Results that nobody graded: from a worker, in the folder of kept results, or handed to publishing. None of them becomes a score."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import msgspec
import pytest
from nbgrader.api import Gradebook, MissingEntry

from autograder.backends.children import Children
from autograder.backends.local import LocalBackend
from autograder.backends.results import Results
from autograder.backends.worker import Job
from autograder.judge.prepare import Prepared
from autograder.publish.publisher import publish
from autograder.submission.notebook_reader import Submission
from autograder.submission.record import CheckResult, ClassRecord, SubmissionResult, graded
from tests.autograder.material import COURSE, ps1

RULES = ps1().checks


def _honest() -> dict[str, Any]:
    """A result that is one: no points, decoded."""
    checks = tuple(CheckResult(id=rule.id, status="failed", points=0, max_points=rule.points, message="No.") for rule in RULES)
    decoded: dict[str, Any] = json.loads(msgspec.json.encode(graded("ann", checks)))
    return decoded


def _changed(number: int = 0, *, score: Any = 0.0, maximum: Any = 100.0, **values: Any) -> str:
    result = _honest()
    result["checks"][number].update(values)
    result.update(score=score, max_score=maximum)
    return json.dumps(result)


def _without(name: str) -> str:
    return json.dumps({key: value for key, value in _honest().items() if key != name})


def _checks(change: Any, **values: Any) -> str:
    result = _honest()
    result["checks"] = change(result["checks"])
    return json.dumps({**result, **values})


FORGED = {
    "not a number": _changed(points=float("nan"), score=float("nan")),
    "without end": _changed(points=float("inf"), score=float("inf")),
    "a negative check": _changed(points=-5, status="partial", score=-5),
    "a negative score": _changed(score=-1),
    "more than the check has": _changed(points=31, status="passed", score=31),
    "more than the assignment has": _changed(points=1000, max_points=1000, status="passed", score=1000, maximum=1070),
    "a larger check that fits itself": _changed(points=40, max_points=40, status="passed", score=40, maximum=110),
    "points moved between checks": json.dumps(
        {
            **_honest(),
            "score": 90.0,
            "checks": [
                {**check, "max_points": 90.0 if not number else 10.0 / (len(RULES) - 1), "points": 90.0 if not number else 0.0}
                | ({} if number else {"status": "passed"})
                for number, check in enumerate(_honest()["checks"])
            ],
        }
    ),
    "a score without its points": _changed(score=100),
    "points without their score": _changed(points=30, status="passed"),
    "points of a failed check": _changed(points=30, status="failed", score=30),
    "points as text": _changed(points="30", status="passed", score="30"),
    "points that are nothing": _changed(points=None, score=None),
    "points that are a truth": _changed(points=True, status="partial", score=True),
    "another status": _changed(status="excellent"),
    "another name of a check": _changed(id="bonus"),
    "no checks": _checks(lambda _checks: []),
    "a check less": _checks(lambda checks: checks[:-1], max_score=95.0),
    "a check twice": _checks(lambda checks: [*checks, checks[0]]),
    "one check for all": _checks(
        lambda _checks: [{"id": "all", "status": "passed", "points": 100.0, "max_points": 100.0, "message": ""}], score=100.0
    ),
    "another student": json.dumps({**_honest(), "student": "eve"}),
    "rejected, with a score": json.dumps({**_honest(), "status": "rejected"}),
    "trouble, with a score": json.dumps({**_honest(), "status": "infrastructure-error", "reason": "x", "checks": []}),
    "no score": _without("score"),
    "no student": _without("student"),
    "no maximum": _without("max_score"),
    "nothing": "",
    "a list": "[]",
    "two results": json.dumps(_honest()) + json.dumps(_honest()),
}


def _job(tmp_path: Path) -> Job:
    nowhere = Prepared(app="", store="", cache="", results="", work="", base="")
    return Job(assignment=ps1(), prepared=nowhere, submission=Submission(student="ann", files={}, digest=""), seed="s")


@pytest.fixture(scope="module")
def forging(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a worker that answers with what lies in the file ``answer``."""
    root = tmp_path_factory.mktemp("forging")
    (root / "forged").mkdir()
    (root / "forged" / "worker.py").write_text(f"print(open({str(root / 'answer')!r}).read())\n", encoding="utf-8")
    return root


def test_the_honest_one_is_taken(tmp_path: Path, forging: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that the others are refused for what is wrong with them."""
    monkeypatch.setattr("autograder.backends.children.package", "forged")
    monkeypatch.syspath_prepend(str(forging))
    (forging / "answer").write_text(json.dumps(_honest()), encoding="utf-8")
    assert Children().grade(_job(tmp_path)).score == 0


@pytest.mark.parametrize("name", FORGED)
def test_a_worker_that_forges_is_trouble_of_the_grader(tmp_path: Path, forging: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Whatever a worker prints, if it is not a result of this student under these rules, nobody has a score."""
    monkeypatch.setattr("autograder.backends.children.package", "forged")
    monkeypatch.syspath_prepend(str(forging))
    (forging / "answer").write_text(FORGED[name], encoding="utf-8")
    with LocalBackend(1) as backend:
        (outcome,) = backend.run([_job(tmp_path)])
    assert outcome.result is None
    assert outcome.trouble


@pytest.mark.parametrize("name", FORGED)
def test_a_kept_result_that_is_none_is_not_reused(tmp_path: Path, name: str) -> None:
    """The submission is graded anew, though the file has the right name and digest."""
    (tmp_path / "app").mkdir()
    prepared = Prepared(app=str(tmp_path / "app"), store="", cache="", results=str(tmp_path), work="", base="")
    results = Results(ps1(), prepared, "s")
    digest = results.digest(b"notebook")
    results.keep(msgspec.convert({**_honest(), "digest": digest}, SubmissionResult))
    (file,) = tmp_path.glob("*.json")
    assert results.kept("ann", digest) is not None
    forged = FORGED[name]
    file.write_text(forged.replace('"digest": ""', f'"digest": "{digest}"'), encoding="utf-8")
    assert results.kept("ann", digest) is None


def _forced(**values: Any) -> SubmissionResult:
    """A result that only a fault in this program could make."""
    result = msgspec.convert(_honest(), SubmissionResult)
    for name, value in values.items():
        msgspec.structs.force_setattr(result, name, value)
    return result


def _with_points(points: float, number: int = 0) -> SubmissionResult:
    result = _forced(score=points)
    msgspec.structs.force_setattr(result.checks[number], "points", points)
    return result


@pytest.mark.parametrize(
    "result",
    [
        pytest.param(_with_points(float("nan")), id="not a number"),
        pytest.param(_with_points(float("inf")), id="without end"),
        pytest.param(_with_points(-1.0), id="negative"),
        pytest.param(_with_points(30.5), id="more than the cell has"),
        pytest.param(_forced(score=100.0), id="a score without its points"),
        pytest.param(_forced(score=None), id="no score"),
        pytest.param(_forced(checks=()), id="no checks"),
        pytest.param(_forced(checks=_forced().checks[1:]), id="a check less"),
        pytest.param(_forced(status="rejected", reason="x"), id="rejected"),
        pytest.param(_forced(status="infrastructure-error", reason="x"), id="trouble"),
    ],
)
def test_publishing_refuses_what_is_no_score(tmp_path: Path, gradebook: Path, result: SubmissionResult) -> None:
    """The student has no row, and the CSV has no number: neither a zero nor full points."""
    course = tmp_path / "exercises"
    course.mkdir()
    (course / "source").symlink_to(COURSE / "source")
    shutil.copy(COURSE / "nbgrader_config.py", course)
    shutil.copy(gradebook, course)
    answers = Submission(student="ann", files={"Dockerfile": "", ".dockerignore": ""}, digest="")
    done = publish(course, ClassRecord(assignment="ps1", seed="s", submissions=(result,)), lambda _result: answers, lambda _text: None)
    assert (done.published, done.without_score) == ((), ("ann",))
    assert ",ann," not in (course / "grades.csv").read_text(encoding="utf-8")
    with Gradebook(f"sqlite:///{course / 'gradebook.db'}", "image-layers") as book, pytest.raises(MissingEntry):
        book.find_submission("ps1", "ann")


@pytest.fixture(scope="module")
def gradebook(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A gradebook that knows the assignment."""
    course = tmp_path_factory.mktemp("released") / "exercises"
    course.mkdir()
    (course / "source").symlink_to(COURSE / "source")
    shutil.copy(COURSE / "nbgrader_config.py", course)
    publish(course, ClassRecord(assignment="ps1", seed="s", submissions=()), lambda _result: pytest.fail("nobody"), lambda _text: None)
    return course / "gradebook.db"
