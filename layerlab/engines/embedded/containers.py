"""Running an image: its command in its root filesystem, with a writable layer that goes when the container does."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator, Mapping
from typing import Any

from layerlab.engines.embedded.executors.base import Executor, Process, Running
from layerlab.engines.embedded.mounts import RunMounts
from layerlab.engines.embedded.snapshotters import Snapshotter
from layerlab.engines.embedded.store import Store
from layerlab.engines.embedded.workers import WorkerProcess
from layerlab.errors import StepFailedError, UsageError
from layerlab.ops import DEFAULT_PATH, RunOp


@contextlib.contextmanager
def started(
    config: Mapping[str, Any],
    *,
    store: Store,
    worker: WorkerProcess,
    snapshotter: Snapshotter,
    executor: Executor,
    command: tuple[str, ...] = (),
    environment: Mapping[str, str] | None = None,
    network: bool = True,
) -> Iterator[Running]:
    """Start an image (its OCI configuration) and give the running command; on exit it is killed and its layer removed.

    ``command`` replaces Cmd, after Entrypoint. The network is the host's, so a port that the command opens is a port of this
    machine. Raises ``UsageError`` for an image without a command, ``StepFailedError`` when the command is not in the image.
    """
    settings = config.get("config", {})
    argv = (*(settings.get("Entrypoint") or ()), *(command or settings.get("Cmd") or ()))
    if not argv:
        raise UsageError("the image has no command", remedy="Give one after the image name.")
    env = {"PATH": DEFAULT_PATH, **dict(item.split("=", 1) for item in settings.get("Env") or ()), **(environment or {})}
    cwd = settings.get("WorkingDir") or "/"
    op = RunOp(argv=argv, env=tuple(f"{key}={value}" for key, value in env.items()), cwd=cwd, user=settings.get("User") or "")
    active = snapshotter.prepare(tuple(config["rootfs"]["diff_ids"]))
    with contextlib.ExitStack() as stack:
        stack.callback(active.discard)
        scratch = stack.enter_context(tempfile.TemporaryDirectory(prefix="layerlab-container-"))
        mounts = stack.enter_context(RunMounts(op, scratch, store=store, worker=worker, secrets={}, file="", line=0, sources=[]))
        targets = mounts.targets()
        prepared = worker.ask(
            "prepare_run",
            layers=active.lowers,
            upper=active.upper,
            work=active.work,
            cwd=cwd,
            user=op.user,
            targets=targets,
            command=argv[0],
            search=env["PATH"],
        )
        if not prepared["command"]:
            raise StepFailedError(f'exec: "{argv[0]}": executable file not found in $PATH', exit_status=127)
        active.before([(path, directory) for path, (_, directory) in zip(prepared["targets"], targets, strict=True)])
        places = ["/" + path for path in prepared["targets"]]
        process = Process(
            argv=(prepared["command"], *argv[1:]),
            environment={"HOME": prepared["home"], "HOSTNAME": os.uname().nodename, **env},
            cwd=prepared["cwd"],
            uid=prepared["uid"],
            gid=prepared["gid"],
            groups=tuple(prepared["groups"]),
            network=network,
            binds=mounts.binds(places),
            tmpfs=mounts.tmpfs(places),
        )
        yield stack.enter_context(executor.start(active.root(), process))
