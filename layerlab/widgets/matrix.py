"""The what-if matrix as data: edits × steps, and which edits are worth asking about."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Final

from layerlab.model import PlanRecord
from layerlab.widgets.fallback import html_table, paragraph
from layerlab.widgets.shapes import Cell, EditColumn, EditRow, Matrix
from layerlab.widgets.words import one_line, shown
from layerlab.widgets.workcopy import is_dockerfile

# The edits that the lesson talks about, in its order.
_LESSON: Final[tuple[str, ...]] = (
    "src/index.ts",
    "package.json",
    "package-lock.json",
    "prisma/schema.prisma",
    "tsconfig.json",
    "README.md",
)
_NEW_FILE: Final = "src/new-file.ts"
_MOST: Final = 8
_UNBUILT: Final = "Not everything has been built yet; the plan shows what the edits would cost once it has."
EMPTY: Final = Matrix(columns=[], rows=[], note="")


def default_edits(directory: str, names: Iterable[str]) -> tuple[str, ...]:
    """Edits of an app's files, and of one file more that is not there yet."""
    have = [name for name in names if not is_dockerfile(name) and not os.path.basename(name).startswith(".")]
    chosen: list[str] = [name for name in _LESSON if name in have]
    chosen += [name for name in have if name not in chosen][: max(0, _MOST - 1 - len(chosen))]
    new = _NEW_FILE if os.path.isdir(os.path.join(directory, "src")) else "new-file.txt"
    return (*chosen[: _MOST - 1], new)


def matrix_data(rows: Iterable[tuple[str, PlanRecord]], directory: str) -> Matrix:
    """The matrix as the front end draws it. Steps without a verdict (FROM, metadata) have no column."""
    columns: list[EditColumn] = []
    lines = []
    note = ""
    for edit, plan in rows:
        steps = [step for step in plan.steps if step.status not in ("base", "metadata")]
        columns = columns or [EditColumn(number=step.number, instruction=one_line(step.instruction), line=step.line) for step in steps]
        cells = []
        for step in steps:
            cell = shown(step, "runs" if step.status == "executed" else None)
            cells.append(Cell(verdict=cell.verdict, word=cell.word, sign=cell.sign, why=cell.why))
        exists = os.path.lexists(os.path.join(directory, edit))
        lines.append(EditRow(edit=edit, new=not exists, cells=cells, runs=sum(cell.verdict == "runs" for cell in cells)))
        note = _UNBUILT if plan.assumed else note
    return Matrix(columns=columns, rows=lines, note=note)


def matrix_html(data: Matrix, dockerfile: str) -> str:
    """The matrix as a table that needs no script."""
    head = ["an edit of", *[f"{column.number} {column.instruction}" for column in data.columns]]
    rows = [[_name(row), *[cell.word for cell in row.cells]] for row in data.rows]
    return html_table(f"What an edit makes the next build of {dockerfile} run again", head, rows) + paragraph(data.note)


def _name(row: EditRow) -> str:
    return f"{row.edit}{' (a new file)' if row.new else ''}"
