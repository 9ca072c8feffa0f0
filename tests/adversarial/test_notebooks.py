"""Hostile notebooks and folders. Nothing is built: what matters is decided before.

A notebook is data. Of all that a student can change in it, the text of the answer cells alone reaches the grader, and where the notebook
is not what was released, the submission is rejected with a reason and has no score.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from autograder.exercise.assignment import load_assignment
from autograder.judge.grade import grade
from autograder.judge.prepare import Prepared, prepare
from autograder.publish.publisher import publish
from autograder.submission.notebook_reader import Rejected, collect, read_submission, students_of
from autograder.submission.record import CheckResult, ClassRecord, SubmissionResult, graded
from layerlab.cli import main
from layerlab.errors import ExecutorError
from tests.adversarial.users import ordinary_user
from tests.autograder.material import APP, COURSE, cell_of, notebook, ps1, submit

DOCKERFILE = "FROM node:alpine\nRUN true\n"
MARKUP = "<script>alert(1)</script><img src=x onerror=alert(2)>\"'>&{{ 7 * 7 }}\x1b[31m\x1b]0;t\x07\u202e"


def _files(decoded: Any) -> dict[str, str]:
    data = decoded if isinstance(decoded, bytes) else json.dumps(decoded).encode()
    return collect(data, ps1(), "ann").files


def _reason(decoded: Any) -> str:
    with pytest.raises(Rejected) as caught:
        _files(decoded)
    return str(caught.value)


# --- code ----------------------------------------------------------------------------------------------------------------------------

CODE = [
    "!touch {canary}",
    "!!touch {canary}",
    "%run {canary}",
    "%load_ext canary",
    "{{{{ open('{canary}', 'w') }}}}",
    "import os; os.system('touch {canary}')",
    "get_ipython().system('touch {canary}')",
    "open('{canary}', 'w')",
]


@pytest.mark.parametrize("code", CODE)
def test_code_below_the_magic_is_text_of_a_dockerfile(tmp_path: Path, code: str) -> None:
    """It is not run, not filled in and not changed."""
    text = code.format(canary=tmp_path / "canary") + "\nFROM node:alpine\n"
    assert _files(notebook(text))["Dockerfile"] == text
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "first",
    [
        "%%bash",
        "%%python",
        "%%script sh",
        "%%writefile Dockerfile",
        "!true",
        "%dockerfile",
        "%%dockerfile2",
        "%%DOCKERFILE",
        "# %%dockerfile",
        "x",
    ],
)
def test_another_first_line_is_refused(first: str) -> None:
    """So that an answer is never mistaken for something that a kernel would run."""
    decoded = notebook()
    cell_of(decoded, "dockerfile")["source"] = f"{first}\nFROM node:alpine\n"
    assert "put that line back" in _reason(decoded)


@pytest.mark.parametrize("arguments", [" --out=/etc/passwd", " $(touch canary)", " {open('canary', 'w')}", "\t; rm -rf /", " !x"])
def test_arguments_of_the_magic_mean_nothing(arguments: str) -> None:
    """They are dropped with their line."""
    decoded = notebook()
    cell_of(decoded, "dockerfile")["source"] = f"%%dockerfile{arguments}\n{DOCKERFILE}"
    assert _files(decoded)["Dockerfile"] == DOCKERFILE


PATCHES = [
    "import autograder.judge.grade\nautograder.judge.grade.grade = lambda *a: 1 / 0",
    "check = lambda name: 1000.0",
    "import builtins\nbuiltins.float = lambda value: 1000.0",
    "get_ipython().input_transformers_cleanup.append(lambda lines: ['check = 1'])",
    "import sys\nsys.modules['autograder.submission.record'] = None",
    "from IPython.core.interactiveshell import InteractiveShell\nInteractiveShell.run_cell = None",
    "%%javascript\nIPython.notebook.kernel.execute('1')",
]


@pytest.mark.parametrize("place", [0, -1])
@pytest.mark.parametrize("code", PATCHES)
def test_other_cells_are_not_looked_at(code: str, place: int) -> None:
    """Whatever they would do to IPython, to ``check`` or to the grader, before the answer or after it."""
    decoded = notebook(DOCKERFILE)
    decoded["cells"].insert(place, {"cell_type": "code", "id": "mine", "metadata": {}, "source": code, "outputs": [], "execution_count": 1})
    assert _files(decoded)["Dockerfile"] == DOCKERFILE
    assert load_assignment(COURSE, "ps1") == ps1()


# --- forged marks --------------------------------------------------------------------------------------------------------------------


def _forge(**marks: Any) -> Callable[[dict[str, Any]], None]:
    def change(decoded: dict[str, Any]) -> None:
        for cell in decoded["cells"]:
            if cell["metadata"].get("nbgrader", {}).get("grade"):
                cell["metadata"]["nbgrader"].update(marks)

    return change


def _outputs(decoded: dict[str, Any]) -> None:
    for cell in decoded["cells"]:
        if cell["metadata"].get("nbgrader", {}).get("grade"):
            cell["outputs"] = [{"output_type": "execute_result", "data": {"text/plain": "1000.0"}, "metadata": {}, "execution_count": 1}]


def _no_tests(decoded: dict[str, Any]) -> None:
    decoded["cells"] = [cell for cell in decoded["cells"] if not cell["metadata"].get("nbgrader", {}).get("grade")]


def _one_test_less(decoded: dict[str, Any]) -> None:
    decoded["cells"].remove(cell_of(decoded, "serves"))


def _another_test(decoded: dict[str, Any]) -> None:
    marks = {"grade_id": "bonus", "grade": True, "locked": True, "points": 1000, "schema_version": 3, "solution": False, "task": False}
    decoded["cells"].append({"cell_type": "code", "id": "bonus", "metadata": {"nbgrader": marks}, "source": "1000.0", "outputs": []})


def _kernel(decoded: dict[str, Any]) -> None:
    decoded["metadata"] = {"kernelspec": {"name": "evil", "argv": ["touch", "canary"]}, "nbgrader": {"score": 1000}, "score": 1000}


def _checksum(decoded: dict[str, Any]) -> None:
    cell_of(decoded, "dockerfile")["metadata"]["nbgrader"].update(checksum="0" * 32, points=1000, locked=False, schema_version=99)


@pytest.mark.parametrize(
    "change",
    [
        _forge(points=1000),
        _forge(points=-1),
        _forge(locked=False, checksum="0"),
        _forge(solution=True),
        _forge(grade_id=["a", "list"]),
        _outputs,
        _no_tests,
        _one_test_less,
        _another_test,
        _kernel,
        _checksum,
    ],
)
def test_what_test_cells_and_marks_say_wins_nothing_and_costs_nothing(tmp_path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Points, outputs, checksums, more tests or none: the answer is the same one, and its grade is about the answer."""
    decoded = notebook("# nothing\n")
    change(decoded)
    submission = collect(json.dumps(decoded).encode(), ps1(), "ann")
    assert submission.files["Dockerfile"] == "# nothing\n"
    nowhere = Prepared(app=str(APP), store="", cache="", results="", work="", base="")
    result = grade(ps1(), nowhere, submission, "s")
    assert (result.score, result.max_score, [check.points for check in result.checks]) == (0, 100, [0] * len(ps1().checks))


