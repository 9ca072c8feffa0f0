"""A class of thirty for ``ps1``: ``python tests/sample_class/make.py``. It writes ``exercises/submitted/STUDENT/ps1/ps1.ipynb``.

The notebooks are the released one with the answers of ``answers/STUDENT/``. ``expected.json`` says what each must come to: ``lost`` is
the points that are lost, by check, or ``"all"``; ``notebook`` names what is wrong with a notebook that cannot be graded.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any, Final

import nbformat

HERE: Final = Path(__file__).resolve().parent
ROOT: Final = HERE.parents[1]
NAME: Final = "ps1"


def expected() -> dict[str, dict[str, Any]]:
    """What each student's submission must come to, by student."""
    found: dict[str, dict[str, Any]] = json.loads((HERE / "expected.json").read_text(encoding="utf-8"))
    return found


def students() -> list[str]:
    """All thirty, sorted."""
    return sorted(expected())


def make(course: Path) -> list[Path]:
    """Write the submissions of the class into a course whose ``ps1`` is released. Raises ``FileNotFoundError`` where it is not."""
    released = (course / "release" / NAME / f"{NAME}.ipynb").read_text(encoding="utf-8")
    written = []
    for student, wanted in expected().items():
        target = course / "submitted" / student / NAME / f"{NAME}.ipynb"
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(_submission(released, student, wanted.get("notebook")))
        written.append(target)
    return written


def _submission(released: str, student: str, fault: str | None) -> bytes:
    if fault == "not-a-notebook":
        return b"\x89PNG\r\n\x1a\n"
    notebook: Any = nbformat.reads(released, as_version=4)
    cells = {cell.metadata["nbgrader"]["grade_id"]: cell for cell in notebook.cells if "nbgrader" in cell.metadata}
    if fault == "duplicated-answer":
        notebook.cells.append({**cells["dockerfile"], "id": "copy"})
    else:
        answers = HERE / "answers" / student
        for grade_id, file in (("dockerfile", "Dockerfile"), ("dockerignore", "dockerignore")):
            # With the line ends that the student's editor wrote.
            cells[grade_id].source = f"%%{grade_id}\n{(answers / file).read_bytes().decode('utf-8')}"
    return json.dumps(notebook).encode()


def main() -> int:
    """Write the class; say where."""
    parser = argparse.ArgumentParser(description="Write thirty submissions of ps1.")
    parser.add_argument("--course", type=Path, default=ROOT / "exercises", metavar="DIR", help="the nbgrader course (default: exercises)")
    course: Path = parser.parse_args().course
    try:
        written = make(course)
    except FileNotFoundError as error:
        print(f"{error.filename} is not there: run ./lab release {NAME} first", file=sys.stderr)
        return 1
    print(f"wrote {len(written)} submissions to {course / 'submitted'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
