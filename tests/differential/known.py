"""Differences that are meant: each stands in ``docs/differences.md``."""

from __future__ import annotations

from typing import Any

from .compared import Found


def reason(case: dict[str, Any], found: Found) -> str:
    """Why a difference is none, or the empty string."""
    wanted, _, actual = found.details.partition("\nactual:")
    if "unknown flag: --parents" in wanted:
        return "--parents is a flag of newer frontends"
    if found.summary == "the error says something else" and _missing(wanted) and _missing(actual):
        return "several sources are missing, and which is told of is a race"
    return ""


def _missing(text: str) -> bool:
    return text.strip().endswith("not found") and '": ' in text
