"""What the instructor's machine prepares once: the base image in the grading store, an npm cache that builds offline are fed from, and
what the app loads when it runs."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec

from autograder.exercise.assignment import Assignment
from autograder.exercise.edits import LOCK, MANIFEST
from autograder.exercise.places import make_place
from autograder.exercise.workspace import tree_digest
from autograder.judge.loaded_modules import observe_app
from autograder.sandbox.sandbox import NotIsolatedError, Sandbox
from layerlab.engines.api import BuildOptions
from layerlab.engines.embedded.engine import EmbeddedEngine
from layerlab.engines.embedded.stacks.npm import make_lendable
from layerlab.errors import LayerlabError, UsageError
from layerlab.fsutil import locked, write_atomically
from layerlab.lesson.fetching import lock_digest
from layerlab.offline import offline_folder

# Raise it when what is prepared looks otherwise, so that a place of an older version is prepared anew.
_LAYOUT: Final = b"2"
_LOADED_LAYOUT: Final = 3
BASE_ARCHIVE: Final = "base.tar"
_FILL: Final = "FROM {base}\nWORKDIR /fill\nCOPY package.json package-lock.json ./\nRUN npm ci\n"


class Prepared(msgspec.Struct, frozen=True, kw_only=True):
    """Where grading works: the app, the directories of the store, of the npm cache, of results and of work in progress, an archive of the
    base image, and the file that says what the app loads (``loaded_modules``)."""

    app: str
    store: str
    cache: str
    results: str
    work: str
    base: str
    loaded: str = ""


def locate(course: Path, assignment: Assignment, place: Path) -> Prepared:
    """Where grading works below ``place``; nothing is made, and nothing looked at but the app."""
    course, place = Path(os.path.abspath(course)), Path(os.path.abspath(place))
    app = (course.resolve().parent / assignment.app).resolve()
    return Prepared(
        app=str(app),
        store=str(place / "store"),
        cache=str(place / "npm-cache"),
        results=str(place / "results"),
        work=str(place / "work"),
        base=str(place / BASE_ARCHIVE),
        loaded=str(place / f"loaded-{tree_digest(app)[:32]}-{_LOADED_LAYOUT}.json"),
    )


def prepare(course: Path, assignment: Assignment, place: Path, report: Callable[[str], None]) -> Prepared:
    """Prepare grading below ``place``; quick when it is prepared already.

    A quiz is graded from plans: for one, only the directories are made. Else this raises ``NotIsolatedError`` where this machine cannot
    isolate a build step (then no build is graded here), ``UsageError`` where the app is not there, ``LayerlabError`` where the app's
    packages cannot be fetched, or the app does not run.
    """
    prepared = locate(course, assignment, place)
    for name in (MANIFEST, LOCK):
        if not os.path.isfile(os.path.join(prepared.app, name)):
            raise UsageError(
                f"the app of {assignment.name} is not there: {prepared.app} has no {name}",
                remedy=f"A course stands beside its app: assignment.json names {assignment.app!r}, from the folder that the course is in.",
            )
    make_place(place)
    for directory in (prepared.store, prepared.cache, prepared.results, prepared.work):
        Path(directory).mkdir(parents=True, exist_ok=True)
    if assignment.kind == "quiz":
        return prepared
    with Sandbox(prepared.cache, filling=True) as sandbox, sandbox.engine(prepared.store) as engine:
        host = engine.host
        if not host.isolates:
            raise NotIsolatedError(
                "nothing on this machine can isolate a student's build, so nothing is graded: "
                + "; ".join(host.notes or (f"{host.executor} runs commands but isolates nothing",)),
                remedy="Run `layerlab doctor`: it says what is missing.",
            )
        with locked(str(place / "prepare.lock")):
            _fill(engine, assignment, Path(prepared.app), place, report)
            _observe(prepared, assignment, report)
    return prepared


def _observe(prepared: Prepared, assignment: Assignment, report: Callable[[str], None]) -> None:
    if os.path.exists(prepared.loaded):
        return
    report("running the app, to see what it loads; once on this machine")
    with Sandbox(prepared.cache) as sandbox, sandbox.engine(prepared.store) as engine:
        observe_app(engine, assignment.base, Path(prepared.app), Path(prepared.work), Path(prepared.loaded))


def _fill(engine: EmbeddedEngine, assignment: Assignment, app: Path, place: Path, report: Callable[[str], None]) -> None:
    packages = (_LAYOUT, *((app / name).read_bytes() for name in (MANIFEST, LOCK)))
    wanted = hashlib.sha256(b"\0".join(packages) + assignment.base.encode()).hexdigest()
    stamp = place / "npm-cache.stamp"
    if stamp.is_file() and stamp.read_text(encoding="ascii") == wanted:
        return
    report(f"preparing {assignment.base} and an npm cache; once on this machine")
    folder = offline_folder()
    if folder is not None and folder.fetched.lock == lock_digest(app):
        with engine.store.in_use():
            engine.bases.resolve(assignment.base, offline=True, report=report)
        shutil.copytree(folder.packages, place / "npm-cache", dirs_exist_ok=True)
        make_lendable(str(place / "npm-cache"))
        engine.save((assignment.base,), str(place / BASE_ARCHIVE))
        write_atomically(str(stamp), wanted.encode("ascii"))
        return
    with tempfile.TemporaryDirectory(dir=place / "work", prefix="fill-") as directory:
        for name in (MANIFEST, LOCK):
            shutil.copyfile(app / name, Path(directory) / name)
        (Path(directory) / "Dockerfile").write_text(_FILL.format(base=assignment.base), encoding="utf-8")
        # Without the cache: a layer that is there already would leave an empty npm cache empty.
        record = engine.build(BuildOptions(context=directory, no_cache=True))
        if record.failure is None:
            engine.save((assignment.base,), str(place / BASE_ARCHIVE))
            make_lendable(str(place / "npm-cache"))
    if record.failure is not None:
        log = next((step.log for step in record.steps if step.status == "failed"), "")
        raise LayerlabError(
            f"the app's packages cannot be fetched: {record.failure.message}\n{log[-1500:]}",
            remedy=record.failure.remedy or "Preparing needs the network once.",
        )
    write_atomically(str(stamp), wanted.encode("ascii"))
