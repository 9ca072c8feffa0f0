"""How much memory this process and what it starts may use together, and whether the kernel killed for want of it.

From the control group that this process is in, version 1 or 2 (kernel ``cgroup-v2.rst`` and ``cgroup-v1/memory.rst``). A container
sees its own group where the system's root group would be, while its path may still be that of the host; so every directory from the path
up to the root is looked at, those that are there.
"""

from __future__ import annotations

import contextlib
import os
import re
from typing import Final

from layerlab.engines.embedded.stacks.advice import ran_out_of_memory

_MOUNT: Final = "/sys/fs/cgroup"
# Version 1 says "no limit" with the largest number of whole pages.
_NO_LIMIT: Final = 1 << 60
_KILLS: Final = re.compile(r"^oom_kill (\d+)$", re.MULTILINE)


def limit() -> int | None:
    """The smallest limit in bytes that holds for this process; ``None`` where there is none."""
    found = []
    for directory in _directories():
        for name in ("memory.max", "memory.limit_in_bytes"):
            with contextlib.suppress(OSError, ValueError):
                found.append(int(_read(f"{directory}/{name}")))
    return min((number for number in found if number < _NO_LIMIT), default=None)


def kills() -> int:
    """How often the kernel killed a process of this group for want of memory; 0 where that cannot be known."""
    for directory in _directories():
        for name in ("memory.events", "memory.oom_control"):
            with contextlib.suppress(OSError):
                match = _KILLS.search(_read(f"{directory}/{name}"))
                if match is not None:
                    return int(match[1])
    return 0


def remedy(status: int, log: str, kills_before: int) -> str | None:
    """What to tell about a command that failed, if memory is the reason; ``None`` otherwise."""
    killed = kills() > kills_before
    if not killed and status != 137 and not ran_out_of_memory(log):
        return None
    size = limit()
    bound = f"everything that runs here may use {size / 1e6:.0f} MB together" if size is not None else "this machine has no more"
    what = "Shut down other notebooks (Kernel, Shut Down All Kernels) and build again, or build where there is more memory."
    if killed:
        return f"The kernel killed it because memory ran out: {bound}. {what}"
    if ran_out_of_memory(log):
        return f"Node's memory ran out: {bound}. {what}"
    return f"It was killed (signal 9), most often because memory ran out: {bound}. {what}"


def _directories() -> list[str]:
    """Directories of this process's groups, the innermost first."""
    found = []
    with contextlib.suppress(OSError, ValueError):
        for line in _read("/proc/self/cgroup").splitlines():
            _, controllers, path = line.split(":", 2)
            if controllers and "memory" not in controllers.split(","):
                continue
            top = f"{_MOUNT}/memory" if controllers else _MOUNT
            while path and path != "/":
                found.append(top + path)
                path = os.path.dirname(path)
            found.append(top)
    return [directory for directory in found if os.path.isdir(directory)]


def _read(path: str) -> str:
    with open(path, encoding="ascii") as stream:
        return stream.read()
