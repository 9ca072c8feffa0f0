"""Base images: what a name in FROM stands for.

A name resolves locally first (a pinned base or an image built here), then the registry is asked. Where that cannot be reached,
``node:alpine`` and its relatives fall back to the stand-in; every other name is an error that says so.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import urllib.parse
from pathlib import Path
from typing import Any

import msgspec

from layerlab.engines.embedded.rootfs.messages import ApplyOwners, Commit, Remove, UnpackLayer, VerifyBlob
from layerlab.engines.embedded.store import Store
from layerlab.engines.embedded.workers import WorkerProcess
from layerlab.errors import BaseImageError
from layerlab.fsutil import locked
from layerlab.model import ImageRow
from layerlab.oci.manifests import DOCUMENT_LIMIT, DocumentError, parse_configuration, parse_document, read_document
from layerlab.oci.references import Reference, canonical_name, parse_reference
from layerlab.offline import offline_folder
from layerlab.platform import ARCHITECTURE, OPERATING_SYSTEM
from layerlab.reports import Report, silent
from layerlab.solver.ops import BaseImage

_STAND_IN = re.compile(r"node:(?:[\w.]+-)?alpine[\d.]*\Z")
_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
_CONFIG = "application/vnd.oci.image.config.v1+json"
_LAYER = "application/vnd.oci.image.layer.v1.tar"


def is_for_this_machine(entry: dict[str, Any]) -> bool:
    """Whether an entry of an OCI index names this machine's platform, or none."""
    platform = entry.get("platform")
    return not platform or (platform.get("os"), platform.get("architecture")) == (OPERATING_SYSTEM, ARCHITECTURE)


