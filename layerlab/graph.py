"""From a parsed Dockerfile to the graph of steps that a build needs, with the image configuration that results.

This is BuildKit's ``dockerfile2llb``: variables are expanded, paths made absolute, base images resolved, stages that
the target does not need left out. Nothing is read from the build context and nothing runs.
"""

from __future__ import annotations

import copy
import ipaddress
import os
import posixpath
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, Literal

import msgspec

from layerlab.context.select import has_wildcards
from layerlab.dockerfile import (
    Allowance,
    expand,
    expand_body,
    expand_keeping_quotes,
    expand_or_keep,
    expand_words,
    mount_origin,
    parse_duration,
    parse_heredoc,
    parse_instruction,
    parse_mount,
)
from layerlab.dockerfile.ast import Dockerfile, Instruction, Stage
from layerlab.dockerfile.chars import quoted, quoted_rune
from layerlab.dockerfile.devices import device_problem
from layerlab.dockerfile.remote import checksum_problem, digest_problem, file_name, kind_of
from layerlab.dockerfile.suggest import Hints, did_you_mean
from layerlab.errors import DockerfileError, InvalidReferenceError, LayerlabError, UnsupportedError, UsageError
from layerlab.ops import DEFAULT_PATH, BaseImage, CopyOp, MkdirOp, MountOp, Op, RemoteFile, RunOp, Source
from layerlab.platform import PLATFORM, PLATFORM_ARGUMENTS, normal_platform
from layerlab.references import parse_reference

