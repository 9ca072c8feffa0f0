"""The registry of the lesson: our own client, skopeo and Docker push to it and pull from it, and what is wrong is refused."""

from __future__ import annotations

import fcntl
import hashlib
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from layerlab.engines.api import BuildOptions
from layerlab.engines.embedded.engine import EmbeddedEngine
from layerlab.errors import UsageError
from layerlab.registry_server import LocalRegistry
from layerlab.registry_server.storage import RefusedError, Storage
from tests.conformance import bases

ROOT = Path(__file__).resolve().parents[2]
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
BODY = b"some bytes\n" * 1000
EMPTY = "sha256:" + hashlib.sha256(b"").hexdigest()


def _digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[LocalRegistry]:
    with LocalRegistry(tmp_path / "data") as running:
        yield running


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[EmbeddedEngine]:
    base = next(base for base in bases.bases() if base.name == "base:1")
    bases.write_layout(base, tmp_path / "base")
    with EmbeddedEngine(str(tmp_path / "store")) as opened:
        if not opened.host.executor:
            pytest.skip("nothing on this machine can run a build step")
        opened.import_layout(str(tmp_path / "base"), "base:1")
        yield opened


def _silent(_text: str) -> None:
    """Nobody watches."""


def _build(engine: EmbeddedEngine, place: Path, tag: str, text: str) -> str:
    place.mkdir(exist_ok=True)
    (place / "Dockerfile").write_text(text, encoding="utf-8")
    record = engine.build(BuildOptions(context=str(place), tag=tag, network="none", offline=True))
    assert record.failure is None, record.failure
    assert record.image is not None
    return record.image


class Client:
    """Bare requests on one connection, paths sent as they are."""

    def __init__(self, registry: LocalRegistry) -> None:
        self._connection = http.client.HTTPConnection(registry.address, timeout=10)

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, bytes, dict[str, str]]:
        self._connection.request(
            method, path, body, {name.replace("_", "-"): value for name, value in headers.items()}, encode_chunked=body is not None
        )
        answer = self._connection.getresponse()
        return answer.status, answer.read(), {name.lower(): value for name, value in answer.getheaders()}

    def code(self, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, str]:
        """Status and code of an error."""
        status, data, _ = self.ask(method, path, body, **headers)
        return status, json.loads(data)["errors"][0]["code"]


@pytest.fixture
def client(registry: LocalRegistry) -> Client:
    return Client(registry)


# --- other programs ---------------------------------------------------------------------------------------------------


def test_what_is_pushed_is_pulled_again_and_runs(engine: EmbeddedEngine, registry: LocalRegistry, tmp_path: Path) -> None:
    name = f"{registry.address}/course/app:1"
    image = _build(engine, tmp_path / "app", name, "FROM base:1\nRUN echo payload > /f\n")
    done = engine.push(name, _silent)
    assert done.digest.startswith("sha256:")
    with EmbeddedEngine(str(tmp_path / "elsewhere")) as other:
        assert other.pull(name, _silent).config == image
        output: list[bytes] = []
        with other.container(name, command=("cat", "/f"), network=False) as running:
            assert running.wait(output.append) == 0
        assert b"".join(output) == b"payload\n"
        assert other.verify(_silent).damaged == ()


def test_a_second_image_sends_only_what_is_missing(engine: EmbeddedEngine, registry: LocalRegistry, tmp_path: Path) -> None:
    prefix = "FROM base:1\nRUN head -c 300000 /dev/urandom > /big\n"
    one, two = f"{registry.address}/course/app:1", f"{registry.address}/course/app:2"
    _build(engine, tmp_path / "app", one, prefix)
    _build(engine, tmp_path / "app", two, prefix + "RUN echo little > /little\n")
    blobs = Path(registry.directory) / "blobs" / "sha256"

    def weight() -> int:
        return sum(file.stat().st_size for file in blobs.iterdir())

    first = engine.push(one, _silent)
    before = weight()
    second = engine.push(two, _silent)
    manifest = (blobs / second.digest[7:]).stat().st_size

    assert [layer.sent for layer in first.layers] == [True, True]
    assert [layer.sent for layer in second.layers] == [False, False, True]
    # What was counted as sent is what came, to the byte.
    assert weight() - before == second.sent + manifest
    assert second.sent < 5000 < 300_000 < first.sent
    assert engine.push(two, _silent).sent == 0


