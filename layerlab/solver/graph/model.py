"""The records of a graph: its stages, their steps, and what a build asks for from elsewhere while one is made."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, Literal

from layerlab.records import Record
from layerlab.solver.ops import BaseImage, Op, RemoteFile, Source

EPOCH: Final = "SOURCE_DATE_EPOCH"
HISTORY_COMMENT: Final = "buildkit.dockerfile.v0"

Like = Literal["26", "28"]
NEWEST: Final[Like] = "28"
"""Major versions of Docker whose cache verdicts part: 26.1.5 (BuildKit 0.13) and 28.5.2 (BuildKit 0.25)."""

Resolve = Callable[[str], BaseImage]
Remote = Callable[[Source], RemoteFile | None]


class Step(Record, frozen=True, kw_only=True):
    """One instruction of one needed stage, resolved.

    ``number`` counts from 1 over all needed stages; ``op`` is ``None`` for FROM and for metadata.
    ``created_by`` is the text of its history row; ``None`` where BuildKit writes none (FROM, ONBUILD).
    """

    number: int
    stage: int
    keyword: str
    instruction: str
    line: int
    end_line: int
    index: str = ""
    op: Op | None = None
    created_by: str | None = None


class GraphStage(Record, frozen=True, kw_only=True):
    """A needed stage. Exactly one of ``base_image`` and ``base_stage`` is set, none of them for ``scratch``.

    ``config`` is the OCI image configuration after the last step, without ``rootfs`` and ``history``.
    """

    index: int
    label: str
    base_image: BaseImage | None
    base_stage: int | None
    steps: tuple[Step, ...]
    config: dict[str, Any]
    no_cache: bool = False


class Graph(Record, frozen=True, kw_only=True):
    """All that a build needs to know.

    ``stages`` are in file order; ``images`` are those that COPY or mounts name; ``remotes`` what ADD takes from elsewhere, as far as it is
    known. ``epoch``: the time that the image gets, in seconds since 1970, where a build asks for one.
    """

    file: str
    stages: tuple[GraphStage, ...]
    target: int
    images: dict[str, BaseImage]
    remotes: dict[Source, RemoteFile] = {}
    warnings: tuple[str, ...] = ()
    uses_context: bool = False
    like: Like = NEWEST
    epoch: int | None = None

    def stage(self, index: int) -> GraphStage:
        """The needed stage with that index in the file."""
        return next(stage for stage in self.stages if stage.index == index)

    @property
    def steps(self) -> tuple[Step, ...]:
        """All steps, by number."""
        return tuple(step for stage in self.stages for step in stage.steps)
