"""What a worker is asked, and what it answers: a type for each request, which names the type of its answer.

A path is relative to the store, the worker's current directory, unless it is said to be another one. Layers are directories in overlay
form, lowest first; an empty path stands for one without content. Owners are (user, group) by path without a leading slash.
"""

from __future__ import annotations

import typing
from typing import Any, Generic, Literal, TypeVar

import msgspec

from layerlab.context.select import Picked, Selection
from layerlab.context.tree import Row
from layerlab.oci.tar_entries import LayerEntry

Answer = TypeVar("Answer")
Owners = dict[str, tuple[int, int]]


class Request(msgspec.Struct, Generic[Answer], kw_only=True, tag=True):
    """A request that is answered with an ``Answer``."""


class Done(msgspec.Struct, frozen=True):
    """It is done; there is nothing to say of it."""


# --- root filesystems ---------------------------------------------------------------------------------------------------


class Probe(Request[Done]):
    """Try overlay in ``directory``: mount, write, whiteout, opaque directory, owner."""

    directory: str


class Content(msgspec.Struct, frozen=True, kw_only=True):
    """What a selection reads: its digest, and what was picked with its rows (``context.select``)."""

    digest: str
    picked: list[Picked]
    rows: list[Row]


class ReadContent(Request[Content]):
    """Digest and rows of a selection in the root filesystem made of ``layers``."""

    layers: list[str]
    selection: Selection


class InlineSource(msgspec.Struct, frozen=True, kw_only=True, tag="inline"):
    """The document of a heredoc."""

    name: str
    content: str


class ContextSource(msgspec.Struct, frozen=True, kw_only=True, tag="context"):
    """What was picked of a directory outside of the store; ``unpack`` overrules what the copy says."""

    root: str
    picked: list[Picked]
    rows: list[Row]
    unpack: bool | None = None


class LayersSource(msgspec.Struct, frozen=True, kw_only=True, tag="layers"):
    """What was picked of the root filesystem made of ``layers``, and its digest.

    ``base``: of a pattern, the directory that must be there.
    """

    layers: list[str]
    picked: list[Picked]
    digest: str
    base: str = ""


class Written(msgspec.Struct, frozen=True, kw_only=True):
    """The owners that files should have, and how many bytes were written."""

    owners: Owners
    written: int = 0


class Copy(Request[Written]):
    """COPY or ADD into the layer ``upper``, of at most ``limit`` bytes."""

    layers: list[str]
    upper: str
    work: str
    dest: str
    owner: str
    chmod: str
    sources: list[InlineSource | ContextSource | LayersSource]
    exclude: list[str]
    unpack: bool
    parents: bool
    limit: int | None = None


class CopyOut(Request[Written]):
    """Copy what one source selects to ``dest/bound``, for a bind mount: at most ``limit`` bytes."""

    dest: str
    source: ContextSource | LayersSource
    directory: bool
    limit: int | None = None


class Ids(msgspec.Struct, frozen=True, kw_only=True):
    """A user's numbers."""

    uid: int
    gid: int
    groups: list[int]


class Who(Request[Ids]):
    """The ids of a USER in the root filesystem made of ``layers``."""

    layers: list[str]
    user: str


class MakeDirectories(Request[Written]):
    """WORKDIR. ``created``: seconds since 1970 for the directories that are made."""

    layers: list[str]
    upper: str
    work: str
    path: str
    owner: str
    created: int | None


class Prepared(msgspec.Struct, frozen=True, kw_only=True):
    """What an executor must know of an image.

    ``cwd``      the working directory with no link in it. ``stubs``: mount points that the image must have, each with whether it is a
                 directory. ``command``: its path inside the root, empty where there is none.
    """

    uid: int
    gid: int
    groups: list[int]
    home: str
    cwd: str
    stubs: list[tuple[str, bool]]
    command: str
    owners: Owners


class PrepareRun(Request[Prepared]):
    """Look an image over for a RUN. ``targets`` are mount points, each with whether it is a directory."""

    layers: list[str]
    upper: str
    work: str
    cwd: str
    user: str
    targets: list[tuple[str, bool]]
    command: str
    search: str


class Tree(msgspec.Struct, frozen=True, kw_only=True):
    """A tree that was laid: descriptors of its mount namespace and, or -1, its user namespace, in ``process``, and where it is in there."""

    namespace: int
    user: int
    process: int
    point: str


class Lay(Request[Tree]):
    """Lay the tree of a command; see ``mounting.lay``. The namespace is kept by descriptor until ``LetGo``."""

    root: dict[str, Any]
    mounts: list[dict[str, Any]]
    cwd: str
    program: str


class LetGo(Request[Done]):
    """The client has the namespace that was laid last, if one was."""


# --- the copy snapshotter -----------------------------------------------------------------------------------------------


class Flatten(Request[Done]):
    """The merged view of ``layers`` as plain files in ``tree``."""

    layers: list[str]
    tree: str


class Rebased(msgspec.Struct, frozen=True, kw_only=True):
    """Whether it could be done; if not, the tree is of no use."""

    done: bool


