"""From a parsed Dockerfile to the graph of steps that a build needs, with the image configuration that results.

This is BuildKit's ``dockerfile2llb``: variables are expanded, paths made absolute, base images resolved, stages that
the target does not need left out. Nothing is read from the build context and nothing runs.
"""

from __future__ import annotations

import copy
import os
import re
from collections.abc import Callable, Mapping
from typing import Final

from layerlab.dockerfile import expand
from layerlab.dockerfile.ast import Dockerfile, Instruction, Stage
from layerlab.dockerfile.suggest import Hints
from layerlab.errors import DockerfileError, UnsupportedError, UsageError
from layerlab.platform import PLATFORM, normal_platform
from layerlab.solver.graph.copy import lower_copy
from layerlab.solver.graph.metadata import METADATA, lower_workdir
from layerlab.solver.graph.model import EPOCH, NEWEST, Graph, GraphStage, Like, Remote, Resolve, Step
from layerlab.solver.graph.run import lower_run
from layerlab.solver.graph.scope import Lowered, Observer, Scope, StageState, Variables
from layerlab.solver.graph.stages import check_circles, check_names, is_alone, needed_for, target_of, triggers
from layerlab.solver.ops import DEFAULT_PATH, BaseImage, Source

PREDEFINED_ARGUMENTS: Final = frozenset({EPOCH}) | frozenset(
    name for base in ("HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "NO_PROXY", "ALL_PROXY") for name in (base, base.lower())
)
# A path of one component, ``path-component`` of distribution/reference. Names of 64 hex digits are digests.
_REFERENCE: Final = re.compile(r"(?![0-9a-f]{64}\Z)[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*\Z")
_LONGEST_NAME: Final = 255
_LONGEST_HOST: Final = 64
# What ``ParseBool`` of Go takes for yes.
_TRUE: Final = ("1", "t", "T", "true", "TRUE", "True")


def opaque(_source: Source) -> None:
    """Nobody knows what ADD takes from elsewhere."""


def build_graph(
    dockerfile: Dockerfile,
    resolve: Resolve,
    *,
    build_args: Mapping[str, str] | None = None,
    target: str | None = None,
    no_cache: bool = False,
    no_cache_filter: tuple[str, ...] = (),
    labels: Mapping[str, str] | None = None,
    network: str = "default",
    emulates: bool = False,
    observer: Observer | None = None,
    every_stage: bool = False,
    like: Like = NEWEST,
    remote: Remote = opaque,
    before_steps: Callable[[], None] = lambda: None,
) -> Graph:
    """Resolve a Dockerfile into the steps that ``target`` (default: the last stage) needs.

    ``emulates``: whether stages may be for other platforms than this machine's. ``every_stage``: go through those, too, that the target
    does not need. With an ``observer``, what only a build cannot do is no error.
    ``resolve`` gives a base image for a reference and is asked once per name, only for what is needed; ``remote`` likewise what ADD takes
    from elsewhere, or ``None`` where nobody knows before a build. ``before_steps`` is called when target and base images are known and
    before any instruction is looked at: what it raises comes between the errors of both.
    Raises ``DockerfileError`` with file and line, ``UsageError`` for an unknown target, and what ``resolve`` raises.
    """
    scope = Scope(dockerfile, resolve, dict(build_args or {}), network, observer, like, remote)
    builder = _Builder(scope, no_cache, no_cache_filter, emulates)
    return builder.build(target, dict(labels or {}), before_steps, every_stage=every_stage)


class _Builder:
    """Goes through the needed stages of one build."""

    def __init__(self, scope: Scope, no_cache: bool, no_cache_filter: tuple[str, ...], emulates: bool) -> None:
        self.scope = scope
        self.no_cache = no_cache
        self.no_cache_filter = tuple(name.lower() for name in no_cache_filter)
        self.emulates = emulates
        self.states: dict[int, StageState] = {}
        self.built: dict[int, GraphStage] = {}
        self.platforms: dict[int, str] = {}
        self.warnings: list[str] = []
        self.number = 0
        self.triggered: set[int] = set()

    def build(self, target: str | None, labels: dict[str, str], before_steps: Callable[[], None], *, every_stage: bool) -> Graph:
        if self.scope.like != "26" and self.scope.dockerfile.stages:
            # As it is asked for, not as it is called.
            self.scope.globals["TARGETSTAGE"] = target or self.scope.dockerfile.stages[-1].name or "default"
        # Without an ARG, too (``defaultArgs``).
        self.scope.globals.update((name, self.scope.build_args[name]) for name in self.scope.globals if name in self.scope.build_args)
        if len(os.fsencode(self.scope.build_args.get("BUILDKIT_SANDBOX_HOSTNAME", ""))) > _LONGEST_HOST:
            raise UsageError(
                f"BUILDKIT_SANDBOX_HOSTNAME is longer than a host name may be, {_LONGEST_HOST} bytes", remedy="Give a shorter one."
            )
        if self.scope.build_args.get("BUILDKIT_DISABLE_FILEOP") in _TRUE:
            raise UsageError('support for "BUILDKIT_DISABLE_FILEOP" build-arg was removed in BuildKit 0.11', remedy="Leave it out.")
        self._meta_args()
        stages = self.scope.dockerfile.stages
        for stage in stages:
            base = self.scope.expand(stage.base, self.scope.globals, stage.from_instruction)
            if not base:
                raise self.scope.error(
                    stage.from_instruction, f"base name ({stage.base}) should not be blank", "Give the ARG in FROM a default."
                )
            if stage.name is not None and (not _REFERENCE.match(stage.name) or len(stage.name) > _LONGEST_NAME):
                # Every stage is looked for among the contexts of --build-context, whose names are those of images.
                raise self.scope.error(
                    stage.from_instruction,
                    f"invalid context name {stage.name}: invalid reference format",
                    "End the name with a letter or a digit, and put one '.', '_' or '-' between two of them.",
                )
            self.scope.bases[stage.index] = base
            self.platforms[stage.index] = self._platform(stage)
        goal = target_of(self.scope, target)
        check_circles(self.scope)
        check_names(self.scope)
        # Triggers come into what the target needs, and nowhere else (``resolveReachableStages``).
        needed = self.triggered = needed_for(self.scope, goal)
        if every_stage:
            needed = {stage.index for stage in stages}
        for stage in stages:
            if stage.index in needed and not self.emulates and self.platforms[stage.index] != PLATFORM:
                raise UnsupportedError(
                    f"FROM --platform={stage.platform} is {self.platforms[stage.index]}, this machine is {PLATFORM}, and others are not "
                    "emulated here",
                    file=self.scope.file,
                    line=stage.from_instruction.line,
                    remedy="Leave the flag out, or build with Docker.",
                )
        # BuildKit asks for all of them before it looks into any stage.
        for stage in stages:
            if stage.index in needed and self.scope.base_stage(stage) is None and self.scope.bases[stage.index] != "scratch":
                self.scope.image(self.scope.bases[stage.index], stage.from_instruction)
        before_steps()
        for stage in stages:
            if stage.index in needed:
                self._stage(stage)
        if labels:
            self.states[goal].image.setdefault("Labels", {}).update(labels)
        unused = sorted(
            name for name in set(self.scope.build_args) - self.scope.used_args - PREDEFINED_ARGUMENTS if not name.startswith("BUILDKIT_")
        )
        if unused:
            self.warnings.append(f"build arguments that no ARG asks for: {', '.join(unused)}")
        return Graph(
            file=self.scope.file,
            stages=tuple(self.built[index] for index in sorted(self.built)),
            target=goal,
            images=self.scope.images,
            remotes=self.scope.remotes,
            warnings=tuple(self.warnings),
            uses_context=self.scope.uses_context,
            like=self.scope.like,
            epoch=self.scope.epoch,
        )

    def _platform(self, stage: Stage) -> str:
        """The platform that a stage is for. Raises ``DockerfileError`` for a word that names none."""
        if not stage.platform:
            return PLATFORM
        try:
            text = self.scope.expand(stage.platform, self.scope.globals, stage.from_instruction)
        except DockerfileError as error:
            error.message = f"failed to process arguments for platform : {error.message}"
            raise
        known = ", ".join(f"${name}" for name in ("BUILDPLATFORM", "TARGETPLATFORM"))
        if not text:
            raise self.scope.error(
                stage.from_instruction,
                f"empty platform value from expression {stage.platform}{self._meant(stage.platform)}",
                f"Variables that are set: {known}.",
            )
        try:
            return normal_platform(text)
        except ValueError as error:
            raise self.scope.error(
                stage.from_instruction, f"failed to parse platform {stage.platform}: {error}", f"Write one like {PLATFORM}, or {known}."
            ) from error

    def _meant(self, word: str) -> str:
        variables = Variables(self.scope.globals)
        expand(word, variables, escape=self.scope.dockerfile.escape, allowance=self.scope.allowance)
        hints = Hints()
        return next((hint for name in variables.missing if (hint := hints.did_you_mean(name, self.scope.globals))), "")

    def _meta_args(self) -> None:
        for instruction in self.scope.dockerfile.meta_args:
            for key, default in instruction.pairs:
                if key in self.scope.build_args:
                    self.scope.used_args.add(key)
                    self.scope.globals[key] = self.scope.build_args[key]
                elif default is not None:
                    self.scope.globals[key] = self.scope.expand(default, self.scope.globals, instruction)

    def _stage(self, stage: Stage) -> None:
        base_stage = self.scope.base_stage(stage)
        base_image: BaseImage | None = None
        name = self.scope.bases[stage.index]
        if base_stage is not None:
            state = self.states[base_stage].clone()
        elif name == "scratch":
            state = StageState()
            state.image["Env"] = [f"PATH={DEFAULT_PATH}"]
            state.image["WorkingDir"] = "/"
        else:
            base_image = self.scope.image(name, stage.from_instruction)
            if self.scope.observer is not None:
                self.scope.observer.base(stage, name, base_image, self.platforms[stage.index])
            state = StageState()
            state.config = {k: copy.deepcopy(v) for k, v in base_image.config.items() if k not in ("rootfs", "history", "created")}
            state.config.setdefault("config", {})
            env = list(state.image.get("Env") or [])
            if not any(item.startswith("PATH=") for item in env):
                env.append(f"PATH={DEFAULT_PATH}")
            state.image["Env"] = env
        # A child stage sets its parent's ENV again too: it moves behind the parent's ARG values, and wins over them.
        for item in state.image.get("Env") or []:
            key, _, value = item.partition("=")
            state.set_env(key, value, argument=False)
        triggered = triggers(self.scope, stage) if stage.index in self.triggered else []
        state.image.pop("OnBuild", None)
        # Triggers count, those that make no layer too (``initOnBuildTriggers``).
        total = (1 if base_stage is None and name != "scratch" else 0) + len(triggered)
        total += sum(1 for i in stage.instructions if i.keyword in ("RUN", "COPY", "ADD", "WORKDIR"))
        label = "" if is_alone(self.scope) else (stage.name or f"stage-{stage.index}")
        self.number += 1
        shown = f"FROM {name}" + (f" AS {stage.name}" if stage.name else "")
        counter = 1 if base_stage is None and name != "scratch" else 0
        steps = [
            Step(
                number=self.number,
                stage=stage.index,
                keyword="FROM",
                instruction=shown,
                line=stage.from_instruction.line,
                end_line=stage.from_instruction.end_line,
                index=f"{counter}/{total}" if counter else "",
            )
        ]
        first = True
        for place, instruction in enumerate([*triggered, *stage.instructions]):
            self.number += 1
            if self.scope.observer is not None:
                self.scope.observer.reached(stage, instruction, shell=bool(state.image.get("Shell")))
            lowered = self._instruction(stage, state, instruction, first=first)
            if self.scope.observer is not None:
                self.scope.observer.resolved(instruction)
            index = ""
            if lowered.op is not None:
                counter += 1
                index = f"{counter}/{total}"
                first = False
            steps.append(
                Step(
                    number=self.number,
                    stage=stage.index,
                    keyword=instruction.keyword,
                    instruction=("ONBUILD " if place < len(triggered) else "") + lowered.name,
                    line=instruction.line,
                    end_line=instruction.end_line,
                    index=index,
                    op=lowered.op,
                    created_by=lowered.created_by,
                )
            )
        self.states[stage.index] = state
        self.built[stage.index] = GraphStage(
            index=stage.index,
            label=label,
            base_image=base_image,
            base_stage=base_stage,
            steps=tuple(steps),
            config=state.config,
            no_cache=self.no_cache or (stage.name or "").lower() in self.no_cache_filter,
        )

    def _instruction(self, stage: Stage, state: StageState, at: Instruction, *, first: bool) -> Lowered:
        keyword = at.keyword
        if keyword == "RUN":
            return lower_run(self.scope, stage, state, at, first=first)
        if keyword in ("COPY", "ADD"):
            return lower_copy(self.scope, stage, state, at, first=first)
        if keyword == "WORKDIR":
            return lower_workdir(self.scope, state, at)
        return METADATA[keyword](self.scope, state, at)
