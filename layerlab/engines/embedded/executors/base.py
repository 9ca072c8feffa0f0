"""What an executor is asked and what it answers."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from typing import Literal, Protocol

import msgspec


class BindMount(msgspec.Struct, frozen=True, kw_only=True):
    """A file or directory of the host at ``target`` (absolute inside the root, free of links).

    ``checked``  whoever reads it notices a change, so where nothing can be read-only it needs no copy.
    ``upper``, ``work``  empty directories on one file system: what a command changes goes to ``upper``, and the source stays as it is.
    Only for an executor on the overlay snapshotter; ``readonly`` means nothing then.
    """

    source: str
    target: str
    readonly: bool
    checked: bool = False
    upper: str = ""
    work: str = ""


class Root(msgspec.Struct, frozen=True, kw_only=True):
    """A root filesystem: either overlay parts (``lowers`` lowest first, absolute paths) or a plain ``tree``."""

    lowers: tuple[str, ...] = ()
    upper: str = ""
    work: str = ""
    tree: str = ""


class Process(msgspec.Struct, frozen=True, kw_only=True):
    """One command. ``environment`` is all that it gets; ``network`` false means loopback only.

    ``cgroups``  files ``cgroup.procs`` to which the command's first process writes ``0`` before it starts, and so joins those groups.
    ``oom_score_adj``  what it writes to ``/proc/self/oom_score_adj`` then: whom the kernel ends first when memory runs out.
    """

    argv: tuple[str, ...]
    environment: Mapping[str, str]
    cwd: str
    uid: int = 0
    gid: int = 0
    groups: tuple[int, ...] = ()
    network: bool = True
    binds: tuple[BindMount, ...] = ()
    tmpfs: tuple[tuple[str, int], ...] = ()
    cgroups: tuple[str, ...] = ()
    oom_score_adj: int = 0


Output = Callable[[bytes], None]


class Running(contextlib.AbstractContextManager["Running"], Protocol):
    """A started command. Leaving the context kills it and all that it started."""

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
    """Runs commands. ``ids``: whether all ids of an image are real, or one stands for all."""

    name: str
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
