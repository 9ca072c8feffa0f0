"""The cases as typed values: reading and writing the JSON files, nothing else. ``README.md`` describes the format."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec

CASES = Path(__file__).parent / "cases"

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


class Image(msgspec.Struct, frozen=True, kw_only=True):
    """What a build made: history oldest first, config, and the members of every layer above the base images' layers."""

    history: list[dict[str, Any]]
    config: dict[str, Any]
    layers: list[list[dict[str, Any]]]
    os: str
    architecture: str


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """One build of a case with what the recorded engine answered."""

    edit: list[dict[str, Any]] = []
    project: str = "main"
    build: dict[str, Any] = {}
    expect: list[Row] = []
    error: str | None = None
    expect_error: str | None = None
    image: Image | None = None


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


def write(path: Path, value: dict[str, Any]) -> None:
    """Write a case file as the others are written."""
    path.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
