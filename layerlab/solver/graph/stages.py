"""Which stages a build needs, and what is wrong with how they name each other: BuildKit's ``resolveReachableStages``."""

from __future__ import annotations

from layerlab.dockerfile import mount_origin, parse_instruction
from layerlab.dockerfile.ast import Instruction, Stage
from layerlab.dockerfile.suggest import did_you_mean
from layerlab.errors import InvalidReferenceError, UsageError
from layerlab.oci.references import parse_reference
from layerlab.solver.graph.scope import Scope


def target_of(scope: Scope, target: str | None) -> int:
    """The index of the stage of a name, of the last one without. Raises ``UsageError``."""
    stages = scope.dockerfile.stages
    if target is None or target == "":
        return stages[-1].index
    index = scope.by_name(target)
    if index is None:
        names = [stage.name for stage in stages if stage.name]
        # That a single stage is not called so in the rows is settled later.
        known = [stage.name or f"stage-{stage.index}" for stage in stages]
        raise UsageError(
            f'target stage "{target}" could not be found{did_you_mean(target, known)}',
            remedy=f"Stages with a name in this file: {', '.join(names)}." if names else "No stage has a name: write FROM … AS name.",
        )
    return index


def _read_stages(scope: Scope, at: Instruction) -> list[int]:
    """The stages that an instruction reads."""
    return [index for _, index in _origins(scope, at) if index is not None]


def _origins(scope: Scope, at: Instruction) -> list[tuple[str, int | None]]:
    """What an instruction reads, as it is called, and the stage that this is, wherever it is, or no stage: BuildKit's ``toCommand``."""
    if at.keyword == "RUN":
        names = [name for value in at.flag_values("mount") if (name := mount_origin(value))]
        return [(name, scope.by_name(name)) for name in names]
    origin = at.flag("from") if at.keyword == "COPY" else None
    if origin and "$" in origin:
        raise scope.error(
            at,
            "variable expansion is not supported for --from, define a new stage with FROM using ARG from global scope as a workaround",
        )
    return [(origin, scope.copied_stage(origin, at))] if origin else []


def check_circles(scope: Scope) -> None:
    """Two stages cannot need each other, whether the target needs them or not (``validateCircularDependency``)."""
    # What a stage is built on does not count: that is always above it.
    needs = [[(index, at) for at in stage.instructions for index in _read_stages(scope, at)] for stage in scope.dockerfile.stages]
    done: set[int] = set()
    for start, stage in enumerate(scope.dockerfile.stages):
        path = {start: iter(needs[start])} if start not in done else {}
        while path:
            current, rest = next(reversed(path.items()))
            index, at = next(rest, (-1, None))
            if at is None:
                done.add(current)
                del path[current]
            elif index in path:
                name = stage.name or f"stage-{start}"
                raise scope.error(at, f"circular dependency detected on stage: {name}", "A stage can only read stages above it.")
            elif index not in done:
                path[index] = iter(needs[index])


def check_names(scope: Scope) -> None:
    """Each name of an image must be one, whether the target needs it or not (``resolveReachableStages``)."""
    stages = scope.dockerfile.stages
    bases = [(scope.bases[stage.index], stage.from_instruction) for stage in stages if scope.base_stage(stage) is None]
    read = [(name, at) for stage in stages for at in stage.instructions for name, index in _origins(scope, at) if index is None]
    for name, at in bases + read:
        try:
            parse_reference(name)
        except InvalidReferenceError as error:
            raise scope.unparsed(name, at, error) from error


def needed_for(scope: Scope, goal: int) -> set[int]:
    """The stages that a stage needs, and itself."""
    needed: set[int] = set()
    pending = [goal]
    while pending:
        index = pending.pop()
        if index in needed:
            continue
        needed.add(index)
        stage = scope.dockerfile.stages[index]
        base = scope.base_stage(stage)
        if base is not None:
            pending.append(base)
        for instruction in _instructions(scope, stage):
            pending += _read_stages(scope, instruction)
    return needed


def is_alone(scope: Scope) -> bool:
    """Whether BuildKit prints no stage name: one stage, and nothing (an image, any mount) that it keeps beside it as another."""
    first, *more = scope.dockerfile.stages
    return not more and not any(at.flag_values("mount") or (at.keyword == "COPY" and at.flag("from")) for at in first.instructions)


def _instructions(scope: Scope, stage: Stage) -> list[Instruction]:
    return [*triggers(scope, stage), *stage.instructions]


def triggers(scope: Scope, stage: Stage) -> list[Instruction]:
    """What ONBUILD of its base adds to a stage. Raises ``DockerfileError``."""
    base = scope.base_stage(stage)
    if base is not None:
        written = [i.args[0] for i in scope.dockerfile.stages[base].instructions if i.keyword == "ONBUILD"]
    elif scope.bases[stage.index] == "scratch":
        written = []
    else:
        written = list(scope.image(scope.bases[stage.index], stage.from_instruction).config.get("config", {}).get("OnBuild") or [])
    return [parse_instruction(text, scope.file, stage.from_instruction.line) for text in written]
