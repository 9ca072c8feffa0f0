"""The rubric on records made by hand: what is judged is what ran again, whatever the file looks like."""

from __future__ import annotations

import math
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autograder.judge.grade import by_rule
from autograder.judge.image_contents import Contents, Vain
from autograder.judge.observe import Built, Observation, Replay
from autograder.judge.points import judge
from autograder.judge.step_roles import StepRoles
from autograder.sandbox.serving import Answer
from autograder.submission.notebook_reader import Submission
from autograder.submission.record import CheckResult, SubmissionResult, graded, without_score
from tests.autograder.material import observation, ps1, ps2, roles, serving, steps

ALL = {"edit-source": 30, "edit-dependency": 15, "edit-schema": 10, "edit-unrelated": 10, "no-change": 5, "serves": 25, "size": 5}
UNSERVED = serving(answer=Answer(problem="the container ended with exit status 1"), follows=False, loads=(), unloaded=("express",))
MIB = 1 << 20


def points(seen: Observation) -> dict[str, float]:
    """Points by check."""
    return {result.id: result.points for result in judge(seen, ps1())}


def lost(seen: Observation) -> dict[str, float]:
    """The checks that did not get all points, with what they got."""
    return {name: got for name, got in points(seen).items() if got != ALL[name]}


def told(seen: Observation, check: str) -> str:
    assignment = ps2() if check == "small" else ps1()
    return next(result.message for result in judge(seen, assignment) if result.id == check)


@pytest.mark.parametrize(("check", "change"), [("size", {"wasted": 1 << 30}), ("small", {"contents": Contents(own=1 << 30, largest=())})])
def test_who_deletes_in_a_later_step_is_told_that_it_shrinks_nothing(check: str, change: dict[str, Any]) -> None:
    """With both steps and the folder; not who passes, and not of a few bytes."""
    vain = Vain(
        size=24 * MIB, folder="app/node_modules/typescript", made="RUN /bin/sh -c npm ci # buildkit", by="RUN /bin/sh -c npm prune \x1b[2J"
    )
    message = told(observation(vain=(vain,), **change), check)
    assert "24.0 MiB that 'RUN npm ci' made are hidden by 'RUN npm prune" in message
    assert "(most of them in /app/node_modules/typescript): they travel all the same." in message
    assert "the image gets no smaller" in message
    assert "\x1b" not in message
    few = msgspec.structs.replace(vain, size=MIB - 1)
    assert "no smaller" not in told(observation(vain=(few,), **change), check)
    passing = {"wasted": 1000} if check == "size" else {"contents": Contents(own=1, largest=())}
    assert "no smaller" not in told(observation(vain=(vain,), **passing), check)


