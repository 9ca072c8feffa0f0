"""Builds the notebooks of assignments from their texts: ``python exercises/build.py [NAME ...] [--check]``; without a name, all of them.

``source/NAME/NAME.md`` becomes ``source/NAME/NAME.ipynb``. With ``--check`` nothing is written; it says which notebooks are out of date.

A code cell marked ``answer GRADE_ID`` or ``test GRADE_ID POINTS`` is one of nbgrader's. A block ``{question} ID`` becomes three cells: the
question as ``assignment.json`` has it (so that what is shown is what is graded), the answer cell with the block's lines as its solution,
and the test cell. The id of a cell of nbgrader's is its grade_id, any other's a digest of its text, so that a rebuild changes nothing.
"""

from __future__ import annotations

import argparse
import hashlib
import re
import sys
from pathlib import Path
from typing import Any

import nbformat

HERE = Path(__file__).resolve().parent
# The autograder stands beside the course.
if str(HERE.parent) not in sys.path:
    sys.path.insert(0, str(HERE.parent))

from autograder.exercise.assignment import Assignment, answer_id, load_assignment  # noqa: E402
from autograder.quiz.question import Change, Chmod, Question, Remove, Replace, Touch, Write  # noqa: E402

METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}
# nbformat carries no types.
_v4: Any = nbformat.v4
_BLOCK = re.compile(r"^```\{(?P<kind>code-cell|question)\}(?P<marks>[^\n]*)\n(?P<body>.*?)\n```$", re.M | re.S)


def build(text: str, assignment: Assignment) -> str:
    """The notebook's file for a text. Raises ``ValueError`` for marks that are not known, and for questions that are left out."""
    cells = []
    place = 0
    questions = {question.id: question for question in assignment.questions}
    for match in _BLOCK.finditer(text):
        cells += _prose(text[place : match.start()])
        marks = match["marks"].split()
        if match["kind"] == "code-cell":
            cells.append(_code(match["body"], marks))
        else:
            cells += _question(_named(questions, marks), match["body"])
        place = match.end()
    cells += _prose(text[place:])
    if questions:
        raise ValueError(f"the text leaves out the questions {', '.join(questions)}")
    notebook = _v4.new_notebook(cells=cells, metadata=METADATA, nbformat_minor=5)
    nbformat.validate(notebook)
    return str(_v4.writes(notebook)) + "\n"


def _prose(text: str) -> list[Any]:
    text = text.strip()
    return [_v4.new_markdown_cell(text, id=_digest("markdown", text))] if text else []


def _code(body: str, marks: list[str]) -> Any:
    if not marks:
        return _v4.new_code_cell(body, id=_digest("code", body))
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
    return _v4.new_code_cell(body, id=grade_id, metadata={"nbgrader": nbgrader})


def _digest(kind: str, text: str) -> str:
    return hashlib.sha256(f"{kind}\n{text}".encode()).hexdigest()[:12]


# --- questions of a quiz -----------------------------------------------------------------------------------------------------------


def _named(questions: dict[str, Question], marks: list[str]) -> Question:
    if len(marks) != 1 or marks[0] not in questions:
        raise ValueError(f"{' '.join(marks)!r} is not a question, or it is there twice; left are {', '.join(questions)}")
    return questions.pop(marks[0])


def _question(question: Question, solution: str) -> list[Any]:
    answer = f"%%prediction {question.id}\n### BEGIN SOLUTION\n{solution}\n### END SOLUTION"
    return [
        *_prose(shown(question)),
        _code(answer, ["answer", answer_id(question)]),
        _code(f'check("{question.id}")', ["test", question.id, f"{question.points:g}"]),
    ]


def shown(question: Question) -> str:
    """A question as Markdown: its text, its files, and what is done until the build that is predicted."""
    parts = [f"## {question.title}", question.text]
    if question.app:
        parts.append("The build context is the lesson's app. `Dockerfile`:")
    else:
        parts.append("The build context has this `Dockerfile`:")
    parts.append(_fenced("Dockerfile", "\n".join(question.dockerfile)))
    if question.ignore:
        parts += ["`.dockerignore`:", _fenced("", "\n".join(question.ignore))]
    parts += [part for path, text in question.files.items() for part in (f"`{path}`:", _fenced("", text.rstrip("\n")))]
    parts.append(f"It is built{_arguments(question.arguments)}, and everything runs. Then:")
    acts = [act for turn in question.turns for act in (*map(_change, turn.changes), f"It is built again{_arguments(turn.arguments)}.")]
    parts.append("\n".join(f"{number}. {act}" for number, act in enumerate(acts, start=1)))
    parts.append("Predict the last build." if len(question.turns) > 1 else "Predict this second build.")
    return "\n\n".join(parts)


def _arguments(arguments: dict[str, str]) -> str:
    return "".join(f" with `--build-arg {name}={value}`" for name, value in arguments.items())


def _change(change: Change) -> str:
    match change:
        case Write():
            return f"`{change.path}` is written:\n\n{_indented(_fenced('', change.text.rstrip(chr(10))))}\n"
        case Replace():
            lines = [f"{sign} {line}" for sign, text in (("-", change.old), ("+", change.new)) for line in text.rstrip("\n").split("\n")]
            return f"In `{change.path}`, one text gives way to another:\n\n{_indented(_fenced('diff', chr(10).join(lines)))}\n"
        case Touch():
            return f"`touch {change.path}`"
        case Chmod():
            return f"`chmod {change.mode} {change.path}`"
        case Remove():
            return f"`rm {change.path}`"


def _fenced(language: str, text: str) -> str:
    return f"```{language}\n{text}\n```"


def _indented(text: str) -> str:
    return "\n".join(f"   {line}".rstrip() for line in text.split("\n"))


# --- the command -------------------------------------------------------------------------------------------------------------------


def assignments() -> list[str]:
    """Names of the assignments that have a text."""
    return sorted(path.stem for path in (HERE / "source").glob("*/*.md") if path.stem == path.parent.name)


def main() -> int:
    """Write the notebooks that changed; with ``--check`` return 1 instead where one would."""
    parser = argparse.ArgumentParser(description="Build the notebooks of assignments from their texts.")
    parser.add_argument("names", nargs="*", metavar="NAME", help="for example ps1; without a name, all")
    parser.add_argument("--check", action="store_true", help="write nothing; the exit status is 1 where a notebook is out of date")
    arguments = parser.parse_args()
    status = 0
    for name in arguments.names or assignments():
        place = HERE / "source" / name
        wanted = build((place / f"{name}.md").read_text(encoding="utf-8"), load_assignment(HERE, name))
        target = place / f"{name}.ipynb"
        if target.is_file() and target.read_text(encoding="utf-8") == wanted:
            continue
        if arguments.check:
            print(f"{target} is not what {name}.md builds: run {Path(__file__).name} {name}")
            status = 1
        else:
            target.write_text(wanted, encoding="utf-8")
    return status


if __name__ == "__main__":
    sys.exit(main())
