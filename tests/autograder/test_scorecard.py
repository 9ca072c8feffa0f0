"""The card that ``check`` shows: points as far as they are known, and where to read, as a link that leads somewhere."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from autograder.exercise.assignment import load_assignment
from autograder.scorecard import Scorecard
from autograder.submission.record import CheckResult
from tests.autograder.material import COURSE, ROOT

PS2 = load_assignment(COURSE, "ps2")


def result(name: str, points: float, most: float) -> CheckResult:
    return CheckResult(
        id=name, status="passed" if points == most else "partial", points=points, max_points=most, message="<b>a student's</b>"
    )


def test_points_are_summed_as_far_as_they_are_known() -> None:
    card = Scorecard(PS2, None)
    assert card.text() == "0 of 100 points; 7 not checked yet."
    card.take([result("small", 15, 25), result("lean", 20, 20)])
    assert card.text() == "35 of 100 points; 5 not checked yet."
    card.take([result(check.id, check.points, check.points) for check in PS2.checks])
    assert card.text() == "100 of 100 points."
    card.forget("small")
    assert card.text() == "75 of 100 points; 1 not checked yet."
    card.forget()
    assert card.text().startswith("0 of 100")


def test_the_table_has_every_check_and_nothing_of_a_student(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(COURSE / "source" / "ps2")
    card = Scorecard(PS2, ROOT / "course")
    card.take([result("small", 15, 25), result("lean", 20, 20)])
    page = card.html("small")
    assert re.findall(r'<th scope="row"[^>]*>(?:<b>)?([a-z-]+)', page) == [check.id for check in PS2.checks]
    assert "<b>small</b>" in page
    assert "15 of 25" in page
    assert "a student" not in page
    links = re.findall(r'href="([^"]*)"', page)
    # Where to read is told of what did not pass, or is not known.
    assert len(links) == 5
    for link in links:
        assert Path(os.path.normpath(Path.cwd() / link)).is_file()


def test_without_the_course_there_is_no_link() -> None:
    assert "href" not in Scorecard(PS2, None).html("small")
    assert "href" not in Scorecard(PS2, Path("/nowhere")).html("small")
