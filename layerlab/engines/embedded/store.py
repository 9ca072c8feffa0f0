"""The store: blobs by digest, layers as directories, cache records by key, images by name.

Nothing here knows what a build is. The store survives a kill at any point: a thing is written under a temporary name, synced as far
as its readers depend on it, and renamed; a layer or record that is not complete does not exist. Several processes may use
one store.

    version            format of the store
    blobs/sha256/HEX   image configurations, manifests, and layers as they came or are sent
    s/N                layer N in overlay form (short names: overlayfs limits the length of its options)
    s/N.owners         intended owners, single-id mode only
    layers/DIFF_ID     says which N holds a layer
    records/KEY        cache records
    content/DIGEST     what selections read from root filesystems
    images/NAME        tags and pinned base images
    contexts/ID/…      checksum cache and last builds of a build context
    mounts/ID          cache mounts
    compressed/DIFF_ID digest of a layer's compressed blob; downloads/ unfinished pulls
    remote/ID/…        files that ADD took from web servers (``images/http_sources``)
    containers/ID/…    containers that stay (``containers/store``)
    root/              always empty: where the tree of a command is laid, in a mount namespace of its own (``rootfs/mounting``)
    locks/  tmp/       locks; work in progress, one directory per process
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import itertools
import json
import os
import shutil
import signal
import time
import urllib.parse
from collections.abc import Iterator
from typing import Final

import msgspec

from layerlab.context import Selected, Selection
from layerlab.engines.embedded.rootfs.messages import Content
from layerlab.errors import StoreError
from layerlab.fsutil import locked, remove_tree, write_atomically
from layerlab.model import ImageRow
from layerlab.solver.plan import CacheRecord

FORMAT: Final = "1"
# Stands before the number of a layer that is placed and has no digest yet.
PENDING: Final = "pending:"
_ROOM: Final = 4 << 20
# How the names of images without a name begin.
UNNAMED: Final = "<none>"
_DIRECTORIES: Final = ("blobs/sha256", "s", "layers", "records", "content", "images", "contexts", "mounts", "locks", "tmp")


class LayerRow(msgspec.Struct, frozen=True, kw_only=True):
    """Where a layer is and what it weighs. ``size``: bytes of regular files; ``length``: of the tar.

    A layer that came from elsewhere keeps the blob it came as (``blob``), because its tar cannot be written again byte for byte;
    ``check`` is then the digest of our own tar of its directory, for ``verify``. ``damaged``: ``verify`` found other content.
    """

    number: int
    diff_id: str
    size: int
    length: int
    empty: bool
    blob: str = ""
    check: str = ""
    damaged: bool = False


_record_decoder = msgspec.json.Decoder(CacheRecord)
_layer_decoder = msgspec.json.Decoder(LayerRow)
_image_decoder = msgspec.json.Decoder(ImageRow)
_content_decoder = msgspec.msgpack.Decoder(Content)


def _at_once(path: str, flags: int) -> int:
    """An opener that waits for nobody: what is a pipe where a file should be is empty."""
    return os.open(path, flags | os.O_NONBLOCK)


class Store:
    """One store on disk. Raises ``StoreError`` when it cannot be used as it is."""

    def __init__(self, path: str) -> None:
        self.path = os.path.realpath(path)
        self._records: dict[str, CacheRecord] = {}
        self._scratch: str | None = None
        self._seen_prune = 0
        try:
            if not os.path.exists(self._at("version")):
                # Layers hold setuid programs and devices of whatever image was built: nobody else may reach them.
                os.makedirs(self.path, mode=0o700, exist_ok=True)
                os.chmod(self.path, 0o700)
                for name in _DIRECTORIES:
                    os.makedirs(self._at(name), mode=0o755, exist_ok=True)
                write_atomically(self._at("version"), FORMAT.encode())
            with open(self._at("version"), encoding="ascii", errors="replace") as stream:
                found = stream.read().strip()
            self._complete()
        except OSError as error:
            raise self._error(error) from error
        if found != FORMAT:
            raise StoreError(
                f"the store {self.path} has format {found!r}, this layerlab reads format {FORMAT!r}",
                remedy=f"Use another store (LAYERLAB_STORE), or delete this one: rm -r {self.path}",
            )

    def _complete(self) -> None:
        """Make directories that are gone, as a backup leaves out empty ones. Raises ``StoreError`` where something else is in the place."""
        for path in map(self._at, _DIRECTORIES):
            if not os.path.isdir(path):
                if os.path.lexists(path):
                    raise StoreError(
                        f"the store {self.path} is damaged: {path} is not a directory",
                        remedy="Remove that, and run: layerlab verify. Or use another store (LAYERLAB_STORE).",
                    )
                os.makedirs(path, mode=0o755, exist_ok=True)

    def _at(self, *parts: str) -> str:
        return os.path.join(self.path, *parts)

    def _error(self, error: OSError) -> StoreError:
        if error.errno == errno.ENOSPC:
            return StoreError(f"the disk of the store {self.path} is full", remedy="Free some space, or run: layerlab prune")
        if error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
            return StoreError(
                f"the store {self.path} cannot be written to: {error.strerror}",
                remedy="Set LAYERLAB_STORE to a directory that you can write to.",
            )
        return StoreError(
            f"the store {self.path} cannot be used: {error.strerror or error}", remedy="Set LAYERLAB_STORE to another directory."
        )

    @contextlib.contextmanager
    def guarded(self) -> Iterator[None]:
        """Turn what the operating system says about the store inside the block into a ``StoreError``."""
        try:
            yield
        except BrokenPipeError:
            # The store is made of files: this is the reader of a report, who has gone.
            raise
        except OSError as error:
            raise self._error(error) from error

    def is_full(self) -> bool:
        """Whether the disk has no room left for even the store's own records."""
        room = os.statvfs(self.path)
        return room.f_bavail * room.f_frsize < _ROOM

    # --- work in progress -------------------------------------------------------------------------------------------

    def scratch(self) -> str:
        """A directory of this process for work in progress, relative to the store; leftovers of dead processes are removed first."""
        if self._scratch is None:
            with self.guarded():
                for name in self.dead_scratch():
                    # Another process may be at it too.
                    with contextlib.suppress(OSError):
                        remove_tree(self._at(name))
                scratch = f"tmp/{os.getpid()}"
                os.makedirs(self._at(scratch), exist_ok=True)
            self._scratch = scratch
        return self._scratch

    def scratch_directory(self) -> str:
        """A new, empty directory in ``scratch()``, relative to the store. Its name is short: overlayfs limits the length of its options."""
        scratch = self.scratch()
        with self.guarded():
            for number in itertools.count(1):
                with contextlib.suppress(FileExistsError):
                    os.mkdir(self._at(scratch, str(number)))
                    return f"{scratch}/{number}"
        raise AssertionError("unreachable")

    def dead_scratch(self) -> list[str]:
        """Leftovers of processes that are gone, relative to the store, for the caller to remove. What still works in them is ended."""
        dead = [f"tmp/{name}" for name in os.listdir(self._at("tmp")) if not os.path.exists(f"/proc/{name.partition('-')[0]}")]
        if dead:
            # Whoever removes the directories removes the only trace of such a process.
            end_orphans([self._at(name) + "/" for name in dead])
        return dead

    @contextlib.contextmanager
    def in_use(self) -> Iterator[None]:
        """While the block runs, ``prune`` waits: what it would remove may be needed. Several may use the store at once."""
        with contextlib.ExitStack() as stack:
            with self.guarded():
                stack.enter_context(locked(self._at("locks", "store"), shared=True))
            pruned = self._last_prune()
            if pruned != self._seen_prune:
                # What this process remembers of records may be gone.
                self._records.clear()
                self._seen_prune = pruned
            yield

    def _last_prune(self) -> int:
        try:
            return os.stat(self._at("locks", "pruned")).st_mtime_ns
        except OSError:
            return 0

    @contextlib.contextmanager
    def to_itself(self, patience: float = 30.0) -> Iterator[None]:
        """The store without anybody else using it. Raises ``StoreError`` when that takes more than ``patience`` seconds."""
        with self.guarded():
            descriptor = os.open(self._at("locks", "store"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            deadline = time.monotonic() + patience
            while True:
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() > deadline:
                        raise StoreError(
                            f"the store {self.path} is in use by a build, a container or another command",
                            remedy="Wait for it to end, and try again.",
                        ) from None
                    time.sleep(0.1)
            with self.guarded():
                write_atomically(self._at("locks", "pruned"), b"", durable=False)
            yield
        finally:
            os.close(descriptor)

    def lock_key_held(self, key: str) -> int | None:
        """Try to take the lock of a key; returns a descriptor to close, or ``None`` when somebody else holds it.

        Two builds that need the same missing step run it once: the second waits for the lock and then finds the record.
        """
        with self.guarded():
            descriptor = os.open(self._at("locks", key[:32]), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return None
        return descriptor

    # --- blobs ------------------------------------------------------------------------------------------------------

    def put_blob(self, data: bytes) -> str:
        """Store bytes; returns their digest."""
        digest = hashlib.sha256(data).hexdigest()
        path = self._at("blobs", "sha256", digest)
        if not os.path.exists(path):
            with self.guarded():
                write_atomically(path, data)
        return f"sha256:{digest}"

    def adopt_blob(self, source: str, digest: str) -> None:
        """Keep a copy of a file whose digest is known to be ``digest``. Raises ``StoreError``."""
        target = self.blob_path(digest)
        if os.path.exists(target):
            return
        with self.guarded():
            temporary = self._at("tmp", f"{os.getpid()}-blob-{digest[7:19]}")
            shutil.copyfile(source, temporary)
            os.chmod(temporary, 0o644)
            os.rename(temporary, target)

    def blob_path(self, digest: str) -> str:
        """Absolute path of a blob, whether it exists or not."""
        return self._at("blobs", "sha256", digest.removeprefix("sha256:"))

    def blob(self, digest: str) -> bytes:
        """The bytes of a blob. Raises ``StoreError`` when it is missing or damaged."""
        try:
            with open(self._at("blobs", "sha256", digest.removeprefix("sha256:")), "rb") as stream:
                data = stream.read()
        except OSError as error:
            raise StoreError(f"blob {digest} is missing from the store {self.path}", remedy="Build or pull the image again.") from error
        if hashlib.sha256(data).hexdigest() != digest.removeprefix("sha256:"):
            raise StoreError(f"blob {digest} in the store {self.path} is damaged", remedy="Remove it and build or pull the image again.")
        return data

    def blob_digests(self) -> list[str]:
        """Digests of all blobs, sorted."""
        return sorted(f"sha256:{name}" for name in os.listdir(self._at("blobs", "sha256")) if not name.startswith("."))

    def blob_digest_of(self, digest: str) -> str:
        """The digest that a blob's content really has. Raises ``OSError``."""
        with open(self._at("blobs", "sha256", digest.removeprefix("sha256:")), "rb") as stream:
            return f"sha256:{hashlib.file_digest(stream, 'sha256').hexdigest()}"

    def compressed(self, diff_id: str) -> str | None:
        """Digest of the compressed blob of a layer, when it was made and is still here."""
        try:
            with open(self._at("compressed", diff_id[7:]), encoding="ascii") as stream:
                digest = stream.read()
        except FileNotFoundError:
            return None
        return digest if os.path.exists(self.blob_path(digest)) else None

    def remember_compressed(self, diff_id: str, digest: str) -> None:
        """Note which blob is the compressed form of a layer. Raises ``StoreError``."""
        with self.guarded():
            os.makedirs(self._at("compressed"), exist_ok=True)
            write_atomically(self._at("compressed", diff_id[7:]), digest.encode())

    def remove_unreferenced_blobs(self) -> tuple[int, int]:
        """Remove what no image and no layer needs, unfinished downloads and what ADD fetched; only in ``to_itself``.

        Returns how many files and bytes that were.

        The packed form of a layer stays as long as the layer. Raises ``StoreError``.
        """
        layers = self.layer_rows()
        diff_ids = {layer.diff_id for layer in layers}
        with self.guarded():
            notes = os.listdir(self._at("compressed")) if os.path.isdir(self._at("compressed")) else []
            for name in notes:
                if f"sha256:{name}" not in diff_ids:
                    os.unlink(self._at("compressed", name))
            needed = {digest for row in self.images() for digest in (row.config, row.manifest)}
            needed |= {layer.blob for layer in layers}
            needed |= {packed for diff_id in diff_ids if (packed := self.compressed(diff_id)) is not None}
            blobs = self._at("blobs", "sha256")
            # Names with a dot in front are what a killed process was writing.
            gone = [os.path.join(blobs, name) for name in os.listdir(blobs) if f"sha256:{name}" not in needed]
            for folder, _, names in os.walk(self._at("downloads")):
                gone += [os.path.join(folder, name) for name in names if os.path.basename(folder) == "sha256"]
            for folder, _, names in os.walk(self._at("remote")):
                gone += [os.path.join(folder, name) for name in names]
            size = sum(os.path.getsize(path) for path in gone)
            for path in gone:
                os.unlink(path)
            for name in ("downloads", "remote"):
                shutil.rmtree(self._at(name), ignore_errors=True)
        return len(gone), size

    # --- layers -----------------------------------------------------------------------------------------------------

    def layer(self, diff_id: str) -> LayerRow | None:
        """Where a layer is, or ``None``."""
        try:
            with open(self._at("layers", diff_id.removeprefix("sha256:")), "rb", opener=_at_once) as stream:
                return _layer_decoder.decode(stream.read())
        except (FileNotFoundError, msgspec.MsgspecError):
            return None

    def layer_path(self, diff_id: str) -> str:
        """Directory of a layer relative to the store, empty for a layer that changes nothing. Raises ``StoreError``."""
        if diff_id.startswith(PENDING):
            return f"s/{diff_id.removeprefix(PENDING)}"
        row = self.layer(diff_id)
        if row is None:
            raise StoreError(f"layer {diff_id} is missing from the store {self.path}", remedy="Build the image again with --no-cache.")
        if row.damaged:
            names = ", ".join(sorted(self.users_of(diff_id))) or "no named image"
            raise StoreError(
                f"layer {diff_id} in the store is damaged and nothing may be built on it; it is needed by {names}",
                remedy="Build with --no-cache to make it anew; for a base image, `layerlab pull` or `layerlab load` it again.",
            )
        return "" if row.empty else f"s/{row.number}"

    def add_layer(self, directory: str, diff_id: str, size: int, length: int, *, empty: bool, blob: str = "", check: str = "") -> LayerRow:
        """Make a finished layer directory (relative to the store) a layer; an equal one that is there already wins."""
        known = self.layer(diff_id)
        if known is not None and not known.damaged:
            return known
        return self.register_layer(self.place_layer(directory), diff_id, size, length, empty=empty, blob=blob, check=check)

    def place_layer(self, directory: str) -> int:
        """Move a layer directory to its final place; it becomes a layer with ``register_layer``. Returns its number."""
        with self.guarded():
            # A step that filled the disk must leave with its layer, or not even its failure could be written down.
            if self.is_full():
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), self.path)
            return self._place(directory)

    def register_layer(
        self, number: int, diff_id: str, size: int, length: int, *, empty: bool, blob: str = "", check: str = ""
    ) -> LayerRow:
        """Make a placed directory a layer. An equal one that is there already wins: the row returned then has another number."""
        known = self.layer(diff_id)
        if known is not None and not known.damaged:
            return known
        row = LayerRow(number=number, diff_id=diff_id, size=size, length=length, empty=empty, blob=blob, check=check)
        with self.guarded():
            write_atomically(self._at("layers", diff_id.removeprefix("sha256:")), msgspec.json.encode(row))
        return row

    def _place(self, directory: str) -> int:
        # The directory's own name is the claim on a number, so that two processes never share one.
        with locked(self._at("locks", "numbers")):
            taken = [int(name) for name in os.listdir(self._at("s")) if name.isdigit()]
            number = max(taken, default=0) + 1
            sidecar = self._at(directory + ".owners")
            if os.path.exists(sidecar):
                os.rename(sidecar, self._at(f"s/{number}.owners"))
            os.rename(self._at(directory), self._at(f"s/{number}"))
        return number

    def users_of(self, diff_id: str) -> set[str]:
        """Names of the images that have a layer."""
        return {row.name for row in self.images() if diff_id in json.loads(self.blob(row.config))["rootfs"]["diff_ids"]}

    def mark_damaged(self, row: LayerRow) -> None:
        """Note that a layer's content is not what its digest says. Raises ``StoreError``."""
        marked = msgspec.structs.replace(row, damaged=True)
        with self.guarded():
            write_atomically(self._at("layers", row.diff_id.removeprefix("sha256:")), msgspec.json.encode(marked))

    def layer_rows(self) -> list[LayerRow]:
        """All layers, by number."""
        rows = [self.layer(f"sha256:{name}") for name in os.listdir(self._at("layers")) if not name.startswith(".")]
        return sorted((row for row in rows if row is not None), key=lambda row: row.number)

    def remove_layer(self, row: LayerRow) -> None:
        """Forget a layer; its directory is then unreferenced. Raises ``StoreError``."""
        with self.guarded(), contextlib.suppress(FileNotFoundError):
            os.unlink(self._at("layers", row.diff_id.removeprefix("sha256:")))
        self._records = {key: record for key, record in self._records.items() if record.diff_id != row.diff_id}

    def unreferenced_directories(self) -> list[str]:
        """Layer directories that no layer row names and work of dead processes, relative to the store."""
        known = {str(row.number) for row in self.layer_rows()}
        stray = [f"s/{name}" for name in os.listdir(self._at("s")) if name.split(".")[0] not in known]
        return [*stray, *self.dead_scratch()]

    # --- cache records ----------------------------------------------------------------------------------------------

    def lookup(self, key: str) -> CacheRecord | None:
        """The cache record under ``key`` whose layer is there too."""
        known = self._records.get(key)
        if known is not None:
            return known
        try:
            with open(self._at("records", key), "rb", opener=_at_once) as stream:
                record = _record_decoder.decode(stream.read())
        except (FileNotFoundError, msgspec.MsgspecError):
            return None
        if self.layer(record.diff_id) is None:
            return None
        self._records[key] = record
        return record

    def put_record(self, record: CacheRecord) -> None:
        """Keep a cache record; its layer must be in the store."""
        with self.guarded():
            write_atomically(self._at("records", record.key), msgspec.json.encode(record))
        self._records[record.key] = record

    def touch_record(self, key: str) -> None:
        """Note that a record was of use now; ``prune`` removes the least recently used first."""
        with contextlib.suppress(OSError):
            os.utime(self._at("records", key))

    def records_by_use(self) -> list[CacheRecord]:
        """All cache records, the most recently used first."""
        found: list[tuple[float, CacheRecord]] = []
        for name in os.listdir(self._at("records")):
            path = self._at("records", name)
            with contextlib.suppress(OSError, msgspec.MsgspecError), open(path, "rb", opener=_at_once) as stream:
                found.append((os.fstat(stream.fileno()).st_mtime, _record_decoder.decode(stream.read())))
        return [record for _, record in sorted(found, key=lambda item: item[0], reverse=True)]

    def remove_record(self, key: str) -> None:
        """Forget a cache record. Raises ``StoreError``."""
        with self.guarded(), contextlib.suppress(FileNotFoundError):
            os.unlink(self._at("records", key))
        self._records.pop(key, None)

    def content(self, layers: tuple[str, ...], selection: Selection) -> Selected | None:
        """What a selection reads from the root filesystem of ``layers``, when somebody looked before."""
        try:
            with open(self._content_path(layers, selection), "rb", opener=_at_once) as stream:
                row = _content_decoder.decode(stream.read())
        except (FileNotFoundError, msgspec.MsgspecError):
            return None
        return Selected(row.digest, tuple(row.picked), row.rows)

    def put_content(self, layers: tuple[str, ...], selection: Selection, found: Content) -> None:
        """Keep what a worker found."""
        with self.guarded():
            write_atomically(self._content_path(layers, selection), msgspec.msgpack.encode(found), durable=False)

    def _content_path(self, layers: tuple[str, ...], selection: Selection) -> str:
        key = hashlib.sha256(msgspec.json.encode([layers, selection])).hexdigest()
        return self._at("content", key)

    # --- images -----------------------------------------------------------------------------------------------------

    def image(self, name: str) -> ImageRow | None:
        """The image under a normalised name (``node:alpine``), or ``None``."""
        try:
            with open(self._at("images", urllib.parse.quote(name, safe="")), "rb", opener=_at_once) as stream:
                return _image_decoder.decode(stream.read())
        except (FileNotFoundError, msgspec.MsgspecError):
            return None
        except OSError as error:
            if error.errno == errno.ENAMETOOLONG:
                # No image can have such a name here.
                return None
            raise

    def put_image(self, row: ImageRow) -> None:
        """Point a name at an image. The image that loses its last name by that stays, found by its ID, until ``prune``."""
        before = self.image(row.name)
        if before is not None and before.config != row.config and not row.name.startswith(UNNAMED):
            with self.guarded():
                stays = msgspec.structs.replace(before, name=f"{UNNAMED}@{before.config}")
                write_atomically(self._at("images", urllib.parse.quote(stays.name, safe="")), msgspec.json.encode(stays), durable=False)
        with self.guarded():
            write_atomically(self._at("images", urllib.parse.quote(row.name, safe="")), msgspec.json.encode(row))

    def remove_image(self, name: str) -> None:
        """Take a name away from its image. Raises ``StoreError``."""
        with self.guarded(), contextlib.suppress(FileNotFoundError):
            os.unlink(self._at("images", urllib.parse.quote(name, safe="")))

    def images(self) -> list[ImageRow]:
        """All named images, by name."""
        rows = [self.image(urllib.parse.unquote(name)) for name in sorted(os.listdir(self._at("images"))) if not name.startswith(".")]
        return [row for row in rows if row is not None]

    # --- build contexts ---------------------------------------------------------------------------------------------

    def context_directory(self, context: str) -> str:
        """Absolute path of what the store keeps about one build context."""
        name = hashlib.sha256(os.fsencode(context)).hexdigest()[:24]
        path = self._at("contexts", name)
        if not os.path.isdir(path):
            with self.guarded():
                os.makedirs(path, exist_ok=True)
        return path

    def mount_directory(self, identity: str, start: str = "") -> str:
        """Directory of a cache mount, relative to the store; made when missing. Another ``start`` is another directory."""
        path = f"mounts/{_mount_name(identity)}" + (f"-{hashlib.sha256(start.encode()).hexdigest()[:16]}" if start else "")
        with self.guarded():
            os.makedirs(self._at(path), mode=0o755, exist_ok=True)
        return path

    def mount_directories(self, identity: str) -> list[str]:
        """The directories of an ``identity`` that have a ``start``, as ``mount_directory`` gave them."""
        # Locks and what was emptied lie beside them, with a dot in their names.
        names = (name for name in os.listdir(self._at("mounts")) if name.startswith(f"{_mount_name(identity)}-") and "." not in name)
        return [f"mounts/{name}" for name in sorted(names)]


def _mount_name(identity: str) -> str:
    # Under this name it is in the stores of earlier versions.
    return hashlib.sha256(f"{identity}\0None\0None\0None\0".encode()).hexdigest()[:24]


def end_orphans(places: list[str]) -> None:
    """Kill what still works in directories of dead processes.

    A sandbox dies with its parent, but not in the moment before it has asked the kernel for that: killed just then, its parent leaves it
    waiting for ever.
    """
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        with contextlib.suppress(OSError):
            with open(f"/proc/{name}/cmdline", "rb") as stream:
                words = stream.read().decode("utf-8", "surrogateescape")
            if any(place in words for place in places):
                os.kill(int(name), signal.SIGKILL)
