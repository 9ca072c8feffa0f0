"""The cases as typed values: reading and writing the JSON files, nothing else. ``README.md`` describes the format."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

CASES = Path(__file__).parent / "cases"

ENGINES = ("26.1.5", "28.5.2", "28.5.2-containerd")
"""The recorded engines, oldest first: a version, and the image store where it is not the classic one (graph drivers)."""

REFERENCE = ENGINES[-1]
"""The engine that the embedded one follows where they differ: the newest, with the store of new installations."""

OLDER = {"26": "26.1.5"}
"""The recorded engine whose verdicts ``--as`` asks for."""

ANSWERS = ("expect", "error", "expect_error", "image")
"""The keys of a build that an engine answered."""

Entry = str | dict[str, Any]


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """What a build is asked for, apart from the context."""

    args: dict[str, str] = {}
    target: str | None = None
    file: str = "Dockerfile"
    no_cache: bool = False
    no_cache_filter: tuple[str, ...] = ()
    secrets: dict[str, str] = {}
    labels: dict[str, str] = {}
    tag: str | None = None
    dockerfile: str | None = None


class Project(msgspec.Struct, frozen=True, kw_only=True):
    """A build context with the defaults of its builds."""

    context: dict[str, Entry]
    dockerfile: str | None = None
    dockerignore: str | None = None
    build: dict[str, Any] = {}


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One verdict. ``shared`` lists the stages that have this very step; the first is the one that it is printed under."""

    instruction: str
    stage: str
    index: str
    cached: bool
    error: bool = False
    shared: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """As in a case file: what is empty is left out."""
        value: dict[str, Any] = {"instruction": self.instruction, "stage": self.stage, "index": self.index, "cached": self.cached}
        if self.error:
            value["error"] = True
        if self.shared:
            value["shared"] = list(self.shared)
        return value


class Image(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a build made: history oldest first, config, and the members of every layer above the base images' layers.

    ``top``: what else the configuration says (``layers.rest_of``), where two live engines are compared; it is never recorded.
    """

    history: list[dict[str, Any]]
    config: dict[str, Any]
    layers: list[list[dict[str, Any]]]
    os: str
    architecture: str
    top: dict[str, Any] | None = None


class Elsewhere(msgspec.Struct, frozen=True, kw_only=True):
    """What another engine answered in another way; ``None`` is what is not there with it."""

    expect: list[Row] | msgspec.UnsetType = msgspec.UNSET
    error: str | msgspec.UnsetType | None = msgspec.UNSET
    expect_error: str | msgspec.UnsetType | None = msgspec.UNSET
    image: Image | msgspec.UnsetType | None = msgspec.UNSET


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """One build of a case with what the newest engine of the case answered, and in ``elsewhere`` where others differ."""

    edit: list[dict[str, Any]] = []
    project: str = "main"
    build: dict[str, Any] = {}
    expect: list[Row] = []
    error: str | None = None
    expect_error: str | None = None
    image: Image | None = None
    elsewhere: dict[str, Elsewhere] = {}
    asked: bool = True

    def on(self, engine: str) -> Step:
        """The build with the answers of ``engine``."""
        other = msgspec.structs.asdict(self.elsewhere.get(engine, Elsewhere()))
        return msgspec.structs.replace(self, **{key: value for key, value in other.items() if value is not msgspec.UNSET})

    def with_verdicts_of(self, engine: str) -> Step:
        """The build with nothing of ``engine`` but what it found in its cache. Of one that fails with one alone nothing is asked."""
        other = self.on(engine)
        if (other.error is None) != (self.error is None):
            return msgspec.structs.replace(self, image=None, asked=False)
        known = {(row.stage, row.index.partition("/")[0]): row.cached for row in other.expect}
        rows = [msgspec.structs.replace(row, cached=known.get((row.stage, row.index.partition("/")[0]), row.cached)) for row in self.expect]
        return msgspec.structs.replace(self, expect=rows, image=None)


class Case(msgspec.Struct, frozen=True, kw_only=True):
    """One scenario: contexts and the builds that are run in order against one engine and one cache."""

    name: str
    description: str
    context: dict[str, Entry]
    dockerfile: str | None
    steps: list[Step]
    dockerignore: str | None = None
    build: dict[str, Any] = {}
    projects: dict[str, Project] = {}
    tags: list[str] = []
    recorded: list[str] = []

    def on(self, engine: str) -> Case:
        """The case with the answers of ``engine``."""
        return msgspec.structs.replace(self, steps=[step.on(engine) for step in self.steps])

    def with_verdicts_of(self, engine: str) -> Case:
        """The case with the verdicts of ``engine``, and everything else as it is."""
        return msgspec.structs.replace(self, steps=[step.with_verdicts_of(engine) for step in self.steps])

    def all_projects(self) -> dict[str, Project]:
        """Every context by name; the top-level one is ``main``."""
        main = Project(context=self.context, dockerfile=self.dockerfile, dockerignore=self.dockerignore, build=self.build)
        return {"main": main, **self.projects}

    def settings(self, step: Step) -> Settings:
        """What a step asks for: the defaults of its project, overridden key by key."""
        return msgspec.convert({**self.all_projects()[step.project].build, **step.build}, Settings)


def load(path: Path) -> Case:
    """Read one case. Raises ``ValueError`` (msgspec's errors are ones) for a file that is no case."""
    return msgspec.json.decode(path.read_bytes(), type=Case)


def load_all(folder: Path) -> list[Case]:
    """Every case of a folder, by file name."""
    return [load(path) for path in sorted(folder.glob("*.json"))]


def answers(value: Mapping[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """What each engine of a case file answered: its version, to ``ANSWERS`` of each build."""
    found: dict[str, list[dict[str, Any]]] = {}
    for engine in value.get("recorded", ()):
        found[engine] = [
            {key: item for key, item in {**_answer(step), **step.get("elsewhere", {}).get(engine, {})}.items() if item is not None}
            for step in value["steps"]
        ]
    return found


def with_answers(value: Mapping[str, Any], found: Mapping[str, Sequence[Mapping[str, Any]]]) -> dict[str, Any]:
    """A case file with these answers in place of its own: the newest engine's in full, of the others what differs."""
    engines = [engine for engine in ENGINES if engine in found]
    steps = []
    for number, step in enumerate(value["steps"]):
        newest = found[engines[-1]][number]
        answer = {key: item for key, item in step.items() if key not in (*ANSWERS, "elsewhere")}
        answer = {"edit": [], **answer, **{key: newest[key] for key in ANSWERS if key in newest}}
        if "image" in step:
            # Null says that it was asked for, and that there is none.
            answer.setdefault("image", None)
        elsewhere = {engine: _differing(found[engine][number], newest) for engine in engines[:-1]}
        if any(elsewhere.values()):
            answer["elsewhere"] = {engine: differing for engine, differing in elsewhere.items() if differing}
        steps.append(answer)
    rest = {key: item for key, item in value.items() if key not in ("recorded", "steps")}
    return {**rest, "recorded": engines, "steps": steps}


def _answer(step: Mapping[str, Any]) -> dict[str, Any]:
    return {key: step[key] for key in ANSWERS if key in step}


def _differing(answer: Mapping[str, Any], newest: Mapping[str, Any]) -> dict[str, Any]:
    return {key: answer.get(key) for key in ANSWERS if answer.get(key) != newest.get(key)}


def write(path: Path, value: dict[str, Any]) -> None:
    """Write a case file as the others are written."""
    path.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
