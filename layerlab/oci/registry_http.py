"""HTTP with servers that are not trusted: each answer under a limit of bytes and of time, each redirect looked at before it is followed.

Python's clients bound neither: ``requests`` reads the body of an answer whole, that of a redirect even unasked, its timeouts begin anew
with each byte, and it unpacks what a server says is packed. So nothing is read here but block by block, as it is on the wire, and a clock
ends the connections of an exchange whose time is over.

Our authorization goes to the server that it is for and stays there: it is never sent on after a redirect, not even back.
"""

from __future__ import annotations

import contextlib
import ipaddress
import re
import socket
import threading
import time
import urllib.parse
import zlib
from collections.abc import Callable, Iterator, Mapping
from http.client import HTTPException, HTTPResponse
from typing import IO, Any, Final, NamedTuple

import requests
import urllib3.connection
import urllib3.connectionpool
import urllib3.exceptions
import urllib3.util

from layerlab.control_characters import without_controls
from layerlab.errors import BaseImageError

_BLOCK: Final = 1 << 16
_CONNECT_SECONDS: Final = 5
_READ_SECONDS: Final = 60
# For a whole answer; and what a transfer of any length must bring in that time, about 4 kB a second.
EXCHANGE_SECONDS: Final = 60.0
_PROGRESS: Final = 256 << 10
_ERROR_LIMIT: Final = 64 << 10
_REDIRECTS: Final = 5
NOT_A_REGISTRY: Final = (
    "Something else may answer in the registry's place (a proxy, the sign-in page of a network): check the name, LAYERLAB_REGISTRY_MIRROR "
    "and the proxy settings."
)


class RegistryError(BaseImageError):
    """A registry that cannot be reached, or that refuses; the message says which and why."""

    kind = "registry"

    def __init__(self, message: str, *, unreachable: bool = False, remedy: str | None = None) -> None:
        super().__init__(message, remedy=remedy)
        self.unreachable = unreachable


class Origin(NamedTuple):
    """Where a URL leads: what has another origin is another server, also where it is on the same machine."""

    scheme: str
    host: str
    port: int

    @property
    def is_loopback(self) -> bool:
        """This machine, named as such: a name that only leads here is none, and neither is ``127.1``."""
        try:
            return self.host == "localhost" or ipaddress.ip_address(self.host.strip("[]")).is_loopback
        except ValueError:
            return False

    @property
    def is_private(self) -> bool:
        """Whether nobody on the way can read what is sent there."""
        return self.scheme == "https" or self.is_loopback


def origin(url: str) -> Origin:
    """The origin of a URL of a server's, as the client that connects understands it. Raises ``RegistryError`` for one that is not plain.

    What two parsers may read in two ways is refused: blanks, backslashes, anything beyond ASCII; and so is a name or password.
    """
    try:
        parts = urllib3.util.parse_url(url)
    except urllib3.exceptions.LocationParseError as error:
        raise RegistryError(f"{plain(url)} is not an address") from error
    if parts.scheme not in ("http", "https") or not parts.host or parts.auth is not None or re.search(r"[^!-~]|\\", url):
        raise RegistryError(f"{plain(url)} is not an address that a registry may name")
    return Origin(parts.scheme, parts.host.lower(), parts.port or (443 if parts.scheme == "https" else 80))


def joined(base: str, location: str) -> str:
    """Where a server says to go on. Raises ``RegistryError``."""
    try:
        return urllib.parse.urljoin(base, location)
    except ValueError as error:
        raise RegistryError(f"{plain(location)} is not an address") from error


class Upload:
    """A file that says how far it has been read. Its length makes requests send it as it is and not in chunks."""

    def __init__(self, source: IO[bytes], size: int, report: Callable[[int], None]) -> None:
        self._source = source
        self._size = size
        self._report = report
        self._done = 0
        self.progress: Callable[[int], None] | None = None

    def __len__(self) -> int:
        return self._size

    def read(self, count: int = -1) -> bytes:
        """The next bytes. Raises ``OSError``."""
        block = self._source.read(count)
        self._done += len(block)
        if self.progress is not None:
            self.progress(len(block))
        self._report(self._done)
        return block

    def rewind(self) -> None:
        """From the start again: an answer asked for a login, or sent on."""
        self._source.seek(0)
        self._done = 0


