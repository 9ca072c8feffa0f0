"""The registry client against servers that do not behave: whose credentials go where, and what is said about an answer that is none."""

from __future__ import annotations

import base64
import hashlib
import http.server
import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from layerlab.oci.references import parse_reference
from layerlab.oci.registry import RegistryClient, RegistryError
from layerlab.platform import ARCHITECTURE, OPERATING_SYSTEM

Answer = tuple[int, dict[str, str], bytes]
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"


class Server:
    """A server on loopback that answers as ``answers`` says, by path, and keeps what authorization each request had."""

    def __init__(self, name: str = "127.0.0.1") -> None:
        self.answers: dict[str, Answer] = {}
        self.asked: list[tuple[str, str]] = []
        asked, answers = self.asked, self.answers

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                path = self.path.partition("?")[0]
                asked.append((path, self.headers.get("Authorization", "")))
                status, headers, body = answers.get(path, (404, {}, b""))
                if "WWW-Authenticate" in headers and self.headers.get("Authorization"):
                    status, headers, body = 200, {"Content-Type": MANIFEST}, b"{}"
                self.send_response(status)
                for key, value in {**headers, "Content-Length": str(len(body))}.items():
                    self.send_header(key, value)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                """Quiet."""

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.host = f"{name}:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def serve() -> Iterator[Callable[..., Server]]:
    running: list[Server] = []

    def start(name: str = "127.0.0.1") -> Server:
        running.append(Server(name))
        return running[-1]

    yield start
    for server in running:
        server.close()


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home without credentials of whoever runs the tests."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "docker"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
    for name in ("LAYERLAB_REGISTRY_MIRROR", "NETRC"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def _silent(_text: str) -> None:
    """Nobody watches."""


def _basic(pair: str) -> str:
    return base64.b64encode(pair.encode()).decode()


def _log_in(home: Path, **pairs: str) -> None:
    (home / "docker").mkdir()
    auths = {name: {"auth": _basic(pair)} for name, pair in pairs.items()}
    (home / "docker" / "config.json").write_text(json.dumps({"auths": auths}), encoding="utf-8")


@pytest.mark.parametrize("own", ["", "mirror:pass", "in:address"])
def test_a_mirror_gets_its_own_credentials_and_never_those_of_docker_hub(
    serve: Callable[..., Server], home: Path, monkeypatch: pytest.MonkeyPatch, own: str
) -> None:
    mirror = serve()
    mirror.answers["/v2/library/node/manifests/alpine"] = (401, {"WWW-Authenticate": 'Basic realm="x"'}, b"")
    _log_in(home, **{"https://index.docker.io/v1/": "hub:secret"}, **({mirror.host: own} if own.startswith("mirror") else {}))
    monkeypatch.setenv("LAYERLAB_REGISTRY_MIRROR", f"http://{own + '@' if own.startswith('in') else ''}{mirror.host}")
    client = RegistryClient(parse_reference("node:alpine"))
    if own:
        client.manifest("alpine")
    else:
        with pytest.raises(RegistryError, match=f"{mirror.host} wants a login"):
            client.manifest("alpine")
    assert [sent for _, sent in mirror.asked if sent] == ([f"Basic {_basic(own)}"] if own else [])


def test_netrc_neither_replaces_our_authorization_nor_adds_one_on_a_redirect(serve: Callable[..., Server], home: Path) -> None:
    registry, storage = serve(), serve("localhost")
    body = b"layer"
    digest = f"sha256:{hashlib.sha256(body).hexdigest()}"
    registry.answers["/v2/a/b/manifests/1"] = (401, {"WWW-Authenticate": f'Bearer realm="http://{registry.host}/token"'}, b"")
    registry.answers["/token"] = (200, {}, b'{"token": "ours"}')
    registry.answers[f"/v2/a/b/blobs/{digest}"] = (307, {"Location": f"http://{storage.host}/blob"}, b"")
    storage.answers["/blob"] = (200, {}, body)
    (home / ".netrc").write_text("machine 127.0.0.1 login x password y\nmachine localhost login x password y\n", encoding="utf-8")
    (home / ".netrc").chmod(0o600)

    client = RegistryClient(parse_reference(f"{registry.host}/a/b:1"))
    client.manifest("1")
    client.fetch_blob(digest, str(home / "blob"), len(body), _silent)

    manifest = "/v2/a/b/manifests/1"
    assert registry.asked == [(manifest, ""), ("/token", ""), (manifest, "Bearer ours"), (f"/v2/a/b/blobs/{digest}", "Bearer ours")]
    assert storage.asked == [("/blob", "")]


def test_the_proxy_of_the_environment_is_used(serve: Callable[..., Server], monkeypatch: pytest.MonkeyPatch) -> None:
    proxy = serve()
    url = "http://mirror.example/v2/library/node/manifests/alpine"
    proxy.answers[url] = (200, {"Content-Type": MANIFEST}, b"{}")
    monkeypatch.setenv("LAYERLAB_REGISTRY_MIRROR", "http://mirror.example")
    for name in ("http_proxy", "HTTP_PROXY"):
        monkeypatch.setenv(name, f"http://{proxy.host}")
    RegistryClient(parse_reference("node:alpine")).manifest("alpine")
    assert proxy.asked == [(url, "")]


@pytest.mark.parametrize(
    ("host", "scheme"),
    [
        ("localhost:5000", "http"),
        ("127.0.0.2", "http"),
        ("[::1]:5000", "http"),
        ("[::1]", "http"),
        ("127.0.0.1.nip.io", "https"),
        ("127.evil.example:5000", "https"),
        ("localhost.example", "https"),
    ],
)
def test_only_this_machine_is_spoken_to_in_the_clear(host: str, scheme: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def refuse(_self: object, _method: str, url: str, **_more: object) -> None:
        asked.append(url)
        raise AssertionError

    monkeypatch.setattr("requests.Session.request", refuse)
    with pytest.raises(AssertionError):
        RegistryClient(parse_reference(f"{host}/a:1")).manifest("1")
    assert asked == [f"{scheme}://{host}/v2/a/manifests/1"]


def test_the_authorization_does_not_follow_an_upload_to_a_host_that_only_begins_alike(
    serve: Callable[..., Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    registry = serve()
    registry.answers["/v2/a/manifests/1"] = (401, {"WWW-Authenticate": 'Basic realm="x"'}, b"")
    monkeypatch.setattr("layerlab.oci.registry.credentials", lambda _name: ("user", "secret"))
    client = RegistryClient(parse_reference(f"{registry.host}/a:1"), write=True)
    client.manifest("1")
    seen: dict[str, dict[str, str]] = {}

    def keep(_self: object, _method: str, url: str, *, headers: dict[str, str], **_more: object) -> object:
        seen[url] = headers
        raise AssertionError

    monkeypatch.setattr("requests.Session.request", keep)
    for url in (f"http://{registry.host}/upload", f"http://{registry.host.replace(':', '.evil.example:')}/upload"):
        with pytest.raises(AssertionError):
            client._ask("PUT", url)
    assert ["Authorization" in headers for headers in seen.values()] == [True, False]


NO_MANIFEST: dict[str, tuple[str, bytes, str]] = {
    "a page": ("text/html", b"<html>Sign in</html>", "something else than a manifest"),
    "nothing": ("", b"", "something else than a manifest"),
    "a list": (MANIFEST, b"[]", "is not valid"),
    "schema 1": ("application/vnd.docker.distribution.manifest.v1+prettyjws", b'{"schemaVersion": 1, "fsLayers": []}', "schema 1"),
    "no digest": (MANIFEST, b'{"schemaVersion": 2, "config": {}, "layers": []}', "is not valid"),
    "no platform": (INDEX, b'{"manifests": [{"digest": "sha256:0", "size": 1, "platform": null}]}', "has no image for"),
}


@pytest.mark.parametrize(("kind", "body", "words"), NO_MANIFEST.values(), ids=NO_MANIFEST.keys())
def test_an_answer_that_is_no_manifest(serve: Callable[..., Server], tmp_path: Path, kind: str, body: bytes, words: str) -> None:
    registry = serve()
    registry.answers["/v2/a/manifests/1"] = (200, {"Content-Type": kind} if kind else {}, body)
    with pytest.raises(RegistryError, match=words) as caught:
        RegistryClient(parse_reference(f"{registry.host}/a:1")).pull(str(tmp_path / "layout"), _silent)
    assert caught.value.remedy or "platform" in str(body)


def test_a_platform_of_null_beside_ours_is_passed_over(serve: Callable[..., Server]) -> None:
    registry = serve()
    image = b'{"schemaVersion": 2}'
    digest = f"sha256:{hashlib.sha256(image).hexdigest()}"
    ours = {"digest": digest, "size": 1, "platform": {"os": OPERATING_SYSTEM, "architecture": ARCHITECTURE, "variant": "v8"}}
    index = {"manifests": [{"digest": "sha256:0", "size": 1, "platform": None}, ours]}
    registry.answers["/v2/a/manifests/1"] = (200, {"Content-Type": INDEX}, json.dumps(index).encode())
    registry.answers[f"/v2/a/manifests/{digest}"] = (200, {"Content-Type": MANIFEST}, image)
    assert RegistryClient(parse_reference(f"{registry.host}/a:1")).resolve() == (image, digest)


@pytest.mark.parametrize("body", [b"<html>", b"[]", b"{}"])
def test_a_login_server_that_sends_no_token(serve: Callable[..., Server], body: bytes) -> None:
    registry = serve()
    registry.answers["/v2/a/manifests/1"] = (401, {"WWW-Authenticate": f'Bearer realm="http://{registry.host}/token"'}, b"")
    registry.answers["/token"] = (200, {}, body)
    with pytest.raises(RegistryError, match="sent no token"):
        RegistryClient(parse_reference(f"{registry.host}/a:1")).manifest("1")
