"""What layerlab says to a case, in the form of ``record``."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from layerlab.context.build_context import load_context
from layerlab.engines.build_checks import is_reference
from layerlab.linter import check
from layerlab.model import CheckRecord
from layerlab.oci.references import parse_reference
from layerlab.platform import PLATFORM
from layerlab.solver.ops import BaseImage


def answer(case: dict[str, Any]) -> dict[str, Any]:
    """As ``record.ask``. Base images have nothing in them."""
    record = _checked(case, every_stage="target" not in case)
    warnings = sorted([warning.rule, warning.line, warning.end_line, warning.detail] for warning in record.warnings)
    error = record.failure.message if record.failure is not None else ""
    return {"warnings": warnings, "error": error, "status": int(bool(warnings or error))}


def warned(case: dict[str, Any]) -> dict[str, Any]:
    """As ``record.warned``."""
    record = _checked(case, every_stage=False)
    rules = record.failure.message.partition("lint violation found for rules: ")[2] if record.failure is not None else ""
    short = sorted(f"{warning.rule}: {warning.detail} (line {warning.line})" for warning in record.warnings)
    return {"warnings": short, "error": rules.split(", ") if rules else []}


def _checked(case: dict[str, Any], *, every_stage: bool) -> CheckRecord:
    def resolve(name: str) -> BaseImage:
        parse_reference(name)
        return BaseImage(name, (), {"os": "linux", "architecture": PLATFORM.split("/")[1], "config": {}})

    with tempfile.TemporaryDirectory() as folder:
        if "dockerignore" in case:
            Path(folder, ".dockerignore").write_text(case["dockerignore"], encoding="utf-8")
        return check(
            case["dockerfile"].encode(),
            "Dockerfile",
            resolve,
            is_reference,
            ignore=load_context(folder).rules,
            build_args=case.get("build_args"),
            target=case.get("target"),
            every_stage=every_stage,
        )
