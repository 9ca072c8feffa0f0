"""Control groups: the kernel's own limits on the memory and the processes of one submission, where this user may make such groups.

Only what runs in sandboxes joins them: the grader's own process must never be the one that the kernel picks when a limit is met.
They stand behind ``watch``, which sees the same a little earlier and can say in words what was too much. Version 2 needs a delegated
group, as systemd gives to a user's services; version 1 needs root. Sources: the kernel's cgroup-v1 and cgroup-v2 guides.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from autograder.exercise.assignment import Limits

ROOT: Final = Path("/sys/fs/cgroup")
# Files that are read count here, too, until the kernel drops them, and the watch should be the first to see.
_MEMORY_MARGIN: Final = 256 << 20
_PROCESS_MARGIN: Final = 64
_END_SECONDS: Final = 5.0
_PREFIX: Final = "layerlab-"
# A grader that was killed could not remove its groups. No submission takes so long, so an empty one of this age is nobody's.
_OLD_SECONDS: Final = 24 * 3600


@contextlib.contextmanager
def group(name: str, limits: Limits, root: Path = ROOT, membership: Path = Path("/proc/self/cgroup")) -> Iterator[tuple[str, ...]]:
    """Make a group with the limits of a submission; afterwards whatever is still in it is ended, and the group goes.

    Yields the files that a process writes ``0`` to in order to join; none where no group can be made.
    """
    memory, processes = str(limits.memory_bytes + _MEMORY_MARGIN), str(limits.processes + _PROCESS_MARGIN)
    made: list[Path] = []
    try:
        for parent, settings in _places(root, membership, memory, processes):
            directory = parent / name
            _sweep(parent)
            try:
                directory.mkdir()
                made.append(directory)
                for file, value in settings.items():
                    (directory / file).write_text(value, encoding="ascii")
            except OSError:
                if made and made[-1] == directory:
                    _remove(made.pop())
        yield tuple(str(directory / "cgroup.procs") for directory in made)
    finally:
        for directory in made:
            _remove(directory)


def memory_kills(files: tuple[str, ...]) -> int:
    """How often the kernel has ended a process in one of these groups because its memory was at the limit."""
    found = 0
    for file in files:
        for name in ("memory.events", "memory.oom_control"):
            for line in _read(Path(file).with_name(name)).splitlines():
                key, _, value = line.partition(" ")
                if key == "oom_kill" and value.isdigit():
                    found += int(value)
    return found


def _places(root: Path, membership: Path, memory: str, processes: str) -> Iterator[tuple[Path, dict[str, str]]]:
    """Directories in which a group may be made, with the settings that it needs there."""
    lines = [line.split(":", 2) for line in _read(membership).splitlines() if line.count(":") >= 2]
    for number, controllers, path in lines:
        if number == "0" and not controllers:
            own = root / path.lstrip("/")
            # A group with processes in it has no limited children, so it is a sibling more often than a child.
            for parent in (own, own.parent):
                if {"memory", "pids"} <= set(_read(parent / "cgroup.subtree_control").split()):
                    settings = {"memory.max": memory, "pids.max": processes}
                    # Else what is too much goes to the disk and not away.
                    if (parent / "memory.swap.current").exists() or (own / "memory.swap.max").exists():
                        settings["memory.swap.max"] = "0"
                    yield parent, settings
                    return
    for _, controllers, path in lines:
        for controller, file, value in (("memory", "memory.limit_in_bytes", memory), ("pids", "pids.max", processes)):
            if controller in controllers.split(",") and (root / controller / "cgroup.procs").is_file():
                yield root / controller / path.lstrip("/"), {file: value}


def _sweep(parent: Path) -> None:
    for left in parent.glob(f"{_PREFIX}*"):
        with contextlib.suppress(OSError):
            if time.time() - left.stat().st_mtime > _OLD_SECONDS:
                # It fails where a process is in it.
                left.rmdir()


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace")
    except OSError:
        return ""


def _remove(directory: Path) -> None:
    end = time.monotonic() + _END_SECONDS
    while time.monotonic() < end:
        for process in map(int, _read(directory / "cgroup.procs").split()):
            # 0 stands for one that this pid namespace cannot see; to kill, it means this very process group.
            if process:
                with contextlib.suppress(OSError):
                    os.kill(process, signal.SIGKILL)
        try:
            directory.rmdir()
            return
        except FileNotFoundError:
            return
        except OSError:
            time.sleep(0.02)
