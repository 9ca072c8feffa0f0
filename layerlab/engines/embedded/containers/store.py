"""Containers in the store: a directory for each, with what it was made of, what became of it, and whether it runs.

    containers/ID12/config  what it is (``ContainerRow``), written once
                    state   when it started, ended, and how (``ContainerState``)
                    lock    held by the process that runs it; a lock that nobody holds means that it does not run, whatever ``state`` says
                    control a pipe that this process reads: numbers of signals, one a line
                    log     what it wrote (``log``)
                    u w b   its root filesystem as the overlay snapshotter has it; t marks, as the copy snapshotter has it

The directory appears complete and disappears as a whole, by renaming from and to ``tmp/``.
"""

from __future__ import annotations

import contextlib
import datetime
import errno
import fcntl
import os
import re
import secrets
import signal
import time
from collections.abc import Iterator, Mapping
from typing import Final

import msgspec

from layerlab.engines.embedded.containers.names import new_name
from layerlab.engines.embedded.rootfs.messages import Remove
from layerlab.engines.embedded.store import Store, end_orphans
from layerlab.engines.embedded.workers import WorkerProcess
from layerlab.errors import StoreError, UsageError
from layerlab.fsutil import locked, write_atomically
from layerlab.model import ContainerSummary, PublishedPort

_NAME: Final = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]+\Z")
_ID: Final = re.compile(r"[0-9a-f]{1,64}\Z")
# Long enough to be unique, short enough for overlayfs, which limits the length of its options.
_DIRECTORY_DIGITS: Final = 12
_POLL_SECONDS: Final = 0.02
_END_SECONDS: Final = 10.0
KILLED: Final = 128 + signal.SIGKILL


class ContainerRow(msgspec.Struct, frozen=True, kw_only=True):
    """What a container is made of.

    ``argv``, ``environment``, ``cwd`` and ``user`` are those of its command; ``image`` as the user named it.
    """

    id: str
    name: str
    image: str
    image_id: str
    diff_ids: tuple[str, ...]
    argv: tuple[str, ...]
    environment: Mapping[str, str]
    cwd: str
    user: str
    network: bool
    ports: tuple[PublishedPort, ...]
    remove: bool
    stop_signal: int
    created: str

    @property
    def directory(self) -> str:
        """Its directory, relative to the store."""
        return f"containers/{self.id[:_DIRECTORY_DIGITS]}"


