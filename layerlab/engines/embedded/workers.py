"""The client side of the worker process: starting it, asking it, turning its answers into our errors."""

from __future__ import annotations

import contextlib
import errno
import os
import struct
import sys
import threading
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar

import msgspec

from layerlab.engines.embedded.rootfs.messages import Answer, Done, Failure, Lay, LetGo, Ok, Remove, Request, Tidy, answer_of
from layerlab.engines.embedded.rootfs.paths import OF_THE_TREE
from layerlab.errors import (
    BaseImageError,
    ContextError,
    DockerfileError,
    ExecutorError,
    ImagePathError,
    LayerlabError,
    MissingSourceError,
    StoreError,
    UnsupportedError,
)

# A build in which nothing runs starts no process.
if TYPE_CHECKING:
    import subprocess

_LENGTH: Final = struct.Struct("<I")
_START: Final = (
    "import sys; sys.path[:] = {path!r}; from layerlab.engines.embedded.rootfs.worker import main; main({mode!r}, {snapshotter!r})"
)

_Made = TypeVar("_Made")


class Laid(NamedTuple):
    """A tree that was laid: where it is in its mount namespace, and descriptors of that and of its user namespace, ``None`` for our own."""

    point: str
    mounts: int
    user: int | None


class CopyLimitError(ContextError):
    """A copy that would be larger than its ``limit``; it was stopped before."""


class WorkerProcess:
    """One worker, started on the first request. Safe to use from several threads; requests queue."""

    def __init__(self, store: str, mode: str, snapshotter: str) -> None:
        self.store = store
        self.mode = mode
        self.snapshotter = snapshotter
        self._process: subprocess.Popen[bytes] | None = None
        self._greeted = False
        self._discarded: list[str] = []
        self._tidies = False
        # Requests whose answers have not been read.
        self._owed = 0
        self._lock = threading.RLock()
        self._decoders: dict[type[Any], msgspec.msgpack.Decoder[Any]] = {}
        # Killed before it was started.
        self._doomed = False

    def start(self) -> None:
        """Start the process without waiting for it, so that it is ready when it is needed."""
        with self._lock:
            self._start()

    def _start(self) -> subprocess.Popen[bytes]:
        if self._doomed:
            self._doomed = False
            raise _ended()
        if self._process is None:
            import subprocess

            code = _START.format(path=sys.path, mode=self.mode, snapshotter=self.snapshotter)
            # Its own process group: Ctrl-C reaches the engine alone, which then ends the worker in order.
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-S", "-c", code],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                cwd=self.store,
                process_group=0,
            )
            self._greeted = False
        return self._process

    def ask(self, request: Request[Answer]) -> Answer:
        """One request. Raises what the answer says: ``ContextError``, ``StoreError``, ``BaseImageError``, ``OSError`` …, and
        ``MemoryError`` where the process may have no more memory."""
        with self._lock:
            self._post(request)
            return self._answer_to(request)

    def _post(self, request: Request[Any]) -> None:
        """A request whose answer is read before that to the next one, if nobody asks for it. Raises ``ExecutorError``."""
        with self._lock, self._whole() as process:
            self._send(process, request)
            self._owed += 1

    def _answer_to(self, request: Request[Answer]) -> Answer:
        """The answer to the last request, which this was; those before it tell nobody anything."""
        with self._whole() as process:
            while self._owed:
                body = self._receive(process)
                self._owed -= 1
        found: Answer = _raise_or_return(self._decoder(answer_of(type(request))).decode(body))
        return found

    @contextlib.contextmanager
    def _whole(self) -> Iterator[subprocess.Popen[bytes]]:
        """The process; it is stopped if the block fails: a half-read answer must never be taken for the answer to the next request."""
        process = self._start()
        try:
            if not self._greeted:
                _raise_or_return(self._decoder(Done).decode(self._receive(process)))
                self._greeted = True
            yield process
        except BaseException:
            self._stop()
            raise

    @staticmethod
    def _send(process: subprocess.Popen[bytes], request: Request[Any]) -> None:
        assert process.stdin is not None
        body = msgspec.msgpack.encode(request)
        try:
            process.stdin.write(_LENGTH.pack(len(body)) + body)
            process.stdin.flush()
        except BrokenPipeError as error:
            # Passed on, it would look like a reader of our own output that has gone.
            raise _ended() from error

    def discard(self, *paths: str) -> None:
        """Note what nobody needs any more, for ``tidy`` and ``settle``; what is not removed then stays for the next sweep."""
        with self._lock:
            self._discarded += paths

    def tidy(self) -> None:
        """Begin to remove what was discarded, and to make what the next command needs, while its client goes on."""
        with self._lock:
            # Each path once: when it has gone, its name may be given to something else.
            paths, self._discarded = list(dict.fromkeys(self._discarded)), []
            if paths:
                self._tidies = True
                with contextlib.suppress(LayerlabError, OSError):
                    self._post(Tidy(paths=paths))

    def settle(self) -> None:
        """Wait until what was discarded has gone."""
        with self._lock:
            self.tidy()
            if self._tidies and self._process is not None:
                self.ask(Remove(paths=[]))
            self._tidies = False

    @contextlib.contextmanager
    def lay(
        self, root: dict[str, Any], mounts: list[dict[str, Any]], cwd: str, program: str, meanwhile: Callable[[], _Made]
    ) -> Iterator[tuple[Laid, _Made]]:
        """A tree for one command, laid in a mount namespace of its own, which is there until this and what was started in it has ended.

        ``program``: what will be started in it, in the directory ``cwd``; see ``mounting.lay``. ``meanwhile``: what its client has to do
        before it is started, and can do while the worker lays; with what it returns.

        Raises ``DockerfileError`` for a mount or a directory that has no place, ``OSError``, and what ``meanwhile`` raises.
        """
        with contextlib.ExitStack() as stack:
            # The worker has one namespace at a time.
            with self._lock:
                request = Lay(root=root, mounts=mounts, cwd=cwd, program=program)
                self._post(request)
                try:
                    made = meanwhile()
                    tree = self._answer_to(request)
                    numbers = [tree.namespace, *([tree.user] if tree.user >= 0 else [])]
                    # The worker cannot end meanwhile: it is asked for something else afterwards.
                    held = [os.open(f"/proc/{tree.process}/fd/{number}", os.O_RDONLY | os.O_CLOEXEC) for number in numbers]
                    for descriptor in held:
                        stack.callback(os.close, descriptor)
                finally:
                    if self._process is not None:
                        self._post(LetGo())
            yield Laid(tree.point, held[0], held[1] if len(held) > 1 else None), made

    def _receive(self, process: subprocess.Popen[bytes]) -> bytes:
        assert process.stdout is not None
        head = process.stdout.read(_LENGTH.size)
        if len(head) < _LENGTH.size:
            raise _ended()
        return process.stdout.read(_LENGTH.unpack(head)[0])

    def _decoder(self, kind: type[Any]) -> msgspec.msgpack.Decoder[Any]:
        """Of answers of a type: made when the first one comes."""
        if kind not in self._decoders:
            self._decoders[kind] = msgspec.msgpack.Decoder(Ok[kind] | Failure)  # type: ignore[valid-type]
        return self._decoders[kind]

    def _stop(self) -> None:
        if self._process is not None:
            for stream in (self._process.stdin, self._process.stdout):
                if stream is not None:
                    with contextlib.suppress(OSError):
                        stream.close()
            self._process.kill()
            self._process.wait()
            self._process = None
            self._owed = 0

    def kill(self) -> None:
        """End the process whatever it is doing; from any thread. A request that is not answered fails."""
        process = self._process
        if process is not None:
            process.kill()
        else:
            self._doomed = True

    def close(self) -> None:
        """End the process, when it has removed what it was given to."""
        with contextlib.suppress(LayerlabError, OSError):
            self.settle()
        with self._lock:
            self._stop()


