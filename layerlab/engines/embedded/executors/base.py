"""What an executor is asked and what it answers."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from typing import Final, Literal, Protocol

import msgspec

from layerlab.engines.embedded.executors.programs import Helper


class BindMount(msgspec.Struct, frozen=True, kw_only=True, tag="bind", tag_field="kind"):
    """A file or directory of the host at ``target``, an absolute path of the root filesystem, in which links are followed inside it.

    ``checked``  whoever reads it notices a change, so where nothing can be read-only it needs no copy.
    ``optional`` the command can do without, so it is left out where it has no place.
    """

    source: str
    target: str
    readonly: bool
    checked: bool = False
    optional: bool = False


class OverlayMount(msgspec.Struct, frozen=True, kw_only=True, tag="overlay", tag_field="kind"):
    """A directory of the host that stays as it is: what a command changes goes to ``upper``.

    ``upper``, ``work``  empty directories on one file system. Only for an executor on the overlay snapshotter.
    """

    source: str
    target: str
    upper: str
    work: str


class TmpfsMount(msgspec.Struct, frozen=True, kw_only=True, tag="tmpfs", tag_field="kind"):
    """An empty directory in memory. ``size`` in bytes, 0 for no limit. ``readonly``: it stays empty."""

    target: str
    size: int = 0
    readonly: bool = False


class FileMount(msgspec.Struct, frozen=True, kw_only=True, tag="file", tag_field="kind"):
    """A read-only file with this content, which is nowhere but in memory, and gone with the command. ``last``: nothing may cover it."""

    target: str
    content: bytes
    mode: int = 0o644
    uid: int = 0
    gid: int = 0
    optional: bool = False
    last: bool = False


Mount = BindMount | OverlayMount | TmpfsMount | FileMount


class Root(msgspec.Struct, frozen=True, kw_only=True):
    """A root filesystem: either overlay parts (``lowers`` lowest first, absolute paths) or a plain ``tree``."""

    lowers: tuple[str, ...] = ()
    upper: str = ""
    work: str = ""
    tree: str = ""


# BuildKit's, whatever runs.
HOST_NAME: Final = "buildkitsandbox"


class Process(msgspec.Struct, frozen=True, kw_only=True):
    """One command. ``environment`` is all that it gets.

    ``network``        ``none``: loopback of its own, and no more; ``own``: a network of its own, from which ``ports`` of this machine's
                       loopback can be reached; ``host``: this machine's.
    ``hostname``       where another name is wanted than ``buildkitsandbox``, and there can be one.
    ``cgroups``        files ``cgroup.procs`` of groups that the command's first process joins.
    ``oom_score_adj``  what is added to its badness when memory runs out (``proc(5)``), inherited by all that it starts.
    ``neighbourly``    it may take from others nothing that they share with it: instances of inotify are counted for a user, so it is told
                       that there are none left (EMFILE); contexts of ``io_setup`` for the machine, which lacks that call then; and it stays
                       on its processors, whatever it asks for (``sched_setaffinity``).
    """

    argv: tuple[str, ...]
    environment: Mapping[str, str]
    cwd: str
    uid: int = 0
    gid: int = 0
    groups: tuple[int, ...] = ()
    network: Literal["none", "own", "host"] = "host"
    ports: tuple[int, ...] = ()
    mounts: tuple[Mount, ...] = ()
    cgroups: tuple[str, ...] = ()
    oom_score_adj: int = 0
    neighbourly: bool = False
    hostname: str = ""


Output = Callable[[bytes], None]


class Running(contextlib.AbstractContextManager["Running"], Protocol):
    """A started command. Leaving the context kills it and all that it started.

    ``seen``   what an executor that watches its commands has to tell of this one, after the context; empty for any other.
    ``ended``  whether such an executor ended it, because it used too much; whoever ended it says so.
    """

    @property
    def seen(self) -> tuple[str, ...]:
        """See the class."""
        ...

    @property
    def ended(self) -> bool:
        """See the class."""
        ...

    def wait(self, output: Output) -> int:
        """Pass on what it writes until it ends. Returns the exit status (128 + signal when killed)."""
        ...

    def stop(self) -> None:
        """End it from another thread than the one that waits: ``wait`` returns soon. Harmless when it has ended."""
        ...

    def signal(self, number: int) -> None:
        """Send a signal to the command itself, not to what it started. Harmless when it has ended."""
        ...

    def kill(self) -> None:
        """End it now; harmless when it has ended."""
        ...


class Executor(Protocol):
    """Runs commands. ``ids``: whether all ids of an image are real, or one stands for all.

    ``helper``: what connects a command with a network of its own; ``None`` where commands can have none.
    """

    name: str
    helper: Helper | None
    ids: Literal["full", "single"]

    def run(self, root: Root, process: Process, output: Output) -> int:
        """Run to the end, passing on what it writes. Returns the exit status (128 + signal when killed).

        ``KeyboardInterrupt`` ends the command with everything it started before it is raised further.
        Raises ``ExecutorError`` when the command could not be started.
        """
        ...

    def start(self, root: Root, process: Process) -> Running:
        """Start a command without waiting for it. Raises ``ExecutorError`` when it could not be started."""
        ...
