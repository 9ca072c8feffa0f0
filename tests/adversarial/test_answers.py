"""Answers that only look right, answers that only look wrong, and many that were drawn from a grammar.

``answers/honest`` and ``answers/fakes`` hold Dockerfiles for ps1, one file each; to add a case is to add a file. ``LAYERLAB_HOSTILE=200``
draws as many answers (default: 6), ``LAYERLAB_HOSTILE_SEED`` draws the same ones again; every test prints its seed.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from autograder.judge.grade import grade
from autograder.judge.prepare import Prepared, prepare
from autograder.submission.notebook_reader import Submission
from autograder.submission.record import SubmissionResult
from layerlab.engines.embedded.engine import EmbeddedEngine
from layerlab.engines.embedded.rootfs.messages import Remove
from tests.adversarial.hostile import Hostile, draw
from tests.autograder.material import APP, COURSE, ps1

pytestmark = [pytest.mark.slow, pytest.mark.network, pytest.mark.timeout(3600)]

ANSWERS: Final = Path(__file__).with_name("answers")
IGNORE: Final = (APP / ".dockerignore").read_text(encoding="utf-8")
COUNT: Final = int(os.environ.get("LAYERLAB_HOSTILE", "6"))
SEED: Final = os.environ.get("LAYERLAB_HOSTILE_SEED") or secrets.token_hex(8)

# What each fake loses for certain, and a word of the evidence.
FAKES: Final = {
    "another-server": ({"serves"}, "does not come from the compiled code"),
    "archive": ({"edit-source"}, "/nm.tar"),
    "cache-in-a-layer": ({"edit-source"}, "installs the packages runs again"),
    "computed-beforehand": ("all", "no step of the build compiles its sources"),
    "compiled-for-show": ({"serves"}, "none of the code that the build compiled stands in the image"),
    "compiles-at-the-start": ({"edit-source"}, "No step compiles"),
    "compiles-itself": ({"edit-source"}, "No step compiles"),
    "copies-unless-replayed": ({"edit-source"}, "remove most of it again"),
    "copied-again": ({"edit-source"}, "installs the packages runs again"),
    "counts-the-lines": ({"edit-source"}, "installs the packages runs again"),
    "disguised": ({"edit-source"}, "No step compiles"),
    "encoded-server": ("all", "0 stand in the image"),
    "ends-the-judge": ("all", "0 stand in the image"),
    "evaluated": ("all", "0 stand in the image"),
    "evaluates-a-text": ({"edit-source"}, "No step compiles"),
    "floods": ({"edit-source"}, "more than the kernel keeps count of"),
    "hashes-the-sources": ({"edit-source"}, "installs the packages runs again"),
    "hides-an-install": ({"edit-source"}, "takes them out of npm's cache"),
    "hidden": ({"edit-source", "edit-dependency", "edit-schema", "serves"}, "takes them out of npm's cache"),
    "installs-a-little": ({"edit-source"}, "accepts-2.0.0.tgz"),
    "installs-and-forgets": ({"edit-source"}, "takes them out of npm's cache"),
    "installs-at-the-start": ("all", "0 stand in the image"),
    "installs-from-a-copy": ({"edit-source"}, "remove most of it again"),
    "installs-in-memory": ({"edit-source"}, "takes them out of npm's cache"),
    "installs-twice": ({"edit-source"}, "RUN npm ci && npx prisma generate && npm run build"),
    "installs-without-a-name": ({"edit-source"}, "remove most of it again"),
    "jiti": ({"edit-source"}, "No step compiles"),
    "knows-the-replay": ({"edit-source"}, "takes them out of npm's cache"),
    "knows-the-time": ({"edit-source"}, "takes them out of npm's cache"),
    "leaves-the-judge": ({"edit-source"}, "No step compiles"),
    "npms-own-packages": ("all", "stand in the image"),
    "one-source-above": ({"edit-source"}, "the step that installs the packages runs again"),
    "packed-small": ("all", "0 stand in the image"),
    "plays-back": ({"serves"}, "does not load"),
    "regex": ("all", "0 stand in the image"),
    "shell": ("all", "0 stand in the image"),
    "shifted": ({"edit-source"}, "No step compiles"),
    "split": ({"edit-source"}, "No step compiles"),
    "stubs": ("all", "0 stand in the image"),
    "stubs-at-the-start": ("all", "0 stand in the image"),
    "unused-install": ({"serves"}, "does not load"),
    "unused-stage": ({"serves"}, "0 stand in the image"),
    "wrapped-sources": ("all", "no step of the build compiles its sources"),
}


def names(kind: str) -> list[str]:
    """The answers of a folder."""
    return sorted(path.stem for path in (ANSWERS / kind).glob("*.Dockerfile"))


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prepared]:
    """A grader's place."""
    place = tmp_path_factory.mktemp("answers") / "grading"
    yield prepare(COURSE, ps1(), place, lambda _text: None)
    with EmbeddedEngine(str(place / "store")) as engine:
        # What steps left there only the worker can remove.
        engine.worker.ask(Remove(paths=["s"]))