@pytest.mark.parametrize(
    "marks",
    [
        {"grade": True},
        {"grade": True, "points": 1000},
        {"solution": False},
        {"solution": "true"},
        {"grade": 0},
        {"grade": None},
        {"grade_id": "serves"},
        {"grade_id": None},
        {"grade_id": ["dockerfile"]},
    ],
)
def test_an_answer_cell_that_is_marked_otherwise_is_refused(marks: dict[str, Any]) -> None:
    """Nobody could say what nbgrader would do with it."""
    decoded = notebook()
    cell_of(decoded, "dockerfile")["metadata"]["nbgrader"].update(marks)
    assert re.search("no longer an answer cell|is missing|2 cells have", _reason(decoded))


# --- cells that are twice, and not at all ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("grade_id", ["dockerfile", "dockerignore", "serves", "mine"])
@pytest.mark.parametrize("times", [2, 3, 500])
def test_a_grade_id_stands_once(grade_id: str, times: int) -> None:
    """Or it would be for the student to say which of them counts."""
    decoded = notebook()
    decoded["cells"] = [cell for cell in decoded["cells"] if cell["metadata"].get("nbgrader", {}).get("grade_id") != grade_id]
    marks = {"grade_id": grade_id, "grade": False, "solution": True}
    decoded["cells"] += [{"cell_type": "code", "source": f"%%dockerfile\n# {n}\n", "metadata": {"nbgrader": marks}} for n in range(times)]
    assert f"{times} cells have the grade_id {grade_id!r}" in _reason(decoded)


