"""Every notebook of the course runs from top to bottom, and is committed without output."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest

COURSE = Path(__file__).resolve().parents[2] / "course"
NOTEBOOKS = sorted(COURSE.glob("*.ipynb"))


def test_there_is_a_course() -> None:
    assert NOTEBOOKS


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_committed_without_output(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    for cell in notebook.cells:
        assert not cell.get("outputs")
        assert not cell.get("execution_count")
    ids = [cell["id"] for cell in notebook.cells]
    assert len(ids) == len(set(ids))


@pytest.mark.slow
@pytest.mark.network
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_from_top_to_bottom(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nbclient = pytest.importorskip("nbclient")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("LAYERLAB_STORE", str(tmp_path / "store"))
    notebook = nbformat.read(path, as_version=4)

    nbclient.NotebookClient(notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": str(COURSE)}}).execute()

    texts = [output.get("text", "") for cell in notebook.cells for output in cell.get("outputs", [])]
    assert any("2 of 8 steps ran" in text for text in texts)
    assert any("src/index.ts changed" in text for text in texts)
