"""The platform that builds are for: always the host's, as there is no emulation."""

from __future__ import annotations

import os
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
    "TARGETSTAGE": "default",
}