def test_a_reason_is_short_whatever_the_notebook_says() -> None:
    """Here a grade_id of half a mebibyte, which stands twice."""
    decoded = notebook()
    decoded["cells"] += [{"cell_type": "code", "source": "", "metadata": {"nbgrader": {"grade_id": "\x1b[2J" + "x" * 400_000}}}] * 2
    assert len(_reason(decoded)) < 300


# --- files that are no notebooks -------------------------------------------------------------------------------------------------------


def _with(old: bytes, new: bytes) -> bytes:
    data = json.dumps(notebook()).encode()
    assert old in data
    return data.replace(old, new, 1)


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"\0" * 1000, id="zeros"),
        pytest.param(b"[]", id="a list"),
        pytest.param(b'"text"', id="a text"),
        pytest.param(b"NaN", id="NaN"),
        pytest.param(b"\xef\xbb\xbf" + json.dumps(notebook()).encode(), id="a byte order mark"),
        pytest.param(json.dumps(notebook()).encode("utf-16"), id="UTF-16"),
        pytest.param(json.dumps(notebook()).encode() + b"{}", id="two values"),
        pytest.param(json.dumps(notebook()).encode()[:-1], id="half of one"),
        pytest.param(_with(b'"nbformat": 4', b'"nbformat": NaN'), id="NaN as a format"),
        pytest.param(_with(b'"nbformat": 4', b'"nbformat": Infinity'), id="infinite format"),
        pytest.param(_with(b'"nbformat": 4', b'"nbformat": 1e999'), id="a format beyond numbers"),
        pytest.param(_with(b'"nbformat": 4', b'"nbformat": 3'), id="format 3"),
        pytest.param(_with(b'"nbformat": 4', b'"nbformat": "4"'), id="format as text"),
        pytest.param(_with(b'"nbformat": 4', b'"nbformat": ' + b"9" * 100_000), id="a number of a hundred thousand digits"),
        pytest.param(_with(b'"metadata": {', b'"metadata": {"a": ' + b"9" * 100_000 + b", "), id="the same in metadata"),
        pytest.param(_with(b'"metadata": {', b'"metadata": {"a": NaN, '), id="NaN in metadata"),
        pytest.param(_with(b"%%dockerfile", b"%%dockerfile\\n\\ud800"), id="half a surrogate pair"),
        pytest.param(_with(b"%%dockerfile", b"%%dockerfile\\n\\u0000"), id="a zero character"),
        pytest.param(_with(b'"cells": [', b'"cells": ' + b"[" * 100_000), id="lists in lists"),
        pytest.param(b'{"a":' * 150_000, id="objects in objects"),
        pytest.param(b'{"cells": [], "nbformat": 4}' + b" " * (2 << 20), id="two mebibytes"),
        pytest.param(b'{"nbformat": 4, "cells": {"0": 1}}', id="cells that are no list"),
        pytest.param(b'{"nbformat": 4, "cells": [null]}', id="cells that are nothing"),
        pytest.param(b'{"nbformat": 4, "cells": [{"cell_type": "code", "metadata": []}]}', id="metadata that are a list"),
        pytest.param(b'{"nbformat": 4, "worksheets": [], "cells": []}', id="no cells"),
    ],
)
def test_a_file_that_is_no_such_notebook_is_refused_at_once(data: bytes) -> None:
    """In one sentence, within a second, without what the file says in full."""
    started = time.monotonic()
    reason = _reason(data)
    assert time.monotonic() - started < 1
    assert len(reason) < 400


# --- folders and files ---------------------------------------------------------------------------------------------------------------