class Answer:
    """An answer whose body has not been read. ``at_home``: it is from the server that was asked, and not from one that it sent on to."""

    def __init__(self, response: requests.Response, clock: _Clock, host: str, *, at_home: bool) -> None:
        self.status = response.status_code
        self.reason = response.reason or ""
        self.headers: Mapping[str, str] = response.headers
        self.at_home = at_home
        self.host = origin(response.url).host
        self._raw = response.raw
        self._clock = clock
        self._named = host

    def blocks(self) -> Iterator[bytes]:
        """The body as it is on the wire. Raises ``RegistryError``."""
        while True:
            try:
                block = self._raw.read(_BLOCK, decode_content=False)
            except (urllib3.exceptions.HTTPError, HTTPException, OSError, ValueError) as error:
                raise self._clock.failure(self._named, error) from error
            if not block:
                if self._clock.over:
                    raise self._clock.failure(self._named, None)
                return
            self._clock.progress(len(block))
            yield block

    def body(self, limit: int, what: str) -> bytes:
        """The whole body, unpacked where the server packed it although it was not asked to. Raises ``RegistryError``.

        ``limit`` in bytes, before and after unpacking; ``what`` the body is, for the message.
        """
        coding = self.headers.get("Content-Encoding", "").strip().lower()
        unpack = zlib.decompressobj(47) if coding in ("gzip", "x-gzip", "deflate") else None
        if unpack is None and coding not in ("", "identity"):
            raise RegistryError(f"{self._named} sent {what} packed by {plain(coding)}, which was not asked for", remedy=NOT_A_REGISTRY)
        found = bytearray()
        received = 0
        self._clock.last()
        for block in self.blocks():
            received += len(block)
            try:
                found += block if unpack is None else unpack.decompress(block, limit + 1 - len(found))
            except zlib.error as error:
                raise RegistryError(f"{self._named} sent {what} that is damaged: {error}", unreachable=True) from error
            if len(found) > limit or received > limit:
                raise RegistryError(
                    f"{self._named} sent more than {limit} bytes where {what} was expected", unreachable=True, remedy=NOT_A_REGISTRY
                )
        return bytes(found)

    def error_body(self) -> bytes:
        """What an error has to say; nothing where that is too long, or never ends."""
        try:
            return self.body(_ERROR_LIMIT, "an error")
        except RegistryError:
            return b""


