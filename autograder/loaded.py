"""What the app loads when it runs, seen once on this machine: the trusted app is installed, compiled and started, and V8 says which files.

These files, by their place in a package and their content, are what an answer's own ``node_modules`` is compared with: an image without
them does not run the app, whatever else it holds, and a step that made them has installed. What else a package brings (documents, types,
other platforms' parts) an answer may leave out.
"""

from __future__ import annotations

import hashlib
import os
import posixpath
import tempfile
from collections import Counter
from pathlib import Path
from typing import Final

import msgspec

from autograder.confine.sandbox import GradingEngine
from autograder.edits import LOCK, MANIFEST
from autograder.workspace import Workspace
from layerlab.engines.base import BuildOptions
from layerlab.engines.embedded.rootfs.reading import open_file
from layerlab.errors import LayerlabError
from layerlab.fsutil import write_atomically

_PROGRAM: Final = "observe_app.cjs"
# As the app's README.md says; the steps whose bytes count are the two before the last.
_DOCKERFILE: Final = """\
FROM {base}
WORKDIR /app
COPY {manifest} {lock} ./
RUN npm ci
COPY . .
RUN npx prisma generate
RUN npm run build
RUN node {program}
"""
_INSTALL, _GENERATE, _BUILD, _OBSERVE = -5, -3, -2, -1
_CODE: Final = (".js", ".cjs", ".mjs", ".ts", ".cts", ".mts", ".node")
_MODULES: Final = "node_modules/"
_MIB: Final = 1 << 20


class LoadedFile(msgspec.Struct, frozen=True, kw_only=True):
    """A file of a package. ``tail``: its path from the package's name on; ``size`` in bytes; ``digest``: SHA-256, hexadecimal."""

    tail: str
    size: int
    digest: str


class GeneratedFile(msgspec.Struct, frozen=True, kw_only=True):
    """A file in ``node_modules`` that no package brought. ``tail``: as above; ``lines``: of its text, without those that are empty."""

    tail: str
    lines: frozenset[str]


class Loaded(msgspec.Struct, frozen=True, kw_only=True):
    """What the running app loads.

    ``files``      of packages, of at most 1 MiB: larger ones would cost every answer more than they tell.
    ``generated``  what a command of the build made beside them.
    ``packages``   names of all packages in the lock file.
    ``made``       bytes that the app's own generating and compiling make.
    ``largest``    of each package the largest file of code, where no other package has the same.
    """

    files: tuple[LoadedFile, ...]
    generated: tuple[GeneratedFile, ...]
    packages: frozenset[str]
    made: int
    largest: tuple[LoadedFile, ...] = ()

    @property
    def allowed(self) -> int:
        """The most bytes that commands may make after an edit of a source: twice what generating and compiling make, and 1 MiB more for
        what an answer does besides."""
        return 2 * self.made + _MIB


class _Row(msgspec.Struct, frozen=True):
    tail: str
    size: int
    digest: str
    text: str | None


def observe_app(engine: GradingEngine, base: str, app: Path, work: Path, target: Path) -> None:
    """Run the trusted app and write what it loads to ``target``. ``work``: for temporary files.

    Raises ``LayerlabError`` where the app cannot be built or does not answer.
    """
    text = _DOCKERFILE.format(base=base, manifest=MANIFEST, lock=LOCK, program=_PROGRAM)
    with tempfile.TemporaryDirectory(dir=work, prefix="app-") as place:
        workspace = Workspace(app, Path(place) / "context", {"Dockerfile": text, _PROGRAM: _program()})
        record = engine.build(BuildOptions(context=str(workspace.directory), offline=True))
        if record.failure is not None:
            log = next((step.log for step in record.steps if step.status == "failed"), "")
            raise LayerlabError(f"the app cannot be built and run here: {record.failure.message}\n{log[-1500:]}")
        lock = msgspec.json.decode((workspace.directory / LOCK).read_bytes())
    diff_id = record.steps[_OBSERVE].diff_id
    assert diff_id is not None
    layer = posixpath.join(engine.store.path, engine.store.layer_path(diff_id))
    rows = msgspec.json.decode(Path(layer, "loaded.json").read_bytes(), type=list[_Row])
    installed = record.steps[_INSTALL].diff_id
    assert installed is not None
    found = Loaded(
        files=tuple(LoadedFile(tail=row.tail, size=row.size, digest=row.digest) for row in rows if row.text is None and row.size <= _MIB),
        generated=tuple(GeneratedFile(tail=row.tail, lines=lines_of(row.text)) for row in rows if row.text is not None),
        packages=frozenset(path.rpartition("node_modules/")[2] for path in lock["packages"] if path),
        made=record.steps[_GENERATE].size + record.steps[_BUILD].size,
        largest=_largest(engine, engine.store.layer_path(installed)),
    )
    if not found.files:
        raise LayerlabError("the app loads no package, so nothing could tell an answer that installs them")
    write_atomically(str(target), msgspec.json.encode(found))


def _largest(engine: GradingEngine, layer: str) -> tuple[LoadedFile, ...]:
    """Of each package in a layer the largest file of code, but for those that several packages have."""
    found: dict[str, tuple[int, str]] = {}
    for entry in engine.worker.ask("entries", layer=layer)["entries"]:
        _, modules, tail = entry["path"].rpartition(_MODULES)
        if not modules or entry["type"] != "file" or not tail.endswith(_CODE):
            continue
        package = package_of(tail)
        found[package] = max(found.get(package, (0, "")), (entry["size"], entry["path"]))
    rows = []
    for package, (size, path) in sorted(found.items()):
        with open(open_file(posixpath.join(engine.store.path, layer, path)), "rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
        rows.append(LoadedFile(tail=f"{package}/{path.rpartition(f'{_MODULES}{package}/')[2]}", size=size, digest=digest))
    several = Counter(row.digest for row in rows)
    return tuple(row for row in rows if row.size and several[row.digest] == 1)


def read_loaded(path: str) -> Loaded:
    """What was written. Raises ``OSError``, ``LayerlabError``."""
    try:
        return msgspec.json.decode(Path(path).read_bytes(), type=Loaded)
    except msgspec.MsgspecError as error:
        raise LayerlabError(f"{path} is damaged: {error}", remedy="Delete it: it is made anew.") from error


def package_of(tail: str) -> str:
    """The package that a path from its name on belongs to."""
    return "/".join(tail.split("/")[: 2 if tail.startswith("@") else 1])


def lines_of(text: str) -> frozenset[str]:
    """The lines of a text that say something."""
    return frozenset(line.strip() for line in text.splitlines() if line.strip())


def _program() -> str:
    return Path(os.path.dirname(os.path.abspath(__file__)), _PROGRAM).read_text(encoding="utf-8")
