"""Running a case: contexts are made, edited and built, step by step."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from .cases import Case, Step
from .context import Clock, create, write_dockerfile
from .edits import apply
from .outcome import Outcome, Runner

_ATTEMPTS = 3
STORE_FAULT = re.compile(r"parent snapshot \S+ does not exist")
"""What a daemon with the containerd store says now and then after its build cache was emptied: a fault of that store, and no answer."""


def run_case(case: Case, runner: Runner, directory: Path, *, images: Callable[[int], bool]) -> list[tuple[Step, Outcome]]:
    """Run every build of a case in ``directory``.

    A case that met a fault of Docker's image store is run again. ``images`` says for which builds (by position) the image is read. Raises
    ``CannotEditError`` where this machine cannot do an edit, and what the runner raises.
    """
    for attempt in range(_ATTEMPTS):
        outcomes = _run_once(case, runner, directory / str(attempt), images=images)
        if not any(STORE_FAULT.search(outcome.error or "") for _, outcome in outcomes):
            break
    return outcomes


def _run_once(case: Case, runner: Runner, directory: Path, *, images: Callable[[int], bool]) -> list[tuple[Step, Outcome]]:
    clock = Clock()
    folders = {}
    for name, project in case.all_projects().items():
        folders[name] = directory / name
        create(folders[name], project)
    runner.start()
    outcomes = []
    for position, step in enumerate(case.steps):
        folder = folders[step.project]
        for edit in step.edit:
            apply(folder, edit, clock)
        settings = case.settings(step)
        if "dockerfile" in step.build:
            write_dockerfile(folder, settings, clock)
        outcomes.append((step, runner.build(folder, settings, want_image=images(position))))
    return outcomes
