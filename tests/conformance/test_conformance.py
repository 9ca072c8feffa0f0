"""Every case on the engine under test: each build must have the verdicts that were recorded, and make the same image."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from . import bases
from .cases import OLDER, Case, Row, Step
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
    "own-stage-parent-image": {
        4: (
            "the layers below and the file are those of the second build; the containerd store, which knows a base by its manifest, misses",
            {"COPY --from=base:1 /etc/passwd /p": HIT},
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


class Meant(msgspec.Struct, frozen=True):
    """Where we mean to do otherwise: why, the piece of our error, and what differs in the image, line by line."""

    why: str
    error: str | None = None
    image: tuple[str, ...] = ()


_LINKS = (
    "a new name of a file that a layer below has is another file in an image that was pushed and pulled, and so it is for the next step"
)
_WHITEOUTS = "a file is a file, whatever its name; in the image that the recorded engine pushes it deletes another one"
_EMPTY = '"type": "file", "mode": "0640", "uid": 0, "gid": 0, "size": 0'
_NAMES = (
    f'layer 1: etc/.wh.passwd: not expected: {{"path": "etc/.wh.passwd", {_EMPTY}}}',
    f'layer 1: etc/d/.wh.x: not expected: {{"path": "etc/d/.wh.x", {_EMPTY}}}',
    'layer 1: etc/passwd: missing: {"path": "etc/passwd", "type": "whiteout"}',
)
MEANT: dict[str, dict[int, Meant]] = {
    "found-add-archive-whiteouts": {
        1: Meant(_WHITEOUTS, image=_NAMES),
        2: Meant(
            _WHITEOUTS,
            image=(
                'layer 1: etc/d/.wh..wh..opq: mode: expected null, actual "0640"',
                'layer 1: etc/d/.wh..wh..opq: path: expected "etc/d", actual "etc/d/.wh..wh..opq"',
                'layer 1: etc/d/.wh..wh..opq: type: expected "opaque", actual "file"',
            ),
        ),
        3: Meant(
            _WHITEOUTS,
            image=(
                *_NAMES,
                f'layer 2: etc/.wh.group: not expected: {{"path": "etc/.wh.group", {_EMPTY.replace("0640", "0644")}}}',
                'layer 2: etc/group: missing: {"path": "etc/group", "type": "whiteout"}',
            ),
        ),
    },
    "own-error-bad-substitution": {1: Meant("the recorded engine reads a modifier after the end of the word", error="missing '}'")},
    "own-hard-links": {
        1: Meant(
            _LINKS,
            image=(
                "layer 1: p/b/2: size: expected 2, actual null",
                'layer 1: p/b/2: target: expected null, actual "p/a/1"',
                'layer 1: p/b/2: type: expected "file", actual "hardlink"',
                "layer 1: p/n: size: expected null, actual 2",
                'layer 1: p/n: target: expected "p/a/1", actual null',
                'layer 1: p/n: type: expected "hardlink", actual "file"',
            ),
        ),
        4: Meant(
            _LINKS,
            image=(
                "history row 2: size: expected 148, actual 150",
                "layer 1: p/n: size: expected null, actual 2",
                'layer 1: p/n: target: expected "p/a/1", actual null',
                'layer 1: p/n: type: expected "hardlink", actual "file"',
            ),
        ),
    },
}
"""Case, number of the build, and what the embedded engine does there. A difference that is listed must be there."""


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
    if runner.engine not in case.recorded:
        pytest.skip(f"recorded on Docker {', '.join(case.recorded)}, and this is {runner.engine}")
    older = OLDER.get(runner.like)
    case = case.on(runner.engine) if older is None else case.with_verdicts_of(older)
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
        if not step.asked:
            continue
        counts[group] += 1
        meant = MEANT.get(case.name, {}).get(number) if runner.name == "embedded" else None
        if meant is not None and meant.error is not None:
            step = msgspec.structs.replace(step, expect_error=meant.error)
        difference = compare(step, outcome, expected(case, number, step, runner.name))
        if difference is None:
            counts[agree] += 1
        else:
            why = QUIRKS.get(case.name, {}).get(number)
            note = f" (quirk: {why[0]})" if why else ""
            differences.append(f"{case.name}, build {number} of {len(outcomes)}{note}: {difference.summary}\n{difference.details}")
        lines = compare_image(step, outcome, counts, meant)
        images += [f"{case.name}, build {number}: {line}" for line in lines]
        if lines:
            differences.append("\n  ".join([f"{case.name}, build {number} of {len(outcomes)}: the image differs", *lines]))
    report(counts, images)
    if differences:
        pytest.fail("\n\n".join(differences), pytrace=False)


def compare_image(step: Step, outcome: Outcome, counts: Counter[str], meant: Meant | None) -> list[str]:
    """Count an image, and say in which lines it differs from what it must be."""
    if step.image is None:
        return []
    counts["images"] += 1
    found = ["no image was built"] if outcome.image is None else compare_images(step.image, outcome.image)
    known = meant.image if meant is not None else ()
    lines = [line for line in found if line not in known] + [
        f"is not there, though it is meant: {line}" for line in known if line not in found
    ]
    counts["images agree"] += not lines
    return lines
