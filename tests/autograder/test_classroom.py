"""The machinery around a class, without builds: bad usage, workers that die, results that were tampered with."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from autograder import classroom
from autograder.cli import main
from autograder.prepare import Prepared
from autograder.record import graded
from autograder.rubric import none
from tests.autograder.material import COURSE, notebook, ps1, submit


def test_a_worker_that_dies_or_hangs_is_noticed() -> None:
    """Neither gives a result; the caller makes trouble of the grader of it."""
    children = classroom._Children()
    with pytest.raises(RuntimeError, match="status -9"):
        children.run([sys.executable, "-c", "import os; os.kill(os.getpid(), 9)"], b"", 30)
    with pytest.raises(RuntimeError, match="boom"):
        children.run([sys.executable, "-c", "raise SystemExit('boom')"], b"", 30)
    with pytest.raises(subprocess.TimeoutExpired):
        children.run([sys.executable, "-c", "import time; time.sleep(60)"], b"", 0.5)
    assert children.run([sys.executable, "-c", "print(input())"], b"yes\n", 30) == b"yes\n"
    children.end()
    with pytest.raises(RuntimeError, match="stopped"):
        children.run([sys.executable, "-c", ""], b"", 30)


def _prepared(tmp_path: Path) -> Prepared:
    """A place in which nothing can be built: the app is not there."""
    for name in ("results", "work", "store"):
        (tmp_path / name).mkdir()
    place = {name: str(tmp_path / name) for name in ("app", "store", "cache", "results", "work", "base")}
    return msgspec.convert(place, Prepared)


def test_a_fault_is_one_students_and_no_zero(tmp_path: Path) -> None:
    """The worker finds no app: that is trouble of the grader, for this submission, and it is not kept."""
    course, prepared = tmp_path / "course", _prepared(tmp_path)
    submit(course, "ann", notebook())
    result = classroom._one(course, ps1(), prepared, "ann", "seed", classroom._Children())
    assert (result.status, result.score, result.checks) == ("infrastructure-error", None, ())
    assert not list((tmp_path / "results").iterdir())


def test_results_are_kept_by_all_that_they_depend_on(tmp_path: Path) -> None:
    """The same submission, rules and seed: the same result. Anything else: graded anew. A damaged file counts for nothing."""
    course, prepared = tmp_path / "course", _prepared(tmp_path)
    path = submit(course, "ann", notebook("# empty\n"))
    children = classroom._Children()
    first = classroom._one(course, ps1(), prepared, "ann", "seed", children)
    assert (first.status, first.score) == ("graded", 0)
    children.end()
    assert classroom._one(course, ps1(), prepared, "ann", "seed", children) == first
    other = msgspec.structs.replace(ps1(), checks=ps1().checks[:3])
    assert classroom._one(course, ps1(), prepared, "ann", "another", children).status == "infrastructure-error"
    assert classroom._one(course, other, prepared, "ann", "seed", children).status == "infrastructure-error"
    kept = next((tmp_path / "results").iterdir())
    whole = kept.read_bytes()
    forged = graded("ann", none(ps1(), "x"))
    for damage in (whole[:-5], whole.replace(b'"score":0.0', b'"score":99.0'), msgspec.json.encode(forged)):
        kept.write_bytes(damage)
        assert classroom._one(course, ps1(), prepared, "ann", "seed", children).status == "infrastructure-error"
    kept.write_bytes(whole)
    path.write_text(path.read_text(encoding="utf-8") + "\n", encoding="utf-8")
    assert classroom._one(course, ps1(), prepared, "ann", "seed", children).status == "infrastructure-error"


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
