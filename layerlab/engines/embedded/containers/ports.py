"""Ports of containers. They have this machine's network, so a port can only be checked, or forwarded from another number."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import socket
import threading
from collections.abc import Callable
from typing import Final

from layerlab.errors import UsageError
from layerlab.model import PublishedPort

_LOOPBACK: Final = "127.0.0.1"
_BLOCK: Final = 1 << 16


def check_free(ports: tuple[PublishedPort, ...], holder: Callable[[int], str]) -> None:
    """See that nobody has the ports that a container is to have. ``holder`` names a container of ours that has a port, or is empty.

    A forwarded port needs both of its numbers: the second one is opened by the container itself, on this machine as well.
    Raises ``UsageError``.
    """
    for port in ports:
        _listening(port.ip or (_LOOPBACK if port.host != port.container else ""), port.host, holder).close()
        if port.host != port.container:
            _listening("", port.container, holder, inner=True).close()


def _listening(ip: str, number: int, holder: Callable[[int], str], *, inner: bool = False) -> socket.socket:
    address = ip or "0.0.0.0"
    opened = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
    try:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        opened.bind((address, number))
        opened.listen()
    except OSError as error:
        opened.close()
        raise _refused(address, number, error, holder(number), inner=inner) from error
    return opened


def _refused(ip: str, number: int, error: OSError, held_by: str, *, inner: bool) -> UsageError:
    if error.errno == errno.EADDRINUSE:
        if inner:
            remedy = "Containers of the embedded engine open their ports on this machine, so CONTAINER must be free here as well."
        elif held_by:
            remedy = f"Publish another port, or remove that container: layerlab rm -f {held_by.partition(' ')[0]}"
        else:
            remedy = "Publish another port, or end what has this one."
        whose = f" by container {held_by}" if held_by else ""
        return UsageError(f"Bind for {ip}:{number} failed: port is already allocated{whose}", remedy=remedy)
    if error.errno == errno.EACCES:
        return UsageError(f"port {number} cannot be opened: {os.strerror(errno.EACCES)}", remedy="Use a port from 1024 on.")
    return UsageError(f"{ip}:{number} cannot be opened: {error.strerror or error}", remedy="Use an address of this machine, or none.")


class Forwarder(contextlib.AbstractContextManager["Forwarder"]):
    """Forwards TCP connections from the published ports whose two numbers differ, in a thread, for the length of the block.

    It listens on loopback unless a port names an address. Raises ``UsageError`` for a port that cannot be opened.
    """

    def __init__(self, ports: tuple[PublishedPort, ...]) -> None:
        self._ports = [port for port in ports if port.host != port.container]
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Forwarder:
        sockets: list[tuple[socket.socket, int]] = []
        try:
            sockets.extend((_listening(port.ip or _LOOPBACK, port.host, _nobody), port.container) for port in self._ports)
        except BaseException:
            for opened, _ in sockets:
                opened.close()
            raise
        if sockets:
            self._loop = asyncio.new_event_loop()
            self._thread = threading.Thread(target=self._serve, args=(self._loop, sockets), name="forwarder", daemon=True)
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._loop is not None and self._thread is not None:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop = self._thread = None

    @staticmethod
    def _serve(loop: asyncio.AbstractEventLoop, sockets: list[tuple[socket.socket, int]]) -> None:
        asyncio.set_event_loop(loop)
        servers = [loop.run_until_complete(_server(opened, target)) for opened, target in sockets]
        loop.run_forever()
        for server in servers:
            server.close()
        left = asyncio.all_tasks(loop)
        for task in left:
            task.cancel()
        loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
        # Whatever a connection still had to close.
        loop.run_until_complete(asyncio.sleep(0))
        loop.close()


def _nobody(_number: int) -> str:
    return ""


async def _server(opened: socket.socket, target: int) -> asyncio.Server:
    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            inner_reader, inner_writer = await asyncio.open_connection(_LOOPBACK, target)
        except OSError:
            # Nobody listens there (yet): the caller sees a connection that is closed at once, as with docker's proxy.
            writer.close()
            return
        try:
            await asyncio.gather(_pump(reader, inner_writer), _pump(inner_reader, writer))
        finally:
            inner_writer.close()
            writer.close()

    return await asyncio.start_server(connected, sock=opened)


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while block := await reader.read(_BLOCK):
            writer.write(block)
            await writer.drain()
        # Only this direction is at its end.
        if writer.can_write_eof():
            writer.write_eof()
