"""The interface that every engine implements, and what a build is asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal, Protocol

import msgspec

from layerlab.interrupt import Stop
from layerlab.model import BuildRecord, CheckRecord, HistoryEntry, PlanRecord, StepRecord
from layerlab.solver.graph import NEWEST, Like


class BuildOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What to build.

    ``context``   directory; ``file`` the Dockerfile's path, relative to the current directory (default:
                  ``context/Dockerfile``). ``dockerfile_text`` stands for its content while it is being typed: for plans only.
    ``tag``, ``more_tags``: names for the image.
    ``secrets``   id to value; never in a key, a layer or a log. ``network`` is ``default``, ``none`` or ``host``.
    ``offline``   no registry is asked. ``pull`` asks it again for a base that is already here. ``fetch``: whether a base that is not here
                  is fetched or made; a plan for text that is being typed must not download whatever half a name happens to mean.
    ``like``      whose verdicts count where versions of Docker part (``docs/differences.md``); a daemon's own verdicts are what they are.
    ``handed``    words for the client of Docker, for its engine alone.
    """

    context: str
    file: str | None = None
    dockerfile_text: str | None = None
    target: str | None = None
    tag: str | None = None
    more_tags: tuple[str, ...] = ()
    build_args: Mapping[str, str] = {}
    labels: Mapping[str, str] = {}
    secrets: Mapping[str, bytes] = {}
    no_cache: bool = False
    no_cache_filter: tuple[str, ...] = ()
    network: Literal["default", "none", "host"] = "default"
    offline: bool = False
    pull: bool = False
    fetch: bool = True
    like: Like = NEWEST
    handed: tuple[str, ...] = ()


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """Something that happened during a build, for whoever shows progress.

    ``kind``  ``start`` (a step begins to run), ``log`` (``text`` is output of the running step), ``done`` (``step`` has its
    verdict), ``note`` (``text`` is for the user).
    """

    kind: Literal["start", "log", "done", "note"]
    step: StepRecord | None = None
    text: str = ""


Progress = Callable[[Event], None]


class Engine(Protocol):
    """An engine builds images and knows what it built."""

    name: str

    def build(self, options: BuildOptions, progress: Progress | None = None, stop: Stop | None = None) -> BuildRecord:
        """Build. A failed build is a record with ``failure`` set, not an exception. ``stop`` lets another thread stop it.

        Raises ``UsageError`` and ``DockerfileError`` for what makes no build at all, ``BuildInterruptedError`` when it was stopped.
        """
        ...

    def plan(self, options: BuildOptions, edits: tuple[str, ...] = ()) -> PlanRecord:
        """The verdicts of ``build(options)`` if it ran now, with the files in ``edits`` assumed to be changed."""
        ...

    def check(self, options: BuildOptions) -> CheckRecord:
        """What BuildKit's build checks have to say of the Dockerfile; nothing is built. Raises ``UsageError``."""
        ...

    def matrix(self, options: BuildOptions, edits: tuple[str, ...]) -> tuple[tuple[str, PlanRecord], ...]:
        """``plan(options, (edit,))`` for each edit, reading the Dockerfile and the build context once."""
        ...

    def explain(self, options: BuildOptions) -> BuildRecord | None:
        """The record of the last build of this context and Dockerfile, or ``None``."""
        ...

    def history(self, image: str) -> tuple[HistoryEntry, ...]:
        """Rows of an image's history, newest first. Raises ``UsageError`` for an unknown image."""
        ...
