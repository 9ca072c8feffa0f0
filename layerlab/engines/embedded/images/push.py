"""Pushing images: each layer is compressed when it is first sent, and sent only where the registry lacks it."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import tempfile
from typing import IO, Final

import msgspec

from layerlab.engines.embedded.images.archives import export_layer
from layerlab.engines.embedded.store import LayerRow, Store
from layerlab.engines.embedded.workers import WorkerProcess
from layerlab.errors import StoreError, UsageError
from layerlab.model import ImageRow, Push, SentLayer
from layerlab.oci.references import Reference, parse_reference
from layerlab.oci.registry import RegistryClient
from layerlab.reports import Report

_MANIFEST: Final = "application/vnd.oci.image.manifest.v1+json"
_CONFIG: Final = "application/vnd.oci.image.config.v1+json"
_LAYER: Final = "application/vnd.oci.image.layer.v1.tar"
_LEVEL: Final = 6
_CHUNK: Final = 1 << 20
# Each try that fails costs two requests.
_MOUNT_TRIES: Final = 3


def push(store: Store, worker: WorkerProcess, row: ImageRow, reference: Reference, report: Report) -> Push:
    """Push an image. Raises ``RegistryError``, ``StoreError``."""
    client = RegistryClient(reference, write=True)
    config = store.blob(row.config)
    sent = 0
    layers: list[SentLayer] = []
    descriptors = []
    elsewhere = _other_repositories(store, reference)
    for diff_id in json.loads(config)["rootfs"]["diff_ids"]:
        layer = store.layer(diff_id)
        if layer is None:
            raise StoreError(f"layer {diff_id} is missing from the store", remedy="Build or pull the image again.")
        with store.guarded():
            digest, kind = _blob_of(store, worker, layer, report)
            size = os.path.getsize(store.blob_path(digest))
        missing = not client.has_blob(digest)
        mounted = missing and any(client.mount_blob(digest, repository) for repository in elsewhere.get(diff_id, ())[:_MOUNT_TRIES])
        if mounted:
            missing = False
        if missing:
            with open(store.blob_path(digest), "rb") as source:
                client.push_blob(digest, source, size, report)
            sent += size
        report(f"{diff_id[7:19]}: {'pushed' if missing else 'mounted from another repository' if mounted else 'layer already exists'}")
        layers.append(SentLayer(diff_id=diff_id, digest=digest, size=size, sent=missing))
        descriptors.append({"mediaType": kind, "digest": digest, "size": size})
    if not client.has_blob(row.config):
        client.push_blob(row.config, io.BytesIO(config), len(config), report)
        sent += len(config)
    manifest = msgspec.json.encode(
        {
            "schemaVersion": 2,
            "mediaType": _MANIFEST,
            "config": {"mediaType": _CONFIG, "digest": row.config, "size": len(config)},
            "layers": descriptors,
        }
    )
    digest = client.push_manifest(manifest, _MANIFEST)
    return Push(reference=reference.full, digest=digest, layers=tuple(layers), sent=sent)


def _other_repositories(store: Store, reference: Reference) -> dict[str, tuple[str, ...]]:
    """Repositories of the same registry that may have a layer, by diff ID: those of images here that are named after it and have it."""
    found: dict[str, tuple[str, ...]] = {}
    for row in store.images():
        try:
            other = parse_reference(row.name)
            diff_ids = json.loads(store.blob(row.config))["rootfs"]["diff_ids"]
        except (UsageError, StoreError):
            # A result without a name, or a damaged image: neither says where its layers are.
            continue
        if other.registry == reference.registry and other.repository != reference.repository:
            for diff_id in diff_ids:
                if other.repository not in found.get(diff_id, ()):
                    found[diff_id] = (*found.get(diff_id, ()), other.repository)
    return found


def _blob_of(store: Store, worker: WorkerProcess, layer: LayerRow, report: Report) -> tuple[str, str]:
    """(digest, media type) of the blob that stands for a layer on a registry, made on first use."""
    if layer.blob:
        with open(store.blob_path(layer.blob), "rb") as stream:
            return layer.blob, _LAYER + ("+gzip" if stream.read(2) == b"\x1f\x8b" else "")
    known = store.compressed(layer.diff_id)
    if known is not None:
        return known, _LAYER + "+gzip"
    report(f"{layer.diff_id[7:19]}: compressing {layer.size / 1e6:.1f} MB")
    with tempfile.TemporaryDirectory(dir=os.path.join(store.path, "tmp"), prefix=f"{os.getpid()}-push-") as scratch:
        tar = export_layer(store, worker, layer.diff_id, os.path.join(scratch, "layer"))
        packed = os.path.join(scratch, "packed")
        with open(tar, "rb") as source, open(packed, "wb") as sink:
            digest = _compress(source, sink)
        store.adopt_blob(packed, digest)
    store.remember_compressed(layer.diff_id, digest)
    return digest, _LAYER + "+gzip"


def _compress(source: IO[bytes], sink: IO[bytes]) -> str:
    """gzip without a time stamp, so that one layer is one blob however often it is compressed. Returns the digest."""
    writer = _Hashed(sink)
    with gzip.GzipFile(filename="", mode="wb", compresslevel=_LEVEL, fileobj=writer, mtime=0) as packer:
        while block := source.read(_CHUNK):
            packer.write(block)
    return f"sha256:{writer.sha.hexdigest()}"


class _Hashed(io.RawIOBase):
    """A sink that hashes what goes through it."""

    def __init__(self, sink: IO[bytes]) -> None:
        super().__init__()
        self.sha = hashlib.sha256()
        self._sink = sink

    def writable(self) -> bool:
        return True

    def write(self, block: bytes) -> int:  # type: ignore[override]
        self.sha.update(block)
        return self._sink.write(block)
