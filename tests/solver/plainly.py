"""Cases solved in memory, with nothing but the standard library: run as ``python -I -S plainly.py ROOT CASES`` it prints what it found."""

from __future__ import annotations

import base64
import hashlib
import json
import stat
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    sys.path.insert(0, sys.argv[1])

from layerlab.context import Selected, Selection
from layerlab.context.tree import Directory, Entry, directory_digest
from layerlab.dockerfile import parse
from layerlab.errors import LayerlabError
from layerlab.solver.explain import Explainer, trace_of
from layerlab.solver.graph import build_graph
from layerlab.solver.ops import BaseImage
from layerlab.solver.plan import CacheRecord, Solution, solve


class Folder:
    """A directory that is nowhere but in memory, made of the ``context`` of a conformance case."""

    def __init__(self) -> None:
        self.names: dict[str, Entry] = {}

    def entries(self) -> Mapping[str, Entry]:
        return self.names

    def digest(self) -> bytes:
        return directory_digest(self.names)

    def add(self, path: str, entry: Any) -> None:
        folder = self
        *above, name = path.split("/")
        for part in above:
            below = folder.names.get(part)
            if below is None or not isinstance(below.directory, Folder):
                below = folder.names[part] = Entry(0o40755, directory=Folder())
            assert isinstance(below.directory, Folder)
            folder = below.directory
        value = {"content": entry} if isinstance(entry, str) else entry
        mode = int(value.get("mode", "0644"), 8)
        if value.get("dir"):
            folder.names[name] = Entry(stat.S_IFDIR | mode, directory=Folder())
        elif "symlink" in value:
            target = value["symlink"]
            folder.names[name] = Entry(0o120777, target=target, digest=hashlib.sha256(target.encode()).digest())
        else:
            data = base64.b64decode(value["content_b64"]) if "content_b64" in value else value.get("content", "").encode()
            folder.names[name] = Entry(stat.S_IFREG | mode, size=len(data), digest=hashlib.sha256(data).digest())


class Cache:
    """All that was built, and of a stage that it holds what it is made of."""

    def __init__(self) -> None:
        self.records: dict[str, CacheRecord] = {}

    def lookup(self, key: str) -> CacheRecord | None:
        return self.records.get(key)

    def content(self, layers: tuple[str, ...], selection: Selection) -> Selected:
        return Selected(hashlib.sha256(repr((layers, selection)).encode()).hexdigest(), (), [])


def solved(case: dict[str, Any]) -> list[Any]:
    """Decision, key and reason of every step: at first, when all is built, and when all files are others."""
    cache = Cache()
    before = None
    found: list[Any] = []
    for round_ in ("first", "again", "edited"):
        root = _tree(case, round_ if round_ == "edited" else "")
        try:
            graph = build_graph(
                parse(case["dockerfile"].encode(), "Dockerfile"),
                lambda name: BaseImage(name, (f"sha256:{name}",), {"config": {"Env": ["PATH=/bin"]}}),
                build_args=case.get("build", {}).get("args"),
            )
            solution = _built(graph, root, cache) if round_ != "edited" else solve(graph, root, cache)
        except LayerlabError as error:
            return [*found, error.describe()]
        explainer = Explainer(graph, before, "Dockerfile")
        for decided in solution.steps:
            cause = explainer.cause(decided, solution) if decided.decision == "run" else None
            told = [cause.kind, list(cause.paths), cause.text] if cause is not None else None
            found.append([decided.step.instruction, decided.decision, decided.key, str(decided.error or ""), told])
        before = trace_of(graph, solution, "Dockerfile")
    return found


def _tree(case: dict[str, Any], more: str) -> Folder:
    root = Folder()
    for path, entry in case.get("context", {}).items():
        value = {"content": entry} if isinstance(entry, str) else dict(entry)
        if more and "content" in value:
            value["content"] += more
        root.add(path, value)
    return root


def _built(graph: Any, root: Directory, cache: Cache) -> Solution:
    while (decided := (solution := solve(graph, root, cache)).next_to_run()) is not None:
        assert decided.key is not None
        cache.records[decided.key] = CacheRecord(key=decided.key, diff_id=f"layer {len(cache.records)}", size=0, created="")
    return solution


def every(folder: Path) -> dict[str, list[Any]]:
    """What was found for each case of a folder that has a Dockerfile and a context of its own."""
    cases = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.json"))]
    return {case["name"]: solved(case) for case in cases if case.get("dockerfile") and "projects" not in case}


if __name__ == "__main__":
    print(json.dumps({"cases": every(Path(sys.argv[2])), "modules": sorted(sys.modules)}))
