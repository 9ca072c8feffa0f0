"""What the instructions of one build share while a graph is made: variables, names of stages, base images, errors."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from layerlab.dockerfile import Allowance, expand, expand_or_keep
from layerlab.dockerfile.ast import Dockerfile, Instruction, Stage
from layerlab.dockerfile.chars import quoted
from layerlab.errors import DockerfileError, InvalidReferenceError, LayerlabError
from layerlab.platform import PLATFORM_ARGUMENTS
from layerlab.solver.graph.model import EPOCH, Like, Remote, Resolve
from layerlab.solver.graph.normalize import upper_keyword
from layerlab.solver.ops import BaseImage, Op, RemoteFile, Source


class Lowered(NamedTuple):
    """What an instruction becomes: the text of its row, its operation if it makes a layer, and its history row if it has one."""

    name: str
    op: Op | None
    created_by: str | None


class StageState:
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

    def clone(self) -> StageState:
        """The state that a child stage starts from."""
        other = StageState()
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


class Scope:
    """One build's Dockerfile, and what is known of it so far. ``bases``: what each stage is built on, variables expanded."""

    def __init__(
        self,
        dockerfile: Dockerfile,
        resolve: Resolve,
        build_args: dict[str, str],
        network: str,
        observer: Observer | None,
        like: Like,
        remote: Remote,
    ) -> None:
        self.dockerfile = dockerfile
        self.file = dockerfile.file
        self.build_args = build_args
        self.network = network
        self.observer = observer
        self.like = like
        epoch = build_args.get(EPOCH, "")
        self.epoch = int(epoch) if epoch else None
        self.resolve = resolve
        self.remote = remote
        self.used_args: set[str] = set()
        self.globals: dict[str, str] = {**PLATFORM_ARGUMENTS}
        self.images: dict[str, BaseImage] = {}
        self.remotes: dict[Source, RemoteFile] = {}
        self.bases: dict[int, str] = {}
        self.uses_context = False
        self.allowance = Allowance()

    # --- words and errors -------------------------------------------------------------------------------------------

    def error(self, at: Instruction, message: str, remedy: str | None = None) -> DockerfileError:
        """An error of an instruction, to be raised."""
        return DockerfileError(message, file=self.file, line=at.line, column=at.column, remedy=remedy)

    def expand(self, word: str, env: Mapping[str, str], at: Instruction) -> str:
        """A word with its variables expanded. Raises ``DockerfileError``."""
        variables = env if self.observer is None else Variables(env)
        result: str | None = None
        try:
            result = expand(word, variables, escape=self.dockerfile.escape, allowance=self.allowance)
        except DockerfileError as error:
            raise self.error(at, error.message, error.remedy) from error
        finally:
            if self.observer is not None and isinstance(variables, Variables):
                self.observer.expanded(at, word, result, variables)
        return result

    def printed(self, state: StageState, at: Instruction) -> str:
        """An instruction as its row shows it. Raises ``DockerfileError``."""
        try:
            return upper_keyword(expand_or_keep(at.original, state.env, self.dockerfile.escape, allowance=self.allowance))
        except DockerfileError as error:
            raise self.error(at, error.message, error.remedy) from error

    def take(self, characters: int, at: Instruction) -> None:
        """Count what an instruction makes of its variables beyond their expansion. Raises ``DockerfileError``."""
        try:
            self.allowance.take(characters)
        except DockerfileError as error:
            raise self.error(at, error.message, error.remedy) from error

    # --- stages and images by name ----------------------------------------------------------------------------------

    def by_name(self, name: str, before: int | None = None) -> int | None:
        """The index of the last stage of a name, of all or of those before an index; ``None`` where there is none."""
        wanted = name.lower()
        found = None
        for stage in self.dockerfile.stages[:before]:
            if stage.name == wanted:
                found = stage.index
        return found

    def copied_stage(self, name: str, at: Instruction) -> int | None:
        """The stage that ``--from`` of a COPY names, by number or by name; ``None``: it is an image. A mount's is never a number."""
        number = re.fullmatch(r"([-+]?)0*([0-9]{1,18})", name)
        if number is None:
            return self.by_name(name)
        index = int(number[1] + number[2])
        if not 0 <= index < len(self.dockerfile.stages):
            raise self.error(at, f"invalid stage index {index}", "Stages count from 0.")
        return index

    def base_stage(self, stage: Stage) -> int | None:
        """The stage that a stage is built on; ``None``: it is an image, or nothing."""
        # As written (``addState``): with capitals it is an image's name, which none can have.
        base = self.bases[stage.index]
        return self.by_name(base, stage.index) if base == base.lower() else None

    def is_parent(self, stage: Stage, source: Source) -> bool:
        """Whether a source is the very image or stage that the stage begins with."""
        base = self.base_stage(stage)
        if source.kind == "stage":
            return base == source.stage
        return source.kind == "image" and base is None and source.image == self.bases[stage.index]

    def image(self, name: str, at: Instruction) -> BaseImage:
        """The image of a name, which is asked for once. Raises ``DockerfileError``, and what ``resolve`` raises."""
        if name not in self.images:
            try:
                self.images[name] = self.resolve(name)
            except InvalidReferenceError as error:
                # Of a trigger, which is known now alone.
                raise self.unparsed(name, at, error) from error
            except LayerlabError as error:
                if error.line is None:
                    error.file, error.line = self.file, at.line
                raise
        return self.images[name]

    def unparsed(self, name: str, at: Instruction, error: InvalidReferenceError) -> DockerfileError:
        """The error of a name that is none of an image."""
        return self.error(at, f"failed to parse stage name {quoted(name)}: {error.reason}", error.remedy)