EPOCH: Final = "SOURCE_DATE_EPOCH"
PREDEFINED_ARGUMENTS: Final = frozenset({EPOCH}) | frozenset(
    name for base in ("HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "NO_PROXY", "ALL_PROXY") for name in (base, base.lower())
)
DEFAULT_SHELL: Final = ("/bin/sh", "-c")
SCRIPTS: Final = "/dev/pipes"
HISTORY_COMMENT: Final = "buildkit.dockerfile.v0"

_SIGNALS: Final = frozenset(
    (
        *("ABRT", "ALRM", "BUS", "CHLD", "CLD", "CONT", "FPE", "HUP", "ILL", "INT", "IO", "IOT", "KILL", "PIPE", "POLL", "PROF"),
        *("PWR", "QUIT", "RTMAX", "RTMIN", "SEGV", "STKFLT", "STOP", "SYS", "TERM", "TRAP", "TSTP", "TTIN", "TTOU", "URG", "USR1"),
        *("USR2", "VTALRM", "WINCH", "XCPU", "XFSZ"),
    )
)

# A path of one component, ``path-component`` of distribution/reference.
# Names of 64 hex digits are digests.
_LONGEST_NAME: Final = 255
# What ``ParseBool`` of Go takes for yes.
_TRUE: Final = ("1", "t", "T", "true", "TRUE", "True")
# ARG makes no variable of these (``nonEnvArgs``).
_NO_VARIABLES: Final = ("BUILDKIT_SBOM_SCAN_CONTEXT", "BUILDKIT_SBOM_SCAN_STAGE")
_SECRET_MODES: Final = {"secret": 0o400, "ssh": 0o600}
_REFERENCE: Final = re.compile(r"(?![0-9a-f]{64}\Z)[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*\Z")

Like = Literal["26", "28"]
NEWEST: Final[Like] = "28"
"""Major versions of Docker whose cache verdicts part: 26.1.5 (BuildKit 0.13) and 28.5.2 (BuildKit 0.25)."""

Resolve = Callable[[str], BaseImage]
Remote = Callable[[Source], RemoteFile | None]
# No file system has longer names.
_LONGEST_FILE: Final = 255
_LARGEST_ID: Final = 2**31 - 1
_LONGEST_HOST: Final = 64


def _opaque(_source: Source) -> None:
    """Nobody knows what ADD takes from elsewhere."""


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """One instruction of one needed stage, resolved.

    ``number`` counts from 1 over all needed stages; ``op`` is ``None`` for FROM and for metadata.
    ``created_by`` is the text of its history row; ``None`` where BuildKit writes none (FROM, ONBUILD).
    """

    number: int
    stage: int
    keyword: str
    instruction: str
    line: int
    end_line: int
    index: str = ""
    op: Op | None = None
    created_by: str | None = None


class GraphStage(msgspec.Struct, frozen=True, kw_only=True):
    """A needed stage. Exactly one of ``base_image`` and ``base_stage`` is set, none of them for ``scratch``.

    ``config`` is the OCI image configuration after the last step, without ``rootfs`` and ``history``.
    """

    index: int
    label: str
    base_image: BaseImage | None
    base_stage: int | None
    steps: tuple[Step, ...]
    config: dict[str, Any]
    no_cache: bool = False


class Graph(msgspec.Struct, frozen=True, kw_only=True):
    """All that a build needs to know.

    ``stages`` are in file order; ``images`` are those that COPY or mounts name; ``remotes`` what ADD takes from elsewhere, as far as it is
    known. ``epoch``: the time that the image gets, in seconds since 1970, where a build asks for one.
    """

    file: str
    stages: tuple[GraphStage, ...]
    target: int
    images: dict[str, BaseImage]
    remotes: dict[Source, RemoteFile] = {}
    warnings: tuple[str, ...] = ()
    uses_context: bool = False
    like: Like = NEWEST
    epoch: int | None = None

    def stage(self, index: int) -> GraphStage:
        """The needed stage with that index in the file."""
        return next(stage for stage in self.stages if stage.index == index)

    @property
    def steps(self) -> tuple[Step, ...]:
        """All steps, by number."""
        return tuple(step for stage in self.stages for step in stage.steps)


class _State:
    """What changes while the instructions of one stage are gone through."""

    def __init__(self) -> None:
        self.config: dict[str, Any] = {"config": {}}
        self.env: dict[str, str] = {}
        self.arguments: dict[str, str] = {}
        self.from_arg: set[str] = set()
        self.cmd_set = False
        # The image's variables, and where each is among them.
        self._items: list[str] | None = None
        self._places: dict[str, int] = {}

    def clone(self) -> _State:
        """The state that a child stage starts from."""
        other = _State()
        other.arguments = dict(self.arguments)
        other.config = copy.deepcopy(self.config)
        other.env = dict(self.env)
        other.from_arg = set(self.from_arg)
        return other

    @property
    def image(self) -> dict[str, Any]:
        image: dict[str, Any] = self.config["config"]
        return image

    def set_env(self, key: str, value: str, *, argument: bool) -> None:
        # A variable that is set again moves to the end of the environment (llb.EnvList.AddOrReplace), and order counts.
        self.env.pop(key, None)
        self.env[key] = value
        if argument:
            self.from_arg.add(key)
        else:
            self.from_arg.discard(key)

    def put_image_env(self, name: str, item: str) -> None:
        """Set a variable of the image in its place, or behind all others."""
        items: list[str] | None = self.image.get("Env")
        if items is None or items is not self._items:
            # Of several of one name the last one counts, where the first one stood.
            whole = {item.partition("=")[0]: item for item in items or []}
            items = self.image["Env"] = self._items = list(whole.values())
            self._places = {known: place for place, known in enumerate(whole)}
        place = self._places.setdefault(name, len(items))
        items[place : place + 1] = [item]


class Observer:
    """Told what happens while a graph is made, and does nothing about it: checks begin here."""

    def expanded(self, at: Instruction, word: str, result: str | None, used: Variables) -> None:
        """``word`` of an instruction became ``result``; ``None``: that was an error, which comes next."""

    def base(self, stage: Stage, name: str, image: BaseImage, platform: str) -> None:
        """A stage for a platform (in normal form) is built on an image."""

    def reached(self, stage: Stage, at: Instruction, *, shell: bool) -> None:
        """An instruction comes next. ``shell``: the image or a SHELL before it says what runs commands."""

    def resolved(self, at: Instruction) -> None:
        """An instruction that was reached had no error."""

    def copied(self, at: Instruction, source: str) -> None:
        """COPY or ADD takes ``source`` from the build context."""

    def exposed(self, at: Instruction, port: str) -> None:
        """EXPOSE names a port, as written but for variables."""


class Variables(Mapping[str, str]):
    """An environment that notes what was asked of it: ``found`` and ``missing`` names."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = environment
        self.found: set[str] = set()
        self.missing: dict[str, None] = {}

    def __getitem__(self, name: str) -> str:
        if name not in self._environment:
            self.missing[name] = None
        else:
            self.found.add(name)
        return self._environment[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._environment)

    def __len__(self) -> int:
        return len(self._environment)


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
    remote: Remote = _opaque,
) -> Graph:
    """Resolve a Dockerfile into the steps that ``target`` (default: the last stage) needs.

    ``emulates``: whether stages may be for other platforms than this machine's. ``every_stage``: go through those, too, that the target
    does not need. With an ``observer``, what only a build cannot do is no error.
    ``resolve`` gives a base image for a reference and is asked once per name, only for what is needed; ``remote`` likewise what ADD takes
    from elsewhere, or ``None`` where nobody knows before a build.
    Raises ``DockerfileError`` with file and line, ``UsageError`` for an unknown target, and what ``resolve`` raises.
    """
    builder = _Builder(dockerfile, resolve, dict(build_args or {}), no_cache, no_cache_filter, network, emulates, observer, like, remote)
    return builder.build(target, dict(labels or {}), every_stage=every_stage)


class _Builder:
    def __init__(
        self,
        dockerfile: Dockerfile,
        resolve: Resolve,
        build_args: dict[str, str],
        no_cache: bool,
        no_cache_filter: tuple[str, ...],
        network: str,
        emulates: bool,
        observer: Observer | None,
        like: Like,
        remote: Remote,
    ) -> None:
        self.dockerfile = dockerfile
        self.file = dockerfile.file
        self.resolve = resolve
        self.build_args = build_args
        self.no_cache = no_cache
        self.no_cache_filter = tuple(name.lower() for name in no_cache_filter)
        self.network = network
        self.emulates = emulates
        self.observer = observer
        self.like = like
        epoch = build_args.get(EPOCH, "")
        self.epoch = int(epoch) if epoch else None
        self.remote = remote
        self.used_args: set[str] = set()
        self.globals: dict[str, str] = {**PLATFORM_ARGUMENTS}
        self.images: dict[str, BaseImage] = {}
        self.remotes: dict[Source, RemoteFile] = {}
        self.states: dict[int, _State] = {}
        self.built: dict[int, GraphStage] = {}
        self.bases: dict[int, str] = {}
        self.platforms: dict[int, str] = {}
        self.warnings: list[str] = []
        self.uses_context = False
        self.number = 0
        self.triggered: set[int] = set()
        self.allowance = Allowance()

    def build(self, target: str | None, labels: dict[str, str], *, every_stage: bool) -> Graph:
        if self.like != "26" and self.dockerfile.stages:
            # As it is asked for, not as it is called.
            self.globals["TARGETSTAGE"] = target or self.dockerfile.stages[-1].name or "default"
        # Without an ARG, too (``defaultArgs``).
        self.globals.update((name, self.build_args[name]) for name in self.globals if name in self.build_args)
        if len(os.fsencode(self.build_args.get("BUILDKIT_SANDBOX_HOSTNAME", ""))) > _LONGEST_HOST:
            raise UsageError(
                f"BUILDKIT_SANDBOX_HOSTNAME is longer than a host name may be, {_LONGEST_HOST} bytes", remedy="Give a shorter one."
            )
        if self.build_args.get("BUILDKIT_DISABLE_FILEOP") in _TRUE:
            raise UsageError('support for "BUILDKIT_DISABLE_FILEOP" build-arg was removed in BuildKit 0.11', remedy="Leave it out.")
        self._meta_args()
        stages = self.dockerfile.stages
        for stage in stages:
            base = self._expand(stage.base, self.globals, stage.from_instruction)
            if not base:
                raise self._error(
                    stage.from_instruction, f"base name ({stage.base}) should not be blank", "Give the ARG in FROM a default."
                )
            if stage.name is not None and (not _REFERENCE.match(stage.name) or len(stage.name) > _LONGEST_NAME):
                # Every stage is looked for among the contexts of --build-context, whose names are those of images.
                raise self._error(
                    stage.from_instruction,
                    f"invalid context name {stage.name}: invalid reference format",
                    "End the name with a letter or a digit, and put one '.', '_' or '-' between two of them.",
                )
            self.bases[stage.index] = base
            self.platforms[stage.index] = self._platform(stage)
        goal = self._target(target)
        self._check_circles()
        self._check_names()
        # Triggers come into what the target needs, and nowhere else (``resolveReachableStages``).
        needed = self.triggered = self._needed(goal)
        if every_stage:
            needed = {stage.index for stage in stages}
        for stage in stages:
            if stage.index in needed and not self.emulates and self.platforms[stage.index] != PLATFORM:
                raise UnsupportedError(
                    f"FROM --platform={stage.platform} is {self.platforms[stage.index]}, this machine is {PLATFORM}, and others are not "
                    "emulated here",
                    file=self.file,
                    line=stage.from_instruction.line,
                    remedy="Leave the flag out, or build with Docker.",
                )
        if self.observer is not None:
            # BuildKit asks for all of them before it looks into any stage.
            for stage in stages:
                if stage.index in needed and self._base_stage(stage) is None and self.bases[stage.index] != "scratch":
                    self._image(self.bases[stage.index], stage.from_instruction)
        for stage in stages:
            if stage.index in needed:
                self._stage(stage)
        if labels:
            self.states[goal].image.setdefault("Labels", {}).update(labels)
        unused = sorted(name for name in set(self.build_args) - self.used_args - PREDEFINED_ARGUMENTS if not name.startswith("BUILDKIT_"))
        if unused:
            self.warnings.append(f"build arguments that no ARG asks for: {', '.join(unused)}")
        return Graph(
            file=self.file,
            stages=tuple(self.built[index] for index in sorted(self.built)),
            target=goal,
            images=self.images,
            remotes=self.remotes,
            warnings=tuple(self.warnings),
            uses_context=self.uses_context,
            like=self.like,
            epoch=self.epoch,
        )

    def _platform(self, stage: Stage) -> str:
        """The platform that a stage is for. Raises ``DockerfileError`` for a word that names none."""
        if not stage.platform:
            return PLATFORM
        try:
            text = self._expand(stage.platform, self.globals, stage.from_instruction)
        except DockerfileError as error:
            error.message = f"failed to process arguments for platform : {error.message}"
            raise
        known = ", ".join(f"${name}" for name in ("BUILDPLATFORM", "TARGETPLATFORM"))
        if not text:
            raise self._error(
                stage.from_instruction,
                f"empty platform value from expression {stage.platform}{self._meant(stage.platform)}",
                f"Variables that are set: {known}.",
            )
        try:
            return normal_platform(text)
        except ValueError as error:
            raise self._error(
                stage.from_instruction, f"failed to parse platform {stage.platform}: {error}", f"Write one like {PLATFORM}, or {known}."
            ) from error

    def _meant(self, word: str) -> str:
        variables = Variables(self.globals)
        expand(word, variables, escape=self.dockerfile.escape, allowance=self.allowance)
        hints = Hints()
        return next((hint for name in variables.missing if (hint := hints.did_you_mean(name, self.globals))), "")

    def _error(self, at: Instruction, message: str, remedy: str | None = None) -> DockerfileError:
        return DockerfileError(message, file=self.file, line=at.line, column=at.column, remedy=remedy)

    def _expand(self, word: str, env: Mapping[str, str], at: Instruction) -> str:
        variables = env if self.observer is None else Variables(env)
        result: str | None = None
        try:
            result = expand(word, variables, escape=self.dockerfile.escape, allowance=self.allowance)
        except DockerfileError as error:
            raise self._error(at, error.message, error.remedy) from error
        finally:
            if self.observer is not None and isinstance(variables, Variables):
                self.observer.expanded(at, word, result, variables)
        return result

    def _meta_args(self) -> None:
        for instruction in self.dockerfile.meta_args:
            for key, default in instruction.pairs:
                if key in self.build_args:
                    self.used_args.add(key)
                    self.globals[key] = self.build_args[key]
                elif default is not None:
                    self.globals[key] = self._expand(default, self.globals, instruction)

    # --- which stages -----------------------------------------------------------------------------------------------

    def _by_name(self, name: str, before: int) -> int | None:
        wanted = name.lower()
        found = None
        for stage in self.dockerfile.stages[:before]:
            if stage.name == wanted:
                found = stage.index
        return found

    def _target(self, target: str | None) -> int:
        stages = self.dockerfile.stages
        if target is None or target == "":
            return stages[-1].index
        index = self._by_name(target, len(stages))
        if index is None:
            names = [stage.name for stage in stages if stage.name]
            # That a single stage is not called so in the rows is settled later.
            known = [stage.name or f"stage-{stage.index}" for stage in stages]
            raise UsageError(
                f'target stage "{target}" could not be found{did_you_mean(target, known)}',
                remedy=f"Stages with a name in this file: {', '.join(names)}." if names else "No stage has a name: write FROM … AS name.",
            )
        return index

    def _read_stages(self, at: Instruction) -> list[int]:
        """The stages that an instruction reads."""
        return [index for _, index in self._origins(at) if index is not None]

    def _origins(self, at: Instruction) -> list[tuple[str, int | None]]:
        """What an instruction reads, as it is called, and the stage that this is, wherever it is, or no stage: BuildKit's ``toCommand``."""
        if at.keyword == "RUN":
            names = [name for value in at.flag_values("mount") if (name := mount_origin(value))]
            return [(name, self._by_name(name, len(self.dockerfile.stages))) for name in names]
        origin = at.flag("from") if at.keyword == "COPY" else None
        if origin and "$" in origin:
            raise self._error(
                at,
                "variable expansion is not supported for --from, define a new stage with FROM using ARG from global scope as a workaround",
            )
        return [(origin, self._copied_stage(origin, at))] if origin else []

    def _copied_stage(self, name: str, at: Instruction) -> int | None:
        """The stage that ``--from`` of a COPY names, by number or by name; ``None``: it is an image. A mount's is never a number."""
        number = re.fullmatch(r"([-+]?)0*([0-9]{1,18})", name)
        if number is None:
            return self._by_name(name, len(self.dockerfile.stages))
        index = int(number[1] + number[2])
        if not 0 <= index < len(self.dockerfile.stages):
            raise self._error(at, f"invalid stage index {index}", "Stages count from 0.")
        return index

    def _check_circles(self) -> None:
        """Two stages cannot need each other, whether the target needs them or not (``validateCircularDependency``)."""
        # What a stage is built on does not count: that is always above it.
        needs = [[(index, at) for at in stage.instructions for index in self._read_stages(at)] for stage in self.dockerfile.stages]
        done: set[int] = set()
        for start, stage in enumerate(self.dockerfile.stages):
            path = {start: iter(needs[start])} if start not in done else {}
            while path:
                current, rest = next(reversed(path.items()))
                index, at = next(rest, (-1, None))
                if at is None:
                    done.add(current)
                    del path[current]
                elif index in path:
                    name = stage.name or f"stage-{start}"
                    raise self._error(at, f"circular dependency detected on stage: {name}", "A stage can only read stages above it.")
                elif index not in done:
                    path[index] = iter(needs[index])

    def _check_names(self) -> None:
        """Each name of an image must be one, whether the target needs it or not (``resolveReachableStages``)."""
        stages = self.dockerfile.stages
        bases = [(self.bases[stage.index], stage.from_instruction) for stage in stages if self._base_stage(stage) is None]
        read = [(name, at) for stage in stages for at in stage.instructions for name, index in self._origins(at) if index is None]
        for name, at in bases + read:
            try:
                parse_reference(name)
            except InvalidReferenceError as error:
                raise self._unparsed(name, at, error) from error

    def _base_stage(self, stage: Stage) -> int | None:
        # As written (``addState``): with capitals it is an image's name, which none can have.
        base = self.bases[stage.index]
        return self._by_name(base, stage.index) if base == base.lower() else None

    def _needed(self, goal: int) -> set[int]:
        needed: set[int] = set()
        pending = [goal]
        while pending:
            index = pending.pop()
            if index in needed:
                continue
            needed.add(index)
            stage = self.dockerfile.stages[index]
            base = self._base_stage(stage)
            if base is not None:
                pending.append(base)
            for instruction in self._instructions(stage):
                pending += self._read_stages(instruction)
        return needed

    def _alone(self) -> bool:
        """Whether BuildKit prints no stage name: one stage, and nothing (an image, any mount) that it keeps beside it as another."""
        first, *more = self.dockerfile.stages
        return not more and not any(at.flag_values("mount") or (at.keyword == "COPY" and at.flag("from")) for at in first.instructions)

    def _instructions(self, stage: Stage) -> list[Instruction]:
        return [*self._triggers(stage), *stage.instructions]

    def _triggers(self, stage: Stage) -> list[Instruction]:
        base = self._base_stage(stage)
        if base is not None:
            written = [i.args[0] for i in self.dockerfile.stages[base].instructions if i.keyword == "ONBUILD"]
        elif self.bases[stage.index] == "scratch":
            written = []
        else:
            written = list(self._image(self.bases[stage.index], stage.from_instruction).config.get("config", {}).get("OnBuild") or [])
        return [parse_instruction(text, self.file, stage.from_instruction.line) for text in written]

    def _image(self, name: str, at: Instruction) -> BaseImage:
        if name not in self.images:
            try:
                self.images[name] = self.resolve(name)
            except InvalidReferenceError as error:
                # Of a trigger, which is known now alone.
                raise self._unparsed(name, at, error) from error
            except LayerlabError as error:
                if error.line is None:
                    error.file, error.line = self.file, at.line
                raise
        return self.images[name]

    def _unparsed(self, name: str, at: Instruction, error: InvalidReferenceError) -> DockerfileError:
        return self._error(at, f"failed to parse stage name {quoted(name)}: {error.reason}", error.remedy)

    # --- one stage --------------------------------------------------------------------------------------------------

    def _stage(self, stage: Stage) -> None:
        base_stage = self._base_stage(stage)
        base_image: BaseImage | None = None
        name = self.bases[stage.index]
        if base_stage is not None:
            state = self.states[base_stage].clone()
        elif name == "scratch":
            state = _State()
            state.image["Env"] = [f"PATH={DEFAULT_PATH}"]
            state.image["WorkingDir"] = "/"
        else:
            base_image = self._image(name, stage.from_instruction)
            if self.observer is not None:
                self.observer.base(stage, name, base_image, self.platforms[stage.index])
            state = _State()
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
        triggers = self._triggers(stage) if stage.index in self.triggered else []
        state.image.pop("OnBuild", None)
        # Triggers count, those that make no layer too (``initOnBuildTriggers``).
        total = (1 if base_stage is None and name != "scratch" else 0) + len(triggers)
        total += sum(1 for i in stage.instructions if i.keyword in ("RUN", "COPY", "ADD", "WORKDIR"))
        label = "" if self._alone() else (stage.name or f"stage-{stage.index}")
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
        for place, instruction in enumerate([*triggers, *stage.instructions]):
            self.number += 1
            if self.observer is not None:
                self.observer.reached(stage, instruction, shell=bool(state.image.get("Shell")))
            lowered = self._instruction(stage, state, instruction, first=first)
            if self.observer is not None:
                self.observer.resolved(instruction)
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
                    instruction=("ONBUILD " if place < len(triggers) else "") + lowered.name,
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

    def _instruction(self, stage: Stage, state: _State, at: Instruction, *, first: bool) -> _Lowered:
        keyword = at.keyword
        if keyword == "RUN":
            return self._run(stage, state, at, first=first)
        if keyword in ("COPY", "ADD"):
            return self._copy(stage, state, at, first=first)
        if keyword == "WORKDIR":
            return self._workdir(state, at)
        return _METADATA[keyword](self, state, at)

    def _printed(self, state: _State, at: Instruction) -> str:
        try:
            return _upper_keyword(expand_or_keep(at.original, state.env, self.dockerfile.escape, allowance=self.allowance))
        except DockerfileError as error:
            raise self._error(at, error.message, error.remedy) from error

    def _take(self, characters: int, at: Instruction) -> None:
        """Count what an instruction makes of its variables beyond their expansion."""
        try:
            self.allowance.take(characters)
        except DockerfileError as error:
            raise self._error(at, error.message, error.remedy) from error

    def _run(self, stage: Stage, state: _State, at: Instruction, *, first: bool) -> _Lowered:
        name = at.original
        shell = tuple(state.image.get("Shell") or DEFAULT_SHELL)
        shebang = ""
        if at.form == "exec":
            argv = at.args
            if not argv:
                raise self._error(at, "failed to marshal LLB definition: arguments are required", "Write a command between the brackets.")
            text = " ".join(argv)
        else:
            command = at.args[0] if at.args else ""
            if at.heredocs:
                if parse_heredoc(command) is not None:
                    body = at.heredocs[0].content
                    name += f" ({_summary(body)})"
                    if body.startswith("#!"):
                        # The script is a mounted file, and the shell is told to run it.
                        shebang = body
                        argv = (*shell, f"{SCRIPTS}/{at.heredocs[0].name}")
                    else:
                        argv = (*shell, body)
                else:
                    # The shell reads them, and takes the tabs of <<- away itself.
                    whole = command + "".join("\n" + doc.raw + doc.name for doc in at.heredocs)
                    argv = (*shell, whole)
            else:
                argv = (*shell, command)
            text = " ".join(argv)
        # llb.ExecOp sorts mounts by target; secrets come after them in the order written.
        asked = [self._mount(stage, state, at, value) for value in at.flag_values("mount")]
        unsorted = ("secret", "ssh")
        mounts = (
            *sorted((mount for mount in asked if mount.type not in unsorted), key=lambda mount: mount.target),
            *(mount for mount in asked if mount.type in unsorted),
        )
        # RUN --network=default is no flag at all: what the build asked for stays.
        network = at.flag("network") or "default"
        if network == "host" and self.network != "host":
            raise self._error(
                at,
                "failed to load LLB: network.host is not allowed",
                "Leave --network=host out: every RUN has the network unless it says none.",
            )
        network = self.network if network == "default" else network
        if at.flag_values("device"):
            self._check_devices(at)
        security = at.flag("security") or "sandbox"
        if security != "sandbox":
            raise UnsupportedError(
                f"RUN --security={security} is not allowed: it would take the isolation away",
                file=self.file,
                line=at.line,
                remedy="Remove the flag. Docker refuses it too unless the builder was started with that entitlement.",
            )
        op = RunOp(
            argv=argv,
            env=tuple(f"{key}={value}" for key, value in state.env.items()),
            cwd=state.image.get("WorkingDir") or "/",
            user=state.image.get("User") or "",
            mounts=mounts,
            network=network,
            security=security,
            shebang=shebang,
            hostname=self.build_args.get("BUILDKIT_SANDBOX_HOSTNAME", ""),
            arguments=tuple(sorted(state.from_arg & set(state.env))),
            mounts_parent=any(self._is_parent(stage, mount.source) for mount in mounts if mount.source is not None) if first else False,
        )
        try:
            shown = {**state.env, **{mount.env: "****" for mount in mounts if mount.type == "secret" and mount.env}}
            printed = _upper_keyword(expand_keeping_quotes(name, shown, self.dockerfile.escape, allowance=self.allowance))
        except DockerfileError as error:
            raise self._error(at, error.message, error.remedy) from error
        arguments = [f"{key}={state.env.get(key, value)}" for key, value in state.arguments.items()]
        self._take(sum(map(len, arguments)), at)
        prefix = f"|{len(arguments)} {' '.join(arguments)} " if arguments else ""
        return _Lowered(printed, op, f"RUN {prefix}{text} # buildkit")

    def _check_devices(self, at: Instruction) -> None:
        """``RUN --device`` is of labs: it is read, and refused (``ParseDevice``, ``dispatchRunDevices``)."""
        for value in at.flag_values("device"):
            problem = device_problem(value)
            if problem:
                raise self._error(at, problem, "Write --device=VENDOR/CLASS=NAME.")
        raise self._error(
            at,
            "device feature is only supported in Dockerfile frontend 1.14.0-labs or later",
            "Leave --device out: a step has no devices of this machine.",
        )

    def _mount(self, stage: Stage, state: _State, at: Instruction, value: str) -> MountOp:
        try:
            mount = parse_mount(value, lambda word: self._expand(word, state.env, at))
        except DockerfileError as error:
            raise self._error(at, error.message, error.remedy) from error
        cwd = state.image.get("WorkingDir") or "/"
        target = ""
        if mount.target or mount.type in ("bind", "cache", "tmpfs"):
            # An absolute target stays as written, and so counts in the key: /k/ is not /k.
            target = mount.target if mount.target.startswith("/") else _clean(posixpath.join("/", cwd, mount.target))
            # A check says so of / alone, whatever a build makes of //.
            if target == "/" or (_clean(target) == "/" and self.observer is None):
                raise self._error(at, 'invalid mount target "/"', "Give the mount a target=.")
        source: Source | None = None
        owned = True
        kind = mount.type
        if mount.type in ("bind", "cache"):
            path = _clean(posixpath.join("/", mount.source))
            # Mode and owner make a new, empty directory in place of the whole source; a part of it is taken as it is.
            owned = path == "/"
            if mount.from_stage == "scratch" and self._by_name("scratch", len(self.dockerfile.stages)) is None:
                # Nothing, as after FROM scratch: a plain cache, or an empty directory.
                kind = "cache" if mount.type == "cache" else "tmpfs"
            elif mount.from_stage and not (owned and (mount.mode, mount.uid, mount.gid) != (None, None, None)):
                source = self._mounted(mount.from_stage, path, stage, at, target)
            elif mount.type == "bind":
                self.uses_context = True
                source = Source(kind="context", path=path)
        identity = mount.id
        namespace = self.build_args.get("BUILDKIT_CACHE_MOUNT_NS", "")
        if mount.type == "cache" and namespace:
            identity = f"{namespace}/{identity or target}"
        # What is not written is what would be written (``setCacheUIDGID``, ``dispatchSecret``, ``dispatchSSH``).
        mode, uid, gid = mount.mode, mount.uid or 0, mount.gid or 0
        if mount.type in ("secret", "ssh"):
            # A secret that is a variable alone has no file.
            mode = (mode if mode is not None else _SECRET_MODES[mount.type]) if target else None
            uid, gid = (uid, gid) if target else (0, 0)
            owned = True
        elif owned and (mount.mode, mount.uid, mount.gid) != (None, None, None):
            mode = (mode if mode is not None else 0o755) & 0o777
        else:
            owned = False
        return MountOp(
            type=kind,
            target=target,
            written=mount.target if target and not mount.target.startswith("/") else "",
            source=source,
            id=identity,
            readonly=mount.read_only,
            sharing=mount.sharing or "shared",
            mode=mode if owned else None,
            uid=uid if owned else None,
            gid=gid if owned else None,
            required=mount.required,
            env=mount.env or "",
            size=mount.size or 0,
        )

    def _mounted(self, name: str, path: str, stage: Stage, at: Instruction, target: str) -> Source:
        """Where a mount's ``from`` leads. Unlike COPY's it is never the number of a stage (``detectRunMount``)."""
        found = self._by_name(name, len(self.dockerfile.stages))
        if found is None:
            self._image(name, at)
            return Source(kind="image", path=path, image=name)
        if found >= stage.index:
            raise self._error(
                at,
                f'cannot mount from stage "{name}" to "{target}", stage needs to be defined before current command',
                "Move that stage up.",
            )
        return Source(kind="stage", path=path, stage=found)

    def _is_parent(self, stage: Stage, source: Source) -> bool:
        """Whether a source is the very image or stage that the stage begins with."""
        base = self._base_stage(stage)
        if source.kind == "stage":
            return base == source.stage
        return source.kind == "image" and base is None and source.image == self.bases[stage.index]

    def _from(self, name: str, path: str, stage: Stage, at: Instruction, *, wildcard: bool, pivot: str = "") -> Source:
        found = self._copied_stage(name, at)
        if found is None:
            self._image(name, at)
            return Source(kind="image", path=path, image=name, wildcard=wildcard, pivot=pivot)
        if found >= stage.index:
            current = stage.name or f"stage-{stage.index}"
            raise self._error(
                at, f'cannot copy from stage "{name}", it needs to be defined before current stage "{current}"', "Move that stage up."
            )
        return Source(kind="stage", path=path, stage=found, wildcard=wildcard, pivot=pivot)

    def _copy(self, stage: Stage, state: _State, at: Instruction, *, first: bool) -> _Lowered:
        origin = at.flag("from") or None
        chown = self._expand(at.flag("chown") or "", state.env, at)
        chmod = at.flag("chmod") or ""
        if self.like == "26":
            # What is no octal number, a variable among it, had no effect.
            chmod = chmod if re.fullmatch("[0-7]+", chmod) else ""
        else:
            chmod = self._expand(chmod, state.env, at)
        parents = _truthy(at.flag("parents"))
        exclude = at.flag_values("exclude")
        words = [self._expand(word, state.env, at) for word in at.args]
        cwd = state.image.get("WorkingDir") or "/"
        dest = normalize(cwd, "./" if words[-1] in (".", "") else words[-1], keep_slash=True)
        if self.like == "26" and dest.endswith("/.") and not words[-1].startswith("/"):
            dest = dest[:-2] or "/"
        documents = {doc.name: doc for doc in at.heredocs}
        checksum = self._expand(at.flag("checksum") or "", state.env, at)
        if checksum:
            problem = checksum_problem([word for raw, word in zip(at.args[:-1], words[:-1], strict=True) if parse_heredoc(raw) is None])
            if problem:
                raise self._error(at, problem, "--checksum stands before one URL or repository.")
        sources: list[Source] = []
        names: list[str] = []
        inline: list[Source] = []
        for raw, word in zip(at.args[:-1], words[:-1], strict=True):
            marker = parse_heredoc(raw)
            if marker is not None and marker.name in documents:
                document = documents[marker.name]
                file = _clean(f"/{marker.name}")
                if file.count("/") > 1 or file == "/":
                    # BuildKit writes it into an empty root first (``preparing inline document``).
                    problem = f"open {file}: no such file or directory" if file != "/" else "open : is a directory"
                    raise self._error(at, problem, "A heredoc is called as its file is to be: write the directory in the destination.")
                content = self._heredoc(document.content, state, at) if document.expand else document.content
                inline.append(Source(kind="inline", path=marker.name, content=content))
                continue
            names.append(word)
            elsewhere = kind_of(word)
            if elsewhere != "local":
                sources.append(self._elsewhere(at, word, elsewhere, checksum))
                continue
            pivot = ""
            path = word
            if parents:
                before, dot, after = word.partition("/./")
                pivot, path = (posixpath.normpath("/" + before), after) if dot else ("/", word)
            absolute = _clean(posixpath.join("/", path))
            wild = has_wildcards(absolute)
            if origin is None:
                self.uses_context = True
                if self.observer is not None:
                    self.observer.copied(at, word)
                sources.append(Source(kind="context", path=absolute, wildcard=wild, pivot=pivot))
            else:
                sources.append(self._from(origin, absolute, stage, at, wildcard=wild, pivot=pivot))
        same = first and bool(sources) and self._is_parent(stage, sources[0])
        # With the classic store, which was the usual one, --link had no effect.
        link = _truthy(at.flag("link")) and not chmod and self.like != "26"
        flag = at.flag("unpack")
        op = CopyOp(
            sources=(*sources, *inline),
            dest=dest,
            owner=_normal_owner(chown),
            chmod=self._chmod(chmod, at),
            link=link,
            # A heredoc is never unpacked, so that ADD and COPY of one are the same operation.
            unpack=any(source.kind not in ("http", "git") for source in sources)
            and (_truthy(flag) if flag is not None else at.keyword == "ADD"),
            parents=parents,
            exclude=exclude,
            same_as_parent=same and not link,
        )
        message = at.keyword
        message += " --parents" if parents else ""
        message += f" --chown={chown}" if chown else ""
        message += f" --chmod={chmod}" if chmod else ""
        message = " ".join([message, *names, *(f"<<{source.path}" for source in inline), words[-1]])
        return _Lowered(self._printed(state, at), op, message + " # buildkit")

    def _elsewhere(self, at: Instruction, word: str, kind: Literal["http", "git"], checksum: str) -> Source:
        """What ADD takes from a web server, or from a git repository."""
        if at.keyword == "COPY":
            what = "a URL" if kind == "http" else "a git ref"
            raise self._error(at, f"source can't be {what} for COPY", "ADD takes URLs and repositories.")
        unpack = _truthy(at.flag("unpack"))
        if kind == "git":
            source = Source(kind="git", path="/", url=word, checksum=checksum, unpack=unpack)
        else:
            problem = digest_problem(checksum) if checksum else ""
            if problem:
                raise self._error(at, problem, "Write --checksum=sha256: and 64 hexadecimal digits.")
            name = file_name(word)
            if name == ".." or "\0" in name or not name.isprintable() or len(os.fsencode(name)) > _LONGEST_FILE:
                raise self._error(at, f"{word} has no name for a file", "Give a URL that ends with the name of the file.")
            source = Source(kind="http", path=f"/{name}", url=word, checksum=checksum, unpack=unpack)
        if source not in self.remotes and self.observer is None:
            try:
                found = self.remote(source)
            except LayerlabError as error:
                if error.line is None:
                    error.file, error.line = self.file, at.line
                raise
            if found is not None:
                self.remotes[source] = found
        return source

    def _heredoc(self, content: str, state: _State, at: Instruction) -> str:
        variables = Variables(state.env)
        result: str | None = None
        try:
            result = expand_body(content, variables, allowance=self.allowance)
        except DockerfileError as error:
            raise self._error(at, error.message, error.remedy) from error
        finally:
            if self.observer is not None:
                self.observer.expanded(at, content, result, variables)
        return result

    def _chmod(self, text: str, at: Instruction) -> str:
        if not text:
            return ""
        if re.fullmatch(r"[0-7]+", text):
            value = int(text, 8)
            if value <= 0o7777 or self.like == "26":
                return f"{value & 0o7777:o}"
        elif re.fullmatch(r"[ugoa]*([-+=][rwxXstugo]*)+(,[ugoa]*([-+=][rwxXstugo]*)+)*", text):
            return text
        if not text[0].isdigit():
            raise self._error(at, f"invalid chmod parameter: '{text}': invalid syntax", "For example --chmod=u=rwX,go=rX.")
        raise self._error(
            at, f"invalid chmod parameter: '{text}'. it should be octal string and between 0 and 07777", "For example --chmod=755."
        )

    def _workdir(self, state: _State, at: Instruction) -> _Lowered:
        current = state.image.get("WorkingDir") or "/"
        # system.NormalizeWorkdir: an absolute path stays as written, a relative one is joined and cleaned, none is the current one.
        path = self._expand(at.args[0], state.env, at) or current
        cwd = path if path.startswith("/") else _clean(posixpath.join("/", current, path))
        state.image["WorkingDir"] = cwd
        clean = _clean(cwd)
        name = self._printed(state, at)
        # As written: /. is a step that makes nothing.
        if cwd == "/":
            return _Lowered(name, None, "WORKDIR /")
        made = MkdirOp(path=clean, owner=_normal_owner(state.image.get("User") or ""), created=self.epoch)
        return _Lowered(name, made, f"WORKDIR {cwd}")

    # --- metadata ---------------------------------------------------------------------------------------------------

    def _env(self, state: _State, at: Instruction) -> _Lowered:
        # None of them sees another one of its line.
        pairs = [(self._expand(key, state.env, at), self._expand(value or "", state.env, at)) for key, value in at.pairs]
        shown = []
        for name, text in pairs:
            state.set_env(name, text, argument=False)
            item = f"{name}={text}"
            state.put_image_env(name.partition("=")[0], item)
            shown.append(item)
        return _Lowered(self._printed(state, at), None, "ENV " + " ".join(shown))

    def _label(self, state: _State, at: Instruction) -> _Lowered:
        labels = state.image.get("Labels") or {}
        state.image["Labels"] = labels
        shown = []
        for key, value in at.pairs:
            name, text = self._expand(key, state.env, at), self._expand(value or "", state.env, at)
            labels[name] = text
            shown.append(f"{name}={text}")
        return _Lowered(self._printed(state, at), None, "LABEL " + " ".join(shown))

    def _arg(self, state: _State, at: Instruction) -> _Lowered:
        shown = []
        for key, default in at.pairs:
            value: str | None
            if key in self.build_args:
                self.used_args.add(key)
                value = self.build_args[key]
            elif default is not None:
                value = self._expand(default, state.env, at)
            else:
                value = self.globals.get(key)
            if value is not None and key not in _NO_VARIABLES:
                state.set_env(key, value, argument=True)
            state.arguments[key] = value or ""
            shown.append(key if value is None else f"{key}={value}")
        return _Lowered(_upper_keyword(at.original), None, "ARG " + " ".join(shown))

    def _cmd(self, state: _State, at: Instruction) -> _Lowered:
        argv = self._command(state, at)
        state.image["Cmd"] = argv
        # BuildKit sets it with every CMD; images compare equal only with it.
        state.image["ArgsEscaped"] = True
        state.cmd_set = True
        return _Lowered(_upper_keyword(at.original), None, f"CMD {_go_list(argv)}")

    def _entrypoint(self, state: _State, at: Instruction) -> _Lowered:
        argv = self._command(state, at)
        state.image["Entrypoint"] = argv
        if not state.cmd_set:
            state.image.pop("Cmd", None)
        return _Lowered(_upper_keyword(at.original), None, f"ENTRYPOINT {_go_list(argv)}")

    def _command(self, state: _State, at: Instruction) -> list[str]:
        if at.form == "exec":
            return list(at.args)
        return [*(state.image.get("Shell") or DEFAULT_SHELL), *at.args]

    def _expose(self, state: _State, at: Instruction) -> _Lowered:
        ports: list[str] = []
        # ``parseExpose`` sorts what is written.
        for word in sorted(at.args):
            try:
                pieces = expand_words(word, state.env, escape=self.dockerfile.escape, allowance=self.allowance)
            except DockerfileError as error:
                raise self._error(at, error.message, error.remedy) from error
            for piece in pieces:
                found = self._ports(piece, at)
                self._take(sum(map(len, found)), at)
                ports += found
        exposed = state.image.get("ExposedPorts") or {}
        exposed.update((port, {}) for port in ports)
        state.image["ExposedPorts"] = exposed
        return _Lowered(self._printed(state, at), None, f"EXPOSE [{' '.join(ports)}]")

    def _ports(self, text: str, at: Instruction) -> list[str]:
        if self.observer is not None:
            self.observer.exposed(at, text)
        # An address and a port of the host may stand before the last colon; they are read and left out.
        *host, container = text.split(":")
        address, host_port = ":".join(host[:-1]), (host or [""])[-1]
        number, _, protocol = container.partition("/")
        remedy = "A port is a number up to 65535, or a range like 8000-8010, and may end in /udp."
        if not number:
            raise self._error(at, f"invalid port: {quoted(text)}: no port specified", remedy)
        if protocol.lower() not in ("", "tcp", "udp", "sctp"):
            raise self._error(at, f"invalid port: {quoted(text)}: invalid proto: {protocol}", "Write tcp, udp or sctp behind the slash.")
        if address and not _is_address(address):
            raise self._error(at, f"invalid IP address: {address}", "EXPOSE takes no address: write the port alone.")
        ports = _port_range(number)
        if ports is None:
            raise self._error(at, f"invalid containerPort: {number}", remedy)
        low, high = ports
        if host_port:
            hosts = _port_range(host_port)
            if hosts is None:
                raise self._error(at, f"invalid hostPort: {host_port}", remedy)
            if low != high and high - low != hosts[1] - hosts[0]:
                raise self._error(at, f"invalid ranges specified for container and host Ports: {number} and {host_port}", remedy)
        return [f"{port}/{protocol.lower() or 'tcp'}" for port in range(low, high + 1)]

    def _user(self, state: _State, at: Instruction) -> _Lowered:
        user = self._expand(at.args[0], state.env, at)
        state.image["User"] = user
        return _Lowered(self._printed(state, at), None, f"USER {user}")

    def _volume(self, state: _State, at: Instruction) -> _Lowered:
        words = [self._expand(word, state.env, at) for word in at.args]
        if not all(words):
            raise self._error(at, "VOLUME specified can not be an empty string")
        volumes = state.image.get("Volumes") or {}
        volumes.update({word: {} for word in words})
        state.image["Volumes"] = volumes
        return _Lowered(self._printed(state, at), None, f"VOLUME [{' '.join(words)}]")

    def _stopsignal(self, state: _State, at: Instruction) -> _Lowered:
        signal = self._expand(at.args[0], state.env, at)
        if not _is_signal(signal):
            raise self._error(at, f"invalid signal: {signal}", "For example STOPSIGNAL SIGTERM.")
        state.image["StopSignal"] = signal
        return _Lowered(self._printed(state, at), None, f"STOPSIGNAL {signal}")

    def _shell(self, state: _State, at: Instruction) -> _Lowered:
        state.image["Shell"] = list(at.args)
        return _Lowered(_upper_keyword(at.original), None, f"SHELL [{' '.join(at.args)}]")

    def _maintainer(self, state: _State, at: Instruction) -> _Lowered:
        state.config["author"] = at.args[0]
        return _Lowered(_upper_keyword(at.original), None, f"MAINTAINER {at.args[0]}")

    def _onbuild(self, state: _State, at: Instruction) -> _Lowered:
        state.image.setdefault("OnBuild", []).append(at.args[0])
        return _Lowered(_upper_keyword(at.original), None, None)

    def _healthcheck(self, state: _State, at: Instruction) -> _Lowered:
        times = {name: parse_duration(at.flag(name) or "0s") for name in ("interval", "timeout", "start-period", "start-interval")}
        retries = int(at.flag("retries") or "0")
        if at.args[0] == "NONE":
            test = ["NONE"]
        elif at.form == "exec":
            test = ["CMD", *at.args[1:]]
        else:
            test = ["CMD-SHELL", *at.args[1:]]
        check: dict[str, Any] = {"Test": test}
        for key, name in (
            ("Interval", "interval"),
            ("Timeout", "timeout"),
            ("StartPeriod", "start-period"),
            ("StartInterval", "start-interval"),
        ):
            if times[name]:
                check[key] = times[name]
        if retries:
            check["Retries"] = retries
        state.image["Healthcheck"] = check
        shown = " ".join(f'"{_go_duration(times[name])}"' for name in ("interval", "timeout", "start-period", "start-interval"))
        return _Lowered(_upper_keyword(at.original), None, f"HEALTHCHECK &{{{_go_list(test)} {shown} {quoted_rune(retries)}}}")


class _Lowered:
    __slots__ = ("created_by", "name", "op")

    def __init__(self, name: str, op: Op | None, created_by: str | None) -> None:
        self.name = name
        self.op = op
        self.created_by = created_by


_METADATA: Final[dict[str, Callable[[_Builder, _State, Instruction], _Lowered]]] = {
    "ENV": _Builder._env,
    "LABEL": _Builder._label,
    "ARG": _Builder._arg,
    "CMD": _Builder._cmd,
    "ENTRYPOINT": _Builder._entrypoint,
    "EXPOSE": _Builder._expose,
    "USER": _Builder._user,
    "VOLUME": _Builder._volume,
    "STOPSIGNAL": _Builder._stopsignal,
    "SHELL": _Builder._shell,
    "MAINTAINER": _Builder._maintainer,
    "ONBUILD": _Builder._onbuild,
    "HEALTHCHECK": _Builder._healthcheck,
}


def normalize(cwd: str, path: str, *, keep_slash: bool) -> str:
    """BuildKit's ``system.NormalizePath``: absolute and clean; if asked a trailing ``/`` or ``/.`` stays."""
    joined = path if path.startswith("/") else posixpath.join(cwd, path)
    clean = _clean(joined)
    if keep_slash and path.endswith("/."):
        return clean.rstrip("/") + "/."
    if keep_slash and clean != "/" and path.endswith("/"):
        return clean + "/"
    return clean


def _clean(path: str) -> str:
    cleaned = posixpath.normpath(path)
    return cleaned[1:] if cleaned.startswith("//") else cleaned


def _port_range(text: str) -> tuple[int, int] | None:
    match = re.fullmatch(r"\+?0*([0-9]{1,5})(?:-\+?0*([0-9]{1,5}))?", text)
    low, high = (int(match[1]), int(match[2] or match[1])) if match else (1, 0)
    return (low, high) if low <= high <= 65535 else None


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text[1:-1] if text.startswith("[") and text.endswith("]") else text)
    except ValueError:
        return False
    return True


