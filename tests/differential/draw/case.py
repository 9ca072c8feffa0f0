"""A whole case: stages, how they change, and what each build is asked for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from .commands import run
from .context import Context
from .copies import Origin, add, copy
from .dice import Dice
from .ignore import ignore
from .settings import argument, metadata, workdir
from .spelling import CONTINUED, Style, spelled

_BASES: Final = ("base:1", "base:1", "base:1", "node:alpine", "base:2", "base:2", "scratch", "$BASE", "${BASE:-base:1}")
_NAMES: Final = ("one", "two", "three", "build", "a_b", "deps")
_ODD_NAMES: Final = ("One", "BUILD", "a.b", "x-1", "base", "stage-1")
_META: Final = ("ARG BASE=base:1", "ARG BASE=base:2", "ARG BASE", "ARG V=a", "ARG BASE=node:alpine V=src", "ARG A")
_ARGUMENTS: Final = ("V", "A", "U")
_VALUES: Final = ("a", "src", "1000", "v", "b.txt", "", "two words")
_PREDEFINED: Final = (
    "HTTP_PROXY",
    "no_proxy",
    "TARGETARCH",
    "TARGETPLATFORM",
    "BUILDKIT_SANDBOX_HOSTNAME",
    "BUILDKIT_INLINE_CACHE",
    "BUILDKIT_DOCKERFILE_CHECK",
    "BUILDKIT_MULTI_PLATFORM",
    "BUILDPLATFORM",
)
_MADE: Final = ("/o", "/l", "/m", "/list", "/app", "/d", "/x")
_FILES: Final = ("app.Dockerfile", "Dockerfile.dev", "docker/Dockerfile", "Dockerfile")


class _Stage:
    def __init__(self, base: str, name: str) -> None:
        self.base = base
        self.name = name
        self.flags = ""
        # Whether nothing can run in it.
        self.scratch = base == "scratch"
        self.instructions: list[str] = []
        # Paths that it very likely has.
        self.made: list[str] = []


class Drawing:
    """One case as it is being drawn."""

    def __init__(self, dice: Dice) -> None:
        self._dice = dice
        self._context = Context(dice)
        self._stages: list[_Stage] = []
        self._meta: list[str] = []
        self._style = Style(dice)

    def case(self, name: str) -> dict[str, Any]:
        """The whole case."""
        dice = self._dice
        context = self._context.fill()
        build: dict[str, Any] = {}
        if dice.theme("ignores", 0.4):
            build["file"] = dice.one(_FILES)
            if dice.chance(0.6):
                # It takes the place of the usual one.
                self._context.ignore_file = f"{build['file']}.dockerignore"
                context[self._context.ignore_file] = ignore(dice)
        self._make_stages()
        text = self._text()
        themes = ", ".join(sorted(dice.themes)) or "nothing odd"
        case: dict[str, Any] = {"name": name, "description": f"drawn at random: {themes}", "context": context, "dockerfile": text}
        if dice.chance(0.7 if dice.theme("ignores") else 0.3):
            case["dockerignore"] = ignore(dice)
        if dice.chance(0.3):
            build["args"] = self._arguments()
        if build:
            case["build"] = build
        steps: list[dict[str, Any]] = [{"edit": self._context.attributes()}]
        steps += [self._step() for _ in range(dice.number(1, 5))]
        for step in steps:
            if dice.chance(0.6):
                step["image"] = None
        case["steps"] = steps
        return case

    # --- stages -----------------------------------------------------------------------------------------------------

    def _make_stages(self) -> None:
        dice = self._dice
        if dice.chance(0.4):
            self._meta.append(dice.one(_META))
        if any("BASE" in line for line in self._meta) and dice.chance(0.2):
            self._meta.append("ARG OTHER=$BASE")
        for _ in range(dice.one((2, 2, 3, 4) if dice.theme("stages") else (1, 1, 1, 2, 2, 3, 4))):
            self._stages.append(self._stage())

    def _stage(self) -> _Stage:
        dice = self._dice
        known = [stage.name for stage in self._stages if stage.name]
        base = dice.one(known) if known and dice.chance(0.6 if dice.theme("triggers") else 0.4) else dice.one(_BASES)
        if "$" in base and not any("BASE" in line for line in self._meta) and ":-" not in base:
            base = "base:1"
        free = [word for word in (*_NAMES, *(_ODD_NAMES if dice.theme("stages") else ())) if word.lower() not in map(str.lower, known)]
        stage = _Stage(base, dice.one(free) if free and dice.chance(0.75) else "")
        below = next((other for other in reversed(self._stages) if other.name == base), None)
        stage.scratch = stage.scratch or (below is not None and below.scratch)
        if dice.theme("stages", 0.1) and known:
            # A name that is given twice.
            stage.name = dice.one(known)
        if dice.theme("platforms", 0.4):
            stage.flags = f"--platform={dice.one(('$BUILDPLATFORM', '$TARGETPLATFORM', '${BUILDPLATFORM}', '$TARGETOS/$TARGETARCH'))} "
        for _ in range(dice.number(1, 7)):
            self._give(stage, self._instruction(stage))
        return stage

    def _give(self, stage: _Stage, text: str, place: int | None = None) -> None:
        stage.instructions.insert(len(stage.instructions) if place is None else place, text)
        stage.made += [path for path in _MADE if f"> {path}" in text or text.endswith(f" {path}")]

    def _instruction(self, stage: _Stage) -> str:
        dice = self._dice
        kinds: list[Callable[[], str]] = [
            *([lambda: copy(dice, self._context, self._origin(stage))] * 3),
            lambda: add(dice, self._context),
            lambda: workdir(dice),
            *([lambda: metadata(dice)] * 2),
            lambda: argument(dice),
        ]
        if "archives" in dice.themes:
            kinds += [lambda: add(dice, self._context)] * 3
        if dice.commands and not stage.scratch:
            kinds += [lambda: run(dice, self._mounted())] * 4
        text: str = dice.one(kinds)()
        # What a trigger may not be is drawn as it is (settings.py).
        if ("\n" in text and "<<" not in text) or text.startswith(("ONBUILD", "MAINTAINER", "#")):
            return text
        if dice.theme("triggers", 0.25) and ("<<" not in text or dice.theme("heredocs")):
            return f"ONBUILD {text}"
        return spelled(dice, text)

    def _mounted(self) -> list[str]:
        """Stages for mounts, which know them by name: a number is an image, which takes time not to be found."""
        numbers = [str(number) for number in range(len(self._stages))] if self._dice.theme("stages", 0.1) else []
        return [*(stage.name for stage in self._stages if stage.name), *numbers]

    def _origin(self, stage: _Stage) -> Origin:
        names = [other.name for other in self._stages if other.name]
        numbers = [str(number) for number in range(len(self._stages))]
        made = {other.name.lower(): other.made for other in self._stages}
        odd = ["later", str(len(self._stages)), str(len(self._stages) + 9), stage.name or "0", "-1", "base:none"]
        return Origin(names, numbers, made, odd)

    def _text(self) -> str:
        lines = [*self._meta]
        for stage in self._stages:
            lines += [f"FROM {stage.flags}{stage.base}{f' AS {stage.name}' if stage.name else ''}", *stage.instructions]
        return self._style.file(lines)

    # --- builds -----------------------------------------------------------------------------------------------------

    def _step(self) -> dict[str, Any]:
        dice = self._dice
        step: dict[str, Any] = {"edit": []}
        build: dict[str, Any] = {}
        for _ in range(dice.one((0, 1, 1, 1, 2))):
            step["edit"] += self._context.edit()
        if dice.chance(0.4):
            self._mutate()
            build["dockerfile"] = self._text()
        if dice.chance(0.15):
            build["args"] = self._arguments()
        names = [stage.name for stage in self._stages if stage.name]
        if dice.chance(0.08):
            # The word that a name was meant to be is guessed where one letter is wrong.
            near = [name[:-1] for name in names if len(name) > 3] + [f"{name}e" for name in names] + [name.upper() for name in names]
            build["target"] = dice.one(names or [""], ("missing", "0", *near), often=0.3 if dice.theme("options") else 0)
        if dice.chance(0.06):
            build["no_cache"] = True
        elif dice.chance(0.15 if dice.theme("options") else 0.06):
            build["no_cache_filter"] = dice.some(names, dice.number(1, 2)) or ["missing"]
        if dice.theme("secrets", 0.7) or dice.chance(0.1):
            build["secrets"] = {name: dice.one(("open", "sesame")) for name in dice.one((("s",), ("s",), ("s", "t"), ("t",)))}
        if dice.chance(0.2 if dice.theme("options") else 0.06):
            build["labels"] = {"l": dice.one(("1", "2", "two words", ""))}
        if build:
            step["build"] = build
        return step

    def _arguments(self) -> dict[str, str]:
        dice = self._dice
        names = dice.some((*_ARGUMENTS, "BASE"), dice.one((1, 1, 2)))
        found = {name: dice.one(("base:1", "base:2")) if name == "BASE" else dice.one(_VALUES) for name in names}
        if dice.theme("options", 0.5):
            # Whether a value that is no platform is minded is known only where a stage asks for it.
            found[dice.one(_PREDEFINED)] = dice.one(("1", "linux/amd64", "here", "skip=all"))
        return found

    def _mutate(self) -> None:
        dice = self._dice
        if dice.theme("spelling", 0.4):
            self._style = Style(dice)
            return
        stage = dice.one(self._stages)
        place = dice.number(0, len(stage.instructions))
        kind = dice.one(("insert", "insert", "delete", "replace", "swap", "respell", *(["owner"] * 4 if dice.theme("owners") else ())))
        # A stage is drawn with the stages before it.
        later = self._stages[self._stages.index(stage) :]
        self._stages = self._stages[: self._stages.index(stage)]
        if kind == "insert":
            self._give(stage, self._instruction(stage), place)
        elif kind == "respell":
            stage.instructions = [
                line.replace(" ", "  ", 1) if "<<" not in line and '["' not in line and CONTINUED not in line else line
                for line in stage.instructions
            ]
        elif kind == "owner":
            # The same owner by another name, and no owner at all.
            swapped = {"--chown=root ": "--chown=0 ", "--chown=0 ": "--chown=root ", "--chown=0:0 ": "", "--chown=node ": "--chown=1000 "}
            old = dice.one(tuple(swapped))
            stage.instructions = [line.replace(old, swapped[old], 1) for line in stage.instructions]
        elif stage.instructions:
            place = min(place, len(stage.instructions) - 1)
            if kind == "delete" and len(stage.instructions) > 1:
                del stage.instructions[place]
            elif kind == "replace":
                del stage.instructions[place]
                self._give(stage, self._instruction(stage), place)
            else:
                stage.instructions.insert(0, stage.instructions.pop(place))
        self._stages += later
