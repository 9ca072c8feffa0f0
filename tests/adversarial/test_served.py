"""What an image answers when the grader asks for its page: whatever bytes come, the grader has an answer, or learns that it is none."""

from __future__ import annotations

import contextlib
import json
import os
import random
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

Serve = Callable[[socket.socket], None]
_HEAD = b"HTTP/1.1 200 OK\r\n"
_CHUNKED = _HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
# The probe, as the grader starts it, but for the network that it enters.
_PROBE = """
import json, os, sys
from autograder.sandbox import probe
print(json.dumps(probe.ask(os.getpid(), int(sys.argv[1]), "/", 0.2, 1 << 16)))
# Not what getrusage says: that begins with the memory of whoever started this.
print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")), file=sys.stderr)
"""
_MOST_KIB = 300 << 10


@contextlib.contextmanager
def _server(serve: Serve) -> Iterator[int]:
    """A server that does so with every connection, one after the other; its port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def run() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with connection, contextlib.suppress(OSError):
                    connection.recv(1 << 16)
                    serve(connection)

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)


def _asked(serve: Serve) -> tuple[dict[str, object], int]:
    """What the probe prints, and its memory in KiB."""
    with _server(serve) as port:
        command = [sys.executable, "-c", _PROBE, str(port)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=180, check=True, cwd=Path(__file__).parents[2])
    return json.loads(done.stdout), int(done.stderr.splitlines()[-1])


def _without_end(start: bytes) -> Serve:
    def serve(connection: socket.socket) -> None:
        connection.sendall(start)
        block = bytes(1 << 20)
        end = time.monotonic() + 20
        while time.monotonic() < end:
            connection.sendall(block)

    return serve


ENDLESS = {
    "a chunk of less than nothing": _CHUNKED + b"-1\r\n",
    "a chunk of all": _CHUNKED + b"7fffffffffffffff\r\n",
    "a body": _HEAD + b"\r\n",
    "a body of a length": _HEAD + b"Content-Length: 99999999999999\r\n\r\n",
    "a header": _HEAD + b"X: ",
    "a line of state": b"HTTP/1.1 200 ",
    "a size of a chunk": _CHUNKED + b"1",
}


@pytest.mark.parametrize("start", ENDLESS.values(), ids=ENDLESS.keys())
def test_an_answer_without_end(start: bytes) -> None:
    started = time.monotonic()
    reply, memory = _asked(_without_end(start))
    assert ("body" in reply) != ("error" in reply)
    assert memory < _MOST_KIB
    assert time.monotonic() - started < 20


@pytest.mark.parametrize("size", ["-2", "-99999999999999999999", "zz", ""])
def test_a_chunk_that_is_none(size: str) -> None:
    reply, _ = _asked(lambda connection: connection.sendall(_CHUNKED + size.encode() + b"\r\nabc\r\n"))
    assert "error" in reply


def test_drawn_answers() -> None:
    seed = os.environ.get("LAYERLAB_SEED") or f"{random.SystemRandom().getrandbits(64):x}"
    print(f"LAYERLAB_SEED={seed}")
    draws = random.Random(seed)
    for _ in range(40):
        answer = _drawn(draws)
        reply, memory = _asked(lambda connection, answer=answer: connection.sendall(answer))  # type: ignore[misc]
        assert ("body" in reply) != ("error" in reply), answer
        assert memory < _MOST_KIB, answer


def _drawn(draws: random.Random) -> bytes:
    sizes = (b"0", b"3", b"-1", b"-2", b"-0", b"+3", b"0x3", b"3_0", b"", b" 3 ", b"zz", b"9" * 30, b"\xb3", b"3;x=" + b"y" * 70_000)
    states = (b"-200", b"099", b"1000", b"2 0", b"", b"\xb2\xb0\xb0", b"204", b"100", b"101")
    headers = (
        *(b"Content-Length: " + size for size in sizes),
        *(b"Transfer-Encoding: gzip", b"Content-Length: 3", b"Connection: upgrade", b": y", b"no colon", b"\xff\xfe: \xff", b"X: \x00"),
        *(b"X" * 70_000 + b": y", b" folded", b"X: " + b"\xe9" * 9),
        # The parser of headers reads what these say of parts that never come (RFC 2231).
        *(b"Content-Type: multipart/x; boundary" + rest for rest in (b"", b"*=a'b'%FF", b"*=utf-\x00'b'c", b"*1=c", b"*0*=x'", b"*\xe9=1")),
        *(b"Content-Type: message/" + rest for rest in (b"rfc822", b"delivery-status", b"external-body; x*=;")),
    )
    chunked = b"Transfer-Encoding: chunked"
    versions = (b"HTTP/1.0", b"HTTP/9", b"HTTP", b"\x00", b"ICY", b"")
    head = draws.choice((_HEAD[:8], _HEAD[:8], draws.choice(versions))) + b" " + draws.choice((b"200", b"200", draws.choice(states)))
    lines = [head + draws.choice((b" OK", b"", b" \xff\xfe", b" " + b"z" * 70_000))]
    lines += draws.choices((chunked, chunked, draws.choice(headers)), k=draws.choice((0, 1, 1, 2, 150)))
    body = b"".join(draws.choice(sizes) + b"\r\n" + draws.choice((b"abc", b"", b"\x00" * 9)) + b"\r\n" for _ in range(draws.randrange(4)))
    return draws.choice((b"\r\n", b"\r\n", b"\r\n", b"\n", b"\r")).join(lines) + b"\r\n\r\n" + body