class ContainerState(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a container. Times are ISO 8601 in UTC.

    ``exit_status`` is ``None`` while it runs, and where its shim was killed.
    """

    started: str = ""
    finished: str = ""
    exit_status: int | None = None


_row_decoder = msgspec.json.Decoder(ContainerRow)
_state_decoder = msgspec.json.Decoder(ContainerState)


def now() -> str:
    """This moment."""
    return datetime.datetime.now(datetime.UTC).isoformat().replace("+00:00", "Z")


class ContainerStore:
    """The containers of a store."""

    def __init__(self, store: Store, worker: WorkerProcess) -> None:
        self.store = store
        self._worker = worker

    def path(self, row: ContainerRow, *parts: str) -> str:
        """Absolute path of something in a container's directory."""
        return os.path.join(self.store.path, row.directory, *parts)

    # --- making -----------------------------------------------------------------------------------------------------

    def create(self, row: ContainerRow) -> ContainerRow:
        """Keep a new container; an empty ``id`` or ``name`` is filled in. Raises ``UsageError`` for a name that is taken or malformed."""
        if row.name and _NAME.match(row.name) is None:
            raise UsageError(
                f"Invalid container name ({row.name}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed", remedy="Choose another --name."
            )
        with self.store.guarded(), locked(os.path.join(self.store.path, "locks", "containers")):
            others = {other.name: other for other in self.rows()}
            if row.name in others:
                raise UsageError(
                    f'Conflict. The container name "/{row.name}" is already in use by container "{others[row.name].id}"',
                    remedy=f"Remove it (layerlab rm {row.name}), or choose another name.",
                )
            made = msgspec.structs.replace(
                row, id=row.id or secrets.token_hex(32), name=row.name or new_name(others), created=row.created or now()
            )
            os.makedirs(os.path.join(self.store.path, "containers"), exist_ok=True)
            half = os.path.join(self.store.path, self._aside(made))
            os.mkdir(half)
            write_atomically(os.path.join(half, "config"), msgspec.json.encode(made), mode=0o600)
            os.mkfifo(os.path.join(half, "control"), 0o600)
            os.rename(half, self.path(made))
        return made

    def _aside(self, row: ContainerRow) -> str:
        # Named by the process, so that what a killed one leaves is removed with its other scratch.
        return f"tmp/{os.getpid()}-container-{row.id[:_DIRECTORY_DIGITS]}"

    # --- finding ----------------------------------------------------------------------------------------------------

    def rows(self) -> list[ContainerRow]:
        """All containers, newest first."""
        found = []
        try:
            names = os.listdir(os.path.join(self.store.path, "containers"))
        except FileNotFoundError:
            return []
        for name in names:
            path = os.path.join(self.store.path, "containers", name, "config")
            with contextlib.suppress(FileNotFoundError, msgspec.MsgspecError), open(path, "rb") as stream:
                found.append(_row_decoder.decode(stream.read()))
        return sorted(found, key=lambda row: row.created, reverse=True)

    def find(self, container: str) -> ContainerRow:
        """The container with an ID, a name or the start of an ID. Raises ``UsageError`` with docker's words."""
        rows = self.rows()
        for row in rows:
            if container in (row.id, row.name):
                return row
        fitting = [row for row in rows if _ID.match(container) and row.id.startswith(container)]
        if len(fitting) > 1:
            raise UsageError(f"{container} is the start of {len(fitting)} container IDs", remedy="Give more of it.")
        if not fitting:
            raise UsageError(f"No such container: {container}", remedy="`layerlab ps -a` lists those that are here.")
        return fitting[0]

    def state(self, row: ContainerRow) -> ContainerState:
        """What was written down of a container's life."""
        try:
            with open(self.path(row, "state"), "rb") as stream:
                return _state_decoder.decode(stream.read())
        except (FileNotFoundError, msgspec.MsgspecError):
            return ContainerState()

    def put_state(self, row: ContainerRow, state: ContainerState) -> None:
        """Write down what became of a container. Raises ``StoreError``."""
        with self.store.guarded():
            write_atomically(self.path(row, "state"), msgspec.json.encode(state))

    def summary(self, row: ContainerRow) -> ContainerSummary:
        """A container's row of ``ps``."""
        running = self.is_running(row)
        state = self.state(row)
        known = ContainerSummary(
            id=row.id,
            name=row.name,
            image=row.image,
            image_id=row.image_id,
            command=row.argv,
            created=row.created,
            state="created",
            started=state.started,
            ports=row.ports,
        )
        if not state.started:
            return known
        if running and not state.finished:
            return msgspec.structs.replace(known, state="running")
        # A shim that was killed took its container with it and could write nothing down; the log was its last sign of life.
        return msgspec.structs.replace(
            known,
            state="exited",
            finished=state.finished or self._last_sign(row),
            exit_status=state.exit_status if state.exit_status is not None else KILLED,
        )

    def _last_sign(self, row: ContainerRow) -> str:
        try:
            moment = os.stat(self.path(row, "log")).st_mtime
        except OSError:
            return ""
        return datetime.datetime.fromtimestamp(moment, datetime.UTC).isoformat().replace("+00:00", "Z")

    # --- running ----------------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def held(self, row: ContainerRow) -> Iterator[None]:
        """Be the process that runs a container, for the length of the block."""
        with contextlib.ExitStack() as stack:
            with self.store.guarded():
                stack.enter_context(locked(self.path(row, "lock")))
            yield

    def is_running(self, row: ContainerRow) -> bool:
        """Whether some process runs a container. No process id is trusted: the kernel lets go of a lock when its holder dies."""
        try:
            descriptor = os.open(self.path(row, "lock"), os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(descriptor)
        return False

    def holder(self, port: int) -> str:
        """Name and ID of the running container that has a port of this machine, or an empty string."""
        for row in self.rows():
            if any(port in (published.host, published.container) for published in row.ports) and self.is_running(row):
                return f"{row.name} ({row.id[:_DIRECTORY_DIGITS]})"
        return ""

    # --- ending -----------------------------------------------------------------------------------------------------

    def stop(self, row: ContainerRow, seconds: float) -> None:
        """Send a container its stop signal, and SIGKILL when it has not ended ``seconds`` later. Raises ``StoreError``."""
        self._send(row, row.stop_signal)
        if not self._ends(row, seconds):
            self.kill(row)

    def kill(self, row: ContainerRow) -> None:
        """End a container at once. Raises ``StoreError`` when it does not."""
        self._send(row, signal.SIGKILL)
        if not self._ends(row, _END_SECONDS):
            raise StoreError(f"container {row.name} does not end", remedy="Something on this machine holds it up; try again.")

    def _send(self, row: ContainerRow, number: int) -> None:
        try:
            descriptor = os.open(self.path(row, "control"), os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            # ENXIO: nobody reads, so nobody runs it.
            if error.errno not in (errno.ENXIO, errno.ENOENT):
                raise
            return
        try:
            os.write(descriptor, b"%d\n" % number)
        finally:
            os.close(descriptor)

    def _ends(self, row: ContainerRow, seconds: float) -> bool:
        deadline = time.monotonic() + seconds
        while self.is_running(row):
            if time.monotonic() > deadline:
                return False
            time.sleep(_POLL_SECONDS)
        return True

    def remove(self, row: ContainerRow, *, force: bool = False) -> None:
        """Remove a container and what it wrote. Raises ``UsageError`` for one that runs, unless ``force`` ends it."""
        if self.is_running(row):
            if not force:
                raise UsageError(
                    f'cannot remove container "/{row.name}": container is running: stop the container before removing or force remove',
                    remedy=f"layerlab stop {row.name}, or layerlab rm -f {row.name}",
                )
            self.kill(row)
        self.discard(row)

    def discard(self, row: ContainerRow) -> None:
        """Remove a container that does not run; harmless when it is gone."""
        if self.state(row).exit_status is None:
            # Its shim was killed, perhaps in the moment before the sandbox had asked to die with it.
            end_orphans([self.path(row) + "/"])
        aside = self._aside(row)
        with self.store.guarded():
            try:
                os.rename(self.path(row), os.path.join(self.store.path, aside))
            except FileNotFoundError:
                return
        self._worker.ask(Remove(paths=[aside]))

    def sweep(self) -> None:
        """Remove containers with ``--rm`` whose shim was killed before it could."""
        for row in self.rows():
            if row.remove and self.state(row).started and not self.is_running(row):
                self.discard(row)
