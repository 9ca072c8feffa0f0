"""``fetch``: everything that the course needs from a network, into one folder that can be carried to machines without one."""

from __future__ import annotations

import hashlib
import os
import shutil
import tarfile
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec

from layerlab.engines.api import BuildOptions
from layerlab.engines.embedded.engine import EmbeddedEngine
from layerlab.engines.embedded.rootfs.messages import Export, Remove
from layerlab.errors import LayerlabError
from layerlab.fsutil import write_atomically
from layerlab.lesson.demo import find_app
from layerlab.oci.references import canonical_name
from layerlab.offline import LIST, Fetched
from layerlab.unpacking import unpack_data

BASE: Final = "node:alpine"
MANIFESTS: Final = ("package.json", "package-lock.json")
_CACHE: Final = "npm-cache"
_FILL: Final = f"""\
FROM {BASE}
WORKDIR /fill
COPY package.json package-lock.json ./
RUN npm ci --cache /{_CACHE} && rm -rf node_modules
"""


def lock_digest(app: Path) -> str:
    """Identity of what an npm cache was filled from. Hexadecimal. Raises ``OSError``."""
    return hashlib.sha256(b"\0".join((app / name).read_bytes() for name in MANIFESTS)).hexdigest()


def fetch(directory: Path, report: Callable[[str], None], *, app: str | None = None) -> Fetched:
    """Fill a folder, or bring it up to date; nothing in it is used before all is there.

    Raises ``LayerlabError`` where something cannot be fetched, ``OSError`` where it cannot be written.
    """
    source = find_app(app)
    directory.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=directory, prefix=".fetch-") as scratch:
        place = Path(scratch)
        with EmbeddedEngine(str(place / "store")) as engine:
            try:
                report(f"fetching {BASE}")
                row = engine.bases.resolve(BASE, report=report)
                images: dict[str, str] = {}
                if row.stand_in:
                    report(f"note: {row.stand_in}; every machine makes its own")
                else:
                    _save_layout(engine, place / "image")
                    images[canonical_name(BASE)] = "images/node-alpine"
                report("fetching the app's packages")
                _fill(engine, source, place)
            finally:
                # A step may leave directories without permissions behind; the worker can remove them, a plain rmtree cannot.
                engine.worker.ask(Remove(paths=["s"]))
        fetched = Fetched(images=images, packages="npm", lock=lock_digest(source), stand_ins=(row.stand_in,) if row.stand_in else ())
        _replace(place / _CACHE, directory / "npm")
        if images:
            (directory / "images").mkdir(exist_ok=True)
            _replace(place / "image", directory / "images" / "node-alpine")
    write_atomically(str(directory / LIST), msgspec.json.format(msgspec.json.encode(fetched), indent=2))
    return fetched


def _fill(engine: EmbeddedEngine, app: Path, place: Path) -> None:
    context = place / "context"
    context.mkdir()
    for name in MANIFESTS:
        shutil.copyfile(app / name, context / name)
    (context / "Dockerfile").write_text(_FILL, encoding="utf-8")
    record = engine.build(BuildOptions(context=str(context), tag="fetched"))
    if record.failure is not None:
        log = next((step.log for step in record.steps if step.status == "failed"), "")
        raise LayerlabError(f"the app's packages cannot be fetched: {record.failure.message}\n{log[-1500:]}", remedy=record.failure.remedy)
    layer = engine.store.layer_path(engine.image_config("fetched")["rootfs"]["diff_ids"][-1])
    archive = place / "layer.tar"
    engine.worker.ask(Export(layer=layer, target=str(archive)))
    with tarfile.open(archive) as members:
        wanted = [member for member in members if member.name.split("/", 1)[0] == _CACHE]
        unpack_data(members, place, wanted)
    archive.unlink()


def _save_layout(engine: EmbeddedEngine, target: Path) -> None:
    """The base image as an OCI layout."""
    archive = target.with_suffix(".tar")
    engine.save((BASE,), str(archive))
    with tarfile.open(archive) as members:
        unpack_data(members, target)
    archive.unlink()


def _replace(source: Path, target: Path) -> None:
    shutil.rmtree(target, ignore_errors=True)
    os.rename(source, target)
