"""The what-if matrix as data: edits × steps, and which edits are worth asking about."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from typing import Final

from layerlab.model import PlanRecord, StepRecord
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
        several = len({step.stage for step in plan.steps}) > 1
        columns = columns or [
            EditColumn(number=step.number, instruction=one_line(step.instruction), line=step.line, stage=step.stage if several else "")
            for step in steps
        ]
        cells = []
        for step in steps:
            cell = shown(step, "runs" if step.status == "executed" else None)
            cells.append(Cell(verdict=cell.verdict, word=cell.word, sign=cell.sign, why=cell.why))
        exists = os.path.lexists(os.path.join(directory, edit))
        runs = sum(cell.verdict == "runs" for cell in cells)
        lines.append(EditRow(edit=edit, new=not exists, cells=cells, runs=runs, cost=cost(steps)))
        note = _UNBUILT if plan.assumed else note
    return Matrix(columns=columns, rows=lines, note=note)


def cost(steps: Sequence[StepRecord]) -> str:
    """What a whole build takes, and what a build after an edit: "43 s → 1.2 s". Empty where nothing is known of either."""
    whole = sum(step.took for step in steps)
    if not whole:
        return ""
    runs = [step.took for step in steps if step.status == "executed"]
    least, most = sum(runs), sum(runs) + sum(step.took for step in steps if step.status == "undecided")
    # A step that never ran here may take any time.
    more = "" if all(runs) else " and more"
    return (
        f"{_short(whole)} → {_short(least)}{more}"
        if _short(least) == _short(most)
        else f"{_short(whole)} → {_short(least)} to {_short(most)}{more}"
    )


def _short(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds < 9.95 else f"{seconds:.0f} s"


def matrix_html(data: Matrix, dockerfile: str) -> str:
    """The matrix as a table that needs no script."""
    head = ["an edit of", "runs", "seconds", *[f"{column.number} {column.instruction}" for column in data.columns]]
    rows = [[_name(row), str(row.runs), row.cost, *[cell.word for cell in row.cells]] for row in data.rows]
    return html_table(f"What an edit makes the next build of {dockerfile} run again", head, rows) + paragraph(data.note)


def _name(row: EditRow) -> str:
    return f"{row.edit}{' (a new file)' if row.new else ''}"
