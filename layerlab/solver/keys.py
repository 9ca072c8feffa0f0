"""Cache keys: one digest per step, made from its operation, its parent's key and the content that it reads.

The shape follows BuildKit (``docs/dev/solver.md``; ``CacheMap`` of ``solver/llbsolver/ops/file.go`` and ``exec.go``):

* FROM: the chain of the base's diff IDs, so neither its name nor its configuration counts.
* WORKDIR, COPY, ADD, RUN: the operation in normal form, then the parent's key, then a content digest for every source.
* Of a source's path only the last component is in the operation; what the path leads to is in the content digest.
* ``COPY --link`` starts from nothing instead of its parent, and is merged with its parent afterwards.

``docs/cache.md`` explains this for readers.
"""

from __future__ import annotations

import posixpath
from typing import Any, Final

from layerlab.records import encode_json
from layerlab.sha256 import sha256
from layerlab.solver.ops import CopyOp, MkdirOp, MountOp, Op, RunOp, Source

# The SHA-256 of "scratch", written out: hashing is loaded when there is something to hash.
SCRATCH_KEY: Final = "5a9cb6b54ea56d52a69891af8c21afb73d3841611bbabb5d7c61312d81e6e041"
# Another number wherever the same step now makes another layer.
_VERSION: Final = "3"


def base_key(diff_ids: tuple[str, ...]) -> str:
    """Key of a base image: its layers, lowest first, and nothing else."""
    return _digest(["base", *diff_ids]) if diff_ids else SCRATCH_KEY


def step_key(op: Op, parent: str, contents: tuple[str, ...]) -> str:
    """Key of a step. ``contents`` are the digests of what it reads, one for each source that has content, in order."""
    if isinstance(op, CopyOp) and op.link:
        parent = SCRATCH_KEY
    return _digest([_VERSION, operation(op), parent, list(contents)])


def merge_key(parent: str, copied: str) -> str:
    """Key of what follows a ``COPY --link``: the parent with the copied layer put on top."""
    return _digest([_VERSION, "merge", parent, copied])


def operation(op: Op) -> list[Any]:
    """The normal form of an operation: what of it counts, as plain values."""
    if isinstance(op, MkdirOp):
        return ["mkdir", op.path, op.owner, *([op.created] if op.created is not None else [])]
    if isinstance(op, CopyOp):
        return [
            "copy",
            [_source(source, whole=op.same_as_parent) for source in op.sources],
            op.dest,
            op.owner,
            op.chmod,
            op.unpack,
            op.parents,
            list(op.exclude),
            op.same_as_parent,
        ]
    return [
        "run",
        list(op.argv),
        list(op.env),
        op.cwd,
        op.user,
        [_mount(mount) for mount in op.mounts if mount.type not in ("secret", "ssh")],
        op.network,
        op.security,
        op.shebang,
        *([op.hostname] if op.hostname else []),
        *_secrets(op),
    ]


def content_sources(op: Op) -> tuple[Source, ...]:
    """The sources of an operation that have a content digest, in the order in which ``step_key`` wants them."""
    if isinstance(op, CopyOp):
        return op.sources
    if isinstance(op, RunOp):
        return tuple(mount.source for mount in op.mounts if mount.source is not None)
    return ()


def inline_digest(source: Source) -> str:
    """Content digest of a heredoc."""
    return sha256(b"inline\0" + source.content.encode("utf-8", "surrogateescape")).hexdigest()


def _source(source: Source, *, whole: bool) -> list[Any]:
    if source.kind == "inline":
        return ["inline", posixpath.basename(posixpath.normpath(f"/{source.path}"))]
    if source.kind == "http":
        return ["http", posixpath.basename(source.path), source.unpack]
    if source.kind == "git":
        return ["git", source.url, source.checksum, source.unpack]
    if source.pivot:
        return ["parents", posixpath.basename(source.pivot) or "/", source.path]
    return ["path", source.path if whole else posixpath.basename(source.path) or "/", source.wildcard]


def _mount(mount: MountOp) -> list[Any]:
    # The content of a cache mount never counts; nor does how it is shared. Its mode is that of the directory, made under umask 022.
    return [
        mount.type,
        mount.target,
        _cache_id(mount) if mount.type == "cache" else mount.id,
        mount.readonly,
        None if mount.mode is None else mount.mode & 0o755,
        mount.uid,
        mount.gid,
        mount.required,
        mount.env,
        mount.size,
        mount.source is not None,
    ]


def _secrets(op: RunOp) -> list[Any]:
    """Secrets and ssh agents, whose values never count: variables and files apart, each in the order written (``ExecOp.Marshal``)."""
    secrets = [mount for mount in op.mounts if mount.type == "secret"]
    variables = [[mount.id, mount.env, mount.required] for mount in secrets if mount.env]
    files = [
        [mount.type, mount.id, mount.written or mount.target, mount.mode, mount.uid, mount.gid, mount.required]
        for mount in (*(secret for secret in secrets if secret.target), *(mount for mount in op.mounts if mount.type == "ssh"))
    ]
    return [variables, files] if variables or files else []


def _cache_id(mount: MountOp) -> str:
    """Which of two classes a cache mount is in: BuildKit's ``checkShouldClearCacheOpts`` of ``ops/exec.go``.

    The default (its id is its target, shared) keeps its id in the key; of every other cache mount neither id nor sharing counts.
    """
    full = "/" + (mount.id or mount.target)
    default = mount.sharing == "shared" and mount.target in (full, full.partition("/")[2])
    return full if default else ""


def operation_digest(op: Op) -> str:
    """The SHA-256 of an operation's normal form, for people: the key itself has the form."""
    return _digest(operation(op))


def _digest(value: list[Any]) -> str:
    return sha256(encode_json(value)).hexdigest()