def _ended() -> ExecutorError:
    return ExecutorError(
        "the worker process ended unexpectedly",
        remedy="This is a bug of layerlab, unless something on this machine killed the process.",
    )


def _raise_or_return(answer: Ok[Any] | Failure) -> Any:
    if isinstance(answer, Ok):
        return answer.ok
    error = translate(answer.kind, answer.message, answer.errno, answer.path)
    if isinstance(error, MissingSourceError):
        error.looked, error.at_copy = answer.looked, answer.at_copy
    raise error


def translate(kind: str, message: str, number: int = 0, path: str = "") -> Exception:
    """The exception for an answer that is an error."""
    if kind == "os":
        if number == errno.ENOSPC:
            return StoreError("the disk of the store is full", remedy="Free some space, or run: layerlab prune")
        if number == errno.EROFS:
            return StoreError("the store is on a read-only file system", remedy="Set LAYERLAB_STORE to a directory that can be written to.")
        if number in OF_THE_TREE:
            # Where a layer lies in the store is nobody's business.
            return ImagePathError(message, path if number == errno.ELOOP else "")
        return OSError(number, message, path)
    classes: dict[str, type[LayerlabError]] = {
        "missing-source": MissingSourceError,
        "dockerfile": DockerfileError,
        "context": ContextError,
        "base-image": BaseImageError,
        "limit": CopyLimitError,
    }
    if kind == "layers":
        return UnsupportedError(
            message, remedy="Make fewer of more: join steps and base images. LAYERLAB_SNAPSHOTTER=copy has no such limit."
        )
    if kind == "memory":
        return MemoryError(message)
    if kind == "changed":
        shown = os.path.basename(message)
        return ContextError(f"{shown} changed while the build was reading it ({message})", remedy="Build again.")
    return classes.get(kind, ContextError)(message)
