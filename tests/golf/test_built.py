"""Each level's par is built once, with real npm and Node: what golf says of it is what the engine does.

And so are orders that are drawn: one that golf has a score for, and one of which it says that it would fail. A seed is printed;
``LAYERLAB_SEED`` draws the same.
"""

from __future__ import annotations

import os
import random
import secrets
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
SEED = os.environ.get("LAYERLAB_SEED") or secrets.token_hex(4)


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> EmbeddedEngine:
    return EmbeddedEngine(str(tmp_path_factory.mktemp("golf") / "store"))


def _write(level: Level, place: Path, edit: Edit | None) -> None:
    """The files, edited as no other test edits them: all share one cache."""
    number = 1 + [*map(str, LEVELS.values())].index(str(level)) * 10 + (level.edits.index(edit) if edit is not None else 0)
    for path, content in level.files.items():
        file = place / path
        file.parent.mkdir(parents=True, exist_ok=True)
        # What JSON reads over, and a comment or one more line for whoever reads the rest.
        more = ("\n" * number if path.endswith(".json") else f"// edit {number}\n") if edit is not None and path in edit.files else ""
        file.write_text(content + more)
    (place / ".dockerignore").write_text("".join(f"{pattern}\n" for pattern in (*level.ignore, "Dockerfile", ".dockerignore")))


def _try(engine: EmbeddedEngine, level: Level, lines: tuple[str, ...], place: Path, edit: Edit | None = None) -> BuildRecord:
    _write(level, place, edit)
    (place / "Dockerfile").write_text("\n".join(lines) + "\n")
    arguments = dict.fromkeys(edit.arguments, f"another, {level.title}, {edit.title}") if edit is not None else {}
    return engine.build(BuildOptions(context=str(place), tag="golf:1", build_args=arguments), lambda _event: None)


def _build(engine: EmbeddedEngine, level: Level, lines: tuple[str, ...], place: Path, edit: Edit | None = None) -> BuildRecord:
    record = _try(engine, level, lines, place, edit)
    assert record.failure is None, record.failure
    return record


def _lacks(engine: EmbeddedEngine, level: Level, record: BuildRecord) -> set[str]:
    assert record.image is not None
    held = {entry.path for layer in engine.layer_entries(record.image) for entry in layer}
    return {need for need in level.needs if need.strip("/") not in held}


@pytest.mark.parametrize("name", LEVELS)
def test_par_is_what_the_engine_builds(name: str, engine: EmbeddedEngine, tmp_path: Path) -> None:
    level = LEVELS[name]
    lines = prove(level).lines
    score = Course(level).rate(lines)
    record = _build(engine, level, lines, tmp_path)
    assert not _lacks(engine, level, record)
    for edit, cost in zip(level.edits, score.edits, strict=True):
        again = _build(engine, level, lines, tmp_path, edit)
        assert [step.line for step in again.steps if step.status == "executed"] == [one.line for one in cost.rebuilt], edit.title


def _drawn(level: Level, draws: random.Random) -> tuple[str, ...]:
    """The lines of each stage in an order that is drawn, some spare ones among them."""
    stages: list[list[str]] = []
    for line in level.lines:
        if line.keyword == "FROM":
            stages.append([line.text])
        elif not line.spare or draws.random() < 0.5:
            stages[-1].append(line.text)
    return tuple(line for first, *rest in stages for line in (first, *draws.sample(rest, len(rest))))


@pytest.mark.parametrize("name", LEVELS)
def test_what_golf_says_of_drawn_orders_is_so(name: str, engine: EmbeddedEngine, tmp_path: Path) -> None:
    level, draws = LEVELS[name], random.Random(f"{SEED} {name}")
    print(f"LAYERLAB_SEED={SEED}")
    course, wanted = Course(level), {"a score", "a failure"}
    for _ in range(400):
        lines = _drawn(level, draws)
        score = course.rate(lines)
        kind = "a score" if score.total is not None else "a failure" if "would " in score.broken else "another"
        if kind in wanted:
            wanted.discard(kind)
            record = _try(engine, level, lines, tmp_path)
            ends_well = record.failure is None and not _lacks(engine, level, record)
            assert ends_well == (kind == "a score"), (lines, score.broken, record.failure)
        if not wanted:
            break
