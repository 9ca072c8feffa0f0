"""RUN as an operation: what is run, in which environment, with which mounts (BuildKit's ``dispatchRun``)."""

from __future__ import annotations

import posixpath
from typing import Final

from layerlab.dockerfile import expand_keeping_quotes, parse_heredoc, parse_mount
from layerlab.dockerfile.ast import Instruction, Stage
from layerlab.dockerfile.devices import device_problem
from layerlab.errors import DockerfileError, UnsupportedError
from layerlab.solver.graph.normalize import clean, upper_keyword
from layerlab.solver.graph.scope import Lowered, Scope, StageState
from layerlab.solver.ops import MountOp, RunOp, Source

DEFAULT_SHELL: Final = ("/bin/sh", "-c")
SCRIPTS: Final = "/dev/pipes"
_SECRET_MODES: Final = {"secret": 0o400, "ssh": 0o600}


def lower_run(scope: Scope, stage: Stage, state: StageState, at: Instruction, *, first: bool) -> Lowered:
    """``first``: whether nothing in its stage makes a layer before it. Raises ``DockerfileError``, ``UnsupportedError``."""
    name = at.original
    shell = tuple(state.image.get("Shell") or DEFAULT_SHELL)
    shebang = ""
    if at.form == "exec":
        argv = at.args
        if not argv:
            raise scope.error(at, "failed to marshal LLB definition: arguments are required", "Write a command between the brackets.")
        text = " ".join(argv)
    else:
        command = at.args[0] if at.args else ""
        if at.heredocs:
            if parse_heredoc(command) is not None:
                body = at.heredocs[0].content
                name += f" ({_summary(body)})"
                if body.startswith("#!"):
                    # The script is a mounted file, and the shell is told to run it.
                    shebang = body
                    argv = (*shell, f"{SCRIPTS}/{at.heredocs[0].name}")
                else:
                    argv = (*shell, body)
            else:
                # The shell reads them, and takes the tabs of <<- away itself.
                whole = command + "".join("\n" + doc.raw + doc.name for doc in at.heredocs)
                argv = (*shell, whole)
        else:
            argv = (*shell, command)
        text = " ".join(argv)
    # llb.ExecOp sorts mounts by target; secrets come after them in the order written.
    asked = [_mount(scope, stage, state, at, value) for value in at.flag_values("mount")]
    unsorted = ("secret", "ssh")
    mounts = (
        *sorted((mount for mount in asked if mount.type not in unsorted), key=lambda mount: mount.target),
        *(mount for mount in asked if mount.type in unsorted),
    )
    # RUN --network=default is no flag at all: what the build asked for stays.
    network = at.flag("network") or "default"
    if network == "host" and scope.network != "host":
        raise scope.error(
            at,
            "failed to load LLB: network.host is not allowed",
            "Leave --network=host out: every RUN has the network unless it says none.",
        )
    network = scope.network if network == "default" else network
    if at.flag_values("device"):
        _check_devices(scope, at)
    security = at.flag("security") or "sandbox"
    if security != "sandbox":
        raise UnsupportedError(
            f"RUN --security={security} is not allowed: it would take the isolation away",
            file=scope.file,
            line=at.line,
            remedy="Remove the flag. Docker refuses it too unless the builder was started with that entitlement.",
        )
    op = RunOp(
        argv=argv,
        env=tuple(f"{key}={value}" for key, value in state.env.items()),
        cwd=state.image.get("WorkingDir") or "/",
        user=state.image.get("User") or "",
        mounts=mounts,
        network=network,
        security=security,
        shebang=shebang,
        hostname=scope.build_args.get("BUILDKIT_SANDBOX_HOSTNAME", ""),
        arguments=tuple(sorted(state.from_arg & set(state.env))),
        mounts_parent=any(scope.is_parent(stage, mount.source) for mount in mounts if mount.source is not None) if first else False,
    )
    try:
        shown = {**state.env, **{mount.env: "****" for mount in mounts if mount.type == "secret" and mount.env}}
        printed = upper_keyword(expand_keeping_quotes(name, shown, scope.dockerfile.escape, allowance=scope.allowance))
    except DockerfileError as error:
        raise scope.error(at, error.message, error.remedy) from error
    arguments = [f"{key}={state.env.get(key, value)}" for key, value in state.arguments.items()]
    scope.take(sum(map(len, arguments)), at)
    prefix = f"|{len(arguments)} {' '.join(arguments)} " if arguments else ""
    return Lowered(printed, op, f"RUN {prefix}{text} # buildkit")


