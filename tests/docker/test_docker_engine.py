"""The Docker engine's own doings: containers, names, archives, secrets, older clients, and a daemon that goes away."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from layerlab.cli import main
from layerlab.engines.api import BuildOptions, Event
from layerlab.engines.connect import keeper_of
from layerlab.engines.docker import engine as module
from layerlab.engines.docker.client import DaemonLostError, DockerDiskFullError, find_builder
from layerlab.engines.docker.engine import DockerEngine
from layerlab.engines.embedded.engine import EmbeddedEngine
from layerlab.errors import BaseImageError, MissingSourceError, StepFailedError, UnsupportedError, UsageError

ROOT = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.docker

TAG = "layerlab-test:one"


def _options(app: Path, **options: object) -> BuildOptions:
    return msgspec.structs.replace(BuildOptions(context=str(app), network="none"), **options)


def test_the_record_names_its_engine(docker_engine: DockerEngine, app: Path) -> None:
    record = docker_engine.build(_options(app))
    assert record.engine == "docker"
    assert record.executor.startswith("docker ")
    assert record.snapshotter == docker_engine.snapshotter
    assert record.image is not None
    assert record.image.startswith("sha256:")
    own = [step for step in record.steps if step.makes_layer and step.status != "base"]
    assert [step.diff_id for step in own] == docker_engine.inspect(record.image)["RootFS"]["Layers"][-len(own) :]


def test_ten_steps_and_more(docker_engine: DockerEngine, app: Path) -> None:
    """From ten on BuildKit pads the number of a step."""
    steps = "".join(f"RUN echo {number}\n" for number in range(10))
    (app / "Dockerfile").write_text(f"FROM base:1\nCOPY . /app\n{steps}", encoding="utf-8")

    def verdicts() -> list[str]:
        record = docker_engine.build(_options(app))
        assert record.failure is None
        return [step.status for step in record.steps if step.makes_layer and step.status != "base"]

    docker_engine.build(_options(app, no_cache=True))
    assert verdicts() == ["cached"] * 11
    (app / "new").write_text("x", encoding="utf-8")
    assert verdicts() == ["executed"] * 11
    (app / "Dockerfile").write_text(f"FROM base:1\nCOPY . /app\n{steps}RUN exit 3\n", encoding="utf-8")
    (app / ".dockerignore").write_text("Dockerfile\n.dockerignore\n", encoding="utf-8")
    record = docker_engine.build(_options(app))
    assert record.failure is not None
    assert [step.status for step in record.steps][-1] == "failed"
    assert "RUN exit 3" in next(step.instruction for step in record.steps if step.status == "failed")


def test_names(docker_engine: DockerEngine, app: Path) -> None:
    docker_engine.build(_options(app, tag=TAG))
    assert docker_engine.tag(TAG, "layerlab-test:two") == "layerlab-test:two"
    assert docker_engine.image_row("layerlab-test:two").config == docker_engine.image_row(TAG).config
    assert {TAG, "layerlab-test:two"} <= {row.name for row in docker_engine.images()}
    assert docker_engine.untag("layerlab-test:two") == ("layerlab-test:two", False)
    assert docker_engine.untag(TAG)[1]
    with pytest.raises(UsageError, match="No such image"):
        docker_engine.inspect(TAG)


def test_a_container(docker_engine: DockerEngine, app: Path) -> None:
    docker_engine.build(_options(app, tag=TAG))
    output: list[bytes] = []
    with docker_engine.container(TAG, command=("/bin/sh", "-c", "echo $GREETING; exit 3"), environment={"GREETING": "hello"}) as running:
        assert running.wait(output.append) == 3
    assert b"".join(output) == b"hello\n"
    started = time.monotonic()
    with docker_engine.container(TAG, command=("sleep", "60"), network=False):
        pass
    assert time.monotonic() - started < 20
    with pytest.raises(StepFailedError, match="executable file not found"), docker_engine.container(TAG, command=("nothing-like-it",)):
        pass
    docker_engine.untag(TAG)


def test_a_secret_is_there_and_stays_out_of_the_image(docker_engine: DockerEngine, app: Path) -> None:
    text = (app / "Dockerfile").read_text(encoding="utf-8")
    (app / "Dockerfile").write_text(
        text.replace("RUN cat", "RUN --mount=type=secret,id=token wc -c < /run/secrets/token\nRUN cat"), encoding="utf-8"
    )
    record = docker_engine.build(_options(app, secrets={"token": b"very-secret"}))
    assert record.failure is None
    step = next(step for step in record.steps if "--mount" in step.instruction)
    assert step.log.strip() == "11"
    assert all(step.status != "executed" for step in docker_engine.build(_options(app, secrets={"token": b"other"})).steps)


def test_labels_and_target(docker_engine: DockerEngine, app: Path) -> None:
    (app / "Dockerfile").write_text(f"FROM base:1 AS one\nRUN echo {app}\nFROM one\nRUN echo two\n", encoding="utf-8")
    record = docker_engine.build(_options(app, target="one", labels={"a": "b"}))
    assert record.image is not None
    assert docker_engine.inspect(record.image)["Config"]["Labels"] == {"a": "b"}
    assert [step.status for step in record.steps] == ["base", "executed"]


def test_flags_that_are_handed_on(docker_engine: DockerEngine, app: Path) -> None:
    (app / "Dockerfile").write_text("FROM base:1\nRUN grep 'far' /etc/hosts\n", encoding="utf-8")
    assert docker_engine.build(_options(app, no_cache=True)).failure is not None
    record = docker_engine.build(_options(app, no_cache=True, handed=("--add-host=far:1.2.3.4", "--provenance=false")))
    assert record.failure is None


def test_plain_progress_gives_the_same_verdicts(docker_engine: DockerEngine, app: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    builder = msgspec.structs.replace(find_builder(), rawjson=False)
    monkeypatch.setattr(module, "find_builder", lambda: builder)
    for wanted in ("executed", "cached"):
        record = docker_engine.build(_options(app))
        assert {step.status for step in record.steps if step.status not in ("base", "metadata")} == {wanted}
        assert record.warnings == ()


def test_events_come_while_it_builds(docker_engine: DockerEngine, app: Path) -> None:
    events: list[Event] = []
    docker_engine.build(_options(app), events.append)
    done = [event.step.number for event in events if event.kind == "done" and event.step is not None]
    assert done == sorted(done)
    starts = [event.step for event in events if event.kind == "start" and event.step is not None]
    assert all(step.cause is not None and step.cause.kind == "no-record" for step in starts)


def test_a_base_that_cannot_be_had(docker_engine: DockerEngine, app: Path) -> None:
    (app / "Dockerfile").write_text("FROM localhost:1/nothing:here\nRUN ls\n", encoding="utf-8")
    with pytest.raises(BaseImageError, match="failed to resolve source metadata"):
        docker_engine.build(_options(app))
    with pytest.raises(BaseImageError, match="--offline"):
        docker_engine.build(_options(app, offline=True))


def test_a_missing_source(docker_engine: DockerEngine, app: Path) -> None:
    (app / "Dockerfile").write_text("FROM base:1\nCOPY nothing /\n", encoding="utf-8")
    record = docker_engine.build(_options(app))
    assert record.failure is not None
    assert '"/nothing": not found' in record.failure.message
    assert (record.failure.kind, record.failure.line) == (MissingSourceError.kind, 2)


def test_what_docker_cannot_do_is_said(docker_engine: DockerEngine, app: Path) -> None:
    docker_engine.build(_options(app, tag=TAG))
    with pytest.raises(UnsupportedError, match="Docker's store is not layerlab's to verify or to empty"):
        keeper_of(docker_engine)
    docker_engine.untag(TAG)


@pytest.mark.parametrize("verb", ["verify", "prune"])
def test_the_store_of_docker_is_not_ours_to_keep(docker_engine: DockerEngine, verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([verb, "--engine", "docker", "--store", docker_engine.store_path]) == UnsupportedError.exit_code
    assert "docker builder prune --keep-storage SIZE" in capsys.readouterr().err


def test_an_image_of_either_engine_runs_in_the_other(
    docker_engine: DockerEngine, embedded_engine: EmbeddedEngine, app: Path, tmp_path: Path
) -> None:
    docker_engine.build(_options(app, tag=TAG))
    docker_engine.save((TAG,), str(tmp_path / "from-docker.tar"))
    assert embedded_engine.load(str(tmp_path / "from-docker.tar")) == [TAG]

    (app / "src" / "index.ts").write_text("other\n", encoding="utf-8")
    assert embedded_engine.build(_options(app, tag="layerlab-test:other", offline=True)).failure is None
    embedded_engine.save(("layerlab-test:other",), str(tmp_path / "from-embedded.tar"))
    assert docker_engine.load(str(tmp_path / "from-embedded.tar")) == ["layerlab-test:other"]

    engines: tuple[tuple[DockerEngine | EmbeddedEngine, str, bytes], ...] = (
        (embedded_engine, TAG, b"export {};\n"),
        (docker_engine, "layerlab-test:other", b"other\n"),
    )
    for engine, name, wanted in engines:
        output: list[bytes] = []
        with engine.container(name, network=False) as running:
            assert running.wait(output.append) == 0
        assert b"".join(output) == wanted
    for name in (TAG, "layerlab-test:other"):
        docker_engine.untag(name)


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[str]:
    """Debian's registry on a loopback port, which Docker counts as safe without TLS."""
    program = shutil.which("docker-registry")
    if program is None:
        pytest.skip("no registry to push to: apt-get install docker-registry")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    (tmp_path / "registry.yml").write_text(
        f"version: 0.1\nstorage: {{filesystem: {{rootdirectory: {tmp_path}/registry}}}}\nhttp: {{addr: '127.0.0.1:{port}'}}\n",
        encoding="utf-8",
    )
    with (tmp_path / "registry.log").open("wb") as log:
        process = subprocess.Popen([program, "serve", str(tmp_path / "registry.yml")], stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + 20
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
                break
            assert time.monotonic() < deadline, (tmp_path / "registry.log").read_text(encoding="utf-8")
            time.sleep(0.05)
        yield f"127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(10)


def test_a_push_sends_only_what_the_registry_lacks(
    docker_engine: DockerEngine, embedded_engine: EmbeddedEngine, registry: str, app: Path
) -> None:
    for engine in (docker_engine, embedded_engine):
        first, second = (f"{registry}/{engine.name}/app:{number}" for number in (1, 2))
        engine.build(_options(app, tag=first, offline=True))
        whole = engine.push(first, lambda _text: None)
        (app / "src" / "index.ts").write_text(f"export const by = '{engine.name}';\n", encoding="utf-8")
        engine.build(_options(app, tag=second, offline=True))
        part = engine.push(second, lambda _text: None)

        assert [layer.sent for layer in part.layers] == [False] * 4 + [True] * 2, engine.name
        assert all(layer.sent for layer in whole.layers) or engine.name == "embedded"
        assert 0 < part.sent < whole.sent / 10
        assert part.digest.startswith("sha256:")
        docker_engine.pull(second, lambda _text: None)
        output: list[bytes] = []
        with docker_engine.container(second, network=False) as running:
            assert running.wait(output.append) == 0
        assert engine.name.encode() in b"".join(output)
    for engine in (docker_engine, embedded_engine):
        docker_engine.untag(f"{registry}/{engine.name}/app:2")


# --- what goes wrong ------------------------------------------------------------------------------------------------


def _breaking_client(directory: Path, monkeypatch: pytest.MonkeyPatch, words: str) -> None:
    """A ``docker`` that builds nothing and ends with these words."""
    real = shutil.which("docker")
    directory.mkdir()
    script = directory / "docker"
    script.write_text(f'#!/bin/sh\n[ "$2" = build ] || exec {real} "$@"\necho "ERROR: {words}" >&2\nexit 1\n', encoding="utf-8")
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{directory}:{os.environ['PATH']}")


def test_a_daemon_that_goes_away_in_mid_build(
    docker_engine: DockerEngine, app: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _breaking_client(
        tmp_path / "bin", monkeypatch, "failed to receive status: rpc error: code = Unavailable desc = error reading from server: EOF"
    )
    with pytest.raises(DaemonLostError, match="connection to the Docker daemon was lost"):
        docker_engine.build(_options(app))


def test_a_full_disk(docker_engine: DockerEngine, app: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _breaking_client(tmp_path / "bin", monkeypatch, "failed to solve: write /data/tmp/x: no space left on device")
    with pytest.raises(DockerDiskFullError, match="disk is full"):
        docker_engine.build(_options(app))


def test_stopping_ends_the_client(daemon: str, app: Path, tmp_path: Path) -> None:
    (app / "Dockerfile").write_text(f"FROM base:1\nRUN echo {app} && sleep 60\n", encoding="utf-8")
    env = {**os.environ, "LAYERLAB_STORE": str(tmp_path / "store"), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "layerlab", "build", "--engine", "docker", "--network", "none", str(app)]
    process = subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    for line in process.stderr:
        if str(app) in line and line.startswith("  |"):
            break
    process.send_signal(signal.SIGTERM)
    rest = process.stderr.read()
    assert process.wait(20) == 130
    assert "the build was stopped" in rest
    process.stderr.close()
    assert f"--file={app}" not in subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
