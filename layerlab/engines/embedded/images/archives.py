"""Images as files: the archive that ``save`` writes and ``load`` reads.

One tar is both an OCI image layout (image-spec ``image-layout.md``: ``oci-layout``, ``index.json``, ``blobs/``) and what
``docker load`` wants (``manifest.json``), as Docker itself writes since version 25. Layers are stored uncompressed, so their
digest is their diff ID, and a layer that two images share is in the archive once.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import io
import json
import os
import tarfile
import tempfile
from pathlib import Path
from typing import IO, Any

import msgspec

from layerlab.engines.embedded.images.base_images import Bases, is_for_this_machine
from layerlab.engines.embedded.rootfs.compression import decompressed, expansion_limit
from layerlab.engines.embedded.rootfs.messages import Export
from layerlab.engines.embedded.rootfs.tar_reader import ArchiveError, TarReader
from layerlab.engines.embedded.store import Store
from layerlab.engines.embedded.workers import WorkerProcess
from layerlab.errors import BaseImageError, StoreError, UsageError
from layerlab.model import ImageRow
from layerlab.oci.manifests import DocumentError, read_document
from layerlab.oci.references import parse_reference

_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
_EPOCH = 0
# What only writing meets: the archive is sound then, and the store has no room for what is in it.
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
# Names in such an archive have a hundred bytes, and a layer is linked to once for each image.
_NAME_LIMIT = 1024
_LINK_LIMIT = 10_000
# What comes of a file below a file, of a file in a directory's place, and of a name that is too long.
_NAMES = (errno.ENOTDIR, errno.EEXIST, errno.EISDIR, errno.ENAMETOOLONG)


def save(store: Store, worker: WorkerProcess, rows: list[ImageRow], out: IO[bytes]) -> None:
    """Write images to a tar stream. Reproducible: the same images give the same bytes. Raises ``StoreError``."""
    written: set[str] = set()
    index: list[dict[str, Any]] = []
    legacy: dict[str, dict[str, Any]] = {}
    with tarfile.open(fileobj=out, mode="w|", format=tarfile.PAX_FORMAT) as archive:
        _add_bytes(archive, "oci-layout", b'{"imageLayoutVersion":"1.0.0"}')
        for row in rows:
            manifest_bytes = store.blob(row.manifest)
            manifest = json.loads(manifest_bytes)
            for digest, data in ((row.manifest, manifest_bytes), (row.config, store.blob(row.config))):
                if digest not in written:
                    written.add(digest)
                    _add_bytes(archive, _blob_name(digest), data)
            for layer in manifest["layers"]:
                if layer["digest"] not in written:
                    written.add(layer["digest"])
                    _add_layer(archive, store, worker, layer["digest"])
            # containerd's store takes the whole name; to tools of OCI layouts an image is what we call it.
            whole = parse_reference(row.name).full
            index.append(
                {
                    "mediaType": _MANIFEST,
                    "digest": row.manifest,
                    "size": len(manifest_bytes),
                    "annotations": {"io.containerd.image.name": whole, "org.opencontainers.image.ref.name": row.name},
                }
            )
            entry = legacy.setdefault(
                row.config,
                {"Config": _blob_name(row.config), "RepoTags": [], "Layers": [_blob_name(layer["digest"]) for layer in manifest["layers"]]},
            )
            entry["RepoTags"].append(row.name)
        body = {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": index}
        _add_bytes(archive, "index.json", msgspec.json.encode(body))
        _add_bytes(archive, "manifest.json", msgspec.json.encode(list(legacy.values())))


def _blob_name(digest: str) -> str:
    return f"blobs/sha256/{digest.removeprefix('sha256:')}"


def _member(name: str, size: int) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.size = size
    member.mtime = _EPOCH
    member.mode = 0o644
    return member


def _add_bytes(archive: tarfile.TarFile, name: str, data: bytes) -> None:
    archive.addfile(_member(name, len(data)), io.BytesIO(data))


def _add_layer(archive: tarfile.TarFile, store: Store, worker: WorkerProcess, diff_id: str) -> None:
    with tempfile.TemporaryDirectory(dir=os.path.join(store.path, "tmp"), prefix=f"{os.getpid()}-save-") as scratch:
        path = export_layer(store, worker, diff_id, os.path.join(scratch, "layer"))
        with open(path, "rb") as stream:
            archive.addfile(_member(_blob_name(diff_id), os.path.getsize(path)), stream)


def export_layer(store: Store, worker: WorkerProcess, diff_id: str, target: str) -> str:
    """Write the uncompressed tar of a layer to ``target``; its digest is verified on the way. Raises ``StoreError``."""
    row = store.layer(diff_id)
    if row is None:
        raise StoreError(f"layer {diff_id} is missing from the store", remedy="Build or load the image again.")
    found = _unpacked(store.blob_path(row.blob), target) if row.blob else worker.ask(Export(layer=f"s/{row.number}", target=target)).digest
    if found != diff_id:
        raise StoreError(
            f"layer {diff_id} in the store is damaged: its content has the digest {found}",
            remedy="Run `layerlab verify` to see which images need it, and build them again with --no-cache.",
        )
    return target


def _unpacked(blob: str, target: str) -> str:
    """Write a blob without its compression to ``target``; returns the digest of what was written."""
    sha = hashlib.sha256()
    # Unpacked under a limit once already, when it came in, and of this digest.
    with open(blob, "rb") as stream, open(target, "wb") as sink:
        source = decompressed(stream)
        while block := source.read(1 << 20):
            sha.update(block)
            sink.write(block)
    return f"sha256:{sha.hexdigest()}"


def load(store: Store, bases: Bases, path: str) -> list[str]:
    """Read an archive of ``save``, ``docker save`` or ``skopeo copy … oci-archive:``, or an OCI layout directory; returns the names loaded.

    Raises ``UsageError`` for a file that is no archive of images, ``BaseImageError`` for one that is damaged, ``StoreError`` where the
    store cannot take it.
    """
    with store.guarded():
        return _load(store, bases, path)


def _load(store: Store, bases: Bases, path: str) -> list[str]:
    if os.path.isdir(path):
        return _load_layout(bases, path)
    with tempfile.TemporaryDirectory(dir=os.path.join(store.path, "tmp"), prefix=f"{os.getpid()}-load-") as scratch:
        try:
            with open(path, "rb") as stream:
                stored = os.fstat(stream.fileno()).st_size
                _extract(TarReader(decompressed(stream), limit=expansion_limit(stored)), scratch)
        except ArchiveError as error:
            raise UsageError(
                f"{path} is not an archive of images: {error}", remedy="Give a file of `save`, `docker save` or an OCI layout."
            ) from error
        except OSError as error:
            if error.errno in _NO_ROOM:
                raise
            raise UsageError(f"{path} cannot be read: {error.strerror or error}") from error
        if os.path.exists(os.path.join(scratch, "index.json")):
            return _load_layout(bases, scratch)
        if os.path.exists(os.path.join(scratch, "manifest.json")):
            return _load_legacy(bases, scratch)
    raise UsageError(f"{path} is not an archive of images: it has neither index.json nor manifest.json")


def _extract(archive: TarReader, target: str) -> None:
    """Take out plain files only, under the names that such an archive has. A link to one of them, as Docker before version 25 writes
    for a layer that the archive has already, becomes another name of that file."""
    links: list[tuple[str, str]] = []
    for member in archive:
        if len(member.name) > _NAME_LIMIT or len(member.target) > _NAME_LIMIT or len(links) > _LINK_LIMIT:
            raise ArchiveError("it has names longer, or links more, than an archive of images has")
        name = os.path.normpath(member.name)
        if name.startswith(("/", "..")):
            continue
        if member.kind in ("symlink", "hardlink"):
            start = os.path.dirname(name) if member.kind == "symlink" else ""
            links.append((name, os.path.normpath(os.path.join(start, member.target))))
        if member.kind != "file":
            continue
        path = os.path.join(target, name)
        try:
            os.makedirs(os.path.dirname(path), exist_ok=True)
            # Of two with one name the last one counts, as in every tar.
            with open(path, "wb") as sink:
                archive.write(member, sink)
        except OSError as error:
            if error.errno in _NAMES:
                raise ArchiveError(f"it has a member with a name that cannot be: {os.strerror(error.errno)}") from error
            raise
    for name, meant in links:
        path, known = os.path.join(target, name), os.path.join(target, meant)
        if not meant.startswith(("/", "..")) and os.path.isfile(known) and not os.path.lexists(path):
            # A link that nobody needs is no reason to refuse an archive; one that is missed is told by who looks for it.
            with contextlib.suppress(OSError):
                os.makedirs(os.path.dirname(path), exist_ok=True)
                # Another name and no copy: many links to one large member take no room.
                os.link(known, path)


def _load_layout(bases: Bases, path: str) -> list[str]:
    try:
        entries = read_document(os.path.join(path, "index.json"))["manifests"]
        # The same image for another machine may stand beside ours; where nothing is for us, importing the first says so.
        named = [(_name_of(entry), entry) for entry in [entry for entry in entries if is_for_this_machine(entry)] or entries[:1]]
    except (OSError, DocumentError, KeyError, TypeError, AttributeError) as error:
        raise BaseImageError(f"{path} is not an OCI image layout: {error}") from error
    # Names may share a tag, and the tag may be all that an entry says: only the entry itself tells which image is meant.
    return [bases.import_layout(path, name, entry=entry).name for name, entry in named]


def _name_of(entry: dict[str, Any]) -> str:
    annotations = entry.get("annotations") or {}
    name = annotations.get("io.containerd.image.name") or annotations.get("org.opencontainers.image.ref.name")
    return str(name or f"loaded:{entry['digest'][7:19]}")


def _load_legacy(bases: Bases, path: str) -> list[str]:
    """``docker save`` before version 25: layers named by path, no blobs. Made into a layout first."""
    blobs = os.path.join(path, "blobs", "sha256")
    os.makedirs(blobs, exist_ok=True)

    known: dict[tuple[int, int], dict[str, Any]] = {}

    def put(source: str) -> dict[str, Any]:
        status = os.stat(source)
        identity = (status.st_dev, status.st_ino)
        if identity not in known:
            sha = hashlib.sha256()
            with open(source, "rb") as stream:
                while block := stream.read(1 << 20):
                    sha.update(block)
            digest = sha.hexdigest()
            with contextlib.suppress(FileExistsError):
                os.link(source, os.path.join(blobs, digest))
            known[identity] = {"digest": f"sha256:{digest}", "size": status.st_size}
        return known[identity]

    try:
        entries = read_document(os.path.join(path, "manifest.json"))
        index = []
        for number, entry in enumerate(entries):
            files = [os.path.join(path, os.path.normpath(name)) for name in (entry["Config"], *entry["Layers"])]
            if any(not os.path.realpath(file).startswith(os.path.realpath(path) + os.sep) for file in files):
                raise BaseImageError("the archive names files outside itself")
            config, *layers = [put(file) for file in files]
            manifest = os.path.join(path, f"one-manifest-{number}")
            Path(manifest).write_bytes(msgspec.json.encode({"schemaVersion": 2, "config": config, "layers": layers}))
            made = put(manifest)
            names = entry.get("RepoTags") or [f"loaded:{config['digest'][7:19]}"]
            index += [{**made, "annotations": {"org.opencontainers.image.ref.name": name}} for name in names]
    except (OSError, ValueError, KeyError, TypeError, AttributeError, DocumentError) as error:
        if isinstance(error, OSError) and error.errno in _NO_ROOM:
            raise
        raise BaseImageError(f"the archive is damaged: {error}") from error
    Path(path, "index.json").write_bytes(msgspec.json.encode({"schemaVersion": 2, "manifests": index}))
    Path(path, "oci-layout").write_bytes(b'{"imageLayoutVersion":"1.0.0"}')
    return _load_layout(bases, path)
