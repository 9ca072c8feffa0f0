"""The platform that builds are for: always the host's, as there is no emulation."""

from __future__ import annotations

import os
import re
from typing import Final

_MACHINES: Final = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm", "ppc64le": "ppc64le", "s390x": "s390x", "riscv64": "riscv64"}

OPERATING_SYSTEM: Final = "linux"
ARCHITECTURE: Final = _MACHINES.get(os.uname().machine, os.uname().machine)
PLATFORM: Final = f"{OPERATING_SYSTEM}/{ARCHITECTURE}"

# BuildKit's automatic platform arguments of the global scope; a stage sees one after it declares it.
PLATFORM_ARGUMENTS: Final[dict[str, str]] = {
    "BUILDPLATFORM": PLATFORM,
    "BUILDOS": OPERATING_SYSTEM,
    "BUILDOSVERSION": "",
    "BUILDARCH": ARCHITECTURE,
    "BUILDVARIANT": "",
    "TARGETPLATFORM": PLATFORM,
    "TARGETOS": OPERATING_SYSTEM,
    "TARGETOSVERSION": "",
    "TARGETARCH": ARCHITECTURE,
    "TARGETVARIANT": "",
}

# Go's, as containerd/platforms lists them.
_SYSTEMS: Final = frozenset(
    (
        *("aix", "android", "darwin", "dragonfly", "freebsd", "hurd", "illumos", "ios"),
        *("js", "linux", "nacl", "netbsd", "openbsd", "plan9", "solaris", "wasip1"),
        *("windows", "zos"),
    )
)
_ARCHITECTURES: Final = frozenset(
    (
        *("386", "amd64", "amd64p32", "arm", "armbe", "arm64", "arm64be", "loong64"),
        *("mips", "mipsle", "mips64", "mips64le", "mips64p32", "mips64p32le", "ppc", "ppc64"),
        *("ppc64le", "riscv", "riscv64", "s390", "s390x", "sparc", "sparc64", "wasm"),
    )
)
_SAME: Final = {"i386": "386", "x86_64": "amd64", "x86-64": "amd64", "aarch64": "arm64", "armhf": "arm/v7", "armel": "arm/v6"}
_PARTS: Final = 3
_VERSION: Final = re.compile(r"([a-z0-9_.-]+)\([a-z0-9_.-]*\)\Z")
# What a processor is without a word about it.
_USUAL: Final = {"amd64": "v1", "arm64": "v8", "arm": "v7"}


def normal_platform(text: str) -> str:
    """``linux/amd64`` for any spelling of it, and so on: ``Parse`` and ``Normalize`` of containerd/platforms.

    One word is a system or an architecture; the other half is then this machine's. Raises ``ValueError`` with containerd's words.
    """
    parts = text.lower().split("/")
    # A system may have a version, of which nothing depends here.
    parts[0] = _VERSION.sub(r"\1", parts[0])
    if not all(re.fullmatch(r"[a-z0-9_.-]+", part) for part in parts):
        raise ValueError(f'"{text}": platform specifier component must match "^[A-Za-z0-9_.-]+$": invalid argument')
    if len(parts) > _PARTS:
        raise ValueError(f'"{text}": cannot parse platform specifier: invalid argument')
    if len(parts) == 1:
        architecture = _SAME.get(parts[0], parts[0])
        if parts[0] in _SYSTEMS:
            parts.append(ARCHITECTURE)
        elif architecture.partition("/")[0] in _ARCHITECTURES:
            parts.insert(0, OPERATING_SYSTEM)
        else:
            raise ValueError(f'"{text}": unknown operating system or architecture: invalid argument')
    system, architecture, *variant = parts
    architecture, _, implied = _SAME.get(architecture, architecture).partition("/")
    word = variant[0] if variant else implied
    word = f"v{word}" if word.isdigit() else word
    return f"{system}/{architecture}" + (f"/{word}" if word and word != _USUAL.get(architecture) else "")
