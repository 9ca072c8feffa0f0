"""``demo`` with its last act: the lesson as ``layerlab demo`` tells it, then two submissions are graded, a good one and a naive one."""

from __future__ import annotations

import json
import secrets
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Final

import msgspec

from autograder.classroom.class_table import class_table
from autograder.classroom.grading import grade_class
from autograder.exercise.assignment import load_assignment, notebook_of
from autograder.exercise.places import default_place, make_place, own_course
from autograder.exercise.starter import replace_answers
from autograder.submission.record import ClassRecord
from layerlab.lesson.demo import Act, DemoRecord, run_demo

NAME: Final = "ps1"
# What a learner writes who understood only that the notebook's own file scores nothing.
_NAIVE_FOLDER: Final = "/srv/app"


class GradeAct(msgspec.Struct, frozen=True, kw_only=True):
    """The last act."""

    act: str = "grade"
    record: ClassRecord


class GradedDemo(msgspec.Struct, frozen=True, kw_only=True):
    """The whole demo, as ``layerlab demo`` has it, with one act more."""

    engine: str
    acts: tuple[Act | GradeAct, ...]
    served: Any
    seconds: float
    schema: int = 1


def tell(
    *, store: str | None = None, app: str | None = None, offline: bool = False, quiet: bool = False, engine: str = "auto"
) -> DemoRecord | GradedDemo:
    """Run the demo. Grading uses the embedded engine, whichever engine builds. Raises ``LayerlabError``."""
    started = time.monotonic()
    lesson = run_demo(store=store, app=app, offline=offline, quiet=quiet, engine=engine)
    course = own_course()
    stream = sys.stderr if quiet else sys.stdout
    if not (course / "source" / NAME).is_dir():
        print(f"\nNothing is graded: the exercises are not installed beside the package ({course}).", file=stream, flush=True)
        return lesson
    print("\n8. Two submissions are graded: the optimised file, and a naive one", file=stream, flush=True)
    place = default_place() if store is None else Path(store).with_name(Path(store).name + "-grading")
    make_place(place)
    with tempfile.TemporaryDirectory(dir=place, prefix="demo-") as directory:
        record = _grade(course, Path(directory), place)
    print(class_table(record), file=stream, flush=True)
    acts: tuple[Act | GradeAct, ...] = (*lesson.acts, GradeAct(record=record))
    return GradedDemo(engine=lesson.engine, acts=acts, served=lesson.served, seconds=round(time.monotonic() - started, 1))


def _grade(course: Path, directory: Path, place: Path) -> ClassRecord:
    import nbformat

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
