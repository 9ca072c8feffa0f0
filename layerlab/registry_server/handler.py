"""The registry's side of HTTP: the end points of the OCI distribution specification 1.1, less deletion and referrers."""

from __future__ import annotations

import json
import os
import re
import urllib.parse
from collections.abc import Callable, Iterator
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from typing import Any, Final, cast

from layerlab.control_characters import without_controls
from layerlab.registry_server.storage import MANIFEST_LIMIT, RefusedError, Storage, check_name

_BLOCK: Final = 1 << 20
_LINE_LIMIT: Final = 1 << 10
_PAGE_LIMIT: Final = 1000
_LOOPBACK: Final = re.compile(r"(?:localhost|127(?:\.\d{1,3}){3}|\[::1\])(?::\d+)?\Z", re.IGNORECASE)
# No number that counts here has more digits, and Python refuses to read very long ones.
_RANGE: Final = re.compile(r"bytes=(\d{1,18})-(\d{0,18})\Z", re.ASCII)
_CONTENT_RANGE: Final = re.compile(r"(?:bytes )?(\d{1,18})-(\d{1,18})(?:/.*)?\Z", re.ASCII)
_LENGTH: Final = re.compile(r"\d{1,18}\Z", re.ASCII)

Route = tuple[re.Pattern[str], str]
_ROUTES: Final[tuple[Route, ...]] = (
    (re.compile(r"/v2/?\Z"), "root"),
    (re.compile(r"/v2/_catalog\Z"), "catalog"),
    (re.compile(r"/v2/(?P<name>.+)/tags/list\Z"), "tags"),
    (re.compile(r"/v2/(?P<name>.+)/manifests/(?P<reference>[^/]+)\Z"), "manifest"),
    (re.compile(r"/v2/(?P<name>.+)/blobs/uploads/?\Z"), "uploads"),
    (re.compile(r"/v2/(?P<name>.+)/blobs/uploads/(?P<upload>[^/]+)\Z"), "upload"),
    (re.compile(r"/v2/(?P<name>.+)/blobs/(?P<digest>[^/]+)\Z"), "blob"),
)


