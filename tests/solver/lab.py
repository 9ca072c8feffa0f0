"""Dockerfiles solved without an engine: a cache is a dictionary, and what runs makes a layer with a name."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from layerlab.context import Selected, Selection
from layerlab.context.build_context import load_context
from layerlab.dockerfile import parse
from layerlab.solver.graph import Graph, build_graph
from layerlab.solver.ops import BaseImage
from layerlab.solver.plan import CacheRecord, Solution, solve


class Cache:
    """Records by key. What stages hold is known where a test says so: ``contents``, by the path that is looked for."""

    def __init__(self) -> None:
        self.records: dict[str, CacheRecord] = {}
        self.contents: dict[str, str] = {}

    def lookup(self, key: str) -> CacheRecord | None:
        return self.records.get(key)

    def content(self, _layers: tuple[str, ...], selection: Selection) -> Selected | None:
        digest = self.contents.get(selection.path)
        return None if digest is None else Selected(digest, (), [])


class Lab:
    """One build context, and the cache that its builds fill."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.cache = Cache()

    def write(self, files: Mapping[str, str]) -> None:
        for name, text in files.items():
            path = self.place / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")

    def graph(self, dockerfile: str, **more: str) -> Graph:
        return build_graph(parse(dockerfile.encode(), "Dockerfile"), self._base, build_args=more)

    def plan(self, dockerfile: str, **build_args: str) -> Solution:
        return solve(self.graph(dockerfile, **build_args), load_context(str(self.place)).root, self.cache)

    def verdicts(self, dockerfile: str, **build_args: str) -> list[str]:
        """Keyword and decision of each step that makes a layer."""
        steps = self.plan(dockerfile, **build_args).steps
        return [f"{decided.step.keyword} {decided.decision}" for decided in steps if decided.step.op is not None]

    def build(self, dockerfile: str, **build_args: str) -> list[str]:
        """Count all that would run as built, and say what it was. Nothing is left undecided, and no step is an error."""
        ran = []
        while (decided := (solution := self.plan(dockerfile, **build_args)).next_to_run()) is not None:
            assert decided.key is not None
            ran.append(decided.step.instruction)
            self.cache.records[decided.key] = CacheRecord(key=decided.key, diff_id=f"layer {len(self.cache.records)}", size=0, created="")
        assert {decided.decision for decided in solution.steps} <= {"base", "metadata", "cached"}
        return ran

    @staticmethod
    def _base(name: str) -> BaseImage:
        return BaseImage(name, (f"sha256:{name}",), {"config": {"Env": ["PATH=/bin"]}})
