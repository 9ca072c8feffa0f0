"""Operations: what a step does to a root filesystem, stripped of how it was written.

An operation holds exactly what counts for the cache key of its step (and what an executor needs to run it), as
BuildKit's LLB does. Two spellings of one operation are equal here.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal

from layerlab.context import Selected
from layerlab.records import Record

DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class BaseImage(Record, frozen=True):
    """A resolved base image.

    ``name``    normalised reference (``node:alpine``); ``diff_ids`` lowest layer first, ``sha256:…``.
    ``config``  the whole OCI image configuration as JSON values. ``stand_in`` says in one sentence what it stands for,
                or is empty for the real thing.
    """

    name: str
    diff_ids: tuple[str, ...]
    config: dict[str, Any]
    stand_in: str = ""


class RemoteFile(Record, frozen=True):
    """What a URL gave: a file called ``name`` in ``directory`` (absolute), selected as from a build context."""

    name: str
    directory: str
    selected: Selected


class Source(Record, frozen=True, kw_only=True):
    """Where a COPY, ADD or bind mount reads.

    ``kind``  ``context``, ``stage`` (``stage`` is its index), ``image`` (``image`` is its name), ``inline`` (a heredoc:
              ``path`` is the file name, ``content`` its text), ``http`` (``url``; ``path`` is the file that it gives) or ``git`` (``url``).
    ``path``  absolute and clean, or a pattern. ``checksum`` and ``unpack``: what ADD says of a URL or repository.
    """

    kind: Literal["context", "stage", "image", "inline", "http", "git"]
    path: str
    wildcard: bool = False
    stage: int = -1
    image: str = ""
    content: str = ""
    pivot: str = ""
    url: str = ""
    checksum: str = ""
    unpack: bool = False


class MkdirOp(Record, frozen=True, tag="mkdir"):
    """WORKDIR: a directory and its parents, mode 0755, owned by ``owner`` as written in USER (empty: 0:0).

    ``created``: its time in seconds since 1970 where a build asks for one with ``SOURCE_DATE_EPOCH``.
    """

    path: str
    owner: str = ""
    created: int | None = None


class CopyOp(Record, frozen=True, tag="copy", kw_only=True):
    """COPY or ADD.

    ``dest``    absolute; a trailing slash says that it must be a directory.
    ``owner``   ``--chown`` in normal form, empty when absent. ``chmod`` likewise: octal digits without leading zeros, or
                symbolic text.
    ``unpack``  ADD: local tar archives are unpacked. ``same_as_parent``: the source is the very image or stage that the
                step starts from, which is another operation for BuildKit.
    """

    sources: tuple[Source, ...]
    dest: str
    owner: str = ""
    chmod: str = ""
    link: bool = False
    unpack: bool = False
    parents: bool = False
    exclude: tuple[str, ...] = ()
    same_as_parent: bool = False


class MountOp(Record, frozen=True, kw_only=True):
    """One ``--mount`` of a RUN, resolved: ``target`` is absolute; ``source`` is set for bind and (optionally) cache.

    ``written`` is the target of a secret where that is relative, which counts. ``mode``, ``uid`` and ``gid``: all or none.
    """

    type: Literal["bind", "cache", "tmpfs", "secret", "ssh"]
    target: str = ""
    written: str = ""
    source: Source | None = None
    id: str = ""
    readonly: bool = False
    sharing: str = "shared"
    mode: int | None = None
    uid: int | None = None
    gid: int | None = None
    required: bool = False
    env: str = ""
    size: int = 0


class RunOp(Record, frozen=True, tag="run", kw_only=True):
    """RUN: ``argv`` after the shell was put before it, the whole environment in order, working directory as text, user.

    ``hostname`` is what a build asked for with ``BUILDKIT_SANDBOX_HOSTNAME``, or empty.
    ``mounts_parent``: a mount shows the very image or stage that the step starts from, whose content counts then.
    ``arguments`` are the names in ``env`` that come from ARG; it is for explanations and not part of the key.
    """

    argv: tuple[str, ...]
    env: tuple[str, ...]
    cwd: str
    user: str = ""
    mounts: tuple[MountOp, ...] = ()
    network: str = "default"
    security: str = "sandbox"
    shebang: str = ""
    hostname: str = ""
    arguments: tuple[str, ...] = ()
    mounts_parent: bool = False


Op = MkdirOp | CopyOp | RunOp


def variables(env: Iterable[str]) -> dict[str, str]:
    """Names and values of an environment. An image's own may lack a "=", and has an empty value then."""
    return {name: value for name, _, value in (item.partition("=") for item in env)}
