"""The course: built from its sources, committed without output, readable, and true when it is run."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest

from layerlab.lesson.questions import question, questions

from .running import COURSE, EXPECTED, NOTEBOOKS, check, run, surroundings

SOURCES = sorted((COURSE.parent / "course-source").glob("*.md"))
_FENCE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)


def test_the_notebooks_are_what_their_sources_build() -> None:
    done = subprocess.run(
        [sys.executable, str(COURSE.parent / "course-source" / "build.py"), "--check"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert [path.stem for path in NOTEBOOKS] == [path.stem for path in SOURCES] == sorted(EXPECTED)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_committed_without_output_and_with_stable_ids(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    for cell in notebook.cells:
        assert not cell.get("outputs")
        assert not cell.get("execution_count")
        assert len(cell.source.splitlines()) <= (20 if cell.cell_type == "code" else 40)
    ids = [cell["id"] for cell in notebook.cells]
    assert len(ids) == len(set(ids))
    assert "widgets" not in notebook.metadata


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.stem)
def test_a_source_has_the_shape_of_a_lesson(path: Path) -> None:
    text = path.read_text(encoding="utf-8").split("---\n", 2)[2]
    prose = _FENCE.sub("", text)
    headings = re.findall(r"^(#+) (.+)$", prose, re.MULTILINE)

    assert [level for level, _ in headings].count("#") == 1
    assert headings[0][1].startswith(f"{int(path.stem[:2])} · ")
    assert {level for level, _ in headings} <= {"#", "##"}
    assert "**By the end you can**" in prose
    assert re.search(r"^Time: \d+ minutes", prose, re.MULTILINE)
    assert headings[-1][1] == "What you can do now"
    assert "**Try one change.**" in prose


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.stem)
def test_links_lead_somewhere_and_pictures_are_described(path: Path) -> None:
    prose = _FENCE.sub("", path.read_text(encoding="utf-8"))
    links = re.findall(r"(!?)\[([^\]]*)\]\(([^)]+)\)", prose)
    assert links
    for picture, text, target in links:
        assert text.strip()
        if "://" not in target:
            assert (COURSE / target.partition("#")[0]).is_file(), target
        assert not picture or len(text) > 10


_CALL = re.compile(r'lab\.(ask|predict)\("([^"]+)"')


def test_every_question_is_asked_once_and_answered_after_it() -> None:
    """A prediction by the next build, a question by ``lab.reveal`` with nothing but the question."""
    asked = []
    for path in NOTEBOOKS:
        cells = [cell.source for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
        for number, source in enumerate(cells):
            for kind, name in _CALL.findall(source):
                asked.append(name)
                later = "\n".join(cells[number + 1 :])
                assert bool(question(name).choices) == (kind == "ask"), name
                if kind == "ask":
                    assert f"lab.reveal({source.partition(' = ')[0].splitlines()[-1]})" in later, name
                else:
                    assert "%docker build" in later.partition("lab.predict")[0], name
    assert sorted(asked) == sorted(questions())


def test_no_answer_can_be_read_ahead() -> None:
    """Not in a cell, not in a comment of one, not in the prose: what is told afterwards is in no notebook."""
    whole = " ".join(" ".join(cell.source.split()) for path in NOTEBOOKS for cell in nbformat.read(path, as_version=4).cells)
    for name, asked in questions().items():
        told = re.split(r"(?<=[.:])\s+", " ".join(f"{asked.why} {asked.happened}".split()))
        for sentence in told:
            assert len(sentence) < 25 or sentence not in whole, f"{name}: {sentence}"
    for call in re.findall(r"lab\.reveal\([^)]*\)", whole):
        assert re.fullmatch(r"lab\.reveal\(\w+\)", call), call


def test_spelling() -> None:
    if shutil.which("codespell", path=str(Path(sys.executable).parent)) is None:
        pytest.skip("codespell is not installed: ./lab test installs it")
    texts = [*SOURCES, *(COURSE.parent / "docs").glob("*.md"), *COURSE.parent.glob("*.md"), *(COURSE.parent / "layerlab").rglob("*.py")]
    command = [str(Path(sys.executable).parent / "codespell"), "--ignore-words-list", "passt,vertexes", *map(str, texts)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """One home, store and working copy for all of them, as a learner has."""
    place = tmp_path_factory.mktemp("course")
    with surroundings(place, "embedded"):
        yield place


@pytest.mark.slow
@pytest.mark.network
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_from_top_to_bottom_and_shows_what_it_says(path: Path, place: Path) -> None:
    check(path.stem, run(path))


@pytest.mark.slow
@pytest.mark.network
@pytest.mark.many
@pytest.mark.parametrize("path", [path for path in NOTEBOOKS if path.stem != "04-optimise"], ids=lambda path: path.stem)
def test_a_second_visit_shows_the_same(path: Path, place: Path) -> None:
    """The cache remembers the first one, and yet what an edit makes run runs again. (The fourth part is left out for its minutes.)"""
    check(path.stem, run(path))
