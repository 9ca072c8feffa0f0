"""What ``check`` says where nothing isolates a build: what a plan of the student's own answer says. Nothing is built or graded.

Which step installs is told by its words here, and not by what it does: this is a help for whoever writes the answer, and no judgement.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from autograder.exercise.workspace import Workspace
from autograder.judge.checks.base import name_of, printable
from layerlab.engines.api import BuildOptions
from layerlab.engines.embedded.engine import EmbeddedEngine
from layerlab.model import PlanRecord, StepRecord

LABEL: Final = "Planned, not built: not isolated, not official."
# The edits of a check; what is not here is asked of an image.
_EDITS: Final[dict[str, tuple[str, ...]]] = {
    "edit-source": ("src/index.ts",),
    "edit-dependency": ("package.json", "package-lock.json"),
    "edit-schema": ("prisma/schema.prisma",),
    "edit-unrelated": ("README.md",),
}
_INSTALLS: Final = re.compile(r"\b(?:npm\s+(?:\S+=\S+\s+|-\S+\s+)*(?:ci|install|i)|yarn(?:\s+install)?|pnpm\s+install)\b")


def planned(name: str, app: Path, files: Mapping[str, str]) -> str:
    """What a plan says of one check, in whole sentences. Raises what is wrong with the Dockerfile."""
    edits = _EDITS.get(name)
    if edits is None:
        return f"{LABEL} This check looks at a built image. Build the file with %docker build, and look at what it made with lab.explore()."
    plan = plan_of(app, files, edits)
    runs = [step for step in plan.steps if step.status in ("executed", "undecided")]
    told = [f"After an edit of {' and '.join(edits)}", f"{_listed(runs)} would run." if runs else "nothing would run."]
    return f"{LABEL} {' '.join(told)} {_on_installs(plan, name)}".rstrip()


def plan_of(app: Path, files: Mapping[str, str], edits: tuple[str, ...] = ()) -> PlanRecord:
    """The plan of an answer on the trusted app, by the engine of this user's own store. Raises ``LayerlabError``."""
    with tempfile.TemporaryDirectory(prefix="plan-") as place, EmbeddedEngine() as engine:
        workspace = Workspace(app, Path(place) / "context", dict(files))
        return engine.plan(BuildOptions(context=str(workspace.directory)), edits)


def _listed(steps: list[StepRecord]) -> str:
    return "; ".join(name_of(step) for step in steps)


def _on_installs(plan: PlanRecord, name: str) -> str:
    installs = [step for step in plan.steps if step.keyword == "RUN" and _INSTALLS.search(step.instruction)]
    if not installs:
        return "No step seems to install the packages."
    again = [step for step in installs if step.status != "cached"]
    if name == "edit-dependency":
        return "" if again else "The packages would not be installed again, and they must."
    if not again:
        return "The packages stay cached."
    cause = again[0].cause
    return f"The packages would be installed again{f': {printable(cause.text)}' if cause is not None else '.'}"