class Rebase(Request[Rebased]):
    """Make ``tree`` the merged view of other layers."""

    tree: str
    kept: list[str]
    undone: list[str]
    added: list[str]


class Baseline(Request[Done]):
    """Make missing mount points, then note the state of ``tree`` before a step changes it.

    ``keep`` is a file that takes the note too, for ``FindChanges`` of another process.
    """

    tree: str
    stubs: list[tuple[str, bool]]
    keep: str = ""


class Compared(msgspec.Struct, frozen=True, kw_only=True):
    """Whether another step can go on in the tree."""

    alike: bool


class Difference(Request[Compared]):
    """Put what changed in ``tree`` since ``Baseline`` into the layer directory ``dest``, and reduce that.

    ``layers`` are those that the tree was made of.
    """

    tree: str
    dest: str
    layers: list[str]
    owners: Owners


# --- layers -------------------------------------------------------------------------------------------------------------


class Changes(msgspec.Struct, frozen=True, kw_only=True):
    """``A``, ``C`` or ``D``, and a path, for each path, sorted."""

    changes: list[tuple[Literal["A", "C", "D"], str]]


class FindChanges(Request[Changes]):
    """What a container changed in its image.

    ``directory`` is that of a root filesystem which a snapshotter prepared there, ``layers`` are those that it was made of.
    """

    directory: str
    layers: list[str]


class Weight(msgspec.Struct, frozen=True, kw_only=True):
    """Bytes, or that directories are nested too deep to tell."""

    size: int
    deep: bool = False


class Weigh(Request[Weight]):
    """What a directory weighs that a command may be writing to. ``path``: absolute."""

    path: str


class Reduce(Request[Weight]):
    """Take out of a finished layer directory what is no change of the layers below (``differ``); says how many bytes are left."""

    layer: str
    lowers: list[str]
    owners: Owners


class Committed(msgspec.Struct, frozen=True, kw_only=True):
    """A layer. ``size``: bytes of its regular files; ``length``: of its tar. ``diff_id`` is empty where it was larger than the limit."""

    diff_id: str = ""
    size: int = 0
    length: int = 0
    empty: bool = False


class Commit(Request[Committed]):
    """Turn a finished layer directory into a layer.

    ``owner``: of files of which nobody said whose they are. ``newest``: seconds since 1970 that no file is younger than. With a ``limit``
    it is first reduced, and left so where its regular files have more bytes.
    """

    layer: str
    lowers: list[str]
    owners: Owners
    owner: tuple[int, int]
    newest: int | None
    limit: int | None = None


class Entries(msgspec.Struct, frozen=True, kw_only=True):
    """Members of a layer."""

    entries: list[LayerEntry]


class ListEntries(Request[Entries]):
    """The members of a layer, as they can be shown: names as text, and of links to anywhere, and attributes, no more than is usual."""

    layer: str


class UnpackLayer(Request[Done]):
    """Unpack a layer blob (any compression that Python reads), a file with the absolute path ``tar``, into a layer directory."""

    tar: str
    dest: str


class Length(msgspec.Struct, frozen=True, kw_only=True):
    """Bytes of a tar."""

    length: int


class VerifyBlob(Request[Length]):
    """Check a layer blob against its digest and, uncompressed, against its diff ID."""

    path: str
    digest: str
    diff_id: str


class ApplyOwners(Request[Done]):
    """Give the files of a composed layer their owners."""

    dest: str
    owners: Owners


class Digest(msgspec.Struct, frozen=True, kw_only=True):
    """``sha256:…``"""

    digest: str


class Export(Request[Digest]):
    """Write a layer's tar to ``target``."""

    layer: str
    target: str


class Measure(Request[Digest]):
    """The digest of a layer's tar as it is now, for ``verify``."""

    layer: str


class Tidy(Request[Done]):
    """Remove directories of ours once this is answered."""

    paths: list[str]


class Remove(Request[Done]):
    """Remove directories of ours, whatever modes are in them."""

    paths: list[str]


class Failure(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """An answer that is an error: ``kind`` tells the client which exception to raise.

    ``looked``, ``at_copy``: see ``MissingSourceError``.
    """

    kind: str
    message: str
    errno: int = 0
    path: str = ""
    looked: str | None = None
    at_copy: bool = False


class Ok(msgspec.Struct, Generic[Answer], frozen=True, tag=True):
    """An answer that is none."""

    ok: Answer


def answer_of(request: type[Request[Any]]) -> type[Any]:
    """The type of a request's answer."""
    (base,) = request.__orig_bases__  # type: ignore[attr-defined]
    found: type[Any] = typing.get_args(base)[0]
    return found


AnyRequest = (
    Probe
    | ReadContent
    | Copy
    | CopyOut
    | Who
    | MakeDirectories
    | PrepareRun
    | Lay
    | LetGo
    | Flatten
    | Rebase
    | Baseline
    | Difference
    | FindChanges
    | Weigh
    | Reduce
    | Commit
    | ListEntries
    | UnpackLayer
    | VerifyBlob
    | ApplyOwners
    | Export
    | Measure
    | Tidy
    | Remove
)