class Bases:
    """Resolves, imports and composes base images into one store."""

    def __init__(self, store: Store, worker: WorkerProcess) -> None:
        self.store = store
        self.worker = worker

    def resolve(self, name: str, *, offline: bool = False, pull: bool = False, report: Report = silent) -> BaseImage:
        """The base image for a reference. Raises ``BaseImageError`` with BuildKit's key words when it cannot be had.

        A name that the store knows is never asked for again, unless ``pull`` says so; an image built here stays what it is.
        """
        canonical = canonical_name(name)
        row = self.store.image(canonical)
        if row is None or (pull and not offline and row.source != "build"):
            row = self._get(name, canonical, offline, report, row)
        config = json.loads(self.store.blob(row.config))
        diff_ids = tuple(config["rootfs"]["diff_ids"])
        for diff_id in diff_ids:
            if self.store.layer(diff_id) is None:
                raise BaseImageError(f"{name}: its layer {diff_id} is missing from the store", remedy="Import or build the image again.")
        return BaseImage(canonical, diff_ids, config, row.stand_in)

    def describe(self, name: str, *, offline: bool = False, report: Report = silent) -> BaseImage:
        """What a plan needs to know of a base image: its configuration, and the names of its layers, none of which is fetched.

        One that nobody answers for is a placeholder, whose ``stand_in`` says so. Raises ``BaseImageError`` for one that is refused.
        """
        canonical = canonical_name(name)
        folder = offline_folder()
        if self.store.image(canonical) is not None or (folder is not None and folder.image(canonical) is not None):
            return self.resolve(name, offline=True, report=report)
        why = "--offline was given" if offline else "this is offline"
        if not offline and folder is None:
            from layerlab.oci.registry import RegistryClient, RegistryError

            reference = parse_reference(name)
            try:
                config = RegistryClient(reference).configuration()
                return BaseImage(canonical, tuple((config.get("rootfs") or {}).get("diff_ids") or ()), config)
            except RegistryError as error:
                if not error.unreachable:
                    raise self._unresolved(name, error.message, error.remedy) from error
                why = error.message
        sentence = f"{canonical} could not be looked at ({why}), so the plan lacks what it sets (variables, user, triggers …)"
        if _STAND_IN.match(canonical):
            sentence += "; a build makes a stand-in for it where no registry answers"
        return BaseImage(canonical, (f"unknown:{canonical}",), {"config": {}}, sentence)

    @staticmethod
    def _unresolved(name: str, why: str, remedy: str | None) -> BaseImageError:
        return BaseImageError(
            f"{name}: failed to resolve source metadata for {parse_reference(name).full}: {why}",
            remedy=remedy or "Use FROM node:alpine (a stand-in is made for it), FROM scratch, or an image built, loaded or pulled here.",
        )

    def _get(self, name: str, canonical: str, offline: bool, report: Report, pinned: ImageRow | None) -> ImageRow:
        # The client's imports cost more than a whole no-op build, which never gets here.
        from layerlab.oci.registry import RegistryError

        reference = parse_reference(name)
        folder = offline_folder()
        layout = folder.image(canonical) if folder is not None and pinned is None else None
        if layout is not None:
            report(f"{canonical} is taken from the offline folder")
            return self.import_layout(layout, reference.short, source="registry")
        why = "--offline was given" if offline else "this is offline"
        unreachable = True
        remedy = None
        if not offline and folder is None:
            try:
                return self.pull(reference, report)
            except RegistryError as error:
                why, unreachable, remedy = error.message, error.unreachable, error.remedy
        if pinned is not None:
            # A failed pull never switches a pinned base: the build goes on with what it had.
            report(f"{canonical} could not be pulled again ({why}); the pinned image is used")
            return pinned
        if unreachable and _STAND_IN.match(canonical):
            report(f"{canonical} could not be pulled ({why}); making a stand-in on this machine")
            with self.store.guarded():
                return self._compose(canonical, why)
        raise self._unresolved(name, why, remedy)

    def pull(self, reference: Reference, report: Report = silent) -> ImageRow:
        """Pull an image and pin its name to it. A download that breaks off is continued next time.

        Raises ``RegistryError``, ``StoreError``.
        """
        from layerlab.oci.registry import RegistryClient

        directory = os.path.join(self.store.path, "downloads", urllib.parse.quote(reference.short, safe=""))
        with self.store.guarded():
            os.makedirs(directory, exist_ok=True)
            with locked(directory + ".lock"):
                report(f"pulling {reference.full}")
                RegistryClient(reference).pull(directory, report, have=self._is_sound)
                row = self.import_layout(directory, reference.short, source="registry")
                shutil.rmtree(directory, ignore_errors=True)
        return row

    def _is_sound(self, diff_id: str) -> bool:
        row = self.store.layer(diff_id)
        return row is not None and not row.damaged

    def _compose(self, canonical: str, why: str) -> ImageRow:
        # Composing is rare and its imports are not free.
        from layerlab.engines.embedded.stacks import node_alpine

        scratch = os.path.join(self.store.path, self.store.scratch(), "stand-in")
        shutil.rmtree(scratch, ignore_errors=True)
        os.mkdir(scratch)
        made = node_alpine.compose(Path(scratch))
        diff_ids: list[str] = []
        history: list[dict[str, Any]] = []
        sizes: list[int] = []
        for layer in made.layers:
            directory = f"{self.store.scratch()}/stand-in/{layer.directory}"
            self.worker.ask(ApplyOwners(dest=directory, owners=layer.owners))
            committed = self.worker.ask(Commit(layer=directory, lowers=[], owners=layer.owners, owner=(0, 0), newest=None))
            self.store.add_layer(directory, committed.diff_id, committed.size, committed.length, empty=False)
            diff_ids.append(committed.diff_id)
            sizes.append(committed.length)
            history.append({"created_by": layer.created_by, "comment": "layerlab stand-in"})
        shutil.rmtree(scratch, ignore_errors=True)
        config = {
            "architecture": ARCHITECTURE,
            "os": OPERATING_SYSTEM,
            "config": made.config,
            "rootfs": {"type": "layers", "diff_ids": diff_ids},
            "history": history,
        }
        sentence = (
            f"{canonical} is a stand-in made on this machine (Node {made.node_version}, npm {made.npm_version}, tools of {made.host}); "
            f"the real one could not be had: {why}"
        )
        return self.put(canonical, config, sizes, source="stand-in", stand_in=sentence)

    def put(self, name: str, config: dict[str, Any], lengths: list[int], *, source: str, stand_in: str = "") -> ImageRow:
        """Store a configuration and its manifest and point ``name`` at them. ``lengths``: bytes of each layer's tar."""
        raw = msgspec.json.encode(config)
        digest = self.store.put_blob(raw)
        manifest = {
            "schemaVersion": 2,
            "mediaType": _MANIFEST,
            "config": {"mediaType": _CONFIG, "digest": digest, "size": len(raw)},
            "layers": [
                {"mediaType": _LAYER, "digest": diff_id, "size": length}
                for diff_id, length in zip(config["rootfs"]["diff_ids"], lengths, strict=True)
            ],
        }
        row = ImageRow(
            name=name, config=digest, manifest=self.store.put_blob(msgspec.json.encode(manifest)), source=source, stand_in=stand_in
        )
        self.store.put_image(row)
        return row

    # --- OCI layouts ------------------------------------------------------------------------------------------------

    def import_layout(self, path: str, name: str, *, source: str = "oci-layout", entry: dict[str, Any] | None = None) -> ImageRow:
        """Import an image from an OCI layout directory (image-spec ``image-layout.md``) under ``name``.

        ``entry`` is the one of its index that is meant; without it, the name decides. An index with several platforms resolves to
        this machine's. Every digest and diff ID is verified. Raises ``BaseImageError``.
        """
        try:
            version = read_document(os.path.join(path, "oci-layout")).get("imageLayoutVersion")
            index = read_document(os.path.join(path, "index.json"))
        except (OSError, DocumentError, AttributeError) as error:
            raise BaseImageError(
                f"{path} is not an OCI image layout: {error}", remedy="It needs the files oci-layout and index.json."
            ) from error
        if version != "1.0.0":
            raise BaseImageError(f"{path}: image layout version {version!r} is not supported")
        try:
            manifest = self._manifest(path, index["manifests"] if entry is None else [entry], name)
            config = parse_configuration(self._blob(path, manifest["config"]["digest"]))
            diff_ids = config["rootfs"]["diff_ids"]
            layers = [(layer["digest"], self._digest(path, diff_id)) for layer, diff_id in zip(manifest["layers"], diff_ids, strict=False)]
        except DocumentError as error:
            raise BaseImageError(f"{path}: the image's manifest or configuration is not valid: {error}") from error
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise BaseImageError(f"{path}: the image's manifest or configuration is not valid: {error!r}") from error
        if len(diff_ids) != len(manifest["layers"]):
            raise BaseImageError(f"{path}: the configuration names {len(diff_ids)} layers, the manifest {len(manifest['layers'])}")
        lengths = [self._import_layer(path, digest, diff_id) for digest, diff_id in layers]
        return self.put(canonical_name(name), config, lengths, source=source)

    def _manifest(self, path: str, entries: list[dict[str, Any]], name: str) -> dict[str, Any]:
        for _ in range(4):
            fitting = [entry for entry in entries if is_for_this_machine(entry)]
            named = [
                entry
                for entry in fitting
                if (entry.get("annotations") or {}).get("org.opencontainers.image.ref.name") in (name, name.rpartition(":")[2])
            ]
            chosen = (named or fitting)[:1]
            if not chosen:
                raise BaseImageError(f"{path} has no image for {OPERATING_SYSTEM}/{ARCHITECTURE}")
            document: dict[str, Any] = parse_document(self._blob(path, chosen[0]["digest"]))
            if "layers" in document:
                return document
            entries = document.get("manifests", [])
        raise BaseImageError(f"{path}: indexes nested too deep")

    def _digest(self, path: str, digest: str) -> str:
        if re.fullmatch(r"sha256:[0-9a-f]{64}", digest) is None:
            raise BaseImageError(f"{path}: digest {digest!r} is not supported")
        return digest

    def _blob_path(self, path: str, digest: str) -> str:
        return os.path.join(path, "blobs", "sha256", self._digest(path, digest).removeprefix("sha256:"))

    def _blob(self, path: str, digest: str) -> bytes:
        try:
            with open(self._blob_path(path, digest), "rb") as stream:
                data = stream.read(DOCUMENT_LIMIT + 1)
        except OSError as error:
            raise BaseImageError(f"{path}: blob {digest} cannot be read: {error.strerror}") from error
        if len(data) > DOCUMENT_LIMIT:
            raise BaseImageError(f"{path}: blob {digest} is longer than {DOCUMENT_LIMIT} bytes, which no manifest and no configuration is")
        if hashlib.sha256(data).hexdigest() != digest.removeprefix("sha256:"):
            raise BaseImageError(f"{path}: blob {digest} is damaged: its content has another digest")
        return data

    def _import_layer(self, path: str, digest: str, diff_id: str) -> int:
        known = self.store.layer(diff_id)
        if known is not None and not known.damaged:
            return known.length
        source = os.path.abspath(self._blob_path(path, digest))
        directory = self.store.scratch_directory()
        try:
            length = self.worker.ask(VerifyBlob(path=source, digest=digest, diff_id=diff_id)).length
            self.worker.ask(UnpackLayer(tar=source, dest=f"{directory}/l"))
            made = self.worker.ask(Commit(layer=f"{directory}/l", lowers=[], owners={}, owner=(0, 0), newest=None))
            check, blob = made.diff_id, ""
            if check != diff_id:
                # Somebody else's tar has other headers or another order: keep it, or the layer could never be sent on.
                self.store.adopt_blob(source, digest)
                blob = digest
            row = self.store.add_layer(f"{directory}/l", diff_id, made.size, length, empty=made.empty, blob=blob, check=check)
        except OSError as error:
            raise BaseImageError(
                f"{path}: layer {digest} cannot be unpacked: {error.strerror} ({error.filename or 'no file named'})"
            ) from error
        finally:
            self.worker.ask(Remove(paths=[directory]))
        return row.length