def _check_devices(scope: Scope, at: Instruction) -> None:
    """``RUN --device`` is of labs: it is read, and refused (``ParseDevice``, ``dispatchRunDevices``)."""
    for value in at.flag_values("device"):
        problem = device_problem(value)
        if problem:
            raise scope.error(at, problem, "Write --device=VENDOR/CLASS=NAME.")
    raise scope.error(
        at,
        "device feature is only supported in Dockerfile frontend 1.14.0-labs or later",
        "Leave --device out: a step has no devices of this machine.",
    )


def _mount(scope: Scope, stage: Stage, state: StageState, at: Instruction, value: str) -> MountOp:
    try:
        mount = parse_mount(value, lambda word: scope.expand(word, state.env, at))
    except DockerfileError as error:
        raise scope.error(at, error.message, error.remedy) from error
    cwd = state.image.get("WorkingDir") or "/"
    target = ""
    if mount.target or mount.type in ("bind", "cache", "tmpfs"):
        # An absolute target stays as written, and so counts in the key: /k/ is not /k.
        target = mount.target if mount.target.startswith("/") else clean(posixpath.join("/", cwd, mount.target))
        # A check says so of / alone, whatever a build makes of //.
        if target == "/" or (clean(target) == "/" and scope.observer is None):
            raise scope.error(at, 'invalid mount target "/"', "Give the mount a target=.")
    source: Source | None = None
    owned = True
    kind = mount.type
    if mount.type in ("bind", "cache"):
        path = clean(posixpath.join("/", mount.source))
        # Mode and owner make a new, empty directory in place of the whole source; a part of it is taken as it is.
        owned = path == "/"
        if mount.from_stage == "scratch" and scope.by_name("scratch") is None:
            # Nothing, as after FROM scratch: a plain cache, or an empty directory.
            kind = "cache" if mount.type == "cache" else "tmpfs"
        elif mount.from_stage and not (owned and (mount.mode, mount.uid, mount.gid) != (None, None, None)):
            source = _mounted(scope, mount.from_stage, path, stage, at, target)
        elif mount.type == "bind":
            scope.uses_context = True
            source = Source(kind="context", path=path)
    identity = mount.id
    namespace = scope.build_args.get("BUILDKIT_CACHE_MOUNT_NS", "")
    if mount.type == "cache" and namespace:
        identity = f"{namespace}/{identity or target}"
    # What is not written is what would be written (``setCacheUIDGID``, ``dispatchSecret``, ``dispatchSSH``).
    mode, uid, gid = mount.mode, mount.uid or 0, mount.gid or 0
    if mount.type in ("secret", "ssh"):
        # A secret that is a variable alone has no file.
        mode = (mode if mode is not None else _SECRET_MODES[mount.type]) if target else None
        uid, gid = (uid, gid) if target else (0, 0)
        owned = True
    elif owned and (mount.mode, mount.uid, mount.gid) != (None, None, None):
        mode = (mode if mode is not None else 0o755) & 0o777
    else:
        owned = False
    return MountOp(
        type=kind,
        target=target,
        written=mount.target if target and not mount.target.startswith("/") else "",
        source=source,
        id=identity,
        readonly=mount.read_only,
        sharing=mount.sharing or "shared",
        mode=mode if owned else None,
        uid=uid if owned else None,
        gid=gid if owned else None,
        required=mount.required,
        env=mount.env or "",
        size=mount.size or 0,
    )


def _mounted(scope: Scope, name: str, path: str, stage: Stage, at: Instruction, target: str) -> Source:
    """Where a mount's ``from`` leads. Unlike COPY's it is never the number of a stage (``detectRunMount``)."""
    found = scope.by_name(name)
    if found is None:
        scope.image(name, at)
        return Source(kind="image", path=path, image=name)
    if found >= stage.index:
        raise scope.error(
            at,
            f'cannot mount from stage "{name}" to "{target}", stage needs to be defined before current command',
            "Move that stage up.",
        )
    return Source(kind="stage", path=path, stage=found)


def _summary(document: str) -> str:
    lines = document.strip().replace("\r\n", "\n").split("\n")
    return lines[0] + ("..." if len(lines) > 1 else "")
