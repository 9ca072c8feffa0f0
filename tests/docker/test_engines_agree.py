"""The same builds on Docker and on the embedded engine: equal verdicts, equal causes, equal images."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from layerlab.engines.api import BuildOptions
from layerlab.engines.docker.engine import DockerEngine
from layerlab.engines.embedded.engine import EmbeddedEngine
from layerlab.model import BuildRecord

from .conftest import facts

pytestmark = pytest.mark.docker

Both = Callable[..., list[BuildRecord]]


@pytest.fixture
def both(docker_engine: DockerEngine, embedded_engine: EmbeddedEngine, app: Path) -> Both:
    """Build the app on both engines; the records must tell the same."""

    def build(**options: Any) -> list[BuildRecord]:
        asked = BuildOptions(context=str(app), network="none", offline=True, **options)
        ours, theirs = embedded_engine.build(asked), docker_engine.build(asked)
        assert facts(theirs) == facts(ours)
        assert theirs.warnings == ours.warnings
        assert (theirs.failure is None) == (ours.failure is None)
        return [ours, theirs]

    return build


def _statuses(record: BuildRecord) -> list[str]:
    return [step.status for step in record.steps if step.status not in ("base", "metadata")]


def test_a_first_build_runs_everything_and_the_next_nothing(both: Both) -> None:
    assert all(_statuses(record) == ["executed"] * 5 for record in both())
    assert all(_statuses(record) == ["cached"] * 5 for record in both())


def test_an_edit_of_a_source(both: Both, app: Path) -> None:
    both()
    (app / "src" / "index.ts").write_text("export const more = 1;\n", encoding="utf-8")

    for record in both():
        assert _statuses(record) == ["cached", "cached", "cached", "executed", "executed"]
        copy, below = record.executed
        assert copy.cause is not None
        assert (copy.cause.kind, copy.cause.paths) == ("file", ("src/index.ts",))
        assert below.cause is not None
        assert (below.cause.kind, below.cause.origin) == ("parent", copy.number)


def test_a_new_and_a_removed_file(both: Both, app: Path) -> None:
    both()
    (app / "new.txt").write_text("new\n", encoding="utf-8")
    (app / "src" / "index.ts").unlink()
    (app / "src" / "other.ts").write_text("other\n", encoding="utf-8")
    both()


def test_a_changed_mode(both: Both, app: Path) -> None:
    both()
    (app / "package.json").chmod(0o755)
    both()


def test_a_changed_build_argument(both: Both) -> None:
    both()
    for record in both(build_args={"VERSION": "2"}):
        assert record.executed[0].cause is not None
        assert record.executed[0].cause.kind == "argument"
    both(build_args={"VERSION": "1"})


def test_an_inserted_a_moved_and_a_changed_line(both: Both, app: Path) -> None:
    both()
    dockerfile = app / "Dockerfile"
    text = dockerfile.read_text(encoding="utf-8")
    dockerfile.write_text(text.replace("COPY . .", "RUN echo inserted\nCOPY . ."), encoding="utf-8")
    both()
    dockerfile.write_text(text.replace("echo install", "echo installs"), encoding="utf-8")
    both()
    dockerfile.write_text(
        text.replace("RUN echo install > installed\nCOPY . .", "COPY . .\nRUN echo install > installed"), encoding="utf-8"
    )
    both()


def test_a_changed_environment_user_and_directory(both: Both, app: Path) -> None:
    (app / ".dockerignore").write_text("Dockerfile\n.dockerignore\n", encoding="utf-8")
    both()
    dockerfile = app / "Dockerfile"
    text = dockerfile.read_text(encoding="utf-8")
    for line in ("ENV MODE=test", "USER node", "LABEL a=b"):
        dockerfile.write_text(text.replace("RUN cat", f"{line}\nRUN cat").replace("> built", ">/dev/null"), encoding="utf-8")
        both()


def test_no_cache_and_no_cache_filter(both: Both, app: Path) -> None:
    both()
    for record in both(no_cache=True):
        assert record.executed[0].cause is not None
        assert record.executed[0].cause.kind == "no-cache"
    both()


def test_a_failing_step_and_the_build_after_it(both: Both, app: Path) -> None:
    dockerfile = app / "Dockerfile"
    text = dockerfile.read_text(encoding="utf-8")
    dockerfile.write_text(text.replace("RUN cat", "RUN echo said; exit 7\nRUN cat"), encoding="utf-8")
    ours, theirs = both()
    assert ours.failure is not None
    assert theirs.failure is not None
    assert (theirs.failure.kind, theirs.failure.message, theirs.failure.line, theirs.failure.exit_status) == (
        ours.failure.kind,
        ours.failure.message,
        ours.failure.line,
        7,
    )
    failed = next(step for step in theirs.steps if step.status == "failed")
    assert "said" in failed.log
    both()


def test_stages(both: Both, app: Path) -> None:
    (app / "Dockerfile").write_text(
        f"FROM base:1 AS build\nWORKDIR {app}/b\nCOPY src src\nRUN grep -v '^//' src/index.ts > out; true\n"
        f"FROM base:1\nCOPY --from=build {app}/b/out /srv/\nRUN cat /srv/out\n",
        encoding="utf-8",
    )
    both()
    both()
    (app / "src" / "index.ts").write_text("export {};\n// a remark that the stage leaves out\n", encoding="utf-8")
    for record in both():
        assert _statuses(record)[3:] == ["cached", "cached"]
    both()


def test_a_stage_that_gives_other_content_is_named(docker_engine: DockerEngine, app: Path) -> None:
    (app / "Dockerfile").write_text(
        f"FROM base:1 AS build\nWORKDIR {app}/b\nCOPY src src\nFROM base:1\nCOPY --from=build {app}/b/src /srv/\nRUN cat /srv/*\n",
        encoding="utf-8",
    )
    options = BuildOptions(context=str(app), network="none")
    docker_engine.build(options)
    (app / "src" / "index.ts").write_text("changed\n", encoding="utf-8")
    record = docker_engine.build(options)

    kinds = [step.cause.kind for step in record.executed if step.cause is not None]
    assert kinds == ["file", "source-stage", "parent"]
    assert record.warnings == ()


def test_history_is_the_same(both: Both, docker_engine: DockerEngine, embedded_engine: EmbeddedEngine) -> None:
    """But for the sizes: the classic store counts a file that is copied again, and the containerd store says how much disk it takes."""
    both(tag="layerlab-test:history", labels={"one": "1"})
    rows = [
        [(row.created_by, row.empty_layer, row.comment) for row in engine.history("layerlab-test:history")[:-1]]
        for engine in (embedded_engine, docker_engine)
    ]
    assert rows[0] == rows[1]
    docker_engine.untag("layerlab-test:history")


def test_a_plan_tells_what_the_build_then_does(docker_engine: DockerEngine, app: Path) -> None:
    options = BuildOptions(context=str(app), network="none")
    docker_engine.build(options)
    plan = docker_engine.plan(options, ("src/index.ts",))
    (app / "src" / "index.ts").write_text("edited\n", encoding="utf-8")
    record = docker_engine.build(options)

    assert [step.status for step in plan.steps] == [step.status for step in record.steps]
    assert any("only builds by layerlab are known" in text for text in plan.warnings)
    assert not docker_engine.plan(options).warnings
    last = docker_engine.explain(options)
    assert last is not None
    assert facts(last) == facts(record)


def test_a_disagreement_is_part_of_the_record(docker_engine: DockerEngine, app: Path, tmp_path: Path) -> None:
    options = BuildOptions(context=str(app), network="none")
    docker_engine.build(options)
    with DockerEngine(str(tmp_path / "another-state")) as stranger:
        record = stranger.build(options)

    assert _statuses(record) == ["cached"] * 5
    assert len(record.warnings) == 5
    assert "Docker says cached, layerlab's solver says executed" in record.warnings[0]
