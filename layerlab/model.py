"""The records that every part of layerlab shares: immutable, typed, and public as ``--json``.

One msgspec definition gives the Python type, the JSON and its validation. The shapes are documented in
``docs/json.md``; a change that breaks a reader raises ``SCHEMA``.
"""

from __future__ import annotations

import re
from typing import Final, Literal

from layerlab.errors import LayerlabError, StepFailedError
from layerlab.records import UNSET, Record, UnsetType

SCHEMA = 1
# Between the words of a Dockerfile (BuildKit ``parser.reWhitespace``).
_BLANKS: Final = re.compile(r"[\t\v\f\r\n ]+")

Status = Literal["base", "cached", "executed", "failed", "skipped", "metadata", "undecided"]
CauseKind = Literal[
    "file",
    "mode",
    "instruction",
    "argument",
    "environment",
    "user",
    "workdir",
    "parent",
    "base",
    "source-stage",
    "no-cache",
    "failed-before",
    "pruned",
    "no-record",
]


class Cause(Record, frozen=True, kw_only=True):
    """Why a step missed the cache.

    ``origin``  number of the step where the chain of misses began (the step itself, unless ``kind`` is ``parent``).
    ``paths``   what changed, relative to the build context (or to the source stage's root), sorted; at most
                ``MAX_PATHS`` of them, the text says how many there are.
    ``text``    one sentence for a person.
    """

    kind: CauseKind
    origin: int
    paths: tuple[str, ...] = ()
    text: str


MAX_PATHS = 50


class KeyPart(Record, frozen=True):
    """Something that a cache key is made of: ``digest`` (SHA-256 in hex) of what ``text`` says.

    ``kind``: ``parent`` (the key of the step before), ``instruction`` (its normal form) or ``files`` (what a source selects).
    """

    kind: Literal["parent", "instruction", "files"]
    text: str
    digest: str


class StepRecord(Record, frozen=True, kw_only=True):
    """What one step did, or (in a plan) would do.

    ``number``       counts all steps of the stages that were needed, FROM and metadata included, from 1.
    ``instruction``  as BuildKit prints it: arguments expanded.
    ``index``        BuildKit's ``i/n`` within the stage, empty for metadata.
    ``key``          the cache key as layerlab computes it (SHA-256 in hex), of FROM that of its base; ``None`` where there is none yet.
    ``size``         bytes of regular files in the layer; ``seconds`` wall time of the step (0 when cached).
    ``made_of``      in a plan without edits: what the key is made of; not there elsewhere, and where there is no key yet.
    ``took``         in a plan: the seconds that the instruction took when it last ran in this context; 0 where it never did.
    ``log``          what the step wrote to its standard output and error (the last 64 KiB), empty when cached.
    ``seen``         what an engine that watches its commands told of the one that ran, be it in an earlier build; no other engine has it.
    """

    number: int
    stage: str
    instruction: str
    line: int
    end_line: int
    status: Status
    makes_layer: bool
    index: str = ""
    key: str | None = None
    made_of: tuple[KeyPart, ...] | UnsetType = UNSET
    diff_id: str | None = None
    size: int = 0
    seconds: float = 0.0
    took: float = 0.0
    cause: Cause | None = None
    log: str = ""
    waits_for: int | None = None
    seen: tuple[str, ...] | UnsetType = UNSET

    @property
    def keyword(self) -> str:
        """The instruction's first word in upper case; of a trigger, that of what it does."""
        words = _BLANKS.split(self.instruction.upper(), maxsplit=2)
        return words[1] if words[0] == "ONBUILD" and len(words) > 1 else words[0]

    @property
    def open_question(self) -> str:
        """What the verdict of an undecided step depends on where no other step decides it, as the rest of a sentence."""
        if self.keyword == "ADD":
            return "what the server has, which a build asks"
        return "what is in an image whose layers are not here"


class Failure(Record, frozen=True, kw_only=True):
    """Why a build ended without an image. ``kind`` and ``code``: see ``LayerlabError``."""

    kind: str
    message: str
    file: str | None = None
    line: int | None = None
    column: int | None = None
    remedy: str | None = None
    exit_status: int | None = None
    code: str | UnsetType = UNSET

    @classmethod
    def of(cls, error: LayerlabError) -> Failure:
        """The failure that an error is."""
        return cls(
            kind=error.kind,
            message=error.message,
            file=error.file,
            line=error.line,
            column=error.column,
            remedy=error.remedy,
            exit_status=error.exit_status if isinstance(error, StepFailedError) else None,
            code=error.code or UNSET,
        )


class CheckWarning(Record, frozen=True, kw_only=True):
    """What a build check objects to, in lines ``line`` to ``end_line`` of the Dockerfile. ``url``: Docker's page on it, or empty."""

    rule: str
    detail: str
    url: str
    line: int
    end_line: int


class CheckRecord(Record, frozen=True, kw_only=True):
    """What build checks found, by line. ``source``: the Dockerfile. ``failure``: an error that a build would end with."""

    dockerfile: str
    source: str
    warnings: tuple[CheckWarning, ...]
    failure: Failure | None = None
    schema: int = SCHEMA


class BuildRecord(Record, frozen=True, kw_only=True):
    """All that one build did. ``image`` is ``None`` when it failed.

    ``executor``  ``bwrap``; ``snapshotter`` ``overlay`` or ``copy``; ``ids`` ``full`` or ``single``.
    ``stand_in``  names of base images for which a stand-in was used, with what that means.
    ``checks``    what build checks object to in the stages that were needed.
    ``predicted``  where nothing on this machine can run a step: the verdicts that the build would have had. They were not run.
    """

    engine: str
    executor: str
    snapshotter: str
    ids: str
    context: str
    dockerfile: str
    target: str | None
    image: str | None
    tag: str | None
    seconds: float
    steps: tuple[StepRecord, ...]
    stand_in: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    checks: tuple[CheckWarning, ...] = ()
    failure: Failure | None = None
    predicted: tuple[StepRecord, ...] = ()
    schema: int = SCHEMA

    @property
    def executed(self) -> tuple[StepRecord, ...]:
        """The steps that ran in this build."""
        return tuple(step for step in self.steps if step.status == "executed")