class Handler(BaseHTTPRequestHandler):
    """One connection. The server that made it has ``storage`` and ``report``."""

    protocol_version = "HTTP/1.1"
    server_version = "layerlab-registry"
    sys_version = ""
    disable_nagle_algorithm = True
    timeout = 60

    @property
    def _storage(self) -> Storage:
        return cast(Any, self.server).storage  # type: ignore[no-any-return]

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Tell whoever watches; by default nobody does."""
        report: Callable[[str], None] = cast(Any, self.server).report
        report(without_controls(format % args, instead="?"))

    def _serve(self) -> None:
        try:
            # A page of some web site must not reach the registry through a name of its own that leads here.
            # Nor through its address: no client of a registry names an origin, and a browser does with whatever is more than a look.
            if _LOOPBACK.match(self.headers.get("Host", "")) is None or "Origin" in self.headers:
                raise RefusedError(HTTPStatus.FORBIDDEN, "DENIED", "this registry is for this machine only")
            self._check_framing()
            try:
                url = urllib.parse.urlsplit(self.path)
            except ValueError as error:
                raise RefusedError(HTTPStatus.BAD_REQUEST, "UNSUPPORTED", "the address is malformed") from error
            query = dict(urllib.parse.parse_qsl(url.query))
            for pattern, what in _ROUTES:
                match = pattern.match(url.path)
                act = getattr(self, f"_{self.command.lower()}_{what}", None) if match else None
                if match is None:
                    continue
                if act is None:
                    raise RefusedError(HTTPStatus.METHOD_NOT_ALLOWED, "UNSUPPORTED", "the operation is not supported")
                if "name" in match.groupdict():
                    check_name(match["name"])
                act(query, **match.groupdict())
                return
            raise RefusedError(HTTPStatus.NOT_FOUND, "NAME_UNKNOWN", "there is nothing at this address")
        except RefusedError as error:
            # What is left of the request's body must not be read as the next request.
            self.close_connection = True
            self._answer_json(error.status, {"errors": [{"code": error.code, "message": error.message}]}, Connection="close")
        except (ConnectionError, TimeoutError):
            self.close_connection = True
        except OSError as error:
            self.close_connection = True
            body = {"errors": [{"code": "UNKNOWN", "message": f"the registry cannot do it: {error.strerror or error}"}]}
            self._answer_json(HTTPStatus.INTERNAL_SERVER_ERROR, body, Connection="close")

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = _serve  # noqa: N815

    # --- answers ----------------------------------------------------------------------------------------------------

    def _head(self, status: HTTPStatus, length: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        self.send_header("Docker-Distribution-API-Version", "registry/2.0")
        self.send_header("Content-Length", str(length))
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def _answer(self, status: HTTPStatus, body: bytes = b"", **headers: str) -> None:
        self._head(status, len(body), {name.replace("_", "-"): value for name, value in headers.items()})
        if self.command != "HEAD":
            self.wfile.write(body)

    def _answer_json(self, status: HTTPStatus, value: Any, **headers: str) -> None:
        self._answer(status, json.dumps(value).encode(), Content_Type="application/json", **headers)

    # --- bodies -----------------------------------------------------------------------------------------------------

    def _check_framing(self) -> None:
        """See that it is plain where the request ends: what is left of a body must not become a request. Raises ``RefusedError``."""
        if self.headers.defects or len(self.headers.get_all("Host") or []) > 1:
            raise RefusedError(HTTPStatus.BAD_REQUEST, "UNSUPPORTED", "the headers of the request are malformed")
        encodings = self.headers.get_all("Transfer-Encoding") or []
        lengths = set(self.headers.get_all("Content-Length") or [])
        if any(_LENGTH.match(length) is None for length in lengths) or len(lengths) > 1:
            raise RefusedError(HTTPStatus.BAD_REQUEST, "SIZE_INVALID", "the length of the body is not a number")
        if encodings and (lengths or [encoding.strip().lower() for encoding in encodings] != ["chunked"]):
            raise RefusedError(HTTPStatus.BAD_REQUEST, "SIZE_INVALID", "a body has a length or is chunked, and nothing else")
        if self.command not in ("POST", "PUT", "PATCH") and (encodings or lengths - {"0"}):
            # These do not read a body.
            self.close_connection = True

    def _body(self) -> Iterator[bytes]:
        """The body of the request, with a length or chunked. Raises ``RefusedError``, ``ConnectionError``."""
        if "Transfer-Encoding" in self.headers:
            yield from self._chunks()
            return
        yield from self._exactly(int(self.headers.get("Content-Length", "0")))

    def _exactly(self, length: int) -> Iterator[bytes]:
        while length:
            block = self.rfile.read(min(_BLOCK, length))
            if not block:
                raise ConnectionError("the request broke off")
            length -= len(block)
            yield block

    def _chunks(self) -> Iterator[bytes]:
        while True:
            size = self.rfile.readline(_LINE_LIMIT).split(b";")[0].strip()
            if re.fullmatch(rb"[0-9a-fA-F]{1,15}", size) is None:
                raise RefusedError(HTTPStatus.BAD_REQUEST, "SIZE_INVALID", "a chunk of the body has no length")
            if int(size, 16) == 0:
                break
            yield from self._exactly(int(size, 16))
            self.rfile.readline(_LINE_LIMIT)
        while self.rfile.readline(_LINE_LIMIT).strip():
            pass

    # --- end points -------------------------------------------------------------------------------------------------

    def _get_root(self, _query: dict[str, str]) -> None:
        self._answer_json(HTTPStatus.OK, {})

    _head_root = _get_root

    def _get_catalog(self, query: dict[str, str]) -> None:
        names, link = _page(self._storage.repositories(), query, "/v2/_catalog")
        self._answer_json(HTTPStatus.OK, {"repositories": names}, **link)

    def _get_tags(self, query: dict[str, str], name: str) -> None:
        tags, link = _page(self._storage.tags(name), query, f"/v2/{name}/tags/list")
        self._answer_json(HTTPStatus.OK, {"name": name, "tags": tags}, **link)

    def _get_manifest(self, _query: dict[str, str], name: str, reference: str) -> None:
        data, digest, kind = self._storage.manifest(name, reference)
        self._answer(HTTPStatus.OK, data, Content_Type=kind, Docker_Content_Digest=digest, ETag=f'"{digest}"')

    _head_manifest = _get_manifest

    def _put_manifest(self, _query: dict[str, str], name: str, reference: str) -> None:
        data = b""
        for block in self._body():
            data += block
            if len(data) > MANIFEST_LIMIT:
                raise RefusedError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "SIZE_INVALID", f"a manifest has at most {MANIFEST_LIMIT} bytes")
        kind = self.headers.get("Content-Type", "").partition(";")[0].strip()
        digest = self._storage.put_manifest(name, reference, data, kind)
        self._answer(HTTPStatus.CREATED, Location=f"/v2/{name}/manifests/{digest}", Docker_Content_Digest=digest)

    def _get_blob(self, _query: dict[str, str], name: str, digest: str) -> None:
        with self._storage.open_blob(name, digest) as stream:
            size = os.fstat(stream.fileno()).st_size
            start, end = 0, size
            headers = {"Content-Type": "application/octet-stream", "Docker-Content-Digest": digest, "Accept-Ranges": "bytes"}
            status = HTTPStatus.OK
            asked = _RANGE.match(self.headers.get("Range", ""))
            if asked is not None:
                start = int(asked[1])
                end = min(size, int(asked[2]) + 1) if asked[2] else size
                if start >= end:
                    raise RefusedError(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, "SIZE_INVALID", f"the blob has {size} bytes")
                status = HTTPStatus.PARTIAL_CONTENT
                headers["Content-Range"] = f"bytes {start}-{end - 1}/{size}"
            self._head(status, end - start, headers)
            if self.command != "HEAD" and end > start:
                self.connection.sendfile(stream, start, end - start)

    _head_blob = _get_blob

    def _post_uploads(self, query: dict[str, str], name: str) -> None:
        origin = query.get("from")
        if "mount" in query and origin and self._storage.mount(name, origin, query["mount"]):
            self._drain()
            self._created(name, query["mount"])
            return
        upload = self._storage.begin(name)
        if "digest" in query:
            self._storage.append(name, upload, self._body())
            self._storage.finish(name, upload, query["digest"])
            self._created(name, query["digest"])
            return
        self._drain()
        self._accepted(name, upload, 0)

    def _drain(self) -> None:
        for _ in self._body():
            pass

    def _created(self, name: str, digest: str) -> None:
        self._answer(HTTPStatus.CREATED, Location=f"/v2/{name}/blobs/{digest}", Docker_Content_Digest=digest)

    def _accepted(self, name: str, upload: str, size: int, status: HTTPStatus = HTTPStatus.ACCEPTED) -> None:
        self._answer(status, Location=f"/v2/{name}/blobs/uploads/{upload}", Range=f"0-{max(size - 1, 0)}", Docker_Upload_UUID=upload)

    def _get_upload(self, _query: dict[str, str], name: str, upload: str) -> None:
        self._accepted(name, upload, self._storage.received(name, upload), HTTPStatus.NO_CONTENT)

    def _patch_upload(self, _query: dict[str, str], name: str, upload: str) -> None:
        self._accepted(name, upload, self._storage.append(name, upload, self._body(), self._start()))

    def _put_upload(self, query: dict[str, str], name: str, upload: str) -> None:
        self._storage.append(name, upload, self._body(), self._start())
        digest = query.get("digest", "")
        self._storage.finish(name, upload, digest)
        self._created(name, digest)

    def _delete_upload(self, _query: dict[str, str], name: str, upload: str) -> None:
        self._storage.cancel(name, upload)
        self._answer(HTTPStatus.NO_CONTENT)

    def _start(self) -> int | None:
        given = self.headers.get("Content-Range")
        if given is None:
            return None
        match = _CONTENT_RANGE.match(given)
        if match is None:
            raise RefusedError(HTTPStatus.BAD_REQUEST, "BLOB_UPLOAD_INVALID", "Content-Range is not START-END")
        return int(match[1])


def _page(names: list[str], query: dict[str, str], path: str) -> tuple[list[str], dict[str, str]]:
    """The part of a list that was asked for, and the header that leads to the next one."""
    last = query.get("last", "")
    left = [name for name in names if name > last]
    limit = min(int(query["n"]), _PAGE_LIMIT) if _LENGTH.match(query.get("n", "")) else _PAGE_LIMIT
    page = left[:limit]
    if len(left) == len(page) or not page:
        return page, {}
    return page, {"Link": f'<{path}?{urllib.parse.urlencode({"n": limit, "last": page[-1]})}>; rel="next"'}
