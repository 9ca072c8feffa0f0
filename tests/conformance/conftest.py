"""The engine under test, one test for every case, and the summary at the end of the run."""

from __future__ import annotations

import contextlib
import os
import zlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.docker.private import FLAG
from tests.drawing import CASES_SEED

from .cases import load_all
from .outcome import Runner

_PROPERTY = "conformance"
_SHOWN = 20


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """One test for every case of the folder."""
    if "case" in metafunc.fixturenames:
        share, seed = metafunc.config.getoption("--share"), os.environ[CASES_SEED]
        cases = load_all(metafunc.config.getoption("--cases"))
        cases = [case for case in cases if zlib.crc32(f"{seed} {case.name}".encode()) % share == 0]
        metafunc.parametrize("case", cases, ids=[case.name for case in cases])


@pytest.fixture(scope="session")
def runner(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runner]:
    """The engine that ``--engine`` names."""
    if request.config.getoption("--engine") == "docker":
        from .docker import DockerRunner

        with contextlib.closing(DockerRunner(told=request.config.getoption(FLAG))) as docker:
            yield docker
        return
    from .embedded import EmbeddedRunner

    with contextlib.closing(EmbeddedRunner(tmp_path_factory.mktemp("engine"), request.config.getoption("like"))) as embedded:
        yield embedded


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Say how many builds agree, which is the figure that this folder is for."""
    counts: Counter[str] = Counter()
    lines: list[str] = []
    for reports in list(terminalreporter.stats.values()):
        for report in reports:
            for key, value in getattr(report, "user_properties", ()):
                if key != _PROPERTY or getattr(report, "when", "") != "call":
                    continue
                counts.update(value["counts"])
                lines += value["images"]
    if not counts:
        return
    share = config.getoption("--share")
    drawn = f" (one case in {share}, {CASES_SEED}={os.environ[CASES_SEED]})" if share > 1 else ""
    terminalreporter.write_line(f"conformance: {counts['agree']} of {counts['builds']} builds agree{drawn}")
    if counts["quirks"]:
        terminalreporter.write_line(f"conformance quirks: {counts['quirks agree']} of {counts['quirks']} builds do what they must")
    if counts["images"]:
        terminalreporter.write_line(f"conformance images: {counts['images agree']} of {counts['images']} agree")
    target: Path | None = config.getoption("--differences")
    if target is not None:
        target.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    elif config.getoption("verbose") > 0:
        for line in lines:
            terminalreporter.write_line(f"  {line}")
    elif lines:
        for line in lines[:_SHOWN]:
            terminalreporter.write_line(f"  {line}")
        if len(lines) > _SHOWN:
            terminalreporter.write_line(f"  … {len(lines) - _SHOWN} more: pass -v or --differences FILE")
