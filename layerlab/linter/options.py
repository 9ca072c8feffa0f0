"""Which rules count: ``# check=skip=…;error=true;experimental=…`` at the top of the file.

Rule: BuildKit ``frontend/dockerfile/linter/linter.go`` (``ParseLintOptions``), as of 0.25: a comment before an instruction changes nothing.
"""

from __future__ import annotations

from typing import Final

import msgspec

from layerlab.dockerfile.chars import quoted
from layerlab.dockerfile.mounts import FALSE, TRUE
from layerlab.linter.rules import EXPERIMENTAL

CHECKS: Final = "BUILDKIT_DOCKERFILE_CHECK"
"""The build argument that stands in the place of the line."""

_ALL: Final = "all"
_PARTS: Final = 3


class CheckOptions(msgspec.Struct, frozen=True):
    """``skip`` and ``experimental`` are names of rules, or ``all``. ``error``: whether a warning makes a build fail."""

    skip: frozenset[str] = frozenset()
    experimental: frozenset[str] = frozenset()
    error: bool = False

    def wants(self, rule: str) -> bool:
        """Whether a rule counts."""
        if rule in EXPERIMENTAL:
            return not self.experimental.isdisjoint({_ALL, rule})
        return self.skip.isdisjoint({_ALL, rule})


def parse_options(text: str) -> CheckOptions:
    """The value of ``check=``. Raises ``ValueError`` with BuildKit's words."""
    found: dict[str, frozenset[str]] = {}
    error = False
    text = text.strip()
    for part in text.split(";", _PARTS - 1) if text else []:
        key, equals, value = part.partition("=")
        if not equals:
            raise ValueError(f"invalid check option {quoted(part)}")
        key, value = key.strip(), value.strip()
        if key in ("skip", "experimental"):
            found[key] = frozenset({_ALL}) if value == _ALL else frozenset(name.strip() for name in value.split(",")) - {_ALL}
        elif key == "error":
            if value not in TRUE | FALSE:
                raise ValueError(f"failed to parse check option {quoted(part)}: strconv.ParseBool: parsing {quoted(value)}: invalid syntax")
            error = value in TRUE
        else:
            raise ValueError(f"invalid check option {quoted(key)}")
    return CheckOptions(found.get("skip", frozenset()), found.get("experimental", frozenset()), error)
