"""Running a case: contexts are made, edited and built, step by step."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator
from pathlib import Path

from .cases import Case, Step
from .context import Clock, create, write_dockerfile
from .edits import MisfitError, apply
from .outcome import Outcome, Runner

_ATTEMPTS = 3
STORE_FAULT = re.compile(r"parent snapshot \S+ does not exist")
"""What a daemon with the containerd store says now and then after its build cache was emptied: a fault of that store, and no answer."""


def run_case(case: Case, runner: Runner, directory: Path, *, images: Callable[[int], bool]) -> list[tuple[Step, Outcome]]:
    """Run every build of a case in ``directory``.

    A case that met a fault of Docker's image store is run again. ``images`` says for which builds (by position) the image is read. Raises
    ``CannotEditError`` where this machine cannot do an edit, ``MisfitError`` where a case does not fit together, and what the
    runner raises.
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
        with _fitting():
            create(folders[name], project)
    runner.start()
    outcomes = []
    for position, step in enumerate(case.steps):
        folder = folders[step.project]
        settings = case.settings(step)
        with _fitting():
            for edit in step.edit:
                apply(folder, edit, clock)
            if "dockerfile" in step.build:
                write_dockerfile(folder, settings, clock)
        outcomes.append((step, runner.build(folder, settings, want_image=images(position))))
    return outcomes


@contextlib.contextmanager
def _fitting() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise MisfitError(str(error)) from error