def test_a_perfect_answer_scores_full() -> None:
    """All points, each check passed."""
    assert points(observation()) == ALL
    assert {result.status for result in judge(observation(), ps1())} == {"passed"}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        pytest.param({"edited": steps((2, 3, 4, 5, 6, 7, 8))}, {"edit-source": 0}, id="everything runs after a source edit"),
        pytest.param({"edited": steps((6, 7, 8))}, {"edit-source": 18}, id="only the generation runs too often"),
        pytest.param({"edited": steps((4, 5, 7, 8))}, {"edit-source": 12}, id="only the install runs too often"),
        pytest.param({"edited": steps((3,)), "serving": UNSERVED}, {"edit-source": 0, "serves": 0}, id="nothing is compiled again"),
        pytest.param({"edited": ()}, {"edit-source": 0}, id="nothing is known of the source edit"),
        pytest.param({"dependency": steps((7, 8))}, {"edit-dependency": 0}, id="the install is cached too long"),
        pytest.param({"dependency": ()}, {"edit-dependency": 0}, id="nothing is known of the dependency edit"),
        pytest.param({"schema": steps((7, 8))}, {"edit-schema": 0}, id="the client is cached too long"),
        pytest.param({"schema": steps((5,), undecided=(6,))}, {}, id="a generation that waits for another stage"),
        pytest.param({"readme": steps((7, 8))}, {"edit-unrelated": 5}, id="README runs the build"),
        pytest.param({"readme": steps((7, 8)), "modules": steps((7,))}, {"edit-unrelated": 0}, id="no .dockerignore"),
        pytest.param({"readme": (), "modules": ()}, {"edit-unrelated": 0}, id="nothing is known of unrelated edits"),
        pytest.param({"again": steps((4,))}, {"no-change": 2.5}, id="a rebuild runs something"),
        pytest.param({"again": (), "touched": ()}, {"no-change": 0}, id="nothing is known of a rebuild"),
        pytest.param({"serving": UNSERVED}, {"serves": 0}, id="a wrong command costs once"),
        pytest.param({"serving": serving(answer=Answer(body="Hello", status=200))}, {"serves": 0}, id="the old content"),
        pytest.param(
            {"serving": serving(answer=Answer(body="amber dune 1", status=500))}, {"serves": 0}, id="an error page with the right words"
        ),
        pytest.param({"serving": serving(follows=False)}, {"serves": 0}, id="something else than the compiled code"),
        pytest.param({"serving": serving(code=(), follows=False)}, {"serves": 0}, id="compiled for show, and again at the start"),
        pytest.param({"serving": serving(unloaded=("express",))}, {"serves": 0}, id="a server without the packages"),
        pytest.param({"serving": serving(held=94, lacking=("a/b.js",) * 6)}, {"serves": 0}, id="packages that are others"),
        pytest.param({"serving": serving(held=95, lacking=("a/b.js",) * 5)}, {}, id="packages in which a little was changed"),
        pytest.param({"replay": Replay(taken=("express-5.3.0.tgz",))}, {"edit-source": 12}, id="it installs in secret"),
        pytest.param({"replay": Replay(problem="it was stopped")}, {"edit-source": 12}, id="it builds once and no more"),
        pytest.param({"replay": Replay(sizes=((8, MIB),))}, {}, id="as many bytes as are allowed"),
        pytest.param(
            {"replay": Replay(sizes=((8, MIB + 1),), largest=((8, "app/nm.tar", MIB),))}, {"edit-source": 12}, id="many bytes are made anew"
        ),
        pytest.param({"base": ""}, {"serves": 0}, id="another base"),
        pytest.param({"wasted": 1 << 30}, {"size": 0}, id="much is wasted"),
    ],
)
def test_what_costs_what(changes: dict[str, Any], expected: dict[str, float]) -> None:
    """One mistake, one check."""
    assert lost(observation(**changes)) == expected


def test_every_installation_must_follow_the_dependencies() -> None:
    """With one for the build and one for the image, the one that stays cached would leave its stage with the old packages."""
    second = StepRoles(number=6, roles=frozenset({"install", "generate"}))
    first = Built(steps=steps((2, 3, 4, 5, 6, 7, 8)), roles=(*roles(100, without=frozenset({"generate"})), second), image="sha256:1")
    assert lost(observation(first=first)) == {}
    seen = observation(first=first, dependency=steps((5, 6, 7, 8)))
    assert lost(seen) == {"edit-dependency": 0}
    assert "line 4, RUN npm ci stays cached" in next(check for check in judge(seen, ps1()) if check.id == "edit-dependency").message


def test_a_failed_build_is_the_one_reason() -> None:
    """And the student reads it with every check, with the end of the output."""
    results = judge(observation(first=Built(problem="Dockerfile line 4: boom", log="npm error")), ps1())
    assert all(result.status == "failed" and "line 4: boom" in result.message and "npm error" in result.message for result in results)


def test_the_last_words_of_an_image_are_those_that_say_something() -> None:
    """Without the list of calls that led there."""
    answer = Answer(problem="the container ended with exit status 1", log="Error: no database\n" + "    at call (file.js:1:2)\n" * 40)
    seen = observation(serving=serving(answer=answer))
    message = next(check.message for check in judge(seen, ps1()) if check.id == "serves")
    assert "Its last words: Error: no database Read:" in message


def test_a_secret_installation_is_told_with_the_step_and_the_file() -> None:
    """By what it takes, or by what it makes."""
    takes = judge(observation(replay=Replay(taken=("a-1.tgz", "b-2.tgz", "c-3.tgz", "d-4.tgz"))), ps1())[0].message
    assert "line 8, RUN npm run build takes them out of npm's cache (a-1.tgz, b-2.tgz, c-3.tgz and 1 more)" in takes
    makes = judge(observation(replay=Replay(sizes=((8, 90 * MIB),), largest=((8, "app/nm.tar", 80 * MIB),))), ps1())[0].message
    assert "make 90.0 MiB anew" in makes
    assert "/app/nm.tar, 80.0 MiB, by line 8, RUN npm run build" in makes