class Http:
    """Requests to servers of one registry. ``host`` names it in messages; ``bundle`` is a file of certificates, or empty."""

    def __init__(self, host: str, agent: str, bundle: str) -> None:
        self._host = host
        self._sockets: list[socket.socket] = []
        self._session = _Session()
        for scheme in ("http://", "https://"):
            self._session.mount(scheme, _Adapter(self._sockets))
        # Registries pack nothing on the way: layers are packed already.
        self._session.headers.update({"User-Agent": agent, "Accept-Encoding": "identity"})
        if bundle:
            self._session.verify = bundle

    @contextlib.contextmanager
    def open(
        self,
        method: str,
        url: str,
        *,
        authorization: str = "",
        headers: Mapping[str, str] | None = None,
        params: Mapping[str, Any] | None = None,
        data: bytes | Upload | None = None,
    ) -> Iterator[Answer]:
        """An answer, redirects followed; its connection is given back or closed at the end of the block.

        ``authorization`` goes to the origin of ``url`` and nowhere else. A redirect may lead neither from HTTPS to HTTP nor from elsewhere
        to this machine. Raises ``RegistryError``.
        """
        home = origin(url)
        at_home = True
        with _Clock(self._sockets, EXCHANGE_SECONDS) as clock:
            if isinstance(data, Upload):
                data.progress = clock.progress
            for _ in range(_REDIRECTS + 1):
                here = origin(url)
                clock.restart()
                sent = {**(headers or {}), **({"Authorization": authorization} if authorization and at_home else {})}
                response = self._send(clock, method, url, here, headers=sent, params=params, data=data)
                with contextlib.closing(response):
                    location = response.headers.get("Location", "")
                    follows = response.status_code in (307, 308) or (
                        response.status_code in (301, 302, 303) and method in ("GET", "HEAD") and location
                    )
                    answer = Answer(response, clock, self._host, at_home=at_home)
                    if not follows or not location:
                        yield answer
                        return
                    answer.error_body()
                    url, params = joined(response.url, location), None
                self.check_step(here, origin(url))
                at_home = at_home and origin(url) == home
                if isinstance(data, Upload):
                    data.rewind()
            raise RegistryError(f"{self._host} sends on more than {_REDIRECTS} times", unreachable=True)

    def check_step(self, before: Origin, after: Origin) -> None:
        """Whether a server may send on from one origin to another. Raises ``RegistryError``."""
        if before.scheme == "https" and after.scheme != "https":
            raise RegistryError(f"{self._host} sends on from HTTPS to plain HTTP, at {after.host}: this is not followed")
        if not before.is_loopback and (after.is_loopback or _leads_here(after.host)):
            raise RegistryError(f"{self._host} sends on to this machine itself ({after.host}): this is not followed")

    def _send(self, clock: _Clock, method: str, url: str, here: Origin, **more: Any) -> requests.Response:
        # As in Docker: what is on this machine is never asked through a proxy, which could read it.
        proxies = {"no_proxy": here.host.strip("[]")} if here.is_loopback else None
        try:
            return self._session.request(
                method, url, stream=True, allow_redirects=False, timeout=(_CONNECT_SECONDS, _READ_SECONDS), proxies=proxies, **more
            )
        except requests.exceptions.SSLError as error:
            raise RegistryError(
                f"the certificate of {self._host} is not trusted: {reason(error)}",
                unreachable=True,
                remedy="Behind a company proxy, set SSL_CERT_FILE to its certificate bundle.",
            ) from error
        except (requests.exceptions.RequestException, urllib3.exceptions.HTTPError, HTTPException, OSError, ValueError) as error:
            # ValueError: of a host, a port or a header that is none, where the libraries do not say so in words of their own.
            raise clock.failure(self._host, error) from error


def _leads_here(host: str) -> bool:
    """Whether a name or address, however it is written, is one of this machine's own. A proxy may know names that this machine does not."""
    try:
        found = {item[4][0] for item in socket.getaddrinfo(host.strip("[]"), None)}
    except (OSError, UnicodeError):
        return False
    for text in found:
        address = ipaddress.ip_address(str(text).partition("%")[0])
        address = getattr(address, "ipv4_mapped", None) or address
        if address.is_loopback or address.is_unspecified:
            return True
    return False


class _Session(requests.Session):
    """A session whose requests carry our credentials or none: those of ``~/.netrc`` would take the place of ours.

    ``trust_env`` stays on, because proxies and certificates come from the environment too.
    """

    def __init__(self) -> None:
        super().__init__()
        self.auth = _as_it_is

    def get_redirect_target(self, resp: requests.Response) -> None:  # noqa: ARG002
        """None, ever: to find out, requests would read the whole body."""
        return


def _as_it_is(request: requests.PreparedRequest) -> requests.PreparedRequest:
    return request