def graded(prepared: Prepared, dockerfile: str, seed: str) -> SubmissionResult:
    """What the grader makes of an answer."""
    submission = Submission(student="ann", files={"Dockerfile": dockerfile, ".dockerignore": IGNORE}, digest="")
    return grade(ps1(), prepared, submission, seed)


@pytest.mark.many
@pytest.mark.parametrize("name", names("honest"))
def test_an_honest_answer_scores_full_whatever_it_looks_like(prepared: Prepared, name: str) -> None:
    """With edits that nobody has seen."""
    print(f"seed {SEED}")
    result = graded(prepared, (ANSWERS / "honest" / f"{name}.Dockerfile").read_text(encoding="utf-8"), SEED)
    assert result.score == ps1().max_score, [check for check in result.checks if check.status != "passed"] or result.reason


@pytest.mark.many
@pytest.mark.parametrize("name", names("fakes"))
def test_a_fake_loses_what_it_fakes(prepared: Prepared, name: str) -> None:
    """And reads why."""
    print(f"seed {SEED}")
    result = graded(prepared, (ANSWERS / "fakes" / f"{name}.Dockerfile").read_text(encoding="utf-8"), SEED)
    lost, evidence = FAKES[name]
    assert result.status == "graded", result.reason
    failed = {check.id for check in result.checks if check.status != "passed"}
    assert failed >= ({check.id for check in ps1().checks} if lost == "all" else set(lost)), result.checks
    assert any(evidence in check.message for check in result.checks if check.status != "passed"), result.checks


@pytest.mark.parametrize("number", range(COUNT))
def test_drawn_answers_never_earn_more_than_they_deserve(prepared: Prepared, number: int) -> None:
    """Nor are they ever the grader's trouble. What deserves all points and has nothing odd in it gets them."""
    answer: Hostile = draw(SEED, number)
    print(f"LAYERLAB_HOSTILE_SEED={SEED}, number {number}: {answer.choices}\n{answer.dockerfile}")
    result = graded(prepared, answer.dockerfile, f"{SEED}-{number}")
    assert result.status == "graded", result.reason
    assert result.score is not None
    assert answer.deserves or result.score < ps1().max_score, result.checks
    if answer.deserves and answer.plain:
        assert result.score == ps1().max_score, result.checks


def test_the_grammar_has_enough_of_each() -> None:
    """Of 200: at least 80 with a real install, some that deserve all points, and every kind of part."""
    drawn = [draw("any", number) for number in range(200)]
    assert sum(answer.installs for answer in drawn) >= 80
    assert 5 <= sum(answer.deserves for answer in drawn) <= 120
    assert len({answer.dockerfile for answer in drawn}) > 150