def _is_signal(text: str) -> bool:
    """``ParseSignal`` of moby/sys/signal: any number but 0, or a name of Linux with or without ``SIG``, in any case."""
    if re.fullmatch(r"[-+]?[0-9]+", text):
        return bool(text.strip("-+0"))
    name = text.upper().removeprefix("SIG")
    distance = re.fullmatch(r"RTMIN\+([1-9][0-9]?)|RTMAX-([1-9][0-9]?)", name)
    if distance is not None:
        return int(distance[1] or 0) <= 15 and int(distance[2] or 0) <= 14
    return name in _SIGNALS


def _upper_keyword(text: str) -> str:
    head, blank, rest = text.partition(" ")
    return head.upper() + blank + rest


def _summary(document: str) -> str:
    lines = document.strip().replace("\r\n", "\n").split("\n")
    return lines[0] + ("..." if len(lines) > 1 else "")


def _truthy(value: str | None) -> bool:
    return value is not None and value.lower() == "true"


def _normal_owner(text: str) -> str:
    """``--chown`` and USER in normal form (``llb.WithUser``): numbers plain, ``root`` and nothing are 0.

    A missing group stays missing: it keys differently.
    """
    return ":".join(_normal_id(part) for part in text.split(":", 1)) if text else ""


def _normal_id(text: str) -> str:
    if text in ("", "root"):
        return "0"
    # ``ParseInt`` with 32 bits; what it does not take is a name. Zeros in front may be more than Python's ``int`` reads.
    match = re.fullmatch(r"([-+]?)0*([0-9]{1,10})", text)
    number = int(match[1] + match[2]) if match is not None else _LARGEST_ID + 1
    return str(number) if -_LARGEST_ID - 1 <= number <= _LARGEST_ID else text


def _go_list(items: list[str]) -> str:
    return "[" + " ".join(quoted(item) for item in items) + "]"


def _go_duration(nanoseconds: int) -> str:
    """Go's ``Duration.String``: the largest unit below a second, else hours, minutes and seconds; no zeros at the end."""
    if nanoseconds == 0:
        return "0s"
    for unit, length in (("ns", 1), ("µs", 1_000), ("ms", 1_000_000)):
        if nanoseconds < min(length * 1_000, 1_000_000_000):
            return _decimal(nanoseconds, length) + unit
    minutes, rest = divmod(nanoseconds, 60_000_000_000)
    hours, minutes = divmod(minutes, 60)
    text = _decimal(rest, 1_000_000_000) + "s"
    if hours:
        return f"{hours}h{minutes}m{text}"
    return f"{minutes}m{text}" if minutes else text


def _decimal(value: int, unit: int) -> str:
    whole, rest = divmod(value, unit)
    fraction = f"{rest:0{len(str(unit)) - 1}d}".rstrip("0") if rest else ""
    return f"{whole}.{fraction}" if fraction else str(whole)
