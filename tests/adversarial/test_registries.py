"""Registries that mean harm: bodies without end, slow ones, packed ones, and whoever would like to have our credentials.

Real servers on loopback. What a client remembers of a body is bounded: each client is a process of its own, whose peak the kernel knows.
"""

from __future__ import annotations

import base64
import contextlib
import gzip
import hashlib
import http.server
import json
import os
import socket
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import cast

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from layerlab.engines.embedded.engine import EmbeddedEngine
from layerlab.errors import LayerlabError
from layerlab.oci import registry_http
from layerlab.oci.manifests import DocumentError, parse_configuration, parse_document
from layerlab.oci.references import parse_reference
from layerlab.oci.registry import RegistryClient, RegistryError
from layerlab.oci.registry_http import Origin, origin

ROOT = Path(__file__).resolve().parents[2]
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
BLOB = b"layer"
DIGEST = f"sha256:{hashlib.sha256(BLOB).hexdigest()}"
# The most that a client may grow by while it reads one answer, in bytes. Its limits are 4 MiB and less.
_GROWTH = 48 << 20

Act = Callable[["Request"], None]


class Request(http.server.BaseHTTPRequestHandler):
    """One request, answered by what the server was told for its path."""

    protocol_version = "HTTP/1.1"

    def _act(self) -> None:
        path = self.path.partition("?")[0]
        server = self.server
        assert isinstance(server, Hostile)
        length = int(self.headers.get("Content-Length") or 0)
        server.asked.append((self.command, path, self.headers.get("Authorization", ""), len(self.rfile.read(length))))
        with contextlib.suppress(OSError):
            server.acts.get(path, _not_found)(self)

    def do_GET(self) -> None:
        self._act()

    def do_HEAD(self) -> None:
        self._act()

    def do_POST(self) -> None:
        self._act()

    def do_PUT(self) -> None:
        self._act()

    def do_DELETE(self) -> None:
        self._act()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Quiet."""

    def answer(self, status: int, body: bytes = b"", **headers: str) -> None:
        """A whole answer. Underscores in names of headers stand for dashes."""
        self.send_response(status)
        for key, value in {**headers, "Content_Length": str(len(body))}.items():
            self.send_header(key.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


class Hostile(http.server.ThreadingHTTPServer):
    """``acts``: by path; ``asked``: (method, path, authorization, bytes of the body) of each request."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Request)
        self.acts: dict[str, Act] = {}
        self.asked: list[tuple[str, str, str, int]] = []
        self.port = self.server_address[1]

    def handle_error(self, request: object, client_address: object) -> None:
        """Clients hang up here, and are meant to."""


