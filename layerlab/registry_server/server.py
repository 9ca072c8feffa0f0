"""The registry as a server on a loopback port, for the length of a block."""

from __future__ import annotations

import contextlib
import errno
import os
import threading
from collections.abc import Callable
from http.server import ThreadingHTTPServer
from typing import Any, Final

from layerlab.errors import StoreError, UsageError
from layerlab.registry_server.handler import Handler
from layerlab.registry_server.storage import Storage

_LOOPBACK: Final = "127.0.0.1"


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    # A client that keeps its connection open must not keep the registry from ending.
    block_on_close = False
    request_queue_size = 64

    def __init__(self, port: int, storage: Storage, report: Callable[[str], None]) -> None:
        super().__init__((_LOOPBACK, port), Handler)
        self.storage = storage
        self.report = report

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is nothing to tell of."""


class LocalRegistry(contextlib.AbstractContextManager["LocalRegistry"]):
    """A registry on 127.0.0.1 that keeps what is pushed to it in ``directory``, served while the block runs.

        with LocalRegistry(directory, port=0) as registry:
            engine.push(f"{registry.address}/app:1", print)

    ``port`` 0 takes one that is free. ``report`` is told of every request. Raises ``UsageError`` for a port that is taken, ``StoreError``
    for a directory that cannot be used.
    """

    def __init__(self, directory: str | os.PathLike[str], port: int = 0, report: Callable[[str], None] | None = None) -> None:
        self.directory = os.path.abspath(directory)
        self._port = port
        self._report = report or _quiet
        self._server: _Server | None = None
        self._thread: threading.Thread | None = None

    @property
    def address(self) -> str:
        """``127.0.0.1:PORT``, the first part of the names of its images."""
        assert self._server is not None, "the registry is not running"
        return f"{_LOOPBACK}:{self._server.server_address[1]}"

    def __enter__(self) -> LocalRegistry:
        try:
            storage = Storage(self.directory)
        except OSError as error:
            raise StoreError(
                f"the directory {self.directory} cannot be used: {error.strerror or error}", remedy="Name another one with --data."
            ) from error
        try:
            self._server = _Server(self._port, storage, self._report)
        except OSError as error:
            if error.errno not in (errno.EADDRINUSE, errno.EACCES):
                raise
            raise UsageError(
                f"port {self._port} of {_LOOPBACK} cannot be opened: {error.strerror}",
                remedy="Choose another with --port; --port 0 takes one that is free.",
            ) from error
        except OverflowError as error:
            raise UsageError(f"there is no port {self._port}", remedy="Ports go from 0 to 65535.") from error
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, name="registry", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._server is not None and self._thread is not None:
            self._server.shutdown()
            self._thread.join()
            self._server.server_close()
            self._server = self._thread = None


def _quiet(_text: str) -> None:
    """Requests that nobody watches."""
