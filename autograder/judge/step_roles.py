"""What a step does, told by the content of its layer, never by its text and never by the names of files alone.

``install``   makes files of packages, byte for byte as the running app loads them (``loaded_modules``); one that leaves out what only
              the build needs is an installation, too.
``generate``  makes what stands in ``node_modules`` and comes from no package: here Prisma's client of the app's schema.
``build``     makes code of the edited sources: a file that has the source's ``marker`` and none of the names of its types, and that
              comes to what the source comes to when it is run where no compiler is (``compiled_code``). Source that was copied, renamed or
              wrapped has both words, or none; source in disguise may have the right ones, and comes to nothing.
Only commands have roles: a COPY of what another step made is no second install.
"""

from __future__ import annotations

import errno
import hashlib
import os
import posixpath
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final, Literal, TypeVar

import msgspec

from autograder.judge.loaded_modules import GeneratedFile, Loaded, LoadedFile, lines_of, package_of
from layerlab.engines.embedded.engine import EmbeddedEngine
from layerlab.engines.embedded.rootfs.messages import ListEntries
from layerlab.engines.embedded.rootfs.reading import open_file
from layerlab.model import BuildRecord, StepRecord
from layerlab.oci.tar_entries import LayerEntry

# Of the contents of files, which are code that comes to what it should.
Proof = Callable[[Sequence[bytes]], Sequence[bool]]
_Wanted = TypeVar("_Wanted", LoadedFile, GeneratedFile)
Role = Literal["install", "generate", "build"]
ROLES: Final[tuple[Role, ...]] = ("install", "generate", "build")

# Of the files that the app loads. Several steps may install together; a handful of small files that a base image has too is nothing.
_SHARE: Final = 0.1
# Of the lines of a generated file: paths and the edited schema make the others.
_SAME: Final = 0.8
_READ_LIMIT: Final = 1 << 20
# For the search for compiled code, in one layer. What is found later is not found.
_SEARCH_LIMIT: Final = 64 << 20
# What a command can do to the files that it made.
_SHUT: Final = (errno.EACCES, errno.EPERM, errno.ELOOP, errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG)
# TypeScript, and what is never executed.
_NOT_CODE: Final = (".ts", ".tsx", ".mts", ".cts", ".map", ".json", ".md", ".tsbuildinfo")
_MODULES: Final = "node_modules/"


class Sought(msgspec.Struct, frozen=True, kw_only=True):
    """What layers are searched for. ``marker`` and ``erased``: of the edited sources (``edits``). ``proof``: of what looks like code that
    was made of them, which is."""

    loaded: Loaded
    marker: str
    erased: tuple[str, ...]
    proof: Proof


class LayerFound(msgspec.Struct, frozen=True, kw_only=True):
    """What is in a layer.

    ``files``      paths of files that the app loads, by tail. ``generated``: paths of generated files, by tail.
    ``compiled``   paths and sizes in bytes of code that was made of the edited sources.
    """

    files: Mapping[str, tuple[str, ...]]
    generated: Mapping[str, tuple[str, ...]]
    compiled: tuple[tuple[str, int], ...]


class StepRoles(msgspec.Struct, frozen=True, kw_only=True):
    """The roles of the step with this number. ``folder``: where it puts packages, empty for a step that does not install. ``compiled``:
    the code that it made of the edited sources, as (path, size in bytes)."""

    number: int
    roles: frozenset[Role]
    folder: str = ""
    compiled: tuple[tuple[str, int], ...] = ()


def is_command(step: StepRecord) -> bool:
    """Whether a step is a RUN, be it a trigger's."""
    return step.keyword == "RUN"


def roles_of(found: LayerFound, loaded: Loaded) -> frozenset[Role]:
    """The roles of a command whose layer this is."""
    roles: set[Role] = set()
    if found.files and len(found.files) >= _SHARE * len(loaded.files):
        roles.add("install")
    # An app that generates nothing has no such step.
    if found.generated and len(found.generated) == len(loaded.generated):
        roles.add("generate")
    if found.compiled:
        roles.add("build")
    return frozenset(roles)


def folder_of(found: LayerFound) -> str:
    """The folder that packages stand in, as an absolute path: the shortest, where there are several."""
    folders = {path.removesuffix(tail).rstrip("/") for tail, paths in found.files.items() for path in paths}
    return f"/{min(folders, key=lambda path: (path.count('/'), path))}" if folders else ""


