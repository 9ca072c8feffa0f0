"""``--as 26``: where the verdicts of 26.1.5 and of the reference part, the embedded engine can give the older ones.

The cases in which they part are run here; with ``--as 26`` all cases are.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from . import bases
from .cases import CASES, OLDER, Case, load_all
from .embedded import EmbeddedRunner
from .outcome import compare
from .run import run_case


def _parting() -> list[Case]:
    """The cases with another verdict of 26.1.5, but those that the reference finds in its cache alone (``QUIRKS``)."""
    found = []
    for case in load_all(CASES):
        older = case.with_verdicts_of(OLDER["26"])
        same = all(
            [row.cached for row in one.expect] == [row.cached for row in two.expect]
            for one, two in zip(case.steps, older.steps, strict=True)
        )
        if not same and "quirk" not in case.tags:
            found.append(older)
    return found


@pytest.fixture(scope="module")
def runner(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedRunner]:
    """An engine that was asked for the older verdicts."""
    if request.config.getoption("--engine") == "docker":
        pytest.skip("of the embedded engine")
    with contextlib.closing(EmbeddedRunner(tmp_path_factory.mktemp("older"), like="26")) as embedded:
        yield embedded


@pytest.mark.parametrize("older", _parting(), ids=lambda case: case.name)
def test_the_verdicts_of_the_older_engine(older: Case, runner: EmbeddedRunner, tmp_path: Path) -> None:
    if "busybox-output" in older.tags and not bases.has_busybox():
        pytest.skip("busybox-output: apt-get install busybox-static")
    for number, (step, outcome) in enumerate(run_case(older, runner, tmp_path / "contexts", images=lambda _: False), 1):
        difference = compare(step, outcome) if step.asked else None
        assert difference is None, f"{older.name}, build {number}: {difference.summary}\n{difference.details}"
