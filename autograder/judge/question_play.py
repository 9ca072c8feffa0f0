"""Playing a question: what the engine's plan says of the build that is to be predicted.

It is the solver of every build and every plan, on a cache that has everything that was built before. Nothing runs, no image and no
network is needed, and no key is kept: a question is answered anew by the plan each time. A stage whose steps are all cached has known
files; one that must run first has not, so what copies from it is undecided, as in any plan.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from pathlib import Path
from typing import Any

from autograder.exercise.workspace import Workspace
from autograder.quiz.question import (
    DOCKERFILE,
    IGNORE,
    Change,
    Chmod,
    Question,
    Remove,
    Replace,
    Touch,
    Write,
    base_image,
    changed,
    joined,
)
from layerlab.context import Selected, Selection
from layerlab.context.build_context import load_context
from layerlab.dockerfile import parse
from layerlab.engines.forecast import planned
from layerlab.errors import UsageError
from layerlab.model import StepRecord
from layerlab.solver.explain import BuildTrace, Explainer, trace_of
from layerlab.solver.graph import Graph, build_graph
from layerlab.solver.plan import CacheRecord, Solution, solve

_LATER_SECONDS = 100


class _Built:
    """A cache that has what was built in the question so far: no layers, only that they are there."""

    def __init__(self) -> None:
        self._records: dict[str, CacheRecord] = {}

    def build(self, key: str) -> None:
        """From now on this key is a hit."""
        self._records[key] = CacheRecord(key=key, diff_id=f"assumed:{key}", size=0, created="")

    def lookup(self, key: str) -> CacheRecord | None:
        """See ``CacheView``."""
        return self._records.get(key)

    def content(self, layers: tuple[str, ...], selection: Selection) -> Selected:
        """See ``CacheView``. The same path of the same layers has the same files, whatever they are."""
        return Selected(hashlib.sha256(repr((layers, selection)).encode()).hexdigest(), (), [])


def verdicts(question: Question, app: Path) -> tuple[StepRecord, ...]:
    """Every step of the predicted build, FROM included. ``app``: directory of the lesson's app.

    Raises ``UsageError`` for a question whose changes do not fit its files, and what a plan raises.
    """
    cache = _Built()
    with tempfile.TemporaryDirectory(prefix="quiz-") as place:
        context = Path(place) / "context"
        begin(question, app, context)
        graph, solution = _solved(context, question.arguments, cache)
        before = _complete(graph, solution, context, question.arguments, cache)
        for turn in question.turns:
            for change in turn.changes:
                apply(question, change, context)
            graph, solution = _solved(context, turn.arguments, cache)
            told = _told(graph, solution, before)
            before = _complete(graph, solution, context, turn.arguments, cache)
    return told


def begin(question: Question, app: Path, context: Path) -> None:
    """Make the build context of a question's first build; ``context`` does not exist yet. Raises ``OSError``."""
    files = {**question.files, DOCKERFILE: joined(question.dockerfile)}
    if question.ignore:
        files[IGNORE] = joined(question.ignore)
    if question.app:
        Workspace(app, context, {})
    else:
        context.mkdir()
    for path, text in files.items():
        _write(context, path, text)


def _write(context: Path, path: str, text: str) -> None:
    # Modes are part of a key, and an umask is not part of a question.
    target = context / path
    for folder in reversed([parent for parent in target.parents if parent.is_relative_to(context) and not parent.exists()]):
        folder.mkdir()
        folder.chmod(0o755)
    is_new = not target.exists()
    target.write_bytes(text.encode())
    if is_new:
        target.chmod(0o644)


def apply(question: Question, change: Change, context: Path) -> None:
    """Do one change of a question. Raises ``UsageError`` where it does not fit."""
    target = context / change.path
    try:
        match change:
            case Write():
                _write(context, change.path, change.text)
            case Replace():
                _write(context, change.path, changed(change, target.read_bytes().decode()))
            case Touch():
                later = target.stat().st_mtime + _LATER_SECONDS
                os.utime(target, (later, later))
            case Chmod():
                target.chmod(int(change.mode, 8))
            case Remove():
                target.unlink()
    except (OSError, ValueError) as error:
        raise UsageError(f"the question {question.id} changes {change.path}, and that cannot be done: {error}") from error


def _solved(context: Path, arguments: dict[str, str], cache: _Built) -> tuple[Graph, Solution]:
    file = context / DOCKERFILE
    graph = build_graph(parse(file.read_bytes(), DOCKERFILE), base_image, build_args=arguments)
    return graph, solve(graph, load_context(str(context), dockerfile=str(file)).root, cache)


def _complete(graph: Graph, solution: Solution, context: Path, arguments: dict[str, Any], cache: _Built) -> BuildTrace:
    """Build what a solution lacks; returns the trace of the build, which the next one is compared with."""
    while missing := [decided.key for decided in solution.steps if decided.decision == "run" and decided.key is not None]:
        for key in missing:
            cache.build(key)
        graph, solution = _solved(context, arguments, cache)
    return trace_of(graph, solution, DOCKERFILE)


def _told(graph: Graph, solution: Solution, before: BuildTrace) -> tuple[StepRecord, ...]:
    explainer = Explainer(graph, before, DOCKERFILE)
    return tuple(planned(graph, decided, explainer, solution) for decided in solution.steps)
