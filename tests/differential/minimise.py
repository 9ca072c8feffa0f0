"""Making a case smaller while it still shows what was found: builds, edits, files and lines go, one after the other."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Any

Case = dict[str, Any]


def minimise(case: Case, shows: Callable[[Case], bool], *, tries: int = 200) -> Case:
    """The smallest case that was met in ``tries`` tries, of which ``shows`` is true as it is of ``case``."""
    left = tries
    smaller = True
    while smaller and left > 0:
        smaller = False
        for candidate in _smaller(case):
            if left <= 0:
                break
            left -= 1
            if shows(candidate):
                case, smaller = candidate, True
                break
    return case


def _smaller(case: Case) -> Iterator[Case]:
    """Cases with one thing less; what takes most away comes first."""
    steps = case["steps"]
    if len(steps) > 1:
        yield {**case, "steps": steps[:-1]}
    for place in range(len(steps) - 1):
        # The files that a build is left out with are there in the next one.
        merged = {**steps[place + 1], "edit": [*steps[place]["edit"], *steps[place + 1]["edit"]]}
        if "dockerfile" in steps[place].get("build", {}) and "dockerfile" not in merged.get("build", {}):
            merged["build"] = {**merged.get("build", {}), "dockerfile": steps[place]["build"]["dockerfile"]}
        yield {**case, "steps": [*steps[:place], merged, *steps[place + 2 :]]}
    for key in ("dockerignore", "build"):
        if key in case:
            yield {name: value for name, value in case.items() if name != key}
    for line in sorted({line for text in _texts(case) for line in text.splitlines()}, key=lambda line: line.startswith("FROM")):
        without = _without_line(case, line)
        if all(text.strip() for text in _texts(without)):
            yield without
    for path in case["context"]:
        yield {**case, "context": {name: entry for name, entry in case["context"].items() if name != path}}
    for place, step in enumerate(steps):
        for number in range(len(step["edit"])):
            yield _with_step(case, place, {**step, "edit": step["edit"][:number] + step["edit"][number + 1 :]})
        for key in step.get("build", {}):
            yield _with_step(case, place, {**step, "build": {name: value for name, value in step["build"].items() if name != key}})
        if "image" in step:
            yield _with_step(case, place, {key: value for key, value in step.items() if key != "image"})


def _with_step(case: Case, place: int, step: Case) -> Case:
    return {**case, "steps": [*case["steps"][:place], step, *case["steps"][place + 1 :]]}


def _texts(case: Case) -> list[str]:
    return [case["dockerfile"], *(step["build"]["dockerfile"] for step in case["steps"] if "dockerfile" in step.get("build", {}))]


def _without_line(case: Case, line: str) -> Case:
    other = copy.deepcopy(case)
    other["dockerfile"] = _drop(other["dockerfile"], line)
    for step in other["steps"]:
        if "dockerfile" in step.get("build", {}):
            step["build"]["dockerfile"] = _drop(step["build"]["dockerfile"], line)
    return other


def _drop(text: str, line: str) -> str:
    return "".join(f"{other}\n" for other in text.splitlines() if other != line)
