"""What layerlab remembers of a daemon's builds: which keys it has seen built, so that a plan and a reason can be given.

Docker does not say what its cache holds. Every step that a build of ours ran or found cached is recorded here under our key. What a
stage's files are is not known either; but what they were made from is, so a selection from a stage gets as its digest the steps
that made the stage, and the digest of an earlier selection when Docker says that the copy was cached.
"""

from __future__ import annotations

import hashlib
import os
from typing import Any

import msgspec

from layerlab.context import Selected, Selection
from layerlab.fsutil import locked, write_atomically
from layerlab.solver.plan import CacheRecord

_KEPT = 20_000


class _File(msgspec.Struct):
    records: dict[str, CacheRecord] = {}
    contents: dict[str, str] = {}


class DaemonRecords:
    """The records of one daemon: a ``CacheView`` for the solver."""

    def __init__(self, directory: str) -> None:
        self._path = os.path.join(directory, "records")
        self._lock = os.path.join(directory, "records.lock")
        self._file = self._read()
        self._added = _File()

    def _read(self) -> _File:
        try:
            with open(self._path, "rb") as stream:
                return msgspec.msgpack.decode(stream.read(), type=_File)
        except (OSError, msgspec.MsgspecError):
            return _File()

    def lookup(self, key: str) -> CacheRecord | None:
        """The record under a key, or ``None``."""
        return self._file.records.get(key)

    def content(self, layers: tuple[str, ...], selection: Selection) -> Selected | None:
        """What stands for the selected content, or ``None`` where no build has shown it yet."""
        digest = self._file.contents.get(provenance(layers, selection))
        return Selected(digest, (), []) if digest is not None else None

    def add(self, record: CacheRecord) -> None:
        """Record that a step was built."""
        self._file.records[record.key] = self._added.records[record.key] = record

    def add_content(self, layers: tuple[str, ...], selection: Selection, digest: str | None) -> None:
        """Record what stands for a selection: ``digest`` of an equal one, or ``None`` for one that equals nothing before it."""
        name = provenance(layers, selection)
        self._file.contents[name] = self._added.contents[name] = digest or name

    def save(self) -> None:
        """Write what was added. Raises ``OSError``."""
        with locked(self._lock):
            file = self._read()
            _merge(file.records, self._added.records)
            _merge(file.contents, self._added.contents)
            write_atomically(self._path, msgspec.msgpack.encode(file), durable=False)
            self._file, self._added = file, _File()


def _merge(whole: dict[str, Any], part: dict[str, Any]) -> None:
    for key, value in part.items():
        # The newest stand at the end, so that the oldest go first.
        whole.pop(key, None)
        whole[key] = value
    while len(whole) > _KEPT:
        del whole[next(iter(whole))]


def provenance(layers: tuple[str, ...], selection: Selection) -> str:
    """A digest of a selection by what its layers were made from."""
    return hashlib.sha256(msgspec.json.encode([layers, msgspec.to_builtins(selection)])).hexdigest()
