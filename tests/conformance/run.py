"""Running a case: contexts are made, edited and built, step by step."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from .cases import Case, Step
from .context import Clock, create, write_dockerfile
from .edits import apply
from .outcome import Outcome, Runner


def run_case(case: Case, runner: Runner, directory: Path, *, images: Callable[[int], bool]) -> list[tuple[Step, Outcome]]:
    """Run every build of a case in ``directory``.

    ``images`` says for which builds (by position) the image is read. Raises ``CannotEditError`` where this machine cannot
    do an edit, and what the runner raises.
    """
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
