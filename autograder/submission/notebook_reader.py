"""Collecting: from a submitted notebook, read as data, to the texts of its answer cells.

The file is the student's: it may be anything. It is opened without following links, limited in size and depth before it is decoded,
never executed, and only the answer cells leave this module. Test cells are not looked at: the grade does not depend on them.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import stat
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import msgspec

from autograder.exercise.assignment import AnswerCell, Assignment
from layerlab.control_characters import escape, without_controls

_BRACKETS: Final = re.compile(rb'[\[\]{}"\\]')
_SHOWN: Final = 60
# After the first letter a name may have blanks, quotes and the marks of letters that are written in two parts; nothing that means something
# to a path, a pattern of files or a page.
_ALSO: Final = frozenset(" .@+-_',()\"")
_LONGEST_NAME: Final = 128


class Rejected(Exception):  # noqa: N818 - a verdict, not a fault of the program
    """A submission that cannot be graded; the message says why, in words for the student."""


class Submission(msgspec.Struct, frozen=True, kw_only=True):
    """The answers of one student: file name to text, in the assignment's order. ``digest``: of the notebook file, hexadecimal."""

    student: str
    files: dict[str, str]
    digest: str


class _Cell(msgspec.Struct):
    cell_type: str
    source: str | list[str] = ""
    metadata: dict[str, Any] = {}


class _Notebook(msgspec.Struct):
    nbformat: int
    cells: list[_Cell]


class Skipped(msgspec.Struct, frozen=True, kw_only=True):
    """A folder among the submissions that is not graded. ``name``: with what cannot be printed written out. ``reason``: what to do."""

    name: str
    reason: str


class Students(msgspec.Struct, frozen=True, kw_only=True):
    """Who has a folder for an assignment, sorted, and the folders that are nobody's though they look like somebody's."""

    names: tuple[str, ...] = ()
    skipped: tuple[Skipped, ...] = ()


def students_of(course: Path, assignment: str) -> Students:
    """Students with a folder for this assignment. Hidden files and folders, and plain files, are nobody's and not told of."""
    place = course / "submitted"
    names, skipped = [], []
    for item in sorted(place.iterdir() if place.is_dir() else ()):
        if item.name.startswith(".") or not _has(item, assignment):
            continue
        reason = _unfit(item, assignment)
        if reason:
            skipped.append(Skipped(name=_shown(item.name), reason=reason))
        else:
            names.append(item.name)
    return Students(names=tuple(names), skipped=tuple(skipped))


def _has(folder: Path, assignment: str) -> bool:
    try:
        return (folder / assignment).is_dir()
    except PermissionError:
        # Who takes our permission away is told so, and does not stop the class.
        return True
    except OSError:
        return False


def _unfit(folder: Path, assignment: str) -> str:
    """Why a folder is no student's; empty where it is one's."""
    name = folder.name
    if folder.is_symlink():
        return "it is a link, which could lead to another student's work; put the folder itself there"
    try:
        if (folder / assignment).is_symlink():
            return f"its folder {assignment} is a link, which could lead to another student's work; put the folder itself there"
    except PermissionError:
        pass
    fits = name[0].isalnum() and all(letter.isalnum() or letter in _ALSO or unicodedata.category(letter) in ("Mn", "Mc") for letter in name)
    if not fits or len(name) > _LONGEST_NAME or name != name.strip():
        return (
            f"the name is none for a student: up to {_LONGEST_NAME} letters, digits, blanks and {''.join(sorted(_ALSO)).strip()}, "
            "of which the first is a letter or a digit; rename the folder"
        )
    return ""


def _shown(name: str) -> str:
    return without_controls(name, instead=escape)[:_LONGEST_NAME]


def read_submission(course: Path, assignment: Assignment, student: str) -> bytes:
    """The bytes of a submitted notebook. Raises ``Rejected``."""
    name = assignment.name
    limit = assignment.limits.notebook_bytes
    try:
        with opened(course / "submitted", [student, name], f"{name}.ipynb") as descriptor:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise Rejected(f"{name}.ipynb is not a regular file")
            if status.st_size > limit:
                raise Rejected(f"{name}.ipynb has {status.st_size} bytes; at most {limit} are accepted")
            data = b""
            # It may grow while it is read.
            while len(data) <= limit and (block := os.read(descriptor, limit + 1 - len(data))):
                data += block
    except FileNotFoundError as error:
        raise Rejected(f"there is no {name}.ipynb in the submission") from error
    except OSError as error:
        raise Rejected(f"{name}.ipynb cannot be read as a plain file: {error.strerror}") from error
    if len(data) > limit:
        raise Rejected(f"{name}.ipynb is larger than the {limit} bytes that are accepted")
    return data


