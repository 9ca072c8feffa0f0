"""Images in the store: listing, naming, looking inside, checking, and throwing away what nothing needs."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import msgspec

from layerlab.engines.embedded.rootfs.messages import Measure, Remove
from layerlab.engines.embedded.store import UNNAMED, Store
from layerlab.engines.embedded.workers import WorkerProcess
from layerlab.errors import StoreError, UsageError
from layerlab.model import Damage, ImageRow, ImageSummary, ImageView, Pruned, Verification
from layerlab.oci.references import canonical_name
from layerlab.oci.tar_entries import LayerEntry
from layerlab.reports import Report

if TYPE_CHECKING:
    from layerlab.engines.embedded.containers.store import ContainerRow, ContainerStore

_SHORTEST_ID = 4


def find(store: Store, image: str) -> ImageRow:
    """The image under a name, or an ID or the start of one. Raises ``UsageError`` with docker's words."""
    if not re.fullmatch(r"(sha256:)?[0-9a-f]{64}", image):
        row = store.image(canonical_name(image))
        if row is not None:
            return row
    wanted = image.removeprefix("sha256:")
    if len(wanted) >= _SHORTEST_ID and re.fullmatch(r"[0-9a-f]+", wanted):
        found = {row.config: row for row in store.images() if row.config[7:].startswith(wanted)}
        if len(found) > 1:
            raise UsageError(f"{image} is the start of {len(found)} image IDs", remedy="Give more of it.")
        for row in found.values():
            return row
    raise UsageError(f"No such image: {image}", remedy="`layerlab images` lists those that are here.")


def config_of(store: Store, row: ImageRow) -> dict[str, Any]:
    """The OCI configuration of an image. Raises ``StoreError``."""
    config: dict[str, Any] = json.loads(store.blob(row.config))
    return config


def list_images(store: Store, *, unnamed: bool = False) -> tuple[ImageSummary, ...]:
    """All images, newest first; ``unnamed`` includes results of builds without a tag."""
    found = []
    rows = store.images()
    named = {row.config for row in rows if not row.name.startswith(UNNAMED)}
    for row in rows:
        if row.name.startswith(UNNAMED) and (not unnamed or row.config in named):
            continue
        config = config_of(store, row)
        diff_ids = config["rootfs"]["diff_ids"]
        sizes = [layer.size for layer in (store.layer(diff_id) for diff_id in diff_ids) if layer is not None]
        name = UNNAMED if row.name.startswith(UNNAMED) else row.name
        found.append(
            ImageSummary(
                name=name, id=row.config, created=config.get("created") or "", size=sum(sizes), layers=len(diff_ids), stand_in=row.stand_in
            )
        )
    return tuple(sorted(found, key=lambda summary: (summary.created, summary.name), reverse=True))


def inspect(store: Store, row: ImageRow) -> dict[str, Any]:
    """What ``docker image inspect`` shows, under its names, and the stand-in sentence."""
    config = config_of(store, row)
    diff_ids = config["rootfs"]["diff_ids"]
    layers = [store.layer(diff_id) for diff_id in diff_ids]
    return {
        "Id": row.config,
        "RepoTags": sorted(other.name for other in store.images() if other.config == row.config and not other.name.startswith(UNNAMED)),
        "Created": config.get("created"),
        "Author": config.get("author", ""),
        "Architecture": config.get("architecture"),
        "Os": config.get("os"),
        "Size": sum(layer.size for layer in layers if layer is not None),
        "Config": config.get("config", {}),
        "RootFS": {"Type": "layers", "Layers": diff_ids},
        "ManifestDigest": row.manifest,
        "StandIn": row.stand_in,
    }


def tag(store: Store, row: ImageRow, name: str) -> ImageRow:
    """Give an image another name; a name that was taken moves. Raises ``UsageError``."""
    renamed = msgspec.structs.replace(row, name=canonical_name(name), source="build" if row.source == "build" else row.source)
    store.put_image(renamed)
    return renamed


def untag(store: Store, image: str, in_use: Iterable[ContainerRow] = ()) -> tuple[str, bool]:
    """Take away a name, or all names of an ID; returns what was taken and whether the image is now without a name.

    Layers and cache records stay until ``prune``. Raises ``UsageError``, also for the last name of an image of the containers ``in_use``.
    """
    row = find(store, image)
    by_id = re.fullmatch(r"(sha256:)?[0-9a-f]{4,64}", image) is not None and store.image(canonical_name(image)) is None
    gone = [other for other in store.images() if other.config == row.config] if by_id else [row]
    if all(other in gone for other in store.images() if other.config == row.config):
        for container in in_use:
            if container.image_id == row.config:
                raise UsageError(
                    f'conflict: unable to remove repository reference "{image}" (must force) - '
                    f"container {container.id[:12]} is using its referenced image {row.config[7:19]}",
                    remedy=f"Remove the container first (layerlab rm {container.name}), or use rmi -f; its layers stay as long as it does.",
                )
    for other in gone:
        store.remove_image(other.name)
    left = any(other.config == row.config and not other.name.startswith(UNNAMED) for other in store.images())
    return ", ".join(other.name for other in gone), not left


