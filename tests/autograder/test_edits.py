"""Edits come from their seed alone."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autograder.exercise.edits import INDEX, LOCK, MANIFEST, ROUTES, SCHEMA, SOURCES, Edits, draw
from autograder.exercise.workspace import Workspace, read_app
from layerlab.errors import UsageError
from tests.autograder.material import APP

TEXTS = read_app(APP)
RECORDED = (
    "harbor6a7a73db27291873.3111073.7253730145689.781145213781145213",
    23404,
    "new files src/juniper045bc3a8.ts and src/birch973666fe.ts, used by src/index.ts",
)


@given(st.text(max_size=20))
@settings(max_examples=60, deadline=None)
def test_the_same_seed_draws_the_same_edits(seed: str) -> None:
    """And every edit does change something."""
    edits = draw(seed, TEXTS)
    assert edits == draw(seed, TEXTS)
    for edit in (edits.source, edits.dependency, edits.schema, edits.readme, edits.modules):
        assert all(TEXTS.get(path) != text for path, text in edit.files)
    assert 20000 <= edits.port < 24096


def test_another_process_draws_the_same() -> None:
    """Nothing depends on the hash seed of the process."""
    code = "import sys, msgspec; from autograder.exercise.edits import draw; from autograder.exercise.workspace import read_app\n"
    code += "from pathlib import Path\n"
    code += "sys.stdout.buffer.write(msgspec.json.encode(draw('seed', read_app(Path(sys.argv[1])))))"
    for hashing in ("1", "2"):
        done = subprocess.run(
            [sys.executable, "-c", code, str(APP)],
            capture_output=True,
            check=True,
            timeout=180,
            cwd=APP.parent,
            env={"PYTHONHASHSEED": hashing, "PYTHONPATH": str(APP.parent)},
        )
        assert msgspec.json.decode(done.stdout, type=Edits) == draw("seed", TEXTS)


def test_recorded_edits_stay() -> None:
    """A class that is graded again, by a later version, gets the edits of its seed. Change this only with ``GRADER_VERSION``."""
    edits = draw("2026", TEXTS)
    assert (edits.answer, edits.port, edits.source.what) == RECORDED


def test_seeds_differ() -> None:
    """All kinds of source edits are drawn, and no two seeds give one answer."""
    found = [draw(str(number), TEXTS) for number in range(40)]
    assert len({edits.answer for edits in found}) == 40
    assert {INDEX, ROUTES} <= {edits.source.files[-1][0] for edits in found}
    assert {len(edits.source.files) for edits in found} == {1, 2, 3}


@given(st.integers(0, 10**9))
@settings(max_examples=60, deadline=None)
def test_the_source_has_the_marker_and_not_the_answer(number: int) -> None:
    """Whoever only reads the source finds a part of what the image must say, and never all of it; types are there to be left out."""
    edits = draw(str(number), TEXTS)
    text = "".join(content for _, content in edits.source.files)
    assert text.count(edits.marker) == edits.answer.count(edits.marker) == 1
    assert edits.answer not in text
    assert edits.erased
    assert all(name in text and name not in edits.answer and edits.marker not in name for name in edits.erased)


@given(st.integers(0, 10**9))
@settings(max_examples=30, deadline=None)
def test_a_nonce_changes_the_bytes_and_not_what_is_edited(number: int) -> None:
    """The dependency and the kinds of edits are the same; no file is."""
    plain, fresh = draw(str(number), TEXTS), draw(str(number), TEXTS, nonce="abc")
    assert plain.port == fresh.port
    for before, after in ((plain.schema, fresh.schema), (plain.readme, fresh.readme)):
        assert [path for path, _ in before.files] == [path for path, _ in after.files]
        assert all(one != other for (_, one), (_, other) in zip(before.files, after.files, strict=True))
    assert dict(plain.dependency.files)[MANIFEST] != dict(fresh.dependency.files)[MANIFEST]


@given(st.integers(0, 10**9))
@settings(max_examples=60, deadline=None)
def test_sources_with_a_nonce_are_another_program(number: int) -> None:
    """So that nothing that a step could make of them is the same, however it leaves out words, comments and names: a step that installs
    again when that changes would else look as if it stayed cached."""
    plain, fresh = draw(str(number), TEXTS), draw(str(number), TEXTS, nonce="abc")
    # One more, and all that are there: a step that installs and reads a single one runs again.
    sources = {path for path in TEXTS if path.startswith(SOURCES)}
    assert len(sources) == 3
    assert {path for path, _ in fresh.source.files} & sources == sources
    assert len(fresh.source.files) == len(sources) + 1 + len([path for path, _ in plain.source.files if path not in sources])
    assert all(TEXTS.get(path) != text for path, text in fresh.source.files)
    assert (fresh.answer, fresh.marker, fresh.value) != (plain.answer, plain.marker, plain.value)
    shapes = [
        (len(text), len(text.splitlines()), re.sub(r"\w+", "x", text), len(set(re.findall(r"\d+", text))))
        for text in ("".join(content for _, content in edits.source.files) for edits in (plain, fresh))
    ]
    assert all(one != other for one, other in zip(*shapes, strict=True))


@given(st.integers(0, 10**9))
@settings(max_examples=30, deadline=None)
def test_a_dependency_edit_is_consistent(number: int) -> None:
    """Manifest and lock file name the new package with the version that is in the tree, and differ in nothing else."""
    files = dict(draw(str(number), TEXTS).dependency.files)
    manifest, lock = json.loads(files[MANIFEST]), json.loads(files[LOCK])
    new = manifest["dependencies"].keys() - json.loads(TEXTS[MANIFEST])["dependencies"].keys()
    assert len(new) == 1
    name = new.pop()
    assert (
        lock["packages"][""]["dependencies"][name] == manifest["dependencies"][name] == lock["packages"][f"node_modules/{name}"]["version"]
    )


def test_an_app_without_the_lines_is_refused() -> None:
    """Better than an edit that edits nothing."""
    with pytest.raises(UsageError, match="GREETING"):
        draw("x", {**TEXTS, INDEX: "nothing"})
    with pytest.raises(UsageError, match=SCHEMA):
        draw("x", {path: text for path, text in TEXTS.items() if path != SCHEMA})


def test_an_edit_is_taken_back(tmp_path: Path) -> None:
    """Files that it changed are as before, files and folders that it made are gone."""
    workspace = Workspace(APP, tmp_path / "context", {"Dockerfile": "FROM a\r\n"})

    def tree() -> dict[str, bytes]:
        return {str(path): path.read_bytes() if path.is_file() else b"" for path in sorted(workspace.directory.rglob("*"))}

    before = tree()
    assert (workspace.directory / "Dockerfile").read_bytes() == b"FROM a\r\n"
    assert not (workspace.directory / ".dockerignore").exists()
    for seed in range(6):
        edits = draw(str(seed), TEXTS)
        for edit in (edits.source, edits.dependency, edits.schema, edits.readme, edits.modules):
            with workspace.edited(edit):
                assert tree() != before
            assert tree() == before


def test_the_words_are_another_answer_s_business() -> None:
    """Two answers under one seed get the same kind of edit and must serve different words: what feedback shows is of no use to others."""
    one, other = draw("2026", TEXTS, salt="one"), draw("2026", TEXTS, salt="other")
    assert one.answer != other.answer
    assert one.marker != other.marker
    assert [path for path, _ in one.source.files] == [path for path, _ in other.source.files]
    assert (one.dependency, one.schema, one.port) == (other.dependency, other.schema, other.port)
