"""What a step does, told by the files in its layer and never by its text.

``install``   makes a folder that holds most of the packages which the app depends on; one that leaves out what only the build needs
              is an installation, too.
``generate``  makes Prisma's client of the app's schema.
``build``     makes the compiled form of the app's sources.
Only commands have roles: a COPY of what another step made is no second install.
"""

from __future__ import annotations

import errno
import posixpath
from collections.abc import Iterable, Mapping
from typing import Any, Final, Literal

import msgspec

from layerlab.engines.embedded.engine import EmbeddedEngine
from layerlab.engines.embedded.rootfs.layer_tar import LayerEntry
from layerlab.engines.embedded.rootfs.reading import open_file
from layerlab.model import BuildRecord, StepRecord

Role = Literal["install", "generate", "build"]
ROLES: Final[tuple[Role, ...]] = ("install", "generate", "build")

_CLIENT: Final = ".prisma/client/schema.prisma"
_READ_LIMIT: Final = 1 << 20
# What a command can do to the files that it made.
_SHUT: Final = (errno.EACCES, errno.EPERM, errno.ELOOP)
_COMPILED: Final = ("index.js", "routes.js", "visits.js")


class StepRoles(msgspec.Struct, frozen=True, kw_only=True):
    """The roles of the step with this number, and the compiled files in its layer as (path, size in bytes)."""

    number: int
    roles: frozenset[Role]
    compiled: tuple[tuple[str, int], ...] = ()


def is_command(step: StepRecord) -> bool:
    """Whether a step is a RUN. The engine writes the instruction's first word, in upper case, whatever the file has."""
    return step.instruction.split(" ", 1)[0].upper() == "RUN"


def roles_of(entries: Iterable[LayerEntry], dependencies: frozenset[str]) -> tuple[frozenset[Role], tuple[tuple[str, int], ...]]:
    """The roles that a layer's members show, and the compiled files. ``dependencies``: names of packages that the app runs with."""
    found: set[Role] = set()
    packages: dict[str, set[str]] = {}
    compiled: dict[str, dict[str, int]] = {}
    for entry in entries:
        if entry.type in ("whiteout", "opaque"):
            continue
        path = entry.path
        if path.endswith("/package.json"):
            _note_package(posixpath.dirname(path), dependencies, packages)
        elif entry.type == "symlink":
            # pnpm and its kin put links there.
            _note_package(path, dependencies, packages)
        elif f"/{path}".endswith(f"/{_CLIENT}"):
            found.add("generate")
        if path.endswith(".js") and "/node_modules/" not in f"/{path}" and entry.type in ("file", "hardlink"):
            compiled.setdefault(posixpath.dirname(path), {})[path] = entry.size
    if any(2 * len(names) > len(dependencies) for names in packages.values()):
        found.add("install")
    output: list[tuple[str, int]] = []
    for folder, files in compiled.items():
        if all(posixpath.join(folder, name) in files for name in _COMPILED):
            found.add("build")
            output += files.items()
    return frozenset(found), tuple(sorted(output))


def _note_package(path: str, dependencies: frozenset[str], packages: dict[str, set[str]]) -> None:
    parent, name = posixpath.split(path)
    if name not in dependencies:
        parent, scope = posixpath.split(parent)
        name = f"{scope}/{name}"
    if name in dependencies:
        packages.setdefault(parent, set()).add(name)


def runtime_dependencies(manifest: Mapping[str, Any]) -> frozenset[str]:
    """Names of the packages that a decoded ``package.json`` needs at run time."""
    return frozenset(manifest.get("dependencies", {}))


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


class LayerReader:
    """Reads layers of an engine's store, each once."""

    def __init__(self, engine: EmbeddedEngine, dependencies: frozenset[str]) -> None:
        self._engine = engine
        self._dependencies = dependencies
        self._known: dict[str, tuple[frozenset[Role], tuple[tuple[str, int], ...]]] = {}

    def roles(self, record: BuildRecord) -> tuple[StepRoles, ...]:
        """The roles of every command of a build whose layer is known. Raises ``StoreError``."""
        found = []
        for step in record.steps:
            if is_command(step) and step.diff_id is not None:
                roles, compiled = self._layer(step.diff_id)
                found.append(StepRoles(number=step.number, roles=roles, compiled=compiled))
        return tuple(found)

    def compiled_with(self, words: str, steps: Iterable[StepRecord], roles: Iterable[StepRoles]) -> bool:
        """Whether a compiled file of these steps is seen to have ``words`` in it. Raises ``StoreError``."""
        layers = {step.number: self._engine.store.layer_path(step.diff_id) for step in steps if step.diff_id is not None}
        return any(
            words.encode() in _start_of(posixpath.join(self._engine.store.path, layers[item.number] or "", path))
            for item in roles
            for path, size in item.compiled
            if size <= _READ_LIMIT
        )

    def _layer(self, diff_id: str) -> tuple[frozenset[Role], tuple[tuple[str, int], ...]]:
        if diff_id not in self._known:
            path = self._engine.store.layer_path(diff_id)
            rows = self._engine.worker.ask("entries", layer=path)["entries"] if path else []
            self._known[diff_id] = roles_of((msgspec.convert(row, LayerEntry) for row in rows), self._dependencies)
        return self._known[diff_id]
