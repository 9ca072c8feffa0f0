"""In which order a class is graded."""

from __future__ import annotations

from pathlib import Path

import pytest

from autograder.backends.worker import Job
from autograder.classroom.grading_order import FIRST, in_order
from autograder.judge.prepare import Prepared
from autograder.submission.notebook_reader import Submission
from tests.autograder.material import ps1

NAIVE = "FROM node:alpine\nWORKDIR /app\nCOPY . .\nRUN npm install\nRUN npm run build\n"
GOOD = "FROM node:alpine\nWORKDIR /app\nCOPY package*.json ./\nRUN npm ci\nCOPY . .\nRUN npm run build\n"
NO_COMMAND = "FROM node:alpine\nCOPY . .\n"


def job(student: str, dockerfile: str, tmp_path: Path) -> Job:
    """A job whose answer is this Dockerfile."""
    places = dict.fromkeys(("app", "store", "cache", "results", "work", "base"), str(tmp_path))
    return Job(
        assignment=ps1(),
        prepared=Prepared(**places),
        submission=Submission(student=student, files={"Dockerfile": dockerfile}, digest=""),
        seed="s",
    )


@pytest.mark.parametrize(
    ("answers", "first", "others"),
    [
        ({"ann": GOOD, "ben": GOOD, "cleo": NAIVE, "dan": NAIVE}, ["ann", "cleo"], ["ben", "dan"]),
        ({"ann": NO_COMMAND, "ben": "", "cleo": GOOD}, ["cleo"], ["ann", "ben"]),
        # What follows the first command, a comment, spacing and the case of the instructions make no other beginning.
        ({"ann": GOOD, "ben": f"# mine\n\n{GOOD.lower()}", "cleo": f"{GOOD}CMD node dist\n"}, ["ann"], ["ben", "cleo"]),
        ({"ann": GOOD, "ben": GOOD.replace("/app", "/srv")}, ["ann", "ben"], []),
        ({}, [], []),
    ],
)
def test_who_builds_a_beginning_first_goes_first(answers: dict[str, str], first: list[str], others: list[str], tmp_path: Path) -> None:
    """And then all others, in the order in which they came, each once."""
    found = in_order([job(student, dockerfile.replace("from", "FROM"), tmp_path) for student, dockerfile in answers.items()])
    assert list(found) == first + others
    assert [weight == FIRST for weight in found.values()] == [True] * len(first) + [False] * len(others)
