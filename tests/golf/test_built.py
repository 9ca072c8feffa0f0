"""Each level's par is built once, with real npm and Node: what golf says of it is what the engine does."""

from __future__ import annotations

from pathlib import Path

import pytest

from layerlab.engines.api import BuildOptions
from layerlab.engines.embedded.engine import EmbeddedEngine
from layerlab.golf.level import Edit, Level, shipped
from layerlab.golf.par import prove
from layerlab.golf.scoring import Course
from layerlab.model import BuildRecord

pytestmark = [pytest.mark.slow, pytest.mark.network]
LEVELS = shipped()


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> EmbeddedEngine:
    return EmbeddedEngine(str(tmp_path_factory.mktemp("golf") / "store"))


def _write(level: Level, place: Path, edit: Edit | None) -> None:
    for path, content in level.files.items():
        file = place / path
        file.parent.mkdir(parents=True, exist_ok=True)
        # What JSON reads over, and a comment or one more line for whoever reads the rest.
        more = ("\n" if path.endswith(".json") else "// edit\n") if edit is not None and path in edit.files else ""
        file.write_text(content + more)
    (place / ".dockerignore").write_text("".join(f"{pattern}\n" for pattern in (*level.ignore, "Dockerfile", ".dockerignore")))


def _build(engine: EmbeddedEngine, level: Level, lines: tuple[str, ...], place: Path, edit: Edit | None = None) -> BuildRecord:
    _write(level, place, edit)
    (place / "Dockerfile").write_text("\n".join(lines) + "\n")
    arguments = dict.fromkeys(edit.arguments, "another") if edit is not None else {}
    record = engine.build(BuildOptions(context=str(place), tag="golf:1", build_args=arguments), lambda _event: None)
    assert record.failure is None, record.failure
    return record


@pytest.mark.parametrize("name", LEVELS)
def test_par_is_what_the_engine_builds(name: str, engine: EmbeddedEngine, tmp_path: Path) -> None:
    level = LEVELS[name]
    lines = prove(level).lines
    score = Course(level).rate(lines)
    record = _build(engine, level, lines, tmp_path)
    assert record.image is not None
    held = {entry.path for layer in engine.layer_entries(record.image) for entry in layer}
    for need in level.needs:
        assert need.strip("/") in held
    for edit, cost in zip(level.edits, score.edits, strict=True):
        again = _build(engine, level, lines, tmp_path, edit)
        assert [step.line for step in again.steps if step.status == "executed"] == [one.line for one in cost.rebuilt], edit.title