@pytest.fixture
def serve() -> Iterator[Callable[[], Hostile]]:
    running: list[Hostile] = []

    def start() -> Hostile:
        running.append(Hostile())
        threading.Thread(target=running[-1].serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        return running[-1]

    yield start
    for server in running:
        server.shutdown()
        server.server_close()


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home of nobody, and no proxy."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "docker"))
    for name in ("LAYERLAB_REGISTRY_MIRROR", "NETRC", "http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def _silent(_text: str) -> None:
    """Nobody watches."""


def _not_found(request: Request) -> None:
    request.answer(404)


def _log_in(home: Path, *names: str) -> str:
    """Credentials for registries; the word that must be seen nowhere else."""
    (home / "docker").mkdir(exist_ok=True)
    secret = base64.b64encode(b"user:canary").decode()
    (home / "docker" / "config.json").write_text(json.dumps({"auths": {name: {"auth": secret} for name in names}}), encoding="utf-8")
    return secret


def _client(server: Hostile, *, write: bool = False) -> RegistryClient:
    return RegistryClient(parse_reference(f"127.0.0.1:{server.port}/a:1"), write=write)


# --- bodies --------------------------------------------------------------------------------------------------------------


def _endless(status: int, block: bytes, **headers: str) -> Act:
    def act(request: Request) -> None:
        request.send_response(status)
        for key, value in {"Content_Type": MANIFEST, "Connection": "close", **headers}.items():
            request.send_header(key.replace("_", "-"), value)
        request.end_headers()
        for _ in range((600 << 20) // len(block)):
            request.wfile.write(block)

    return act


def _bomb(request: Request) -> None:
    request.answer(200, gzip.compress(bytes(300 << 20), 1), Content_Type=MANIFEST, Content_Encoding="gzip")


def _chunk_line(request: Request) -> None:
    _endless(200, b"1" * (1 << 20), Transfer_Encoding="chunked")(request)


def _below_nothing(request: Request, status: int = 200) -> None:
    request.send_response(status)
    request.send_header("Transfer-Encoding", "chunked")
    request.end_headers()
    request.wfile.write(b"-1\r\n")
    for _ in range(600):
        request.wfile.write(_SPACES)


def _challenge(request: Request) -> None:
    _, port = cast("tuple[str, int]", request.server.server_address)
    request.answer(401, WWW_Authenticate=f'Bearer realm="http://127.0.0.1:{port}/token"')


_SPACES = b" " * (1 << 20)
ENDLESS: dict[str, dict[str, Act]] = {
    "a manifest": {"/v2/a/manifests/1": _endless(200, _SPACES)},
    "a manifest, packed": {"/v2/a/manifests/1": _bomb},
    "a manifest in chunks": {"/v2/a/manifests/1": _endless(200, b"100000\r\n" + _SPACES + b"\r\n", Transfer_Encoding="chunked")},
    "the length of a chunk": {"/v2/a/manifests/1": _chunk_line},
    "a chunk of less than nothing": {"/v2/a/manifests/1": _below_nothing},
    "such a chunk in an error": {"/v2/a/manifests/1": lambda request: _below_nothing(request, 500)},
    "an error": {"/v2/a/manifests/1": _endless(500, _SPACES)},
    "a refusal": {"/v2/a/manifests/1": _endless(403, _SPACES)},
    "a challenge": {"/v2/a/manifests/1": _endless(401, _SPACES, WWW_Authenticate='Basic realm="x"')},
    "a token": {"/v2/a/manifests/1": _challenge, "/token": _endless(200, _SPACES)},
    "a token's error": {"/v2/a/manifests/1": _challenge, "/token": _endless(500, _SPACES)},
    "a redirect": {"/v2/a/manifests/1": _endless(307, _SPACES, Location="/elsewhere")},
    "a header": {"/v2/a/manifests/1": _endless(200, b"X" * (1 << 20))},
    "deep nesting": {"/v2/a/manifests/1": lambda request: request.answer(200, b"[" * (3 << 20), Content_Type=MANIFEST)},
    "a configuration": {
        "/v2/a/manifests/1": lambda request: request.answer(
            200, json.dumps({"config": {"digest": DIGEST, "size": 3 << 30}, "layers": []}).encode(), Content_Type=MANIFEST
        ),
        f"/v2/a/blobs/{DIGEST}": _endless(200, _SPACES),
    },
    "a layer longer than it says": {
        "/v2/a/manifests/1": lambda request: request.answer(
            200, json.dumps({"config": {"digest": DIGEST, "size": 5}, "layers": []}).encode(), Content_Type=MANIFEST
        ),
        f"/v2/a/blobs/{DIGEST}": _endless(200, _SPACES),
    },
}

_CHILD = """
import resource, sys
from layerlab.oci.references import parse_reference
from layerlab.oci.registry import RegistryClient, RegistryError
client = RegistryClient(parse_reference(sys.argv[1]))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    client.pull(sys.argv[2], lambda text: None)
    print("pulled")
except RegistryError as error:
    print("refused:", error.message)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


@pytest.mark.parametrize("acts", ENDLESS.values(), ids=ENDLESS.keys())
def test_a_body_without_end_is_refused_in_little_memory(acts: dict[str, Act], serve: Callable[[], Hostile], tmp_path: Path) -> None:
    server = serve()
    server.acts.update(acts)
    command = [sys.executable, "-P", "-c", _CHILD, f"127.0.0.1:{server.port}/a:1", str(tmp_path / "layout")]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=360, cwd=ROOT, env=environment)
    said, grown = done.stdout.splitlines()
    assert said.startswith("refused: ")
    assert int(grown) * 1024 < _GROWTH
    assert sum(path.stat().st_size for path in tmp_path.rglob("*") if path.is_file()) < 8 << 20


def _drip(head: bytes, drop: bytes) -> Act:
    def act(request: Request) -> None:
        request.wfile.write(head)
        for _ in range(200):
            request.wfile.write(drop)
            request.wfile.flush()
            time.sleep(0.1)

    return act


_OK = b"HTTP/1.1 200 OK\r\nContent-Type: x\r\n"
SLOW: dict[str, dict[str, Act]] = {
    "a manifest": {"/v2/a/manifests/1": _drip(_OK + b"Connection: close\r\n\r\n", b" ")},
    "a manifest of a length": {"/v2/a/manifests/1": _drip(_OK + b"Content-Length: 9999\r\n\r\n", b" ")},
    "headers": {"/v2/a/manifests/1": _drip(_OK, b"X: 1\r\n")},
    "answers before the answer": {"/v2/a/manifests/1": _drip(b"", b"HTTP/1.1 100 Continue\r\n\r\n")},
    "an error": {"/v2/a/manifests/1": _drip(b"HTTP/1.1 500 No\r\n\r\n", b" ")},
    "a token": {"/v2/a/manifests/1": _challenge, "/token": _drip(_OK + b"\r\n", b" ")},
    "a layer": {
        "/v2/a/manifests/1": lambda request: request.answer(
            200, json.dumps({"config": {"digest": DIGEST, "size": 5000}, "layers": []}).encode(), Content_Type=MANIFEST
        ),
        f"/v2/a/blobs/{DIGEST}": _drip(_OK + b"\r\n", b" "),
    },
}


@pytest.mark.parametrize("acts", SLOW.values(), ids=SLOW.keys())
def test_a_slow_answer_ends(acts: dict[str, Act], serve: Callable[[], Hostile], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry_http, "EXCHANGE_SECONDS", 1.0)
    server = serve()
    server.acts.update(acts)
    started = time.monotonic()
    with pytest.raises(RegistryError):
        _client(server).pull(str(tmp_path / "layout"), _silent)
    assert time.monotonic() - started < 9


def test_a_transfer_that_goes_on_is_given_time(serve: Callable[[], Hostile], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry_http, "EXCHANGE_SECONDS", 1.0)
    body = os.urandom(3 << 20)
    digest = f"sha256:{hashlib.sha256(body).hexdigest()}"

    def act(request: Request) -> None:
        request.wfile.write(_OK + b"Connection: close\r\n\r\n")
        for start in range(0, len(body), 512 << 10):
            request.wfile.write(body[start : start + (512 << 10)])
            time.sleep(0.4)
        request.close_connection = True

    server = serve()
    server.acts[f"/v2/a/blobs/{digest}"] = act
    _client(server).fetch_blob(digest, str(tmp_path / "blob"), len(body), _silent)
    assert (tmp_path / "blob").read_bytes() == body


@pytest.mark.parametrize(("coding", "pack"), [("gzip", gzip.compress), ("deflate", zlib.compress), ("identity", bytes)])
def test_a_manifest_that_was_packed_on_the_way_is_read(serve: Callable[[], Hostile], coding: str, pack: Callable[[bytes], bytes]) -> None:
    server = serve()
    server.acts["/v2/a/manifests/1"] = lambda request: request.answer(200, pack(b"{}"), Content_Type=MANIFEST, Content_Encoding=coding)
    assert _client(server).manifest("1")[0] == b"{}"


# --- credentials ---------------------------------------------------------------------------------------------------------


def _sends_to(where: str, status: int = 307) -> Act:
    return lambda request: request.answer(status, Location=where)


def _wants(realm: str) -> Act:
    return lambda request: request.answer(401, WWW_Authenticate=f'Bearer realm="{realm}",service="x"')


def _wants_basic(request: Request) -> None:
    if request.headers.get("Authorization"):
        request.answer(200, b"{}")
    else:
        request.answer(401, WWW_Authenticate='Basic realm="x"')


def _thief(thief: Hostile) -> None:
    """Asks for every kind of login, and gives out tokens."""
    thief.acts["/bearer"] = _wants(f"http://localhost:{thief.port}/token")
    thief.acts["/basic"] = lambda request: request.answer(401, WWW_Authenticate='Basic realm="x"')
    thief.acts["/token"] = lambda request: request.answer(200, b'{"token": "x"}')


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "localhost.", "127.1"])
@pytest.mark.parametrize("kind", ["bearer", "basic"])
@pytest.mark.parametrize("status", [302, 307])
def test_a_challenge_of_where_a_blob_was_sent_on_to_is_not_answered(
    serve: Callable[[], Hostile], home: Path, host: str, kind: str, status: int
) -> None:
    registry, thief = serve(), serve()
    _thief(thief)
    registry.acts[f"/v2/a/blobs/{DIGEST}"] = _sends_to(f"http://{host}:{thief.port}/{kind}", status)
    _log_in(home, f"127.0.0.1:{registry.port}", f"localhost:{thief.port}")
    with pytest.raises(RegistryError, match=r"wants a login: only 127\.0\.0\.1|cannot be reached"):
        _client(registry).fetch_blob(DIGEST, str(home / "blob"), 5, _silent)
    assert [authorization for *_, authorization, _ in thief.asked if authorization] == []
    assert "/token" not in [path for _, path, *_ in thief.asked]


def test_our_authorization_goes_along_on_no_redirect_and_not_even_back(serve: Callable[[], Hostile], home: Path) -> None:
    registry, other = serve(), serve()
    secret = _log_in(home, f"127.0.0.1:{registry.port}")
    registry.acts["/v2/a/manifests/1"] = _wants_basic
    registry.acts[f"/v2/a/blobs/{DIGEST}"] = _sends_to(f"http://127.0.0.1:{other.port}/on")
    other.acts["/on"] = _sends_to(f"http://127.0.0.1:{registry.port}/back")
    registry.acts["/back"] = lambda request: request.answer(200, BLOB)
    client = _client(registry)
    client.manifest("1")
    client.fetch_blob(DIGEST, str(home / "blob"), 5, _silent)
    assert [authorization for *_, authorization, _ in other.asked] == [""]
    asked = {path: authorization for _, path, authorization, _ in registry.asked}
    assert asked == {"/v2/a/manifests/1": f"Basic {secret}", f"/v2/a/blobs/{DIGEST}": f"Basic {secret}", "/back": ""}


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_an_upload_that_is_sent_elsewhere_takes_no_credentials_along(serve: Callable[[], Hostile], home: Path, host: str) -> None:
    registry, thief = serve(), serve()
    _thief(thief)
    _log_in(home, f"127.0.0.1:{registry.port}", f"{host}:{thief.port}")

    def start(request: Request) -> None:
        if request.headers.get("Authorization"):
            request.answer(202, Location=f"http://{host}:{thief.port}/basic")
        else:
            _wants_basic(request)

    registry.acts["/v2/a/blobs/uploads/"] = start
    (home / "blob").write_bytes(BLOB)
    with (home / "blob").open("rb") as source, pytest.raises(RegistryError, match="wants a login: only"):
        _client(registry, write=True).push_blob(DIGEST, source, 5, _silent)
    assert {authorization for *_, authorization, _ in thief.asked} == {""}


def test_an_upload_is_sent_whole_again_after_a_challenge(serve: Callable[[], Hostile], home: Path) -> None:
    registry = serve()
    _log_in(home, f"127.0.0.1:{registry.port}")
    registry.acts["/v2/a/blobs/uploads/"] = lambda request: request.answer(202, Location="/up")

    def take(request: Request) -> None:
        if request.headers.get("Authorization"):
            request.answer(201)
        else:
            _wants_basic(request)

    registry.acts["/up"] = take
    (home / "blob").write_bytes(BLOB)
    with (home / "blob").open("rb") as source:
        _client(registry, write=True).push_blob(DIGEST, source, 5, _silent)
    assert [length for method, *_, length in registry.asked if method == "PUT"] == [5, 5]


# What a registry may name as the place to log in at, and whether it is asked with our credentials.
REALMS = {
    "https://auth.docker.io/token": True,
    "https://[2001:db8::1]/token": True,
    "http://auth.docker.io/token": False,
    "http://registry.example/token": False,
    "http://localhost:1/token": False,
    "http://127.0.0.1:1/token": False,
    "https://localhost/token": False,
    "https://127.0.0.2/token": False,
    "https://[::1]/token": False,
    "https://user:pass@auth.example/token": False,
    "https://user@auth.example/token": False,
    "https://localhost\\@auth.example/token": False,
    "https://auth.example/to ken": False,
    "https://auth.example\t/token": False,
    "ftp://auth.example/token": False,
    "//auth.example/token": False,
    "/token": False,
    "": False,
    "https:///token": False,
    "https://auth.example:99999/token": False,
}


@pytest.mark.parametrize(("realm", "asked"), REALMS.items())
def test_credentials_are_given_over_https_alone(home: Path, monkeypatch: pytest.MonkeyPatch, realm: str, asked: bool) -> None:
    secret = _log_in(home, "registry.example")
    client = RegistryClient(parse_reference("registry.example/a:1"))
    seen: list[tuple[str, str]] = []

    @contextlib.contextmanager
    def keep(_method: str, url: str, *, authorization: str = "", **_more: object) -> Iterator[None]:
        seen.append((url, authorization))
        if seen:
            raise KeyboardInterrupt
        yield

    monkeypatch.setattr(client._http, "open", keep)
    with pytest.raises(KeyboardInterrupt if asked else RegistryError):
        client._answer_challenge(f'Bearer realm="{realm}",service="x"')
    assert seen == ([(realm, f"Basic {secret}")] if asked else [])


def test_a_registry_of_this_machine_may_have_its_login_on_another_port(serve: Callable[[], Hostile], home: Path) -> None:
    registry, login = serve(), serve()
    secret = _log_in(home, f"127.0.0.1:{registry.port}")
    login.acts["/token"] = lambda request: request.answer(200, b'{"token": "ours"}')

    def manifest(request: Request) -> None:
        if request.headers.get("Authorization"):
            request.answer(200, b"{}", Content_Type=MANIFEST)
        else:
            _wants(f"http://127.0.0.1:{login.port}/token")(request)

    registry.acts["/v2/a/manifests/1"] = manifest
    assert _client(registry).manifest("1")[0] == b"{}"
    assert [authorization for *_, authorization, _ in login.asked] == [f"Basic {secret}"]
    assert registry.asked[-1][2] == "Bearer ours"


@pytest.mark.parametrize(
    "challenge", ['Basic realm="x"', 'Bearer realm="http://mirror.example/token"', 'Bearer realm="https://a.example/t"']
)
def test_a_mirror_over_plain_http_is_given_no_login(home: Path, monkeypatch: pytest.MonkeyPatch, challenge: str) -> None:
    monkeypatch.setenv("LAYERLAB_REGISTRY_MIRROR", "http://user:pass@mirror.example")
    client = RegistryClient(parse_reference("node:alpine"))
    with pytest.raises(RegistryError, match="over plain HTTP"):
        client._answer_challenge(challenge)


def test_a_proxy_is_not_asked_about_this_machine(serve: Callable[[], Hostile], monkeypatch: pytest.MonkeyPatch) -> None:
    proxy, registry = serve(), serve()
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    registry.acts["/v2/a/manifests/1"] = lambda request: request.answer(200, b"{}", Content_Type=MANIFEST)
    assert _client(registry).manifest("1")[0] == b"{}"
    assert proxy.asked == []


@pytest.mark.parametrize(
    ("before", "after", "followed"),
    [
        ("https://a.example", "https://b.example/x", True),
        ("https://a.example", "http://a.example/x", False),
        ("https://a.example", "http://127.0.0.1/x", False),
        ("https://a.example", "https://localhost/x", False),
        ("https://a.example", "https://[::1]/x", False),
        ("http://127.0.0.1:1", "http://localhost:2/x", True),
        ("http://127.0.0.1:1", "https://b.example/x", True),
    ],
)
def test_where_a_registry_may_send_on_to(before: str, after: str, followed: bool) -> None:
    def step() -> None:
        registry_http.Http("a.example", "test", "").check_step(origin(before), origin(after))

    if followed:
        step()
    else:
        with pytest.raises(RegistryError, match="not followed"):
            step()


def test_redirects_in_a_circle_end(serve: Callable[[], Hostile]) -> None:
    server = serve()
    server.acts["/v2/a/manifests/1"] = _sends_to("/v2/a/manifests/1")
    with pytest.raises(RegistryError, match="sends on more than"):
        _client(server).manifest("1")
    assert len(server.asked) < 10


@settings(max_examples=300, deadline=None)
@given(st.text(st.characters(max_codepoint=0x2FF), max_size=60), st.sampled_from(["", "http://", "https://", "https://localhost", "//"]))
def test_an_address_is_an_origin_or_our_own_error(text: str, start: str) -> None:
    with contextlib.suppress(RegistryError):
        found = origin(start + text)
        assert isinstance(found, Origin)
        assert "@" not in found.host
        assert found.scheme in ("http", "https")


ADDRESSES = (
    *("http://[::1", "http://[x]/", "//[", "http://127.0.0.1:99999999/x", "http://127.0.0.1:abc/x", "http://1.2.3.4:-1/", "http://:1/"),
    *(f"http://{'a' * 70}.\xff/x", "http://%00/", "http://..", "file:///etc/passwd", "http://a\\b/", "\x7f", "http://127.0.0.1:1/\xff"),
)


@pytest.mark.parametrize("address", ADDRESSES)
@pytest.mark.parametrize("way", ["redirect", "login", "upload"])
def test_an_address_of_a_registry_is_followed_or_our_own_error(serve: Callable[[], Hostile], home: Path, way: str, address: str) -> None:
    server = serve()
    _log_in(home, f"127.0.0.1:{server.port}")
    server.acts["/v2/a/manifests/1"] = {
        "redirect": lambda request: request.answer(302, Location=address),
        "login": lambda request: request.answer(401, WWW_Authenticate=f'Bearer realm="{address}",service="x"'),
    }.get(way, _not_found)
    server.acts["/v2/a/blobs/uploads/"] = lambda request: request.answer(202, Location=address)
    (home / "blob").write_bytes(BLOB)
    client = _client(server, write=way == "upload")
    with (home / "blob").open("rb") as source:
        ask = {"upload": lambda: client.push_blob(DIGEST, source, 5, _silent)}.get(way, lambda: client.manifest("1"))
        with pytest.raises(RegistryError):
            ask()


# --- documents -----------------------------------------------------------------------------------------------------------

_KEYS = "manifests config layers digest size platform os architecture rootfs diff_ids history annotations Env"
_WORDS = st.one_of(st.text(max_size=20), st.sampled_from([DIGEST, "linux", "amd64"]))
_JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), _WORDS),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(st.one_of(st.sampled_from(_KEYS.split(" ")), st.text(max_size=8)), inner, max_size=6),
    ),
    max_leaves=25,
)


def _shaped(draw: st.DrawFn, value: object) -> object:
    """A document with some of its parts taken out or replaced by anything."""
    if draw(st.integers(0, 7)) == 0:
        return draw(_JSON)
    if isinstance(value, dict):
        return {key: _shaped(draw, inner) for key, inner in value.items() if draw(st.integers(0, 9))}
    if isinstance(value, list):
        return [_shaped(draw, inner) for inner in value for _ in range(draw(st.sampled_from((0, 1, 1, 1, 2))))]
    return value


_WHOLE = {
    "schemaVersion": 2,
    "mediaType": MANIFEST,
    "config": {"digest": DIGEST, "size": 5},
    "layers": [{"digest": DIGEST, "size": 5}],
    "manifests": [{"digest": DIGEST, "size": 5, "platform": {"os": "linux", "architecture": "amd64"}, "annotations": {"a": "b"}}],
}
_IMAGE = {
    "architecture": "amd64",
    "os": "linux",
    "config": {"Env": ["A=b"], "Cmd": ["x"], "Labels": {"a": "b"}, "Healthcheck": {"Test": ["NONE"]}, "ExposedPorts": {"80/tcp": {}}},
    "rootfs": {"type": "layers", "diff_ids": [DIGEST]},
    "history": [{"created_by": "x", "empty_layer": True}],
}


@st.composite
def _documents(draw: st.DrawFn, whole: Mapping[str, object]) -> bytes:
    return json.dumps(_shaped(draw, whole)).encode()


@settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])
@given(manifest=st.one_of(_documents(_WHOLE), st.binary(max_size=200)))
def test_a_manifest_is_an_image_or_our_own_error(manifest: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    client = RegistryClient(parse_reference("127.0.0.1:1/a:1"))
    monkeypatch.setattr(client, "manifest", lambda _wanted: (manifest, DIGEST, ""))

    def fetch(_digest: str, target: str, _size: int, _report: object) -> None:
        Path(target).write_bytes(manifest)

    monkeypatch.setattr(client, "fetch_blob", fetch)
    with contextlib.suppress(RegistryError):
        client.pull(str(tmp_path), _silent)
    for path in (tmp_path / "blobs" / "sha256").glob("*"):
        path.unlink()


@settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.one_of(_documents(_IMAGE), st.binary(max_size=200)))
def test_a_configuration_is_what_is_relied_on_or_our_own_error(data: bytes) -> None:
    with contextlib.suppress(DocumentError):
        found = parse_configuration(data)
        assert all(isinstance(item, str) for item in found["rootfs"]["diff_ids"])
        assert all(isinstance(item, str) for item in (found.get("config") or {}).get("Env") or [])


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedEngine]:
    with EmbeddedEngine(str(tmp_path_factory.mktemp("documents") / "store")) as opened:
        yield opened


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])
@given(index=_documents(_WHOLE), manifest=_documents(_WHOLE), image=_documents(_IMAGE), odd=st.booleans())
def test_a_layout_is_loaded_or_refused_by_our_own_error(
    engine: EmbeddedEngine, tmp_path: Path, index: bytes, manifest: bytes, image: bytes, odd: bool
) -> None:
    blobs = tmp_path / "blobs" / "sha256"
    blobs.mkdir(parents=True, exist_ok=True)
    names = [f"sha256:{hashlib.sha256(data).hexdigest()}" for data in (image, BLOB)]
    (blobs / names[0][7:]).write_bytes(image)
    (blobs / names[1][7:]).write_bytes(BLOB)
    # Each names the one below it.
    manifest = manifest.replace(DIGEST.encode(), names[0].encode(), 1)
    (blobs / hashlib.sha256(manifest).hexdigest()).write_bytes(manifest)
    index = index.replace(DIGEST.encode(), b"sha256:" + hashlib.sha256(manifest).hexdigest().encode())
    (tmp_path / "index.json").write_bytes(index)
    (tmp_path / "oci-layout").write_bytes(b"[]" if odd and b"{}" in index else b'{"imageLayoutVersion": "1.0.0"}')
    with contextlib.suppress(LayerlabError):
        engine.load(str(tmp_path))


@pytest.mark.parametrize("start", [b"[", b'{"a":', b'{"config":[', b'"', b"1", b" "])
def test_a_document_takes_time_in_proportion_to_its_size(start: bytes) -> None:
    table = []
    for size in (1 << 18, 1 << 20, 1 << 22):
        data = start * (size // len(start))
        began = time.process_time()
        with pytest.raises(DocumentError):
            parse_document(data)
        table.append((size, time.process_time() - began))
    print("\n".join(f"{size:>9} bytes: {seconds * 1000:8.1f} ms" for size, seconds in table))
    assert table[-1][1] < 60 * max(table[0][1], 0.005)


def test_no_socket_is_left_open(serve: Callable[[], Hostile]) -> None:
    server = serve()
    server.acts["/v2/a/manifests/1"] = lambda request: request.answer(200, b"{}", Content_Type=MANIFEST)
    client = _client(server)
    for _ in range(20):
        client.manifest("1")
    assert all(isinstance(known, socket.socket) for known in client._http._sockets)
    assert len(client._http._sockets) == 1