@contextlib.contextmanager
def opened(start: Path, directories: list[str], file: str) -> Iterator[int]:
    """A descriptor of a file, reached without following a link below ``start``. A named pipe does not block. Raises ``OSError``."""
    held = os.open(start, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for name in directories:
            deeper = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=held)
            os.close(held)
            held = deeper
        found = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=held)
    finally:
        os.close(held)
    try:
        yield found
    finally:
        os.close(found)


def collect(data: bytes, assignment: Assignment, student: str) -> Submission:
    """The answers of a notebook's bytes. Raises ``Rejected``."""
    cells = _decode(data, assignment)
    by_id: dict[str, list[_Cell]] = {}
    for cell in cells:
        marks = cell.metadata.get("nbgrader")
        grade_id = marks.get("grade_id") if isinstance(marks, dict) else None
        if isinstance(grade_id, str):
            by_id.setdefault(grade_id, []).append(cell)
    for grade_id, same in sorted(by_id.items()):
        if len(same) > 1:
            raise Rejected(
                f"{len(same)} cells have the grade_id {grade_id[:_SHOWN]!r}; delete the copies, or start again from the released notebook"
            )
    files = {answer.file: _answer(by_id, answer, assignment.limits.answer_bytes) for answer in assignment.answers}
    return Submission(student=student, files=files, digest=hashlib.sha256(data).hexdigest())


def _decode(data: bytes, assignment: Assignment) -> list[_Cell]:
    if len(data) > assignment.limits.notebook_bytes:
        raise Rejected(f"the notebook has {len(data)} bytes; at most {assignment.limits.notebook_bytes} are accepted")
    if _depth(data, assignment.limits.notebook_depth) > assignment.limits.notebook_depth:
        raise Rejected("the notebook is nested too deeply to be a notebook")
    try:
        data.decode("utf-8")
        notebook = msgspec.json.decode(data, type=_Notebook)
    except UnicodeDecodeError as error:
        raise Rejected(f"the notebook is not UTF-8 text (byte {error.start})") from error
    except (msgspec.MsgspecError, RecursionError, ValueError) as error:
        raise Rejected(f"the file is not a notebook: {str(error)[:200]}") from error
    if notebook.nbformat != 4:
        raise Rejected(f"the notebook has format {notebook.nbformat}; format 4 is expected")
    return notebook.cells


def _depth(data: bytes, enough: int) -> int:
    """How deeply brackets nest outside strings; stops counting above ``enough``."""
    depth = deepest = 0
    inside = False
    skip = -1
    for match in _BRACKETS.finditer(data):
        sign = match[0]
        if match.start() == skip:
            continue
        if inside:
            if sign == b"\\":
                skip = match.start() + 1
            elif sign == b'"':
                inside = False
        elif sign == b'"':
            inside = True
        elif sign in b"[{":
            depth += 1
            deepest = max(deepest, depth)
            if deepest > enough:
                break
        elif sign in b"]}":
            depth -= 1
    return deepest


def _answer(by_id: dict[str, list[_Cell]], answer: AnswerCell, limit: int) -> str:
    found = by_id.get(answer.grade_id)
    if found is None:
        raise Rejected(f"the answer cell {answer.grade_id!r} is missing; start again from the released notebook and paste your answer")
    cell = found[0]
    marks = cell.metadata["nbgrader"]
    if cell.cell_type != "code" or marks.get("solution") is not True or marks.get("grade") is not False:
        raise Rejected(f"the answer cell {answer.grade_id!r} is no longer an answer cell: its type or its nbgrader marks were changed")
    text = cell.source if isinstance(cell.source, str) else "".join(cell.source)
    body = text.lstrip(" \t\r\n\ufeff")
    first, _, rest = body.partition("\n")
    magic = answer.magic.split()
    if body and first.split()[: len(magic)] != magic:
        raise Rejected(f"the answer cell {answer.grade_id!r} does not start with {answer.magic}; put that line back")
    try:
        size = len(rest.encode("utf-8"))
    except UnicodeEncodeError as error:
        raise Rejected(f"the answer cell {answer.grade_id!r} has a character that is no text (position {error.start})") from error
    if size > limit:
        raise Rejected(f"the answer cell {answer.grade_id!r} has {size} bytes; at most {limit} are accepted")
    if "\0" in rest:
        raise Rejected(f"the answer cell {answer.grade_id!r} has a zero character")
    return rest