@pytest.mark.parametrize("missing", ["install", "build"])
def test_an_image_without_the_app_scores_nothing(missing: Any) -> None:
    """It is quick to rebuild and wastes nothing, which is no achievement."""
    first = Built(steps=steps((2,)), roles=roles(1, without=frozenset({missing})), image="sha256:1")
    assert sum(points(observation(first=first, source=first, serving=UNSERVED)).values()) == 0


@pytest.mark.parametrize("missing", ["install", "build"])
def test_the_right_answer_of_another_server_is_worth_nothing(missing: Any) -> None:
    """It is as easily had as a word in a file."""
    first = Built(steps=steps((2,)), roles=roles(1, without=frozenset({missing})), image="sha256:1")
    seen = observation(first=first, source=first, serving=serving(held=3, lacking=("express/index.js",) * 97))
    assert sum(points(seen).values()) == 0
    assert "of 100 files of packages that the app loads, 3 stand in the image" in judge(seen, ps1())[0].message


def test_an_image_that_compiles_at_its_start_serves_and_caches_nothing() -> None:
    """No step compiles, so there is nothing that an edit could rebuild."""
    first = Built(steps=steps((2,)), roles=roles(1, without=frozenset({"build"})), image="sha256:1")
    assert lost(observation(first=first, source=first, serving=serving(code=(), follows=False))) == {"edit-source": 0}


def test_messages_name_the_step_the_cause_and_the_chapter() -> None:
    """What missed, why, what to read."""
    result = judge(observation(edited=steps((2, 3, 4, 5, 6, 7, 8))), ps1())[0]
    assert "line 4, RUN npm ci" in result.message
    assert "src/index.ts changed" in result.message
    assert "04-optimise.ipynb" in result.message


@pytest.mark.parametrize(
    ("dockerfile", "dockerignore", "rule"),
    [
        ("", "x", "empty"),
        ("# only words\n\n", "x", "empty"),
        (None, None, "unchanged"),
        ("# my name\n{starter}\r\n\r\n# bye\n", "  # other words\n", "unchanged"),
        ("{starter}RUN true\n", None, None),
        (None, "node_modules\n", None),
        ("FROM node:alpine\n" + "RUN true\n" * 80, "x", "81 instructions"),
        ("FROM\n", "x", None),
    ],
)
def test_rules_before_any_build(dockerfile: str | None, dockerignore: str | None, rule: str | None) -> None:
    """Empty and unchanged answers score 0; words in comments and spaces change nothing."""
    assignment = ps1()
    starter = {answer.file: answer.starter for answer in assignment.answers}
    files = {
        "Dockerfile": starter["Dockerfile"] if dockerfile is None else dockerfile.replace("{starter}", starter["Dockerfile"]),
        ".dockerignore": starter[".dockerignore"] if dockerignore is None else dockerignore,
    }
    found = by_rule(assignment, Submission(student="ann", files=files, digest=""))
    assert found is None if rule is None else found is not None and rule in found


@given(
    st.sampled_from(["passed", "partial", "failed", "not-run"]),
    st.floats(allow_nan=True, allow_infinity=True),
    st.floats(allow_nan=True, allow_infinity=True),
)
def test_no_score_out_of_bounds_can_be_made(status: Any, got: float, maximum: float) -> None:
    """A check result that exists is within its bounds."""
    try:
        result = CheckResult(id="x", status=status, points=got, max_points=maximum, message="")
    except ValueError:
        return
    assert math.isfinite(result.points)
    assert 0 <= result.points <= result.max_points
    assert (result.status == "passed") == (result.points == result.max_points)


def test_only_a_graded_submission_has_a_score() -> None:
    """Trouble never reads as a zero."""
    check = CheckResult(id="x", status="passed", points=5, max_points=5, message="")
    assert graded("ann", (check,)).score == 5
    assert without_score("ann", "infrastructure-error", 5, "disk full").score is None
    for wrong in (
        {"status": "infrastructure-error", "score": 0.0, "reason": "disk full"},
        {"status": "rejected", "score": None, "reason": ""},
        {"status": "graded", "score": 4.0, "checks": (check,)},
        {"status": "graded", "score": None, "checks": (check,)},
        {"status": "graded", "score": 10.0, "checks": (check, check)},
        {"status": "graded", "score": 0.0, "checks": ()},
    ):
        with pytest.raises(ValueError, match=r"score|counts once"):
            SubmissionResult(student="ann", max_score=5.0, **wrong)
