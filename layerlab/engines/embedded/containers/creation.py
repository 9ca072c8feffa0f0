"""Running a container of the store: its command in its root filesystem, with a writable layer in the container's directory."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator, Mapping
from typing import Any

from layerlab.engines.api import ContainerOptions
from layerlab.engines.embedded.builds.mount_sources import RunMounts
from layerlab.engines.embedded.containers.store import ContainerRow
from layerlab.engines.embedded.executors.base import Executor, Process, Running
from layerlab.engines.embedded.snapshotters import Snapshotter
from layerlab.engines.embedded.store import Store
from layerlab.engines.embedded.workers import WorkerProcess
from layerlab.errors import BaseImageError, ImagePathError, StepFailedError, UsageError
from layerlab.model import ImageRow
from layerlab.solver.ops import DEFAULT_PATH, RunOp, variables


def container_of(
    config: Mapping[str, Any],
    image: str,
    row: ImageRow,
    options: ContainerOptions,
) -> ContainerRow:
    """What a container of an image (its OCI configuration) is made of. A command replaces Cmd, after Entrypoint.

    Raises ``UsageError`` for an image without a command, and for ports without a network.
    """
    network, ports = options.get("network", True), options.get("ports", ())
    settings = config.get("config", {})
    argv = (*(settings.get("Entrypoint") or ()), *(options.get("command") or settings.get("Cmd") or ()))
    if not argv:
        raise UsageError("the image has no command", remedy="Give one after the image name.")
    if ports and not network:
        raise UsageError("a container without a network has no ports to publish", remedy="Leave out -p, or --network none.")
    return ContainerRow(
        id="",
        name=options.get("name") or "",
        image=image,
        image_id=row.config,
        diff_ids=tuple(config["rootfs"]["diff_ids"]),
        argv=argv,
        environment={"PATH": DEFAULT_PATH, **variables(settings.get("Env") or ()), **(options.get("environment") or {})},
        cwd=settings.get("WorkingDir") or "/",
        user=settings.get("User") or "",
        network=network,
        ports=ports,
        remove=options.get("remove", False),
        stop_signal=_signal(settings.get("StopSignal") or "SIGTERM"),
        created="",
    )


def _signal(text: str) -> int:
    """The number of a STOPSIGNAL, which is a number or a name with or without SIG; SIGTERM for what this system does not know."""
    name = text.upper()
    known = signal.Signals.__members__
    if name.isascii() and name.isdigit():
        return int(name)
    return known.get(name) or known.get(f"SIG{name}") or signal.SIGTERM


@contextlib.contextmanager
def started(row: ContainerRow, *, store: Store, worker: WorkerProcess, snapshotter: Snapshotter, executor: Executor) -> Iterator[Running]:
    """Start a container's command and give it; on exit it is killed. What it wrote stays in the container's directory.

    The network is the host's, so a port that the command opens is a port of this machine. Raises ``StepFailedError`` when the command is
    not in the image.
    """
    env = dict(row.environment)
    op = RunOp(argv=row.argv, env=tuple(f"{key}={value}" for key, value in env.items()), cwd=row.cwd, user=row.user)
    active = snapshotter.prepare(row.diff_ids, row.directory)
    with contextlib.ExitStack() as stack:
        mounts = stack.enter_context(RunMounts(op, store=store, worker=worker, secrets={}, file="", line=0, sources=[]))
        try:
            prepared = mounts.look_over(active, env["PATH"])
        except ImagePathError as error:
            raise BaseImageError(
                f"the image cannot be run in {row.cwd}: {error.reason}",
                remedy="Look at the links on the way to it.",
            ) from error
        if not prepared.command:
            raise StepFailedError(f'exec: "{row.argv[0]}": executable file not found in $PATH', exit_status=127)
        active.before(prepared.stubs)
        process = Process(
            argv=(prepared.command, *row.argv[1:]),
            environment={"HOME": prepared.home, "HOSTNAME": row.id[:12], **env},
            cwd=prepared.cwd,
            uid=prepared.uid,
            gid=prepared.gid,
            groups=tuple(prepared.groups),
            network="host" if row.network else "none",
            mounts=mounts.all(),
        )
        yield stack.enter_context(executor.start(active.root(), process))
