"""The rules by name, and where Docker explains each.

Rule: BuildKit ``frontend/dockerfile/linter/ruleset.go``, as of 0.25 (Docker 28.5.2).
"""

from __future__ import annotations

import re
from typing import Final

RULES: Final = (
    *("ConsistentInstructionCasing", "CopyIgnoredFile", "DuplicateStageName", "ExposeInvalidFormat", "ExposeProtoCasing", "FromAsCasing"),
    *("FromPlatformFlagConstDisallowed", "InvalidBaseImagePlatform", "InvalidDefaultArgInFrom", "InvalidDefinitionDescription"),
    *("JSONArgsRecommended", "LegacyKeyValueFormat", "MaintainerDeprecated", "MultipleInstructionsDisallowed", "NoEmptyContinuation"),
    *("RedundantTargetPlatform", "ReservedStageName", "SecretsUsedInArgOrEnv", "StageNameCasing", "UndefinedArgInFrom", "UndefinedVar"),
    "WorkdirRelativePath",
)
# Only where ``# check=experimental=`` asks for it.
EXPERIMENTAL: Final = frozenset({"CopyIgnoredFile", "InvalidDefinitionDescription"})
_UNEXPLAINED: Final = frozenset({"InvalidBaseImagePlatform"})


def url(rule: str) -> str:
    """Docker's page on a rule; empty where there is none."""
    if rule in _UNEXPLAINED:
        return ""
    return f"https://docs.docker.com/go/dockerfile/rule/{re.sub(r'(?<=[a-z])(?=[A-Z])|(?<=N)(?=Args)', '-', rule).lower()}/"
