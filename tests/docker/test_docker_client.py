"""What is said where Docker is missing, broken, old or full; and what clients print, read without a daemon."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import docker.errors
import pytest
import urllib3.exceptions

from layerlab.engines import connect
from layerlab.engines.docker.client import (
    DaemonLostError,
    DockerDiskFullError,
    DockerError,
    DockerTooOldError,
    NoDaemonError,
    NoDockerClientError,
    endpoint,
    find_builder,
    probe,
    said,
    translated,
)
from layerlab.engines.docker.engine import DockerEngine
from layerlab.engines.docker.progress import Reader, Vertex
from layerlab.errors import UsageError
from tests.conformance import raw_progress

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def no_docker(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A machine without Docker."""
    for name in ("DOCKER_HOST", "DOCKER_CONTEXT", "DOCKER_TLS_VERIFY", "LAYERLAB_ENGINE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "docker"))
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))


def _client(directory: Path, version: str, buildx: str = "") -> None:
    """A ``docker`` that only knows versions."""
    script = directory / "docker"
    script.write_text(
        f"#!/bin/sh\ncase \"$1\" in\nbuildx) [ -n '{buildx}' ] && echo '{buildx}' || exit 1 ;;\n--version) echo '{version}' ;;\nesac\n",
        encoding="utf-8",
    )
    script.chmod(0o755)


@pytest.fixture
def pinging(tmp_path: Path) -> Iterator[str]:
    """A socket that answers as the address of a daemon does."""
    path = str(tmp_path / "s")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path)
        server.listen()
        answers = [b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nOK"]

        def serve() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                with connection:
                    if connection.recv(4096):
                        connection.sendall(answers[0])

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"unix://{path}"
        server.shutdown(socket.SHUT_RDWR)
    thread.join(5)


# --- the daemon -----------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("no_docker")
def test_no_daemon_is_told_with_what_to_do(tmp_path: Path) -> None:
    env = {**os.environ, "DOCKER_HOST": f"unix://{tmp_path}/none.sock", "PYTHONPATH": str(ROOT), "NO_COLOR": "1"}
    command = [sys.executable, "-m", "layerlab", "images", "--engine", "docker"]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=180, check=False)

    assert done.returncode == 1
    assert done.stdout == ""
    assert "no Docker daemon answers at unix://" in done.stderr
    assert "--engine embedded" in done.stderr.replace("\n ", "")
    assert "Traceback" not in done.stderr


def test_a_socket_that_may_not_be_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_self: object, _address: str) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setenv("DOCKER_HOST", "unix:///var/run/docker.sock")
    monkeypatch.setattr("layerlab.engines.docker.client.socket.socket.connect", refuse)
    problem = probe()

    assert problem is not None
    assert problem.kind == "daemon-permission"
    assert "usermod -aG docker" in (problem.remedy or "")


def test_a_daemon_that_hangs_is_given_up_within_the_limit(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "s"))
        server.listen()
        monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/s")
        assert isinstance(probe(timeout=0.1), NoDaemonError)


def test_the_context_of_docker_is_followed(no_docker: None, tmp_path: Path) -> None:
    name = "desktop"
    digest = hashlib.sha256(name.encode()).hexdigest()
    meta = tmp_path / "docker" / "contexts" / "meta" / digest
    meta.mkdir(parents=True)
    (meta / "meta.json").write_text(json.dumps({"Endpoints": {"docker": {"Host": "unix:///desktop.sock"}}}), encoding="utf-8")
    (tmp_path / "docker" / "config.json").write_text(json.dumps({"currentContext": name}), encoding="utf-8")
    assert endpoint() == "unix:///desktop.sock"


# --- which engine ---------------------------------------------------------------------------------------------------


def test_auto_is_embedded_without_a_daemon(no_docker: None) -> None:
    assert connect.choose("auto") == "embedded"