class _Adapter(requests.adapters.HTTPAdapter):
    """Connections whose sockets are known, so that a clock can end them."""

    def __init__(self, sockets: list[socket.socket]) -> None:
        self._pools = _pools(sockets)
        super().__init__()

    def init_poolmanager(self, *arguments: Any, **more: Any) -> None:
        super().init_poolmanager(*arguments, **more)
        self.poolmanager.pool_classes_by_scheme = self._pools

    def proxy_manager_for(self, proxy: str, **more: Any) -> Any:
        manager = super().proxy_manager_for(proxy, **more)
        manager.pool_classes_by_scheme = self._pools
        return manager


class _Response(HTTPResponse):
    def _read_next_chunk_size(self) -> int:
        # The standard library takes "-1" for a size, and reads all that comes.
        size: int = super()._read_next_chunk_size()  # type: ignore[misc]
        if size < 0:
            raise ValueError("a chunk of less than nothing")
        return size


def _pools(sockets: list[socket.socket]) -> dict[str, Any]:
    class Plain(urllib3.connection.HTTPConnection):
        response_class = _Response

        def _new_conn(self) -> socket.socket:
            sockets.append(super()._new_conn())
            return sockets[-1]

    class Secure(urllib3.connection.HTTPSConnection):
        response_class = _Response

        def _new_conn(self) -> socket.socket:
            sockets.append(super()._new_conn())
            return sockets[-1]

        def connect(self) -> None:
            super().connect()
            # Another object with the same connection; the first one is dead.
            if isinstance(self.sock, socket.socket):
                sockets.append(self.sock)

    class PlainPool(urllib3.connectionpool.HTTPConnectionPool):
        ConnectionCls = Plain

    class SecurePool(urllib3.connectionpool.HTTPSConnectionPool):
        ConnectionCls = Secure

    return {"http": PlainPool, "https": SecurePool}


class _Clock:
    """While the block runs: ends all connections when the time is over. A transfer that goes on gets new time."""

    def __init__(self, sockets: list[socket.socket], seconds: float) -> None:
        self.over = False
        self._sockets = sockets
        self._seconds = seconds
        self._deadline = time.monotonic() + seconds
        self._came = 0
        self._final = False
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="registry-clock", daemon=True)

    def __enter__(self) -> _Clock:
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._done.set()
        self._thread.join()

    def progress(self, count: int) -> None:
        """So many bytes more were sent or have come."""
        self._came += count
        if self._came >= _PROGRESS and not self._final:
            self._came = 0
            self._deadline = time.monotonic() + self._seconds

    def restart(self) -> None:
        """Another answer is asked for."""
        self._deadline, self._came, self._final = time.monotonic() + self._seconds, 0, False

    def last(self) -> None:
        """What comes now is small: it gets time once."""
        self._deadline = time.monotonic() + self._seconds
        self._final = True

    def failure(self, host: str, error: Exception | None) -> RegistryError:
        """What to say of an exchange that broke off."""
        if self.over:
            return RegistryError(f"{host} took more than {self._seconds:.0f} s for an answer, or sent it too slowly", unreachable=True)
        return RegistryError(f"{host} cannot be reached: {reason(error) if error is not None else 'it fell silent'}", unreachable=True)

    def _watch(self) -> None:
        while not self._done.wait(max(0.0, self._deadline - time.monotonic())):
            if time.monotonic() < self._deadline:
                continue
            self.over = True
            for known in tuple(self._sockets):
                # Not the method of a TLS socket, which would take the connection from under whoever reads.
                with contextlib.suppress(OSError):
                    socket.socket.shutdown(known, socket.SHUT_RDWR)
            # A connection may only just be made.
            self._deadline = time.monotonic() + 1


def reason(error: BaseException) -> str:
    """The innermost cause in few words: the outer ones repeat the whole request."""
    inner: BaseException = error
    while inner.__cause__ or inner.__context__:
        inner = inner.__cause__ or inner.__context__ or inner
    text = str(inner) or type(inner).__name__
    return plain(re.sub(r"<[^>]*object at 0x[0-9a-f]+>:? ?", "", text))


def plain(text: str) -> str:
    """A server's words, short and without what a terminal would obey."""
    return without_controls(text[:200], instead="?")
