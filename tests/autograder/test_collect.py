"""A submission is data: nothing that a file may be ends in anything but answers or a plain reason."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autograder.submission.notebook_reader import Rejected, collect, read_submission, students_of
from tests.autograder.material import cell_of, notebook, ps1, submit


def _collect(decoded: Any) -> dict[str, str]:
    data = decoded if isinstance(decoded, bytes) else json.dumps(decoded).encode()
    return collect(data, ps1(), "ann").files


def test_the_magic_line_is_taken_off_and_nothing_else() -> None:
    """The rest is the file, byte for byte, with its own line ends."""
    files = _collect(notebook("from node:alpine\r\nRUN true\r\n", "# none\n"))
    assert files == {"Dockerfile": "from node:alpine\r\nRUN true\r\n", ".dockerignore": "# none\n"}


def test_a_source_may_be_a_list_of_lines() -> None:
    """As Jupyter writes it."""
    decoded = notebook()
    cell_of(decoded, "dockerfile")["source"] = ["\n", "%%dockerfile -q\n", "FROM a\n", "RUN b"]
    assert _collect(decoded)["Dockerfile"] == "FROM a\nRUN b"


def test_an_empty_answer_is_an_answer() -> None:
    """It is for the rubric to say what it is worth."""
    decoded = notebook()
    cell_of(decoded, "dockerfile")["source"] = ""
    assert _collect(decoded)["Dockerfile"] == ""


def test_test_cells_do_not_matter() -> None:
    """A changed or deleted test cell changes no grade: it is not looked at."""
    decoded = notebook()
    decoded["cells"] = [cell for cell in decoded["cells"] if cell["metadata"].get("nbgrader", {}).get("locked") is not True]
    assert _collect(decoded)["Dockerfile"] == "FROM node:alpine\n"


def _without(decoded: dict[str, Any]) -> None:
    decoded["cells"].remove(cell_of(decoded, "dockerignore"))


def _twice(decoded: dict[str, Any]) -> None:
    decoded["cells"].append(cell_of(decoded, "dockerfile"))


def _twice_a_test(decoded: dict[str, Any]) -> None:
    decoded["cells"].append(cell_of(decoded, "serves"))


def _markdown(decoded: dict[str, Any]) -> None:
    cell_of(decoded, "dockerfile")["cell_type"] = "markdown"


def _locked(decoded: dict[str, Any]) -> None:
    cell_of(decoded, "dockerfile")["metadata"]["nbgrader"].update(solution=False, grade=True)


def _truthy(decoded: dict[str, Any]) -> None:
    cell_of(decoded, "dockerfile")["metadata"]["nbgrader"]["solution"] = 1


def _no_magic(decoded: dict[str, Any]) -> None:
    cell_of(decoded, "dockerfile")["source"] = "FROM node:alpine\n"


def _other_magic(decoded: dict[str, Any]) -> None:
    cell_of(decoded, "dockerfile")["source"] = "%%dockerfiles\nFROM node:alpine\n"


def _zero(decoded: dict[str, Any]) -> None:
    cell_of(decoded, "dockerfile")["source"] = "%%dockerfile\nFROM a\0b\n"


def _large(decoded: dict[str, Any]) -> None:
    cell_of(decoded, "dockerfile")["source"] = "%%dockerfile\n" + "# x\n" * 20000


def _old(decoded: dict[str, Any]) -> None:
    decoded["nbformat"] = 3


def _number(decoded: dict[str, Any]) -> None:
    cell_of(decoded, "dockerfile")["source"] = 7


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (_without, "'dockerignore' is missing"),
        (_twice, "2 cells have the grade_id 'dockerfile'"),
        (_twice_a_test, "2 cells have the grade_id 'serves'"),
        (_markdown, "no longer an answer cell"),
        (_locked, "no longer an answer cell"),
        (_truthy, "no longer an answer cell"),
        (_no_magic, "does not start with %%dockerfile"),
        (_other_magic, "does not start with %%dockerfile"),
        (_zero, "zero character"),
        (_large, "at most 65536 are accepted"),
        (_old, "format 3"),
        (_number, "not a notebook"),
    ],
)
def test_tampering_is_refused_with_a_reason(change: Callable[[dict[str, Any]], None], reason: str) -> None:
    """Each in words that a student can act on."""
    decoded = notebook()
    change(decoded)
    with pytest.raises(Rejected, match=reason):
        _collect(decoded)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "not a notebook"),
        (b"[" * 200_000, "nested too deeply"),
        (b'{"a":' * 200_000, "nested too deeply"),
        (b'{"cells": "\xff"}', "not UTF-8"),
        (b'{"nbformat": 4, "cells": [{"cell_type": "code", "source": "\\ud800"}]}', "."),
        (b'"' + b'\\"' * 400_000, "not a notebook"),
        (b" " * (1 << 20) + b"{}", "at most 1048576"),
        (b'{"nbformat": 4, "cells": null}', "not a notebook"),
    ],
)
def test_files_that_are_no_notebooks(data: bytes, reason: str) -> None:
    """Refused before they cost anything."""
    with pytest.raises(Rejected, match=reason):
        _collect(data)


def test_brackets_in_strings_do_not_nest() -> None:
    """A Dockerfile may have as many as it likes, escaped quotation marks between them."""
    text = 'FROM a\nRUN echo "' + "[{" * 500 + '\\" \\\\"\n'
    assert _collect(notebook(text))["Dockerfile"] == text


@given(st.binary(max_size=300))
def test_any_bytes_are_collected_or_rejected(data: bytes) -> None:
    """Nothing else is raised."""
    with pytest.raises(Rejected):
        _collect(data)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["nbgrader", "grade_id", "solution"]), inner),
        max_leaves=8,
    )
)
def test_any_metadata_is_collected_or_rejected(metadata: Any) -> None:
    """Whatever a cell's metadata are."""
    decoded = notebook()
    decoded["cells"].append({"cell_type": "code", "source": "", "metadata": {"nbgrader": metadata}})
    with contextlib.suppress(Rejected):
        assert _collect(decoded)["Dockerfile"] == "FROM node:alpine\n"