def test_auto_is_docker_where_a_daemon_answers_and_buildkit_is_there(
    no_docker: None, pinging: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("DOCKER_HOST", pinging)
    assert connect.choose("auto") == "embedded"
    _client(tmp_path / "bin", "Docker version 26.1.5, build a72d7cd", "github.com/docker/buildx v0.13.1 abc")
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:/usr/bin:/bin")
    assert connect.choose("auto") == "docker"
    monkeypatch.setenv("LAYERLAB_ENGINE", "embedded")
    assert connect.choose("auto") == "embedded"
    assert connect.choose("docker") == "docker"


def test_an_unknown_engine_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAYERLAB_ENGINE", "podman")
    with pytest.raises(UsageError, match="podman"):
        connect.choose("auto")


# --- the client -----------------------------------------------------------------------------------------------------


def test_no_client(no_docker: None) -> None:
    with pytest.raises(NoDockerClientError, match="docker command is not installed"):
        find_builder()


@pytest.mark.parametrize(
    ("version", "buildx", "rawjson", "is_buildx"),
    [
        ("Docker version 26.1.5, build x", "github.com/docker/buildx v0.13.1 abc", True, True),
        ("Docker version 24.0.2, build x", "github.com/docker/buildx 0.10.4 abc", False, True),
        ("Docker version 20.10.24+dfsg1, build x", "", False, False),
    ],
)
def test_what_is_used_to_build(
    no_docker: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, version: str, buildx: str, rawjson: bool, is_buildx: bool
) -> None:
    _client(tmp_path / "bin", version, buildx)
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:/usr/bin:/bin")
    builder = find_builder()
    assert (builder.rawjson, builder.buildx) == (rawjson, is_buildx)


@pytest.mark.parametrize(("version", "words"), [("Docker version 18.06.1-ce, build x", "too old"), ("Docker version 26.1.5", "buildx")])
def test_a_client_that_cannot_build_with_buildkit(
    no_docker: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, version: str, words: str
) -> None:
    _client(tmp_path / "bin", version)
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:/usr/bin:/bin")
    with pytest.raises(DockerTooOldError, match=words) as caught:
        find_builder()
    assert "buildx" in (caught.value.remedy or "")


def test_a_full_disk_has_its_own_error() -> None:
    error = said("failed to solve: write /var/lib/docker/tmp/x: no space left on device")
    assert isinstance(error, DockerDiskFullError)
    assert "docker system df" in (error.remedy or "")


def test_a_stream_that_breaks_off(pinging: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", pinging)
    with pytest.raises(DaemonLostError, match=r"was lost: .*broken"), translated():
        raise urllib3.exceptions.ProtocolError("Connection broken")


# --- an engine whose daemon is made up ------------------------------------------------------------------------------


class _Daemon:
    """Knows the images by the names that it is given."""

    def __init__(self, **images: str) -> None:
        self.images = images

    def inspect_image(self, name: str) -> dict[str, object]:
        if name not in self.images:
            raise docker.errors.ImageNotFound(name)
        return {"Id": self.images[name], "RootFS": {"Layers": ["sha256:1"]}}

    def history(self, _name: str) -> list[dict[str, object]]:
        return [{"Id": "x", "Created": 0, "CreatedBy": "RUN x", "Size": 1, "Comment": "buildkit.dockerfile.v0"}]


def _engine(daemon: _Daemon) -> DockerEngine:
    engine = object.__new__(DockerEngine)
    engine.api = daemon
    return engine


def test_an_image_that_is_known_by_its_name_alone() -> None:
    facts = _engine(_Daemon(app="sha256:b"))._facts(("sha256:a",), "app")
    assert (facts.id, facts.diff_ids) == ("sha256:b", ("sha256:1",))


@pytest.mark.parametrize("tag", [None, "app"])
def test_an_image_that_is_gone_when_it_is_built(tag: str | None) -> None:
    with pytest.raises(DockerError, match="does not have it") as caught:
        _engine(_Daemon())._facts(("sha256:a",), tag)
    assert "pruned" in (caught.value.remedy or "")


def test_saving_and_loading_need_no_builder(no_docker: None, tmp_path: Path) -> None:
    script = tmp_path / "bin" / "docker"
    script.write_text("#!/bin/sh\n[ $1 = load ] && echo 'Loaded image: app:latest'\n", encoding="utf-8")
    script.chmod(0o755)
    assert _engine(_Daemon()).load(__file__) == ["app:latest"]


# --- what clients print ---------------------------------------------------------------------------------------------


def _document(**document: object) -> str:
    return json.dumps(document, indent=2) + "\n"


def _read(text: str, *, rawjson: bool) -> tuple[Reader, list[tuple[str, str, str]]]:
    heard: list[tuple[str, str, str]] = []

    def watch(what: str, vertex: Vertex, more: str) -> None:
        heard.append((what, vertex.name, more))

    reader = Reader(rawjson=rawjson, watch=watch)
    reader.read(text.splitlines(keepends=True))
    return reader, heard


@pytest.mark.parametrize("compact", [False, True])
def test_raw_json(compact: bool) -> None:
    start, end = "2026-01-01T00:00:00.000000001Z", "2026-01-01T00:00:01.500000001Z"
    documents: list[dict[str, Any]] = [
        {"vertexes": [{"digest": "a", "name": "[2/3] WORKDIR /app"}, {"digest": "b", "name": "[3/3] RUN exit 3"}]},
        {"vertexes": [{"digest": "a", "name": "[2/3] WORKDIR /app", "started": start, "completed": start, "cached": True}]},
        {"vertexes": [{"digest": "b", "name": "[3/3] RUN exit 3", "started": start}]},
        {"logs": [{"vertex": "b", "stream": 1, "data": base64.b64encode(b"caf\xc3\xa9\n").decode()}]},
        {"vertexes": [{"digest": "b", "name": "[3/3] RUN exit 3", "started": start, "completed": end, "error": "exit code: 3"}]},
    ]
    text = "".join(json.dumps(document) + "\n" if compact else _document(**document) for document in documents)
    reader, heard = _read(text + "Dockerfile:3\n----\nERROR: failed to solve: exit code: 3\n", rawjson=True)

    assert [(vertex.index, vertex.instruction, vertex.verdict) for vertex in reader.steps()] == [
        ("2/3", "WORKDIR /app", "cached"),
        ("3/3", "RUN exit 3", "failed"),
    ]
    assert reader.steps()[1].seconds == 1.5
    assert reader.steps()[1].log == "café\n"
    assert reader.error() == "failed to solve: exit code: 3"
    assert [what for what, _, _ in heard] == ["done", "start", "log", "done"]


@pytest.mark.parametrize(
    ("errors", "verdict", "kept"),
    [
        (["no such file", "context canceled: context canceled"], "failed", "no such file"),
        (["context canceled", "no such file"], "failed", "no such file"),
        (["context canceled: context canceled"], "skipped", "context canceled: context canceled"),
    ],
)
def test_a_step_that_failed_and_was_given_up_failed(errors: list[str], verdict: str, kept: str) -> None:
    """BuildKit tells of both, in either order: here it raced as a COPY of a missing file was the last step."""
    ends = {"started": "2026-01-01T00:00:00Z", "completed": "2026-01-01T00:00:01Z"}
    documents = [{"vertexes": [{"digest": "a", "name": "[2/2] COPY a /b", **ends, "error": error}]} for error in errors]
    reader, _ = _read("".join(json.dumps(document) + "\n" for document in documents), rawjson=True)
    assert [(vertex.verdict, vertex.error) for vertex in reader.steps()] == [(verdict, kept)]
    plain = "".join("#6 CANCELED\n" if error.startswith("context") else f"#6 ERROR: {error}\n" for error in errors)
    reader, _ = _read(f"#6 [2/2] COPY a /b\n{plain}", rawjson=False)
    assert [vertex.verdict for vertex in reader.steps()] == [verdict]
    assert [row.error for row in raw_progress.rows("".join(json.dumps(document) + "\n" for document in documents))] == [True] * (
        verdict == "failed"
    )


@pytest.mark.parametrize(
    ("name", "step"),
    [
        ("[2/3] RUN x", ("", "2/3", "RUN x")),
        ("[ 2/11] RUN x", ("", "2/11", "RUN x")),
        ("[build  2/11] RUN x", ("build", "2/11", "RUN x")),
        ("[build 12/111] RUN x", ("build", "12/111", "RUN x")),
        ("[linux/amd64 2/3] RUN x", ("", "2/3", "RUN x")),
        ("[linux/amd64->arm64 build  2/11] RUN x", ("build", "2/11", "RUN x")),
        ("[2/11] RUN 1/2] x", ("", "2/11", "RUN 1/2] x")),
        ("[2/4] ONBUILD COPY f /f", ("", "2/4", "ONBUILD COPY f /f")),
        ("[internal] load build context", ("", "", "[internal] load build context")),
    ],
)
def test_what_a_vertex_is_called(name: str, step: tuple[str, str, str]) -> None:
    """BuildKit pads the index as wide as the total."""
    vertex = Vertex(name)
    assert (vertex.stage, vertex.index, vertex.instruction) == step


def test_plain_text() -> None:
    text = (
        "#1 [internal] load build definition from Dockerfile\n#1 DONE 0.0s\n\n#6 [build 2/4] WORKDIR /app\n#6 CACHED\n\n"
        "#7 [build 3/4] RUN make\n#7 0.123 making\n#7 DONE 1.5s\n\n#8 [build 4/4] RUN exit 3\n"
        '#8 ERROR: process "/bin/sh -c exit 3" did not complete successfully: exit code: 3\n'
        "#9 [stage-1 2/2] RUN other\n#9 CANCELED\n------\n > [build 4/4] RUN exit 3:\n------\n"
        'ERROR: failed to solve: process "/bin/sh -c exit 3" did not complete successfully: exit code: 3\n'
    )
    reader, _ = _read(text, rawjson=False)

    assert [(vertex.stage, vertex.index, vertex.verdict) for vertex in reader.steps()] == [
        ("build", "2/4", "cached"),
        ("build", "3/4", "executed"),
        ("build", "4/4", "failed"),
        ("stage-1", "2/2", "skipped"),
    ]
    assert reader.steps()[1].log == "making\n"
    assert reader.error().startswith("failed to solve: process")


def test_a_cut_off_stream_is_no_crash() -> None:
    reader, _ = _read('{\n  "vertexes": [\n    {\n      "digest": "a",\n', rawjson=True)
    assert reader.steps() == []
