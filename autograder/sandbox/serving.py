"""Running the built image without a network and asking it for a page."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import msgspec

from autograder.sandbox.faults import is_students
from autograder.sandbox.processes import number_inside, sandboxed
from layerlab.engines.embedded.containers.task import Task
from layerlab.engines.embedded.engine import EmbeddedEngine
from layerlab.errors import ExecutorError, LayerlabError, UsageError

_BODY_LIMIT: Final = 64 << 10
_LOG_LIMIT: Final = 2000
_JOIN_SECONDS: Final = 15.0
_LAST_WORDS_SECONDS: Final = 1.0


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What the app said. ``body`` is ``None`` where nothing answered; then ``problem`` says why. ``headers``: their names, in lower case.
    ``log``: the end of its output."""

    body: str | None = None
    status: int = 0
    headers: frozenset[str] = frozenset()
    problem: str = ""
    log: str = ""

    def says(self, text: str) -> bool:
        """Whether the app answered with this text and nothing else."""
        return self.status == 200 and self.body is not None and self.body.strip() == text


class _Reply(msgspec.Struct):
    status: int = 0
    body: str | None = None
    headers: frozenset[str] = frozenset()
    error: str = ""
    join: str = ""


def ask(engine: EmbeddedEngine, image: str, *, environment: Mapping[str, str], port: int, path: str, seconds: float) -> Answer:
    """Start a container of ``image`` with ``environment`` and ``PORT`` set and ask it for ``path`` for at most ``seconds``.

    Raises ``ExecutorError`` where the sandbox's network cannot be entered, which is no fault of the image.
    """
    log = bytearray()
    before = sandboxed()
    try:
        with engine.container(image, environment={**environment, "PORT": str(port)}, network=False) as running:
            reader = threading.Thread(target=_drain, args=(running, log), daemon=True)
            reader.start()
            process = _wait_for_sandbox(before, reader)
            reply = _probe(process, port, path, seconds) if process else _Reply(error="it ended at once")
            if reply.body is None:
                # Its last words may still be on their way.
                reader.join(timeout=_LAST_WORDS_SECONDS)
            ended = not reader.is_alive()
        reader.join(timeout=5)
    except LayerlabError as error:
        # An image without a command is one that cannot be used.
        if not (is_students(error.kind, error.code) or isinstance(error, UsageError)):
            raise
        return Answer(problem=error.message)
    text = bytes(log[-_LOG_LIMIT:]).decode("utf-8", "replace")
    if reply.join and not ended:
        raise ExecutorError(f"the network of the sandbox cannot be entered: {reply.join}")
    if reply.body is None:
        why = f"the container ended with exit status {running.status}" if ended else f"nothing answered on port {port}: {reply.error}"
        return Answer(problem=why, log=text)
    return Answer(body=reply.body, status=reply.status, headers=reply.headers, log=text)


def _drain(running: Task, log: bytearray) -> None:
    def keep(block: bytes) -> None:
        log.extend(block)
        # A container may write without end.
        del log[: -2 * _LOG_LIMIT]

    with contextlib.suppress(OSError, ValueError):
        running.wait(keep)


def _probe(process: int, port: int, path: str, seconds: float) -> _Reply:
    command = [
        sys.executable,
        "-I",
        "-S",
        str(Path(__file__).with_name("probe.py")),
        str(process),
        str(port),
        path,
        str(seconds),
        str(_BODY_LIMIT),
    ]
    try:
        done = subprocess.run(command, capture_output=True, stdin=subprocess.DEVNULL, timeout=seconds + 30, check=False)
        return msgspec.json.decode(done.stdout, type=_Reply)
    except subprocess.TimeoutExpired:
        return _Reply(error="it took the connection and never finished its answer")
    except msgspec.MsgspecError as error:
        raise ExecutorError("the probe of the container gave no answer") from error


def _wait_for_sandbox(before: frozenset[int], reader: threading.Thread) -> int:
    """The process id of the first process of the new sandbox, which lives as long as that; 0 where it ended first."""
    end = time.monotonic() + _JOIN_SECONDS
    while reader.is_alive() and time.monotonic() < end:
        for process in sandboxed() - before:
            if number_inside(process) == 1:
                return process
        time.sleep(0.02)
    return 0