class LayerReader:
    """Reads layers of an engine's store, each once."""

    def __init__(self, engine: EmbeddedEngine, sought: Sought) -> None:
        self._engine = engine
        self._sought = sought
        self._files = _by_name(sought.loaded.files)
        self._generated = _by_name(sought.loaded.generated)
        self._entries: dict[str, list[LayerEntry]] = {}
        self._known: dict[str, LayerFound] = {}

    def entries(self, diff_id: str) -> list[LayerEntry]:
        """The members of a layer. Raises ``StoreError``."""
        if diff_id not in self._entries:
            path = self._engine.store.layer_path(diff_id)
            self._entries[diff_id] = self._engine.worker.ask(ListEntries(layer=path)).entries if path else []
        return self._entries[diff_id]

    def roles(self, record: BuildRecord) -> tuple[StepRoles, ...]:
        """The roles of every command of a build whose layer is known. Raises ``StoreError``."""
        rows = []
        for step in record.steps:
            if is_command(step) and step.diff_id is not None:
                found = self.found(step.diff_id)
                roles = roles_of(found, self._sought.loaded)
                folder = folder_of(found) if "install" in roles else ""
                rows.append(StepRoles(number=step.number, roles=roles, folder=folder, compiled=found.compiled))
        return tuple(rows)

    def found(self, diff_id: str) -> LayerFound:
        """What is in a layer. Raises ``StoreError``."""
        if diff_id not in self._known:
            entries = self.entries(diff_id)
            place = self.directory(diff_id)
            files = {
                tail: tuple(path for path in paths if _digest(posixpath.join(place, path), wanted.size) == wanted.digest)
                for tail, (wanted, paths) in _candidates(entries, self._files).items()
            }
            generated = {
                tail: tuple(path for path in paths if _alike(_start_of(posixpath.join(place, path)), wanted.lines))
                for tail, (wanted, paths) in _candidates(entries, self._generated).items()
            }
            self._known[diff_id] = LayerFound(
                files={tail: paths for tail, paths in files.items() if paths},
                generated={tail: paths for tail, paths in generated.items() if paths},
                compiled=self._compiled(entries, place),
            )
        return self._known[diff_id]

    def directory(self, diff_id: str) -> str:
        """Where a layer's files are. Raises ``StoreError``."""
        return posixpath.join(self._engine.store.path, self._engine.store.layer_path(diff_id))

    def content(self, diff_id: str, path: str) -> bytes:
        """The start of a file that ``entries`` has; none where a command shut its folder. Raises ``OSError``, ``StoreError``."""
        return _start_of(posixpath.join(self.directory(diff_id), path))

    def digest(self, diff_id: str, path: str, size: int) -> str:
        """The digest of a file that ``entries`` has with this size. Raises ``OSError``, ``StoreError``."""
        return _digest(posixpath.join(self.directory(diff_id), path), size)

    def _compiled(self, entries: Iterable[LayerEntry], place: str) -> tuple[tuple[str, int], ...]:
        if not self._sought.marker:
            return ()
        left = _SEARCH_LIMIT
        found, contents = [], []
        for entry in entries:
            if entry.type not in ("file", "hardlink") or not 0 < entry.size <= _READ_LIMIT or not self._may_be_compiled(entry.path):
                continue
            left -= entry.size
            if left < 0:
                break
            content = _start_of(posixpath.join(place, entry.path))
            if looks_compiled(content, self._sought.marker, self._sought.erased):
                found.append((entry.path, entry.size))
                contents.append(content)
        proven = self._sought.proof(contents) if contents else ()
        return tuple(row for row, holds in zip(found, proven, strict=True) if holds)

    def _may_be_compiled(self, path: str) -> bool:
        if path.endswith(_NOT_CODE):
            return False
        _, modules, tail = path.rpartition(_MODULES)
        return not modules or package_of(tail) not in self._sought.loaded.packages


class ImageReader:
    """Reads files of an image. ``layers``: its diff IDs, which are numbered from 1."""

    def __init__(self, reader: LayerReader, layers: Sequence[str]) -> None:
        self._reader = reader
        self._layers = layers

    def digest(self, layer: int, path: str, size: int) -> str:
        """See ``LayerReader.digest``."""
        return self._reader.digest(self._layers[layer - 1], path, size)

    def content(self, layer: int, path: str) -> bytes:
        """See ``LayerReader.content``."""
        return self._reader.content(self._layers[layer - 1], path)


def looks_compiled(content: bytes, marker: str, erased: Iterable[str]) -> bool:
    """Whether a file has the words of code that was made of a source, and not those of the source."""
    return marker.encode() in content and not any(name.encode() in content for name in erased)


def _by_name(wanted: Iterable[_Wanted]) -> dict[str, list[_Wanted]]:
    rows: dict[str, list[_Wanted]] = {}
    for row in wanted:
        rows.setdefault(posixpath.basename(row.tail), []).append(row)
    return rows


def _candidates(entries: Iterable[LayerEntry], wanted: Mapping[str, list[_Wanted]]) -> dict[str, tuple[_Wanted, list[str]]]:
    """By tail, the paths of members that stand where a wanted file could, in whatever folder, and have its size."""
    found: dict[str, tuple[_Wanted, list[str]]] = {}
    for entry in entries:
        if entry.type not in ("file", "hardlink"):
            continue
        for row in wanted.get(posixpath.basename(entry.path), ()):
            # The size of a hard link stands with its first name.
            fits = entry.type == "hardlink" or isinstance(row, GeneratedFile) or entry.size == row.size
            if fits and f"/{entry.path}".endswith(f"/{row.tail}"):
                found.setdefault(row.tail, (row, []))[1].append(entry.path)
    return found


def _start_of(path: str) -> bytes:
    """The first bytes of a file of a layer; none where a command shut its folder to us, which the image's root could still read."""
    try:
        # Every folder of the path is one that the layer's walk went into, so none is a link.
        with open(open_file(path), "rb") as stream:
            return stream.read(_READ_LIMIT)
    except OSError as error:
        if error.errno not in _SHUT:
            raise
        return b""


def _digest(path: str, size: int) -> str:
    """The digest of a file of a layer that has this size; empty for another one."""
    try:
        with open(open_file(path), "rb") as stream:
            if os.fstat(stream.fileno()).st_size != size:
                return ""
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        if error.errno not in _SHUT:
            raise
        return ""


def _alike(content: bytes, lines: frozenset[str]) -> bool:
    return len(lines & lines_of(content.decode("utf-8", "replace"))) >= _SAME * len(lines)
