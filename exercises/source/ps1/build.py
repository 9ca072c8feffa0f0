"""Builds ``ps1.ipynb`` from ``ps1.md``: ``python exercises/source/ps1/build.py``. With ``--check`` it only says whether that is up to date.

A code cell marked ``answer GRADE_ID`` or ``test GRADE_ID POINTS`` is one of nbgrader's. Its id is its grade_id, any other's a digest of
its text, so that a rebuild changes nothing.
"""

from __future__ import annotations

import hashlib
import re
import sys
from pathlib import Path
from typing import Any

import nbformat

HERE = Path(__file__).resolve().parent
METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}
_CODE = re.compile(r"^```\{code-cell\}(?P<marks>[^\n]*)\n(?P<body>.*?)\n```$", re.M | re.S)


def build(text: str) -> str:
    """The notebook's file for a text. Raises ``ValueError`` for marks that are not known."""
    cells = []
    place = 0
    for match in _CODE.finditer(text):
        cells += _prose(text[place : match.start()])
        cells.append(_code(match["body"], match["marks"].split()))
        place = match.end()
    cells += _prose(text[place:])
    notebook = nbformat.v4.new_notebook(cells=cells, metadata=METADATA, nbformat_minor=5)
    nbformat.validate(notebook)
    written: str = nbformat.writes(notebook)
    return written + "\n"


def _prose(text: str) -> list[Any]:
    text = text.strip()
    return [nbformat.v4.new_markdown_cell(text, id=_digest("markdown", text))] if text else []


def _code(body: str, marks: list[str]) -> Any:
    if not marks:
        return nbformat.v4.new_code_cell(body, id=_digest("code", body))
    kind, grade_id, *points = marks
    if kind not in ("answer", "test"):
        raise ValueError(f"{kind} is neither answer nor test")
    nbgrader = {
        "grade": kind == "test",
        "grade_id": grade_id,
        "locked": kind == "test",
        "schema_version": 3,
        "solution": kind == "answer",
        "task": False,
        **({"points": int(points[0])} if kind == "test" else {}),
    }
    return nbformat.v4.new_code_cell(body, id=grade_id, metadata={"nbgrader": nbgrader})


def _digest(kind: str, text: str) -> str:
    return hashlib.sha256(f"{kind}\n{text}".encode()).hexdigest()[:12]


def main() -> int:
    """Write the notebook where it changed; with ``--check`` return 1 instead."""
    wanted = build((HERE / "ps1.md").read_text(encoding="utf-8"))
    target = HERE / "ps1.ipynb"
    if target.is_file() and target.read_text(encoding="utf-8") == wanted:
        return 0
    if "--check" in sys.argv[1:]:
        print(f"{target} is not what ps1.md builds: run {Path(__file__).name}")
        return 1
    target.write_text(wanted, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
