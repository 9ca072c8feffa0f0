"""Grading one submission: rules first, then observation, then the rubric."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import math
import secrets
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec

from autograder.exercise.assignment import Assignment
from autograder.exercise.edits import draw
from autograder.exercise.workspace import Workspace, read_app, work_place
from autograder.judge.loaded_modules import read_loaded
from autograder.judge.observe import Built, InfrastructureError, Observation, Observer
from autograder.judge.points import judge, none
from autograder.judge.predictions import judge_quiz, predictions
from autograder.judge.prepare import Prepared
from autograder.judge.step_roles import is_command
from autograder.sandbox.limits import Bounds
from autograder.sandbox.sandbox import Sandbox
from autograder.sandbox.timing import Clock
from autograder.sandbox.watch import Watch
from autograder.submission import record
from autograder.submission.messages import meaningful_lines
from autograder.submission.notebook_reader import Submission
from autograder.submission.record import CheckResult, SubmissionResult
from layerlab.dockerfile import parse
from layerlab.engines.embedded.engine import EmbeddedEngine
from layerlab.engines.embedded.rootfs.messages import Remove
from layerlab.errors import DockerfileError, LayerlabError, StepBusyError

# Less than this is not worth beginning again for.
_PATIENCE: Final = 2.0


def grade(
    assignment: Assignment,
    prepared: Prepared,
    submission: Submission,
    seed: str,
    *,
    patient: bool = True,
    bounds: Bounds | None = None,
    groups: tuple[str, ...] = (),
    cpu: int | None = None,
) -> SubmissionResult:
    """Grade. The grader's own trouble is a result, too, and never a score.

    ``patient``  wait for as long as another submission runs a step that this one needs. Else this raises ``StepBusyError`` then.
    ``bounds``  what this process may use, where it is one of its own; then this raises ``TooMuch`` and ``MemoryError``, too.
    ``groups``  the control groups that what runs in sandboxes joins. ``cpu``: the processor that it stays on.
    """
    started = time.monotonic()
    bounds = bounds or Bounds(assignment.limits)
    stand_in: tuple[str, ...] = ()
    shaken = False
    try:
        with bounds.during("reading the answer"):
            rule = by_rule(assignment, submission)
        if rule is not None:
            result = record.graded(submission.student, none(assignment, rule), reason=rule)
        else:
            if assignment.kind == "quiz":
                with bounds.during("reading the answer"):
                    checks = judge_quiz(assignment, submission, Path(prepared.app))
            else:
                patience = math.inf if patient else _PATIENCE
                checks, stand_in, shaken = _observed(assignment, prepared, submission, seed, patience, bounds, groups, cpu)
            result = record.graded(submission.student, checks)
    except StepBusyError:
        raise
    except (InfrastructureError, LayerlabError, OSError) as error:
        # Not above this level: in a notebook, where nobody listens, it would be printed.
        logging.getLogger(__name__).info("grading %s", submission.student, exc_info=True)
        reason = f"the grader failed, not the answer: {error}"
        result = record.without_score(submission.student, "infrastructure-error", assignment.max_score, reason)
    return msgspec.structs.replace(result, stand_in=stand_in, seconds=round(time.monotonic() - started, 2), shaken=shaken)


def over_a_limit(assignment: Assignment, student: str, sentence: str) -> SubmissionResult:
    """The result of a submission that is not looked at further, because of a limit that the sentence names."""
    return msgspec.structs.replace(record.graded(student, none(assignment, sentence), reason=sentence), shaken=True)


def by_rule(assignment: Assignment, submission: Submission) -> str | None:
    """Why an answer gets no points without being looked at further, or ``None``."""
    if assignment.kind == "quiz":
        if any(prediction.given for prediction in predictions(assignment, submission).values()):
            return None
        return "No step has a prediction: by rule an empty or unchanged answer scores 0."
    dockerfile = submission.files["Dockerfile"]
    if not meaningful_lines(dockerfile):
        return "The Dockerfile is empty: by rule an empty answer scores 0."
    if all(meaningful_lines(submission.files[answer.file]) == meaningful_lines(answer.starter) for answer in assignment.answers):
        return "The answer is what the notebook starts with: by rule an unchanged answer scores 0."
    # A file that cannot be parsed is told so by the engine, with the place.
    with contextlib.suppress(DockerfileError):
        steps = sum(1 + len(stage.instructions) for stage in parse(dockerfile).stages)
        if steps > assignment.limits.steps:
            return f"The Dockerfile has {steps} instructions; at most {assignment.limits.steps} are graded."
    return None


def _observed(
    assignment: Assignment,
    prepared: Prepared,
    submission: Submission,
    seed: str,
    patience: float,
    bounds: Bounds,
    groups: tuple[str, ...],
    cpu: int | None,
) -> tuple[tuple[CheckResult, ...], tuple[str, ...], bool]:
    app = read_app(Path(prepared.app))
    loaded = read_loaded(prepared.loaded)
    clock = Clock(assignment.limits, bounds)
    with (
        work_place(prepared.work) as place,
        Watch(assignment.limits, place, groups) as watch,
        Sandbox(prepared.cache, watch, patience=patience, bounds=bounds, cpu=cpu) as sandbox,
        _engine(sandbox, prepared, submission, Path(place)) as engine,
    ):
        workspace = Workspace(Path(prepared.app), Path(place) / "context", submission.files)
        salt = _digest(submission)
        edits, fresh = draw(seed, app, salt=salt), draw(seed, app, nonce=secrets.token_hex(16), salt=salt)
        once = not _has_mounts(submission.files["Dockerfile"])
        with bounds.during("looking at what its build made"):
            observation = Observer(sandbox, engine, assignment, workspace, edits, fresh, clock, loaded, once=once).observe()
        if watch.trouble:
            raise InfrastructureError(watch.trouble)
        for sentence in watch.told[:1]:
            observation = _with_reason(observation, sentence)
        with bounds.during("judging what its build made"):
            return judge(observation, assignment), observation.first.stand_in, _is_shaken(observation)


def _is_shaken(seen: Observation) -> bool:
    """Whether a command failed, was ended, or did not answer. What a build says before it runs anything it always says."""
    builds = (seen.first, seen.source)
    failed = any(step.status == "failed" and is_command(step) for built in builds for step in built.steps)
    return failed or any(built.ended for built in builds) or bool(seen.replay.problem or seen.serving.answer.problem)


def _digest(submission: Submission) -> str:
    """Identity of an answer's texts."""
    return hashlib.sha256(msgspec.json.encode(submission.files, order="sorted")).hexdigest()


