"""The last act of ``demo``: two submissions are graded, a good one and a naive one. What grading needs is imported when it is played."""

from __future__ import annotations

import json
import secrets
import shutil
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from layerlab.lesson.demo import FurtherAct, Setting

if TYPE_CHECKING:
    from autograder.submission.record import ClassRecord

NAME: Final = "ps1"
# What a learner writes who understood only that the notebook's own file scores nothing.
_NAIVE_FOLDER: Final = "/srv/app"


def play(setting: Setting) -> FurtherAct | None:
    """Grade on the embedded engine, whichever engine built.

    ``None`` without exercises, which an installed package has not, and where nothing isolates a build: there nobody is graded, and the
    lesson was whole without it. Raises ``LayerlabError``.
    """
    from autograder.exercise.places import default_place, make_place, own_course

    course = own_course()
    if not (course / "source" / NAME).is_dir():
        return None
    from autograder.classroom.class_table import class_table
    from autograder.sandbox.sandbox import NotIsolatedError

    setting.say(f"\n{setting.number}. Two submissions are graded: the optimised file, and a naive one")
    place = default_place() if setting.store is None else Path(setting.store).with_name(Path(setting.store).name + "-grading")
    make_place(place)
    try:
        with tempfile.TemporaryDirectory(dir=place, prefix="demo-") as directory:
            record = _grade(course, Path(directory), place)
    except NotIsolatedError as error:
        setting.say(f"   Not on this machine: {error.message}")
        return None
    setting.say(class_table(record))
    return FurtherAct(act="grade", record=record)


def _grade(course: Path, directory: Path, place: Path) -> ClassRecord:
    import nbformat

    from autograder.classroom.grading import grade_class
    from autograder.exercise.assignment import load_assignment, notebook_of
    from autograder.exercise.starter import replace_answers

    assignment = load_assignment(course, NAME)
    here = directory / "exercises"
    shutil.copytree(course / "source", here / "source")
    app = (course.parent / assignment.app).resolve()
    (directory / assignment.app).symlink_to(app)
    released: Any = nbformat.read(notebook_of(course, NAME), as_version=4)
    replace_answers(released, assignment)
    naive = (app / "Dockerfile").read_text(encoding="utf-8").replace("WORKDIR /app", f"WORKDIR {_NAIVE_FOLDER}")
    good = (app / "Dockerfile.optimized").read_text(encoding="utf-8")
    ignored = (app / ".dockerignore").read_text(encoding="utf-8")
    for student, texts in (("good", (good, ignored)), ("naive", (naive, ""))):
        for answer, text in zip(assignment.answers, texts, strict=True):
            cell = next(cell for cell in released.cells if cell.metadata.get("nbgrader", {}).get("grade_id") == answer.grade_id)
            cell.source = f"{answer.magic}\n{text}"
        target = here / "submitted" / student / NAME / f"{NAME}.ipynb"
        target.parent.mkdir(parents=True)
        target.write_text(json.dumps(released), encoding="utf-8")

    def report(text: str) -> None:
        print(f"   {text}", file=sys.stderr, flush=True)

    # The edits are drawn anew, so nothing of an earlier demo is taken for measured.
    return grade_class(here, NAME, place=place, workers=2, seed=secrets.token_hex(16), report=report)
