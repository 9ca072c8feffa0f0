"""Which flags each instruction has, and reading them.

Rule: BuildKit ``frontend/dockerfile/instructions/bflag.go`` and ``parse.go``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal

from layerlab.dockerfile.suggest import did_you_mean
from layerlab.dockerfile.words import RawFlag

Kind = Literal["bool", "text", "list"]

FLAGS: Mapping[str, Mapping[str, Kind]] = {
    "FROM": {"platform": "text"},
    "RUN": {"mount": "list", "network": "text", "security": "text", "device": "list"},
    "COPY": {"from": "text", "chown": "text", "chmod": "text", "link": "bool", "parents": "bool", "exclude": "list"},
    "ADD": {
        "chown": "text",
        "chmod": "text",
        "link": "bool",
        "keep-git-dir": "bool",
        "checksum": "text",
        "unpack": "bool",
        "exclude": "list",
    },
    "HEALTHCHECK": {"interval": "text", "timeout": "text", "start-period": "text", "start-interval": "text", "retries": "text"},
}
"""The flags of each instruction; instructions that are not here have none."""

IGNORING_FLAGS = frozenset({"ARG", "STOPSIGNAL"})
"""Instructions that drop any flag without looking at it, as BuildKit does."""


class FlagError(ValueError):
    """A flag that is unknown, repeated or has no usable value, with its offset in the logical line."""

    def __init__(self, message: str, flag: RawFlag, remedy: str) -> None:
        super().__init__(message)
        self.offset = flag.offset
        self.remedy = remedy


def read_flags(keyword: str, raw: Iterable[RawFlag]) -> list[tuple[str, str, int]]:
    """``(name, value, offset)`` of every flag; boolean values come back as ``true`` or ``false``.

    Raises:
        FlagError: for a flag that the instruction does not have, or cannot use.
    """
    allowed = FLAGS.get(keyword, {})
    flags: list[tuple[str, str, int]] = []
    seen: set[str] = set()
    for flag in raw:
        name, equals, value = flag.text[2:].partition("=")
        kind = allowed.get(name)
        if kind is None:
            known = ", ".join(f"--{option}" for option in allowed)
            remedy = f"The flags of {keyword} are {known}." if known else f"{keyword} has no flags."
            raise FlagError(f"unknown flag: --{name}{did_you_mean(name, allowed)}", flag, remedy)
        if name in seen and kind != "list":
            raise FlagError(f"duplicate flag specified: --{name}", flag, f"Write --{name} once.")
        seen.add(name)
        if (equals and not value and kind == "bool") or (not equals and kind != "bool"):
            raise FlagError(f"missing a value on flag: --{name}", flag, f"Write --{name}=VALUE.")
        if kind == "bool":
            lowered = value.lower()
            if lowered not in ("", "true", "false"):
                raise FlagError(f"expecting boolean value for flag --{name}, not: {value}", flag, f"Write --{name} or --{name}=false.")
            value = lowered or "true"
        flags.append((name, value, flag.offset))
    return flags
