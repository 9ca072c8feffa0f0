"""What layerlab asks of an engine, and what a build is asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any, Literal, Protocol, TypedDict, Unpack, runtime_checkable

import msgspec

from layerlab.interrupt import Stop
from layerlab.model import (
    BuildRecord,
    CheckRecord,
    ContainerSummary,
    EngineSummary,
    Forecast,
    HistoryEntry,
    ImageRow,
    ImageSummary,
    ImageView,
    PathChange,
    PlanRecord,
    Pruned,
    PublishedPort,
    Push,
    StepRecord,
    Verification,
)
from layerlab.reports import Report
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


Output = Callable[[bytes], None]


class Builder(Protocol):
    """Builds, and knows what it built."""

    def build(self, options: BuildOptions, progress: Progress | None = None, stop: Stop | None = None) -> BuildRecord:
        """Build. A failed build is a record with ``failure`` set, not an exception. ``stop`` lets another thread stop it.

        Raises ``UsageError`` and ``DockerfileError`` for what makes no build at all, ``BuildInterruptedError`` when it was stopped.
        """
        ...

    def plan(self, options: BuildOptions, edits: tuple[str, ...] = ()) -> PlanRecord:
        """The verdicts of ``build(options)`` if it ran now.

        With ``edits`` these files are assumed to be changed, and the files as they are count as built: the plan shows what the edits alone
        would cost.
        """
        ...

    def check(self, options: BuildOptions) -> CheckRecord:
        """What BuildKit's build checks have to say of the Dockerfile; nothing is built. Raises ``UsageError``."""
        ...

    def matrix(self, options: BuildOptions, edits: tuple[str, ...]) -> tuple[tuple[str, PlanRecord], ...]:
        """``plan(options, (edit,))`` for each edit, reading the Dockerfile and the build context once."""
        ...

    def forecast(self, options: BuildOptions, edits: tuple[str, ...]) -> Forecast:
        """``plan(options)`` and ``matrix(options, edits)`` in one answer, which sees the files at one moment and reads them once."""
        ...

    def explain(self, options: BuildOptions) -> BuildRecord | None:
        """The record of the last build of this context and Dockerfile in which something ran, else of the last one, or ``None``."""
        ...

    def file_groups(self, options: BuildOptions) -> tuple[tuple[str, ...], ...]:
        """The files of a build context, together where their edits do the same; see ``forecast.file_groups``."""
        ...


class Images(Protocol):
    """The images that are here. All raise ``UsageError`` for one that is not."""

    def image_row(self, image: str) -> ImageRow:
        """The image under a name or an ID (or the start of one)."""
        ...

    def image_config(self, image: str) -> dict[str, Any]:
        """The OCI configuration of an image."""
        ...

    def images(self, *, unnamed: bool = False) -> tuple[ImageSummary, ...]:
        """All images, newest first."""
        ...

    def inspect(self, image: str) -> dict[str, Any]:
        """What ``docker image inspect`` shows."""
        ...

    def history(self, image: str) -> tuple[HistoryEntry, ...]:
        """Rows of an image's history, newest first."""
        ...

    def view(self, image: str, report: Report | None = None) -> ImageView:
        """An image seen as its layers. It can take a while, so ``report`` is told."""
        ...

    def tag(self, image: str, name: str) -> str:
        """Give an image another name; returns it in full."""
        ...

    def untag(self, image: str, *, force: bool = False) -> tuple[str, bool]:
        """Take a name away; returns it, and whether the image has none left. ``force``: also the last one, while a container needs it."""
        ...

    def pull(self, name: str, report: Report) -> ImageRow:
        """Fetch an image from its registry. Raises ``BaseImageError`` or ``DockerError``."""
        ...

    def push(self, name: str, report: Report) -> Push:
        """Send an image to the registry that its name says. Raises ``LayerlabError`` where that refuses."""
        ...

    def save(self, names: tuple[str, ...], path: str | None) -> None:
        """Write images to an archive, or to standard output, as ``docker save``."""
        ...

    def load(self, path: str) -> list[str]:
        """Read images from an archive, as ``docker load``, or from an OCI layout; returns their names. Raises ``BaseImageError``."""
        ...


class Container(Protocol):
    """A command that runs in a container."""

    def wait(self, output: Output) -> int:
        """Pass on what it writes until it ends. Returns the exit status (128 + signal when killed)."""
        ...

    def kill(self) -> None:
        """End it now; harmless when it has ended."""
        ...


class ContainerOptions(TypedDict, total=False):
    """What a container is given.

    ``command`` stands in the place of the image's CMD; ``environment`` is added to its own. ``network``: whether its ports are this
    machine's (so it is where nothing is said), else there is loopback alone. ``ports`` are published. ``remove``: whether it goes when its
    command ends; one that is run for the length of a block does where nothing is said, one that is left running does not.
    """

    command: tuple[str, ...]
    environment: Mapping[str, str] | None
    network: bool
    name: str | None
    ports: tuple[PublishedPort, ...]
    remove: bool


class Containers(Protocol):
    """Containers of images that are here. All raise ``UsageError`` for what is not, and for a name or port that is taken."""

    def container(
        self,
        image: str,
        **options: Unpack[ContainerOptions],
    ) -> AbstractContextManager[Container]:
        """A running container of an image, killed on exit. Raises ``StepFailedError``."""
        ...

    def run_detached(
        self,
        image: str,
        **options: Unpack[ContainerOptions],
    ) -> str:
        """Start a container that runs by itself; returns its ID when its command runs. Raises ``StepFailedError``."""
        ...

    def containers(self, *, stopped: bool = False) -> tuple[ContainerSummary, ...]:
        """The running containers, with ``stopped`` all, newest first."""
        ...

    def container_diff(self, container: str) -> tuple[PathChange, ...]:
        """What a container changed in its image, sorted by path."""
        ...

    def container_logs(self, container: str, output: Output, *, follow: bool = False) -> None:
        """Pass on what a container wrote, with ``follow`` until it ends."""
        ...

    def stop_container(self, container: str, seconds: float = 10) -> None:
        """Ask a container to end, and make it end when it has not done so in time; harmless for one that has."""
        ...

    def remove_container(self, container: str, *, force: bool = False) -> None:
        """Remove a container, with ``force`` even one that runs."""
        ...


class Engine(Builder, Images, Containers, Protocol):
    """All that every engine can do. Close it, or use it as a context manager.

    ``name``        ``docker`` or ``embedded``; for people. ``store_path``: where it keeps what it remembers.
    ``is_shared``   whether images and cache are those of a daemon, which others use too.
    ``client_flags``  whether it takes ``BuildOptions.handed``.
    """

    name: str
    store_path: str
    is_shared: bool
    client_flags: bool

    def about(self) -> EngineSummary:
        """What builds here. May take a moment: it looks at what this machine allows. Raises ``StoreError``."""
        ...

    def clone(self) -> Engine:
        """Another engine on the same store, so that a plan never waits for a build."""
        ...

    def close(self) -> None:
        """End its processes and connections."""
        ...

    def __enter__(self) -> Engine: ...

    def __exit__(self, *_: object) -> None: ...


@runtime_checkable
class StoreKeeper(Protocol):
    """An engine whose store is its own, and can be looked after."""

    def verify(self, report: Report) -> Verification:
        """Read every blob and layer of the store and compare with its digest."""
        ...

    def prune(self, keep: int, report: Report) -> Pruned:
        """Remove cached layers that no image needs, least recently used first, until ``keep`` bytes are left, and unused blobs."""
        ...
