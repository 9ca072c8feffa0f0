"""The value of ``RUN --device``: as BuildKit reads it before it refuses it.

Rule: BuildKit ``instructions/commands_rundevice.go`` (``ParseDevice``).
"""

from __future__ import annotations

from layerlab.dockerfile.mounts import FALSE, TRUE
from layerlab.dockerfile.suggest import did_you_mean


def device_problem(value: str) -> str:
    """What is wrong with the value, in BuildKit's words; empty where nothing is."""
    if not value:
        return "failed to parse csv devices: EOF"
    name = ""
    for field in value.split(","):
        key, equals, rest = field.partition("=")
        key = key.lower()
        if key == "required":
            if equals and rest not in TRUE | FALSE:
                return f"invalid value for {key}: {rest}"
        elif equals and key == "name":
            if name:
                return f"device name already set to {name}"
            name = rest
        elif not name:
            name = field
        elif equals:
            return f"unexpected key '{key}' in '{field}'{did_you_mean(key, ('name', 'required'))}"
        else:
            return f"invalid field '{field}' must be a key=value pair"
    return ""