def _skopeo(*arguments: str) -> str:
    program = shutil.which("skopeo")
    if program is None:
        pytest.skip("skopeo is missing: apt-get install skopeo")
    done = subprocess.run([program, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_skopeo_in_both_directions(engine: EmbeddedEngine, registry: LocalRegistry, tmp_path: Path) -> None:
    pushed, copied = f"{registry.address}/from/layerlab:1", f"{registry.address}/from/skopeo:1"
    image = _build(engine, tmp_path / "app", pushed, "FROM base:1\nRUN echo payload > /f\n")
    engine.push(pushed, _silent)
    _skopeo("copy", "--insecure-policy", "--src-tls-verify=false", f"docker://{pushed}", f"oci:{tmp_path}/layout:1")
    assert json.loads(_skopeo("inspect", "--tls-verify=false", f"docker://{pushed}"))["RepoTags"] == ["1"]
    _skopeo("copy", "--insecure-policy", "--dest-tls-verify=false", f"oci:{tmp_path}/layout:1", f"docker://{copied}")
    with EmbeddedEngine(str(tmp_path / "elsewhere")) as other:
        assert other.pull(copied, _silent).config == image


def test_the_command_serves_until_ctrl_c(tmp_path: Path) -> None:
    env = {**os.environ, "PYTHONPATH": str(ROOT), "LAYERLAB_STORE": str(tmp_path / "store")}
    command = [sys.executable, "-m", "layerlab", "registry", "--port", "0"]
    process = subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        head = process.stdout.readline()
        address = head.split()[2].rstrip(",")
        connection = http.client.HTTPConnection(address, timeout=10)
        connection.request("GET", "/v2/")
        assert connection.getresponse().read() == b"{}"
        process.send_signal(signal.SIGINT)
        assert process.stderr is not None
        out, err = process.stdout.read(), process.stderr.read()
        process.wait(10)
    finally:
        process.kill()
        process.communicate()
    assert process.returncode == 0
    assert f"layerlab push {address}/NAME" in out
    assert "Traceback" not in err
    assert '"GET /v2/ HTTP/1.1" 200' in err
    assert (tmp_path / "store" / "registry" / "blobs").is_dir()


def test_a_port_that_is_taken(registry: LocalRegistry, tmp_path: Path) -> None:
    port = int(registry.address.rpartition(":")[2])
    for wrong in (port, 70000):
        with pytest.raises(UsageError, match="port"), LocalRegistry(tmp_path / "other", wrong):
            pass


# --- the protocol -----------------------------------------------------------------------------------------------------


def _push(client: Client, name: str, data: bytes) -> str:
    status, _, headers = client.ask("POST", f"/v2/{name}/blobs/uploads/?digest={_digest(data)}", data)
    assert status == 201
    assert headers["location"] == f"/v2/{name}/blobs/{_digest(data)}"
    return _digest(data)


def test_an_upload_in_one_piece_in_pieces_and_chunked(client: Client) -> None:
    _push(client, "one", BODY)

    location = client.ask("POST", "/v2/two/blobs/uploads/")[2]["location"]
    status, _, headers = client.ask("PATCH", location, BODY[:4000], Content_Range="0-3999")
    assert (status, headers["range"]) == (202, "0-3999")
    assert client.ask("GET", location)[2]["range"] == "0-3999"
    assert client.ask("PATCH", location, BODY[4000:], Content_Range=f"4000-{len(BODY) - 1}")[0] == 202
    assert client.ask("PUT", f"{location}?digest={_digest(BODY)}")[0] == 201

    location = client.ask("POST", "/v2/three/blobs/uploads/")[2]["location"]
    assert client.ask("PATCH", location, iter([BODY[:10], BODY[10:]]), Transfer_Encoding="chunked")[0] == 202
    assert client.ask("PUT", f"{location}?digest={_digest(BODY)}")[0] == 201

    for name in ("one", "two", "three"):
        assert client.ask("GET", f"/v2/{name}/blobs/{_digest(BODY)}")[:2] == (200, BODY)


def test_a_piece_that_does_not_fit(client: Client) -> None:
    location = client.ask("POST", "/v2/app/blobs/uploads/")[2]["location"]
    assert client.ask("PATCH", location, BODY[:100], Content_Range="0-99")[0] == 202
    assert client.code("PATCH", location, BODY[50:150], Content_Range="50-149") == (416, "BLOB_UPLOAD_INVALID")
    assert client.ask("GET", location)[2]["range"] == "0-99"
    assert client.ask("DELETE", location)[0] == 204
    assert client.code("GET", location) == (404, "BLOB_UPLOAD_UNKNOWN")


def test_a_blob_is_given_whole_in_part_and_by_its_head(client: Client) -> None:
    path = f"/v2/app/blobs/{_push(client, 'app', BODY)}"
    status, data, headers = client.ask("HEAD", path)
    assert (status, data, headers["content-length"]) == (200, b"", str(len(BODY)))
    status, data, headers = client.ask("GET", path, Range="bytes=100-199")
    assert (status, data, headers["content-range"]) == (206, BODY[100:200], f"bytes 100-199/{len(BODY)}")
    assert client.ask("GET", path, Range="bytes=10990-")[:2] == (206, BODY[10990:])
    assert client.code("GET", path, Range=f"bytes={len(BODY)}-") == (416, "SIZE_INVALID")


def test_a_blob_is_mounted_from_another_repository_and_seen_in_no_third_one(client: Client) -> None:
    digest = _push(client, "first", BODY)
    assert client.ask("POST", f"/v2/second/blobs/uploads/?mount={digest}&from=first")[0] == 201
    assert client.ask("GET", f"/v2/second/blobs/{digest}")[1] == BODY
    assert client.code("GET", f"/v2/third/blobs/{digest}") == (404, "BLOB_UNKNOWN")
    # What cannot be mounted is uploaded.
    assert client.ask("POST", f"/v2/third/blobs/uploads/?mount={_digest(b'other')}&from=first")[0] == 202


def test_a_manifest_by_tag_and_by_digest_and_the_lists(client: Client) -> None:
    digest = _push(client, "team/app", BODY)
    for number in range(5):
        manifest = json.dumps({"schemaVersion": 2, "config": {"digest": digest}, "layers": [], "n": number}).encode()
        status, _, headers = client.ask("PUT", f"/v2/team/app/manifests/v{number}", manifest, Content_Type=MANIFEST)
        assert (status, headers["docker-content-digest"]) == (201, _digest(manifest))
    for reference in ("v4", _digest(manifest)):
        status, data, headers = client.ask("GET", f"/v2/team/app/manifests/{reference}")
        assert (status, data, headers["content-type"]) == (200, manifest, MANIFEST)
        assert client.ask("HEAD", f"/v2/team/app/manifests/{reference}")[2]["content-length"] == str(len(manifest))
    assert json.loads(client.ask("GET", "/v2/_catalog")[1]) == {"repositories": ["team/app"]}
    assert json.loads(client.ask("GET", "/v2/team/app/tags/list")[1]) == {"name": "team/app", "tags": [f"v{n}" for n in range(5)]}
    seen: list[str] = []
    following = "/v2/team/app/tags/list?n=2"
    while following:
        _, data, headers = client.ask("GET", following)
        seen += json.loads(data)["tags"]
        following = headers.get("link", "").partition(">")[0].lstrip("<")
    assert seen == [f"v{n}" for n in range(5)]


# --- what is refused --------------------------------------------------------------------------------------------------


def _files(registry: LocalRegistry) -> list[str]:
    return sorted(str(path.relative_to(registry.directory)) for path in Path(registry.directory).rglob("*") if path.is_file())


def test_bytes_with_another_digest_are_refused_and_not_kept(client: Client, registry: LocalRegistry) -> None:
    wrong = _digest(b"something else")
    assert client.code("POST", f"/v2/app/blobs/uploads/?digest={wrong}", BODY) == (400, "DIGEST_INVALID")
    location = client.ask("POST", "/v2/app/blobs/uploads/")[2]["location"]
    assert client.code("PUT", f"{location}?digest={wrong}", BODY) == (400, "DIGEST_INVALID")
    assert client.code("PUT", f"/v2/app/manifests/{wrong}", b"{}") == (400, "DIGEST_INVALID")
    assert client.code("GET", f"/v2/app/blobs/{wrong}") == (404, "BLOB_UNKNOWN")
    assert _files(registry) == []


@pytest.mark.parametrize(
    "path",
    [
        "/v2/../../etc/blobs/" + EMPTY,
        "/v2/a/../../b/tags/list",
        "/v2/%2e%2e/%2e%2e/tags/list",
        "/v2/a%2fb/tags/list",
        "/v2/A/tags/list",
        "/v2//tags/list",
        "/v2/app/manifests/..",
        "/v2/app/manifests/%2e%2e%2fx",
        "/v2/app/manifests/sha256:../../../../etc/passwd",
        "/v2/app/blobs/sha256:" + "/../" * 3 + "etc/passwd",
        "/v2/app/blobs/sha256:" + "g" * 64,
        "/v2/app/blobs/sha512:" + "a" * 128,
        "/v2/app/blobs/uploads/..",
        "/v2/app/blobs/uploads/../../../blobs/sha256/x",
        "/v2/" + "a" * 200 + "/tags/list",
    ],
)
@pytest.mark.parametrize("method", ["GET", "PUT", "PATCH"])
def test_no_path_leads_out(client: Client, registry: LocalRegistry, tmp_path: Path, method: str, path: str) -> None:
    before = sorted(tmp_path.rglob("*"))
    status, data, _ = client.ask(method, path, b"" if method != "GET" else None)
    assert status in (400, 404, 405)
    assert b"errors" in data
    assert sorted(tmp_path.rglob("*")) == before


def test_mounting_from_a_name_that_leads_out(client: Client) -> None:
    assert client.code("POST", f"/v2/app/blobs/uploads/?mount={EMPTY}&from=../../x") == (400, "NAME_INVALID")


MANIFESTS: dict[str, tuple[bytes, int, str]] = {
    "not JSON": (b"no", 400, "MANIFEST_INVALID"),
    "a list": (b"[]", 400, "MANIFEST_INVALID"),
    "nonsense inside": (b'{"config": 1}', 400, "MANIFEST_INVALID"),
    "a deep one": (b"[" * 100_000, 400, "MANIFEST_INVALID"),
    "what is not there": (json.dumps({"config": {"digest": EMPTY}}).encode(), 400, "MANIFEST_BLOB_UNKNOWN"),
    "an image that is not there": (json.dumps({"manifests": [{"digest": EMPTY}]}).encode(), 400, "MANIFEST_BLOB_UNKNOWN"),
    "too much": (b" " * ((4 << 20) + 1), 413, "SIZE_INVALID"),
}


@pytest.mark.parametrize(("body", "status", "code"), MANIFESTS.values(), ids=MANIFESTS.keys())
def test_a_manifest_that_is_wrong(client: Client, registry: LocalRegistry, body: bytes, status: int, code: str) -> None:
    assert client.code("PUT", "/v2/app/manifests/1", body) == (status, code)
    assert _files(registry) == []
    assert client.code("GET", "/v2/app/manifests/1") == (404, "MANIFEST_UNKNOWN")
    assert client.code("GET", "/v2/app/tags/list") == (404, "NAME_UNKNOWN")


def test_a_web_page_cannot_reach_it_through_a_name_of_its_own(client: Client) -> None:
    assert client.code("GET", "/v2/", Host="evil.example:5000") == (403, "DENIED")
    assert client.ask("GET", "/v2/", Host="localhost:5000")[0] == 200


def test_after_an_error_the_next_request_is_understood(client: Client) -> None:
    assert client.code("POST", f"/v2/app/blobs/uploads/?digest={EMPTY}", BODY) == (400, "DIGEST_INVALID")
    assert client.code("PUT", "/v2/BAD/manifests/1", b"GET /v2/ HTTP/1.1\r\n\r\n") == (400, "NAME_INVALID")
    assert client.ask("GET", "/v2/")[:2] == (200, b"{}")


def test_a_web_page_cannot_post_to_its_address(client: Client, registry: LocalRegistry) -> None:
    assert client.code("POST", f"/v2/app/blobs/uploads/?digest={_digest(BODY)}", BODY, Origin="https://evil.example") == (403, "DENIED")
    assert _files(registry) == []


def _raw(registry: LocalRegistry, request: str) -> bytes:
    """All that is answered to bytes, sent as they are."""
    host, port = registry.address.split(":")
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        connection.sendall(request.replace("\n", "\r\n").encode("latin-1"))
        connection.shutdown(socket.SHUT_WR)
        answer = b""
        while block := connection.recv(1 << 16):
            answer += block
    return answer


HIDDEN = "GET /v2/hidden/tags/list HTTP/1.1\nHost: localhost\n\n"
FRAMES = {
    "a body of a request that has none": ("GET", f"Content-Length: {len(HIDDEN) + 3}", 200),
    "a chunked body of one that has none": ("HEAD", "Transfer-Encoding: chunked", 200),
    "a length and chunks": ("POST", "Content-Length: 5\nTransfer-Encoding: chunked", 400),
    "another encoding": ("POST", "Transfer-Encoding: gzip, chunked", 400),
    "a blank before the colon": ("POST", "Transfer-Encoding : chunked", 400),
    "a line that is no header": ("POST", "nonsense\nContent-Length: 5", 400),
    "two hosts": ("POST", "Host: localhost", 400),
    "two encodings": ("POST", "Transfer-Encoding: chunked\nTransfer-Encoding: identity", 400),
    "two lengths": ("POST", "Content-Length: 0\nContent-Length: 5", 400),
    "no number": ("POST", "Content-Length: \xb2", 400),
    "a sign": ("POST", "Content-Length: +0", 400),
    "a number without an end": ("POST", f"Content-Length: {'9' * 5000}", 400),
}


@pytest.mark.parametrize(("method", "headers", "status"), FRAMES.values(), ids=FRAMES.keys())
def test_what_is_left_of_a_body_is_no_request(registry: LocalRegistry, method: str, headers: str, status: int) -> None:
    path = "/v2/app/blobs/uploads/" if method == "POST" else "/v2/"
    answer = _raw(registry, f"{method} {path} HTTP/1.1\nHost: localhost\n{headers}\n\n{HIDDEN}")
    assert answer.startswith(f"HTTP/1.1 {status} ".encode())
    assert answer.count(b"HTTP/1.1 ") == 1


@pytest.mark.parametrize(
    ("path", "header", "status"),
    [
        ("http://[/v2/", "X: y", 400),
        ("/v2/_catalog?n=%C2%B2", "X: y", 200),
        ("/v2/_catalog?n=" + "9" * 5000, "X: y", 200),
        (f"/v2/app/blobs/{_digest(BODY)}", f"Range: bytes={'9' * 5000}-", 200),
        (f"/v2/app/blobs/{_digest(BODY)}", "Range: bytes=5-2", 416),
        (f"/v2/app/blobs/{_digest(BODY)}", "Range: bytes=-5", 200),
    ],
)
def test_malformed_numbers_and_addresses_are_answered(client: Client, registry: LocalRegistry, path: str, header: str, status: int) -> None:
    assert client.ask("POST", f"/v2/app/blobs/uploads/?digest={_digest(BODY)}", BODY)[0] == 201
    answer = _raw(registry, f"GET {path} HTTP/1.1\nHost: localhost\nConnection: close\n{header}\n\n")
    assert answer.startswith(f"HTTP/1.1 {status} ".encode())


def test_a_manifest_cannot_write_headers(client: Client) -> None:
    body = json.dumps({"layers": [], "mediaType": "text/html\r\nX-Evil: yes"}).encode()
    assert client.ask("PUT", "/v2/app/manifests/1", body)[0] == 201
    headers = client.ask("GET", "/v2/app/manifests/1")[2]
    assert headers["content-type"] == MANIFEST
    assert "x-evil" not in headers


def test_an_upload_that_has_become_a_blob_is_not_added_to(client: Client, registry: LocalRegistry, monkeypatch: pytest.MonkeyPatch) -> None:
    """The other request opens the upload, and has its turn when it is a blob already."""
    storage = Storage(registry.directory)
    upload = storage.begin("app")
    storage.append("app", upload, iter([BODY]))
    lock = fcntl.flock

    def late(stream: Any, operation: int) -> None:
        monkeypatch.setattr(fcntl, "flock", lock)
        storage.finish("app", upload, _digest(BODY))
        lock(stream, operation)

    monkeypatch.setattr(fcntl, "flock", late)
    with pytest.raises(RefusedError, match="no such upload"):
        storage.append("app", upload, iter([b"more"]))
    assert client.ask("GET", f"/v2/app/blobs/{_digest(BODY)}")[1] == BODY
