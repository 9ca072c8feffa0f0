"""Every case on the engine under test: each build must have the verdicts that were recorded, and make the same image."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from . import bases
from .cases import Case, Row, Step
from .edits import CannotEditError
from .outcome import Outcome, Runner, compare, compare_images
from .run import run_case

RAN, HIT = False, True

QUIRKS: dict[str, dict[int, tuple[str, dict[str, bool]]]] = {
    "files-chmod": {
        3: (
            "the mode of a directory below the copied one counts; the recorded engine does not see the change",
            {"COPY lib /lib2": RAN, "RUN find /lib2 | sort > /list": RAN},
        ),
        4: (
            "the mode of the copied directory itself counts too",
            {"COPY lib /lib2": RAN, "RUN find /lib2 | sort > /list": RAN},
        ),
    },
    "files-stale-same-size-mtime": {
        2: (
            "other bytes are another file, whatever its size and time; the recorded engine copies the old bytes",
            {"COPY lib /lib2": RAN, "RUN find /lib2 | sort > /list": RAN},
        ),
        3: (
            "the build before has copied these bytes already",
            {"COPY lib /lib2": HIT, "RUN find /lib2 | sort > /list": HIT},
        ),
    },
    "own-mount-swapped-sources": {
        2: (
            "the output differs; the recorded engine's key does not say which file of the context goes to which target",
            {"RUN --mount=target=/x,source=b --mount=target=/y,source=a cat /x /y > /o": RAN},
        ),
    },
}
"""Where the recorded engine is wrong and we must not be: case, number of the build, why, and the verdicts that differ."""

NEWER: dict[str, dict[int, tuple[str, tuple[str, ...]]]] = {
    "accepted-chmod-bad": {
        1: (
            "newer frontends apply symbolic modes, which the recorded one ignores",
            ('layer 2: x: mode: expected "0644", actual "0744"',),
        ),
    },
}
"""Where newer frontends make another image than the recorded one, and so do we: case, number of the build, why, and what differs."""


def expected(case: Case, number: int, step: Step, engine: str) -> list[Row]:
    """The rows that a build must have: the recorded ones, but for quirks on our own engine."""
    changes = QUIRKS.get(case.name, {}).get(number, ("", {}))[1] if engine == "embedded" else {}
    return [msgspec.structs.replace(row, cached=changes.get(row.instruction, row.cached)) for row in step.expect]


@pytest.fixture
def report(record_property: Callable[[str, object], None]) -> Callable[[Counter[str], list[str]], None]:
    """Hand the figures of a case to the summary."""

    def hand(counts: Counter[str], images: list[str]) -> None:
        value: dict[str, Any] = {"counts": dict(counts), "images": images}
        record_property("conformance", value)

    return hand


def test_case(case: Case, runner: Runner, tmp_path: Path, report: Callable[[Counter[str], list[str]], None]) -> None:
    """Run the builds of one case in order and compare each with what is recorded."""
    skipped = {"embedded": "classic-store", "docker": "containerd-store"}[runner.name]
    if skipped in case.tags:
        pytest.skip(f"{skipped}: the result of another image store")
    if runner.name == "embedded" and "older-frontend" in case.tags:
        pytest.skip("older-frontend: newer Dockerfile frontends decide otherwise, and so do we")
    for tag, reason in runner.lacks.items():
        if tag in case.tags:
            pytest.skip(f"{tag}: {reason}")
    if "busybox-output" in case.tags and not bases.has_busybox():
        pytest.skip("busybox-output: a RUN records what its tools print, and they are not BusyBox's: apt-get install busybox-static")
    try:
        outcomes = run_case(case, runner, tmp_path / "contexts", images=lambda position: case.steps[position].image is not None)
    except CannotEditError as error:
        pytest.skip(str(error))
    counts: Counter[str] = Counter()
    differences: list[str] = []
    images: list[str] = []
    group, agree = ("quirks", "quirks agree") if "quirk" in case.tags else ("builds", "agree")
    for number, (step, outcome) in enumerate(outcomes, 1):
        counts[group] += 1
        difference = compare(step, outcome, expected(case, number, step, runner.name))
        if difference is None:
            counts[agree] += 1
        else:
            why = QUIRKS.get(case.name, {}).get(number)
            note = f" (quirk: {why[0]})" if why else ""
            differences.append(f"{case.name}, build {number} of {len(outcomes)}{note}: {difference.summary}\n{difference.details}")
        lines = compare_image(case, number, step, outcome, counts, runner.name)
        images += [f"{case.name}, build {number}: {line}" for line in lines]
        if lines and runner.name == "embedded":
            differences.append("\n  ".join([f"{case.name}, build {number} of {len(outcomes)}: the image differs", *lines]))
    report(counts, images)
    if differences:
        pytest.fail("\n\n".join(differences), pytrace=False)


def compare_image(case: Case, number: int, step: Step, outcome: Outcome, counts: Counter[str], engine: str) -> list[str]:
    """Count an image, and say in which lines it differs from what it must be. A known difference must be there."""
    if step.image is None:
        return []
    counts["images"] += 1
    found = ["no image was built"] if outcome.image is None else compare_images(step.image, outcome.image)
    why, known = NEWER.get(case.name, {}).get(number, ("", ())) if engine == "embedded" else ("", ())
    lines = [line for line in found if line not in known] + [f"not so, though {why}: {line}" for line in known if line not in found]
    if not lines:
        counts["images agree"] += 1
        counts["images as newer"] += bool(known)
    return lines
