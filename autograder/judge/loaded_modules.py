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
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec

from autograder.exercise.edits import LOCK, MANIFEST
from autograder.exercise.workspace import Workspace
from layerlab.engines.api import BuildOptions
from layerlab.engines.embedded.engine import EmbeddedEngine
from layerlab.engines.embedded.rootfs.messages import ListEntries
from layerlab.engines.embedded.rootfs.reading import open_file
from layerlab.errors import LayerlabError
from layerlab.fsutil import write_atomically
from layerlab.model import BuildRecord

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
_CODE: Final = (".js", ".cjs", ".mjs")
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
    ``brought``    all files in ``node_modules`` that have something in them: those of packages, and what was generated there.
    ``code``       the lines of the code that compiling makes, without blanks.
    """

    files: tuple[LoadedFile, ...]
    generated: tuple[GeneratedFile, ...]
    packages: frozenset[str]
    made: int
    brought: tuple[LoadedFile, ...] = ()
    code: frozenset[str] = frozenset()

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


def observe_app(engine: EmbeddedEngine, base: str, app: Path, work: Path, target: Path) -> None:
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
    layer = _layer_of(engine, record, _OBSERVE)
    rows = msgspec.json.decode(Path(engine.store.path, layer, "loaded.json").read_bytes(), type=list[_Row])
    layers = [_layer_of(engine, record, step) for step in (_INSTALL, _GENERATE)]
    found = Loaded(
        files=tuple(LoadedFile(tail=row.tail, size=row.size, digest=row.digest) for row in rows if row.text is None and row.size <= _MIB),
        generated=tuple(GeneratedFile(tail=row.tail, lines=lines_of(row.text)) for row in rows if row.text is not None),
        packages=frozenset(path.rpartition("node_modules/")[2] for path in lock["packages"] if path),
        made=record.steps[_GENERATE].size + record.steps[_BUILD].size,
        brought=tuple(row for layer in layers for row in _brought(engine, layer)),
        code=_code(engine, _layer_of(engine, record, _BUILD)),
    )
    if not found.files:
        raise LayerlabError("the app loads no package, so nothing could tell an answer that installs them")
    write_atomically(str(target), msgspec.json.encode(found))


def _layer_of(engine: EmbeddedEngine, record: BuildRecord, step: int) -> str:
    """The directory of a step's layer, in the store."""
    diff_id = record.steps[step].diff_id
    assert diff_id is not None
    return engine.store.layer_path(diff_id)


def _files(engine: EmbeddedEngine, layer: str) -> Iterator[tuple[str, bytes]]:
    """Paths and contents of the files in a layer that have something in them."""
    for entry in engine.worker.ask(ListEntries(layer=layer)).entries:
        if entry.type == "file":
            with open(open_file(posixpath.join(engine.store.path, layer, entry.path)), "rb") as stream:
                if content := stream.read():
                    yield entry.path, content


def _brought(engine: EmbeddedEngine, layer: str) -> Iterator[LoadedFile]:
    """The files in ``node_modules``."""
    for path, content in _files(engine, layer):
        _, modules, tail = path.rpartition(_MODULES)
        if modules:
            yield LoadedFile(tail=tail, size=len(content), digest=hashlib.sha256(content).hexdigest())


def _code(engine: EmbeddedEngine, layer: str) -> frozenset[str]:
    """The lines of code, without blanks."""
    texts = [content.decode("utf-8", "replace") for path, content in _files(engine, layer) if path.endswith(_CODE)]
    return frozenset(without_blanks(line) for text in texts for line in text.splitlines())


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


def without_blanks(text: str) -> str:
    """A text, whoever indented or wrapped it."""
    return "".join(text.split())


def _program() -> str:
    return Path(os.path.dirname(os.path.abspath(__file__)), _PROGRAM).read_text(encoding="utf-8")