@pytest.fixture
def course(tmp_path: Path) -> Path:
    """A course with a good submission of ann and a file of the instructor's, beside which others may do what they like."""
    root = tmp_path / "exercises"
    root.mkdir()
    (tmp_path / "node-app").symlink_to(APP)
    (root / "source").symlink_to(COURSE / "source")
    shutil.copy(COURSE / "nbgrader_config.py", root)
    submit(root, "ann", notebook())
    (root / "secret").write_text(json.dumps(notebook("# the instructor's\n")), encoding="utf-8")
    return root


def _link_to_file(path: Path, secret: Path) -> None:
    path.unlink()
    path.symlink_to(secret)


def _link_to_itself(path: Path, secret: Path) -> None:
    path.unlink()
    path.symlink_to(path.name)


def _pipe(path: Path, secret: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def _folder(path: Path, secret: Path) -> None:
    path.unlink()
    path.mkdir()


def _link_of_folder(path: Path, secret: Path) -> None:
    shutil.rmtree(path.parent)
    (secret.parent / "other").mkdir()
    shutil.copy(secret, secret.parent / "other" / path.name)
    path.parent.symlink_to(secret.parent / "other")


def _endless(path: Path, secret: Path) -> None:
    path.unlink()
    path.symlink_to("/dev/zero")


def _sparse(path: Path, secret: Path) -> None:
    os.truncate(path, 1 << 40)


@pytest.mark.parametrize("change", [_link_to_file, _link_to_itself, _pipe, _folder, _link_of_folder, _endless, _sparse])
def test_only_a_plain_file_in_plain_folders_is_read(course: Path, change: Callable[[Path, Path], None]) -> None:
    """No link is followed, nothing is waited for, and no more is read than is accepted."""
    change(submit(course, "eve", notebook()), course / "secret")
    started = time.monotonic()
    with pytest.raises(Rejected):
        read_submission(course, ps1(), "eve")
    assert time.monotonic() - started < 1


@pytest.mark.parametrize(
    "name", ["-rf", "..", "...", ".hidden", " a", "a\nb", "a*", "a[b]", "\x1b[2J", "\u202eevil", "<script>", "=cmd()", "a;b", "x" * 200]
)
def test_a_folder_that_is_no_student_s_is_nobody_s(course: Path, name: str) -> None:
    """A name that could be an option, a path, a formula or a control is left out, and that is told, in letters that can be printed."""
    if name != "..":
        (course / "submitted" / name / "ps1").mkdir(parents=True)
    found = students_of(course, "ps1")
    assert found.names == ("ann",)
    assert len(found.skipped) == (0 if name.startswith(".") else 1)
    assert all(folder.name.isprintable() and "rename" in folder.reason for folder in found.skipped)


def test_a_student_who_takes_permissions_away_stops_nobody() -> None:
    """From the file, from the folder, and from the folder above; each is told so."""
    # Where an ordinary user may look; pytest's own folder is root's alone.
    with tempfile.TemporaryDirectory(dir="/tmp") as place:
        course = Path(place)
        course.chmod(0o755)
        for student in ("ann", "file", "folder", "student"):
            submit(course, student, notebook())
        shut = [course / "submitted" / "file/ps1/ps1.ipynb", course / "submitted" / "folder/ps1", course / "submitted" / "student"]
        for path in shut:
            path.chmod(0)
        try:
            with ordinary_user():
                assert students_of(course, "ps1").names == ("ann", "file", "folder", "student")
                assert read_submission(course, ps1(), "ann")
                for student in ("file", "folder", "student"):
                    with pytest.raises(Rejected, match="Permission denied"):
                        read_submission(course, ps1(), student)
        finally:
            for path in reversed(shut):
                path.chmod(0o755)


_EXTRA = (
    "conftest.py",
    "sitecustomize.py",
    "usercustomize.py",
    "json.py",
    "ipython_config.py",
    "nbgrader_config.py",
    "autograder.py",
    "x.pth",
)


def test_other_files_of_a_submission_are_neither_run_nor_built(
    course: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """By ``grade`` (an empty answer needs no build), by publishing, and even where the command is typed inside the student's folder."""
    canary = tmp_path / "canary"
    folder = submit(course, "eve", notebook("# nothing yet\n")).parent
    for where in (folder, folder.parent):
        for name in _EXTRA:
            code = f"open({str(canary)!r}, 'a').write(__name__)\n"
            (where / name).write_text(f"import os; {code}" if name.endswith(".pth") else code, encoding="utf-8")
        (where / "Dockerfile").write_text("FROM evil\n", encoding="utf-8")
        (where / ".dockerignore").write_text("*\n", encoding="utf-8")
        (where / ".ipynb_checkpoints").mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setattr("autograder.classroom.grading.prepare", lambda *_: _nowhere(tmp_path))
    status = main(["grade", "ps1", "--course", str(course), "--place", str(tmp_path / "place"), "--student", "eve", "--seed", "s"])
    said = capsys.readouterr()
    assert (status, "eve: 0 of 100" in said.out) == (0, True), said
    assert "published" in said.err
    assert not canary.exists()
    assert sorted(path.name for path in (course / "autograded" / "eve" / "ps1").iterdir()) == ["ps1.ipynb"]
    assert collect(read_submission(course, ps1(), "eve"), ps1(), "eve").files == {
        "Dockerfile": "# nothing yet\n",
        ".dockerignore": "node_modules\n",
    }


def _nowhere(root: Path) -> Prepared:
    """Where nothing can be built."""
    place = root / "place"
    for name in ("results", "work"):
        (place / name).mkdir(parents=True, exist_ok=True)
    return Prepared(app=str(APP), store="", cache="", results=str(place / "results"), work=str(place / "work"), base="")


# --- strings that are shown ----------------------------------------------------------------------------------------------------------


def _result(student: str, message: str) -> SubmissionResult:
    checks = tuple(
        CheckResult(
            id=check.id,
            status="failed" if number else "passed",
            points=0 if number else check.points,
            max_points=check.points,
            message=message,
        )
        for number, check in enumerate(ps1().checks)
    )
    return graded(student, checks)


def test_feedback_shows_every_string_as_text(course: Path) -> None:
    """The Dockerfile, the ignore file and the words of checks that passed and failed; lines that would be Markdown or a template, too."""
    hostile = (
        f"{MARKUP}\n# [x](javascript:alert(3)) $$\\href{{javascript:alert(4)}}{{x}}$$ {{% raw %}}\n</pre></div><svg onload=alert(5)>\n"
    )
    submit(course, "eve", notebook(f"FROM node:alpine\n{hostile}", hostile))
    record = ClassRecord(assignment="ps1", seed="s", submissions=(_result("eve", hostile),))
    done = publish(course, record, lambda _result: collect(read_submission(course, ps1(), "eve"), ps1(), "eve"), lambda _text: None)
    assert (done.published, done.failed) == (("eve",), {})
    page = (course / "feedback" / "eve" / "ps1" / "ps1.html").read_text(encoding="utf-8")
    for markup in ("<script>alert", "<img src=x", "<svg onload", 'href="javascript:alert'):
        assert markup not in page
    assert "&lt;script&gt;alert(1)" in page
    assert not set(page) & {"\x1b", "\x07", "\u202e"}


# --- where nothing isolates ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("executor", ["", "proot"])
def test_where_nothing_isolates_nothing_is_graded(course: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, executor: str) -> None:
    """Neither without any executor, nor with one that runs commands without a wall around them. No submission is looked at."""
    from layerlab.engines.embedded import engine
    from layerlab.engines.embedded.host import Host

    def found(store: str) -> Host:
        kind: Any = executor
        return Host(
            fingerprint="",
            executor=kind,
            binary="/bin/false",
            snapshotter="copy",
            ids="single",
            worker="none",
            store=store,
            notes=(),
        )

    monkeypatch.setattr(engine, "find_host", found)
    said: list[str] = []
    with pytest.raises(ExecutorError, match="can isolate a student's build, so nothing is graded"):
        prepare(course, ps1(), tmp_path / "place", said.append)
    assert main(["grade", "ps1", "--course", str(course), "--place", str(tmp_path / "place"), "--no-publish"]) == 1
    assert not list((tmp_path / "place" / "results").iterdir())
    assert not (course / "report").exists()
    assert said == []
