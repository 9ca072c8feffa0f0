"""nbgrader's release step: the solution between the markers gives way to the text that students start with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import traitlets
from nbgrader.preprocessors import ClearSolutions

from autograder.exercise.assignment import AnswerCell, Assignment, load_assignment
from layerlab.errors import UsageError


class StarterSolutions(ClearSolutions):  # type: ignore[misc]  # nbgrader carries no types
    """Puts an assignment's starter texts in the place of the solutions; nbgrader's stubs are Python, which a Dockerfile is not."""

    course = traitlets.Unicode(".", help="The folder of nbgrader_config.py.").tag(config=True)

    def preprocess(self, nb: Any, resources: Any) -> tuple[Any, Any]:
        """Replace the answer cells of a notebook. Raises ``UsageError`` for an answer cell without markers, or that is not there."""
        assignment = load_assignment(Path(self.course), resources["nbgrader"]["assignment"])
        replace_answers(nb, assignment)
        return nb, resources


def replace_answers(notebook: Any, assignment: Assignment) -> None:
    """Replace the answer cells of a notebook in place. Raises ``UsageError``."""
    for answer in assignment.answers:
        cells = [cell for cell in notebook.cells if cell.metadata.get("nbgrader", {}).get("grade_id") == answer.grade_id]
        if len(cells) != 1:
            raise UsageError(f"the source notebook has {len(cells)} cells {answer.grade_id!r}; it needs one")
        solution(cells[0].source, answer.grade_id)
        cells[0].source = starter_cell(answer)


def starter_cell(answer: AnswerCell) -> str:
    """What an answer cell holds in the students' notebook."""
    return f"{answer.magic}\n{answer.starter.rstrip()}"


def solution(source: str, grade_id: str) -> str:
    """The text between the markers of an answer cell. Raises ``UsageError`` where there is not one pair of them."""
    lines = source.split("\n")
    begins = [number for number, line in enumerate(lines) if "BEGIN SOLUTION" in line]
    ends = [number for number, line in enumerate(lines) if "END SOLUTION" in line]
    if len(begins) != 1 or len(ends) != 1 or begins[0] > ends[0]:
        raise UsageError(f"the answer cell {grade_id!r} needs one pair of the markers BEGIN SOLUTION and END SOLUTION")
    return "\n".join(lines[begins[0] + 1 : ends[0]]) + "\n"