def test_links_pipes_and_folders_are_refused(tmp_path: Path) -> None:
    """A submission cannot make the grader read another file, or wait."""
    path = submit(tmp_path, "ann", notebook())
    assert read_submission(tmp_path, ps1(), "ann") == path.read_bytes()
    secret = tmp_path / "secret"
    secret.write_text("x")
    path.unlink()
    path.symlink_to(secret)
    with pytest.raises(Rejected, match="plain file"):
        read_submission(tmp_path, ps1(), "ann")
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(Rejected, match="not a regular file"):
        read_submission(tmp_path, ps1(), "ann")
    path.unlink()
    path.mkdir()
    with pytest.raises(Rejected, match="not a regular file"):
        read_submission(tmp_path, ps1(), "ann")


def test_students_are_folders_with_plain_names(tmp_path: Path) -> None:
    """No links, no options, no hidden folders."""
    for name in ("ann", "bob.b@x", "-rf", ".hidden"):
        submit(tmp_path, name, notebook())
    (tmp_path / "submitted" / "eve").symlink_to(tmp_path / "submitted" / "ann")
    (tmp_path / "submitted" / "dan").mkdir()
    (tmp_path / "submitted" / "dan" / "ps1").symlink_to(tmp_path / "submitted" / "ann" / "ps1")
    found = students_of(tmp_path, "ps1")
    assert found.names == ("ann", "bob.b@x")
    assert [(folder.name, "link" in folder.reason) for folder in found.skipped] == [("-rf", False), ("dan", True), ("eve", True)]


@pytest.mark.parametrize("name", ["a b", "O'Neill", 'the "boss"', "Zoe\u0308", "\u5f20\u4f1f", "a,b (2)", "x" * 128])
def test_names_that_people_have(tmp_path: Path, name: str) -> None:
    """Blanks, quotes, letters written in two parts (as macOS has them), and letters of other scripts."""
    submit(tmp_path, name, notebook())
    found = students_of(tmp_path, "ps1")
    assert (found.names, found.skipped) == ((name,), ())
    assert read_submission(tmp_path, ps1(), name)


def test_a_file_above_the_limit_is_not_read(tmp_path: Path) -> None:
    """Its size is enough."""
    path = submit(tmp_path, "ann", notebook())
    os.truncate(path, 1 << 40)
    with pytest.raises(Rejected, match="at most"):
        read_submission(tmp_path, ps1(), "ann")