class PlanRecord(Record, frozen=True, kw_only=True):
    """The verdicts of a build that has not been run. ``edits`` are the paths that were assumed to change.

    ``assumed``: not everything has been built, and the verdicts are those that the edits would have once it has.
    """

    engine: str
    context: str
    dockerfile: str
    target: str | None
    steps: tuple[StepRecord, ...]
    edits: tuple[str, ...] = ()
    stand_in: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    assumed: bool | UnsetType = UNSET
    schema: int = SCHEMA


class Forecast(Record, frozen=True, kw_only=True):
    """What the next build would do, and what it would do after each of some edits (path, plan)."""

    plan: PlanRecord
    matrix: tuple[tuple[str, PlanRecord], ...]


class HistoryEntry(Record, frozen=True, kw_only=True):
    """One row of ``history``: oldest last, as docker prints it."""

    created_by: str
    size: int
    empty_layer: bool
    created: str | None = None
    comment: str = ""
    diff_id: str | None = None


class ImageSummary(Record, frozen=True, kw_only=True):
    """One row of ``images``. ``size``: bytes of the files in all layers; ``stand_in``: a sentence, or empty."""

    name: str
    id: str
    created: str
    size: int
    layers: int
    stand_in: str = ""


class HiddenFile(Record, frozen=True):
    """A file that nobody sees any more and everybody downloads: its bytes, and the number of the layer that hides its last name."""

    path: str
    size: int
    by: int


class LayerView(Record, frozen=True, kw_only=True):
    """What one layer does to the merged view, as ``dive`` shows it.

    ``added``, ``changed``, ``removed``: paths. ``wasted``: bytes of this layer's files that a later layer replaces or hides, which are
    ``hidden``, the largest first; empty files are left out.
    """

    number: int
    diff_id: str
    created_by: str
    size: int
    added: tuple[str, ...]
    changed: tuple[str, ...]
    removed: tuple[str, ...]
    wasted: int
    hidden: tuple[HiddenFile, ...] = ()


class ImageView(Record, frozen=True, kw_only=True):
    """An image seen as its layers. ``origin``: for each path of the merged view, the number of the layer it comes from."""

    image: str
    layers: tuple[LayerView, ...]
    origin: dict[str, int]
    size: int
    wasted: int
    schema: int = SCHEMA


class Damage(Record, frozen=True, kw_only=True):
    """Something that ``verify`` found. ``images`` are the names of those that need it; ``found`` is empty where nothing is left."""

    what: str
    digest: str
    found: str
    images: tuple[str, ...]


class Verification(Record, frozen=True, kw_only=True):
    """The outcome of ``verify``: how much was read, and what is wrong."""

    blobs: int
    layers: int
    damaged: tuple[Damage, ...]
    schema: int = SCHEMA


class Pruned(Record, frozen=True, kw_only=True):
    """What ``prune`` removed. ``freed`` and ``kept``: bytes of files in layers; ``blobs`` and ``blob_bytes``: configurations, manifests,
    packed layers and unfinished downloads that nothing here needs."""

    records: int
    layers: int
    freed: int
    kept: int
    blobs: int = 0
    blob_bytes: int = 0
    schema: int = SCHEMA


class PublishedPort(Record, frozen=True, kw_only=True):
    """A port of this machine that leads to a port of a container. ``ip``: the address it was asked for on, or empty."""

    host: int
    container: int
    ip: str = ""


class ContainerSummary(Record, frozen=True, kw_only=True):
    """One row of ``ps``.

    ``image``  as it was named when the container was made; ``image_id`` its ID. ``command``: the words that run.
    ``state``  ``created``, ``running`` or ``exited``; ``exit_status`` (128 + signal when killed) belongs to ``exited``.
    Times are ISO 8601 in UTC, empty for what has not happened.
    """

    id: str
    name: str
    image: str
    image_id: str
    command: tuple[str, ...]
    created: str
    state: Literal["created", "running", "exited"]
    started: str = ""
    finished: str = ""
    exit_status: int | None = None
    ports: tuple[PublishedPort, ...] = ()


class PathChange(Record, frozen=True, kw_only=True):
    """What a container did to one path of its image: ``A`` added, ``C`` changed, ``D`` deleted (with all that was below it)."""

    kind: Literal["A", "C", "D"]
    path: str


class ImageRow(Record, frozen=True, kw_only=True):
    """An image under a name: digests of its configuration and manifest; ``stand_in`` is a sentence or empty."""

    name: str
    config: str
    manifest: str
    source: str
    stand_in: str = ""


class SentLayer(Record, frozen=True, kw_only=True):
    """One layer of a push. ``size``: bytes of the blob; ``sent`` false where the registry had it, in whichever repository."""

    diff_id: str
    digest: str
    size: int
    sent: bool


class Push(Record, frozen=True, kw_only=True):
    """The outcome of a push. ``digest``: of the manifest; ``sent``: bytes of layers and configuration that went over the wire."""

    reference: str
    digest: str
    layers: tuple[SentLayer, ...]
    sent: int
    schema: int = SCHEMA


class EngineSummary(Record, frozen=True, kw_only=True):
    """An engine in words: its ``name``, its ``title`` for people, and what runs its steps and prepares their root filesystems."""

    name: str
    title: str
    executor: str
    snapshotter: str
