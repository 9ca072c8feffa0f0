"""What the output of a failed command says to somebody who knows npm, Node and the stand-in for ``node:alpine``."""

from __future__ import annotations

import re
from typing import Final

from layerlab.offline import offline_folder

_APK: Final = re.compile(r"apk.*stand-in|stand-in.*apk")
# V8 gives up before the kernel has to, when its heap is full.
_HEAP: Final = "JavaScript heap out of memory"
_TAIL: Final = 8192


def advice(log: str) -> str | None:
    """What to do about it; ``None`` where it says nothing that is known here."""
    if _APK.search(log):
        return "The stand-in for node:alpine has no apk: remove the line, or build where the real node:alpine can be pulled."
    if "ENOTCACHED" in log[-_TAIL:] and offline_folder() is not None:
        return "This is offline: npm has only the packages of the app's own package-lock.json, as `./lab fetch` found it."
    return None


def ran_out_of_memory(log: str) -> bool:
    """Whether Node says that its heap was full."""
    return _HEAP in log