def _with_reason(seen: Observation, sentence: str) -> Observation:
    """What a build that was ended by the watch says: why."""

    def told(built: Built) -> Built:
        return msgspec.structs.replace(built, problem=f"{built.problem} ({sentence})") if built.problem else built

    serving = seen.serving
    if serving.answer.problem:
        answer = msgspec.structs.replace(serving.answer, problem=f"{serving.answer.problem} ({sentence})")
        serving = msgspec.structs.replace(serving, answer=answer)
    return msgspec.structs.replace(seen, first=told(seen.first), source=told(seen.source), serving=serving)


@contextlib.contextmanager
def _engine(sandbox: Sandbox, prepared: Prepared, submission: Submission, place: Path) -> Iterator[EmbeddedEngine]:
    """The engine: on the store that all share, or, for an answer with mounts, on one of its own.

    A layer is shared under a key of all that made it. What a ``--mount=type=cache`` holds is in no key, so an answer with one could
    leave a layer of its own making to others.
    """
    if not _has_mounts(submission.files["Dockerfile"]):
        with sandbox.engine(prepared.store) as engine:
            yield engine
        return
    with sandbox.engine(str(place / "store")) as engine:
        engine.load(prepared.base)
        try:
            yield engine
        finally:
            # What steps have left is removed by who could make it.
            with contextlib.suppress(LayerlabError, OSError):
                engine.worker.ask(Remove(paths=["s", "mounts", "containers", "tmp"]))


def _has_mounts(dockerfile: str) -> bool:
    """Whether any RUN may have a mount; a trigger, or a file that cannot be read, counts as one."""
    try:
        stages = parse(dockerfile).stages
    except DockerfileError:
        return True
    return any(item.keyword == "ONBUILD" or item.flag_values("mount") for stage in stages for item in stage.instructions)
