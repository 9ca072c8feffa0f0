"""A web server on loopback whose files a test sets, and which says what it was asked."""

from __future__ import annotations

import email.utils
import hashlib
import http.server
import threading

import msgspec


class File(msgspec.Struct):
    """What is under a path.

    ``modified``: seconds since 1970, or 0; ``says``: the time in other words; ``goes_to``: a redirect; ``coding``: as ``Content-Encoding``.
    """

    body: bytes = b""
    modified: int = 0
    etag: bool = True
    goes_to: str = ""
    coding: str = ""
    says: str = ""


class Server:
    """``asked``: method and path of every request, in order."""

    def __init__(self) -> None:
        self.files: dict[str, File] = {}
        self.asked: list[str] = []
        server = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                server.answer(self)

            do_HEAD = do_GET  # noqa: N815

            def log_message(self, *_words: object) -> None:
                """Nothing."""

        self._http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._http.server_port}"
        threading.Thread(target=self._http.serve_forever, daemon=True).start()

    def answer(self, request: http.server.BaseHTTPRequestHandler) -> None:
        """Answer one request."""
        self.asked.append(f"{request.command} {request.path}")
        file = self.files.get(request.path)
        if file is None or file.goes_to:
            request.send_response(404 if file is None else 302)
            if file is not None:
                request.send_header("Location", file.goes_to)
            request.send_header("Content-Length", "0")
            request.end_headers()
            return
        tag = f'"{hashlib.sha256(file.body).hexdigest()[:8]}"' if file.etag else ""
        unchanged = tag and tag in request.headers.get("If-None-Match", "").split(", ")
        request.send_response(304 if unchanged else 200)
        for name, value in (
            ("ETag", tag),
            ("Last-Modified", email.utils.formatdate(file.modified, usegmt=True) if file.modified else file.says),
            ("Content-Encoding", file.coding),
            ("Content-Length", "" if unchanged else str(len(file.body))),
        ):
            if value:
                request.send_header(name, value)
        request.end_headers()
        if request.command == "GET" and not unchanged:
            request.wfile.write(file.body)

    def close(self) -> None:
        """End it."""
        self._http.shutdown()
        self._http.server_close()
