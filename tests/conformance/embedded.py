"""The embedded engine as an engine under test."""

from __future__ import annotations

import functools
import re
import shutil
from pathlib import Path
from typing import Any

from layerlab.engines.api import BuildOptions
from layerlab.engines.embedded.engine import EmbeddedEngine
from layerlab.engines.embedded.images.archives import export_layer
from layerlab.errors import LayerlabError
from layerlab.model import BuildRecord, StepRecord
from layerlab.oci.tar_entries import LayerEntry
from layerlab.solver.graph import NEWEST, Like

from . import bases
from .cases import REFERENCE, Image, Row, Settings
from .layers import members, rest_of
from .outcome import Outcome

_STATUSES = ("cached", "executed", "failed")


class EmbeddedRunner:
    """A new store for every case, in a directory of its own."""

    name = "embedded"
    engine = REFERENCE

    def __init__(self, directory: Path, like: Like = NEWEST, *, live: bool = False) -> None:
        """``live``: tell more than is recorded, as ``DockerRunner`` does then."""
        self.like = like
        self._live = live
        self._directory = directory
        self._layouts: dict[str, Path] = {}
        self._engine: EmbeddedEngine | None = None
        for base in bases.bases():
            layout = directory / "bases" / re.sub(r"\W", "-", base.name)
            bases.write_layout(base, layout)
            self._layouts[base.name] = layout

    @functools.cached_property
    def lacks(self) -> dict[str, str]:
        """What this machine cannot do (``docs/differences.md``): a case's tag, to why such a case is left out."""
        with EmbeddedEngine(store=str(self._directory / "store-of-nothing")) as engine:
            host = engine.host
        found = {}
        if host.ids != "full":
            found["several-ids"] = "a RUN changes owners or prints groups, and there is one id only"
        if host.snapshotter == "copy":
            found["split-hard-links"] = "a RUN changes a file that has several names, which splits them in an overlay alone"
        if host.executor == "proot":
            found["host-name"] = "proot cannot give a build a host name of its own"
            found["sized-tmpfs"] = "proot cannot limit the size of a tmpfs mount"
        return found

    def start(self) -> None:
        """An empty store with the base images."""
        self.close()
        store = self._directory / "store"
        shutil.rmtree(store, ignore_errors=True)
        self._engine = EmbeddedEngine(store=str(store))
        for name, layout in self._layouts.items():
            self._engine.import_layout(str(layout), name)

    def close(self) -> None:
        """End the worker of the case before."""
        if self._engine is not None:
            self._engine.close()

    def build(self, directory: Path, settings: Settings, *, want_image: bool) -> Outcome:
        """Build a context without network."""
        return self.built(self.options(directory, settings), want_image=want_image)[0]

    def options(self, directory: Path, settings: Settings) -> BuildOptions:
        """What the engine is asked for."""
        return BuildOptions(
            context=str(directory),
            file=str(directory / settings.file),
            target=settings.target,
            tag=settings.tag,
            build_args=settings.args,
            labels=settings.labels,
            secrets={name: value.encode("utf-8") for name, value in settings.secrets.items()},
            no_cache=settings.no_cache,
            no_cache_filter=settings.no_cache_filter,
            network="none",
            offline=True,
            like=self.like,
        )

    def built(self, options: BuildOptions, *, want_image: bool) -> tuple[Outcome, BuildRecord | str]:
        """What a build did, and its record or the message of the error that there was instead."""
        assert self._engine is not None
        try:
            record = self._engine.build(options)
        except LayerlabError as error:
            return Outcome(rows=[], error=error.message, line=error.line), error.message
        rows = [_row(step) for step in record.steps if step.status in _STATUSES and step.index]
        if record.failure is not None:
            return Outcome(rows=rows, error=record.failure.message, line=record.failure.line), record
        if not want_image:
            return Outcome(rows=rows), record
        assert record.image is not None
        return Outcome(rows=rows, image=self._image(record.image)), record

    def _image(self, reference: str) -> Image:
        assert self._engine is not None
        config = self._engine.image_config(reference)
        history = [
            {"created_by": row.created_by, "comment": row.comment, "empty_layer": row.empty_layer, "size": row.size}
            for row in reversed(self._engine.history(reference))
        ]
        known = bases.diff_ids()
        layers = [
            self._members(diff_id) if self._live else sorted((_member(entry) for entry in layer), key=lambda member: str(member["path"]))
            for layer, diff_id in zip(self._engine.layer_entries(reference), config["rootfs"]["diff_ids"], strict=True)
            if diff_id not in known
        ]
        settings = {key: value for key, value in config["config"].items() if value}
        top = rest_of(config) if self._live else None
        return Image(history=history, config=settings, layers=layers, os=config["os"], architecture=config["architecture"], top=top)

    def _members(self, diff_id: str) -> list[dict[str, Any]]:
        """A layer as it would be saved or pushed."""
        assert self._engine is not None
        target = self._directory / "layer.tar"
        export_layer(self._engine.store, self._engine.worker, diff_id, str(target))
        try:
            return members(target.read_bytes(), whole=True)
        finally:
            target.unlink()


def _row(step: StepRecord) -> Row:
    return Row(
        instruction=step.instruction,
        stage="" if step.stage == "0" else step.stage,
        index=step.index,
        cached=step.status == "cached",
        error=step.status == "failed",
    )


def _member(entry: LayerEntry) -> dict[str, Any]:
    if entry.type in ("whiteout", "opaque"):
        return {"path": entry.path, "type": entry.type}
    value: dict[str, Any] = {"path": entry.path, "type": entry.type, "mode": f"{entry.mode:04o}", "uid": entry.uid, "gid": entry.gid}
    if entry.type == "file":
        value["size"] = entry.size
    if entry.type in ("symlink", "hardlink"):
        value["target"] = entry.target
    return value