# --- layers ---------------------------------------------------------------------------------------------------------


def view(store: Store, row: ImageRow, entries: list[list[LayerEntry]]) -> ImageView:
    """See an image as its layers; ``entries`` are the members of each, lowest first."""
    config = config_of(store, row)
    layers = [store.layer(diff_id) for diff_id in config["rootfs"]["diff_ids"]]
    from layerlab.oci.layer_view import view_of

    return view_of(row.config, config, [layer.size if layer is not None else 0 for layer in layers], entries)


# --- verify ---------------------------------------------------------------------------------------------------------


def verify(store: Store, worker: WorkerProcess, report: Report) -> Verification:
    """Read every blob and every layer and compare with its digest."""
    users: dict[str, set[str]] = {}
    for row in store.images():
        names = {row.config, row.manifest}
        try:
            names |= set(config_of(store, row)["rootfs"]["diff_ids"])
        except (StoreError, KeyError, ValueError):
            report(f"the configuration of {row.name} cannot be read")
        for digest in names:
            users.setdefault(digest, set()).add(row.name)
    damaged = []
    blobs = store.blob_digests()
    for digest in blobs:
        found = store.blob_digest_of(digest)
        if found != digest:
            damaged.append(Damage(what="blob", digest=digest, found=found, images=tuple(sorted(users.get(digest, ())))))
    rows = store.layer_rows()
    for number, layer in enumerate(rows, start=1):
        report(f"layer {number} of {len(rows)}: {layer.diff_id[7:19]}")
        try:
            found = worker.ask(Measure(layer=f"s/{layer.number}")).digest
        except FileNotFoundError:
            # Somebody removed the directory, or part of it while it was read.
            found = ""
        if found != (layer.check or layer.diff_id):
            store.mark_damaged(layer)
            damaged.append(Damage(what="layer", digest=layer.diff_id, found=found, images=tuple(sorted(users.get(layer.diff_id, ())))))
    return Verification(blobs=len(blobs), layers=len(rows), damaged=tuple(damaged))


# --- prune ----------------------------------------------------------------------------------------------------------


def prune(store: Store, worker: WorkerProcess, report: Report, *, containers: ContainerStore, keep: int = 0) -> Pruned:
    """Remove cache records, least recently used first, until the layers that only they need weigh at most ``keep`` bytes.

    Then those layers go, and the blobs that no image and no layer needs. Layers of named images and of containers always stay. Waits for
    builds that use the store. A record goes before its layer, a layer before its blob: a kill in between leaves nothing that points at
    nothing.
    """
    with store.to_itself():
        from layerlab.engines.embedded.tree_cache import KeptTree

        KeptTree(store, worker).remove()
        rows = [(row, set(config_of(store, row)["rootfs"]["diff_ids"])) for row in store.images()]
        needed = {diff_id for row, diff_ids in rows if not row.name.startswith(UNNAMED) for diff_id in diff_ids}
        containers.sweep()
        for container in containers.rows():
            if not set(container.diff_ids) <= needed:
                report(f"container {container.name} needs layers of an image without a name: they stay until it is removed")
                needed |= set(container.diff_ids)
        sizes = {layer.diff_id: layer.size for layer in store.layer_rows()}
        records = store.records_by_use()
        budget = keep
        kept: set[str] = set()
        gone = 0
        for record in records:
            if record.diff_id in needed or record.diff_id in kept:
                continue
            size = sizes.get(record.diff_id, 0)
            if size <= budget and keep:
                budget -= size
                kept.add(record.diff_id)
                continue
            store.remove_record(record.key)
            gone += 1
        for row, diff_ids in rows:
            # The result of a build without a tag goes with the first of its layers.
            if row.name.startswith(UNNAMED) and not diff_ids <= needed | kept:
                store.remove_image(row.name)
        freed = removed = 0
        for layer in store.layer_rows():
            if layer.diff_id in needed or layer.diff_id in kept:
                continue
            report(f"removing layer {layer.diff_id[7:19]} ({layer.size} bytes)")
            store.remove_layer(layer)
            worker.ask(Remove(paths=[f"s/{layer.number}"]))
            freed += layer.size
            removed += 1
        worker.ask(Remove(paths=store.unreferenced_directories()))
        blobs, blob_bytes = store.remove_unreferenced_blobs()
        left = sum(sizes.get(diff_id, 0) for diff_id in needed | kept)
        return Pruned(records=gone, layers=removed, freed=freed, kept=left, blobs=blobs, blob_bytes=blob_bytes)
