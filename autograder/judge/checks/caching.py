"""Checks on what runs again after an edit. What a step is for, what it made tells (``step_roles``): any order and wording may pass."""

from __future__ import annotations

from typing import Final

from autograder.exercise.assignment import Assignment
from autograder.judge.checks.base import Finding, amount, name_of, printable, reran, why
from autograder.judge.observe import Observation
from autograder.judge.step_roles import Role, is_command
from layerlab.model import StepRecord

_KEPT: Final[tuple[Role, ...]] = ("install", "generate")
# Bytes that commands may need beside what they leave.
_FOR_A_WHILE: Final = 16 << 20
# Packages in a message.
_SHOWN: Final = 3
_WHAT: Final[dict[Role, str]] = {
    "install": "installs the packages",
    "generate": "generates the Prisma client",
    "build": "compiles the sources",
}


def edit_source(seen: Observation, _: Assignment) -> Finding:
    """After an edit of a source, a step compiles the sources again; the packages and the client are not made again, in no disguise.

    It counts only where a step compiles: a file that rebuilds nothing because it builds nothing is not a cached one.
    """
    nothing = {str(role): False for role in _KEPT}
    if seen.source.problem:
        return Finding(parts=nothing, message=f"After an edit of a source the build fails: {seen.source.problem}")
    hidden = _hidden(seen)
    missing = [role for role in _KEPT if not seen.role(role)]
    if missing:
        words = " and no step ".join(_WHAT[role] for role in missing)
        return Finding(parts=nothing, message=f"No step {words}: there is nothing that could stay cached. {hidden}".rstrip())
    if not seen.edited:
        return Finding(parts=nothing, message="What an edit of a source does cannot be told.")
    compiles = [step for step in seen.edited if step.number in seen.role("build")]
    if not any(map(reran, compiles)):
        message = "No step compiles the edited sources: no file that a command makes has what they say without their types."
        return Finding(parts=nothing, message=f"{message} {hidden}".rstrip())
    steps = seen.edited
    again = {role: [step for step in steps if reran(step) and step.number in seen.role(role)] for role in _KEPT}
    parts = {str(role): not found for role, found in again.items()}
    if all(parts.values()) and not hidden:
        made = amount(seen.replay.made)
        return Finding(
            parts=parts,
            message=f"An edit of a source compiles it again ({name_of(compiles[-1])}) and leaves the packages and the client cached: "
            f"commands make {made} anew.",
        )
    told: dict[int, str] = {}
    for role, found in again.items():
        # npm's install may generate, too; the last step with a role is the one that is there for it.
        for step in found[-1:]:
            if step.number not in told:
                told[step.number] = (
                    f"After an edit of a source the step that {_WHAT[role]} runs again: {name_of(step)}: {why(step, steps)}. "
                    f"It makes {amount(_size_of(seen, step.number))} anew."
                )
    parts["install"] = parts["install"] and not hidden
    return Finding(parts=parts, message=" ".join([*told.values(), hidden]).rstrip())


def _hidden(seen: Observation) -> str:
    """An installation after a source edit that leaves no packages behind, told by what it takes and by what it makes; empty for none."""
    replay = seen.replay
    if replay.taken:
        shown = ", ".join(map(printable, replay.taken[:_SHOWN]))
        more = f" and {len(replay.taken) - _SHOWN} more" if len(replay.taken) > _SHOWN else ""
        ran = " or ".join(name_of(step) for step in seen.edited if reran(step) and is_command(step))
        return (
            f"After an edit of a source packages are installed again: {ran or 'a command'} takes them out of npm's cache ({shown}{more})."
        )
    if replay.problem:
        return f"After another edit of a source the build fails, where it did not before: {printable(replay.problem)}."
    if replay.made <= seen.allowed:
        if replay.peak <= seen.allowed + _FOR_A_WHILE:
            return ""
        return (
            f"After an edit of a source commands write {amount(replay.peak)} and remove most of it again; "
            f"compiling and generating make at most {amount(seen.allowed)}."
        )
    names = {step.number: name_of(step) for step in seen.edited}
    files = "; ".join(f"/{printable(path)}, {amount(size)}, by {names.get(number, number)}" for number, path, size in replay.largest)
    return (
        f"After an edit of a source commands make {amount(replay.made)} anew, and compiling and generating at most {amount(seen.allowed)}. "
        f"The largest files: {files}."
    )


def _size_of(seen: Observation, number: int) -> int:
    return next((step.size for step in (*seen.source.steps, *seen.first.steps) if step.number == number and step.size), 0)


def edit_dependency(seen: Observation, _: Assignment) -> Finding:
    """After an edit of ``package.json`` and its lock file, the packages are installed again."""
    return _must_run(seen, "install", seen.dependency, "package.json and package-lock.json")


def edit_schema(seen: Observation, _: Assignment) -> Finding:
    """After an edit of Prisma's schema, the client is generated again."""
    return _must_run(seen, "generate", seen.schema, "prisma/schema.prisma")


def edit_unrelated(seen: Observation, _: Assignment) -> Finding:
    """After an edit that the image does not need, nothing runs again."""
    readme = _first(seen.readme)
    modules = _first(seen.modules)
    told = []
    if readme is not None:
        told.append(f"An edit of README.md, which the image does not need, runs {name_of(readme)} again: {why(readme, seen.readme)}.")
    if modules is not None:
        told.append(f"A node_modules folder on the host runs {name_of(modules)} again: {why(modules, seen.modules)}.")
    # A plan that could not be made has no steps: that is no proof of anything.
    parts = {"readme": bool(seen.readme) and readme is None, "node_modules": bool(seen.modules) and modules is None}
    if all(parts.values()):
        return Finding(parts=parts, message="Edits of README.md and of the host's node_modules rebuild nothing.")
    return Finding(parts=parts, message=" ".join([*told, "Keep such files out of the build context with .dockerignore."]))


def no_change(seen: Observation, _: Assignment) -> Finding:
    """Without a change, and with other file times, everything is cached."""
    again, touched = _first(seen.again), _first(seen.touched)
    parts = {"again": bool(seen.again) and again is None, "touched": bool(seen.touched) and touched is None}
    if all(parts.values()):
        return Finding(parts=parts, message="Without a change everything is cached, and after touch, too.")
    step, steps = (again, seen.again) if again is not None else (touched, seen.touched)
    if step is None:
        return Finding(parts=parts, message="What a second build would do cannot be told.")
    return Finding(parts=parts, message=f"Nothing was changed, and yet {name_of(step)} runs again: {why(step, steps)}.")


def _must_run(seen: Observation, role: Role, steps: tuple[StepRecord, ...], files: str) -> Finding:
    numbers = seen.role(role)
    if not numbers:
        return Finding(parts={"runs": False}, message=f"No step {_WHAT[role]}.")
    # With several, each makes what some stage has, and one that stays cached leaves that stage behind.
    found = {step.number: step for step in steps if step.number in numbers}
    if len(found) == len(numbers) and all(map(reran, found.values())):
        return Finding(parts={"runs": True}, message=f"An edit of {files} runs {' and '.join(map(name_of, found.values()))} again.")
    shown = next((name_of(step) for step in found.values() if not reran(step)), f"the step that {_WHAT[role]}")
    return Finding(
        parts={"runs": False},
        message=f"After an edit of {files}, {shown} stays cached, so the image keeps the old state: "
        f"copy {files.split(' ', 1)[0]} before the step that needs it, and do not ignore it.",
    )


def _first(steps: tuple[StepRecord, ...]) -> StepRecord | None:
    return next((step for step in steps if reran(step)), None)
