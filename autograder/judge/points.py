"""The rubric: which function judges which check, and how parts become points."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

from autograder.exercise.assignment import Assignment, CheckSpec
from autograder.judge.checks.base import Finding, not_the_app, printable, says, served
from autograder.judge.checks.caching import edit_dependency, edit_schema, edit_source, edit_unrelated, no_change
from autograder.judge.checks.image import lean, serves, size, small, unprivileged
from autograder.judge.observe import Observation
from autograder.submission.record import CheckResult, CheckStatus
from layerlab.errors import UsageError

Judge = Callable[[Observation, Assignment], Finding]

JUDGES: Final[Mapping[str, Judge]] = MappingProxyType(
    {
        "edit-source": edit_source,
        "edit-dependency": edit_dependency,
        "edit-schema": edit_schema,
        "edit-unrelated": edit_unrelated,
        "no-change": no_change,
        "serves": serves,
        "size": size,
        "small": small,
        "lean": lean,
        "unprivileged": unprivileged,
    }
)


def check_rubric(assignment: Assignment) -> None:
    """Raises ``UsageError`` for a check that nobody can judge: better before a class is graded than after."""
    known = JUDGES.keys() if assignment.kind == "build" else {question.id for question in assignment.questions}
    unknown = [check.id for check in assignment.checks if check.id not in known]
    if unknown:
        raise UsageError(f"assignment {assignment.name} has unknown checks: {', '.join(unknown)}", remedy=f"Known: {', '.join(known)}.")


def judge(observation: Observation, assignment: Assignment) -> tuple[CheckResult, ...]:
    """Every check of the assignment, in its order.

    A build that failed, or one that does not build the app, is the one reason for all of them.
    """
    if observation.first.problem:
        reason = f"The image cannot be built: {observation.first.problem}"
        if observation.first.log:
            reason += f"\nThe end of its output:\n{observation.first.log[-600:].strip()}"
        return none(assignment, reason, status="failed")
    if not served(observation) and (missing := _missing(observation)):
        # An image without the app is quick to rebuild and wastes nothing. That is no achievement.
        reason = f"The image does not hold the app: no step of the build {' and no step '.join(missing)}."
        if evidence := printable(not_the_app(observation)):
            reason += f" What it answers {'is right, but' if says(observation) else 'is wrong, and'} {evidence}."
        return none(assignment, reason, status="failed")
    return tuple(result_of(check, JUDGES[check.id](observation, assignment)) for check in assignment.checks)


def _missing(seen: Observation) -> list[str]:
    """What no step does, in words. What fails with an edited source is not told by what it would have compiled."""
    installs = bool(seen.role("install")) or bool(seen.replay.taken)
    compiles = bool(seen.role("build")) or bool(seen.source.problem)
    return [*([] if installs else ["installs its packages"]), *([] if compiles else ["compiles its sources"])]


def none(assignment: Assignment, message: str, *, status: CheckStatus = "not-run") -> tuple[CheckResult, ...]:
    """No points for any check, for one reason."""
    return tuple(
        CheckResult(id=check.id, status=status, points=0.0, max_points=float(check.points), message=message) for check in assignment.checks
    )


def result_of(check: CheckSpec, finding: Finding) -> CheckResult:
    """The points of a finding by the check's weights. Raises ``UsageError`` where the two have other parts."""
    if finding.parts.keys() != check.weights.keys():
        raise UsageError(f"the assignment weighs {sorted(check.weights)} of {check.id}; its parts are {sorted(finding.parts)}")
    maximum = float(check.points)
    if all(share >= 1 for share in finding.parts.values()):
        return CheckResult(id=check.id, status="passed", points=maximum, max_points=maximum, message=finding.message)
    points = round(maximum * sum(check.weights[name] * share for name, share in finding.parts.items()), 2)
    message = f"{finding.message} Read: {check.read}"
    return CheckResult(id=check.id, status="partial" if points else "failed", points=points, max_points=maximum, message=message)
