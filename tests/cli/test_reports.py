"""What is told of something that takes long."""

from __future__ import annotations

import argparse

import pytest

from layerlab.commands.common import reporter
from layerlab.model import Cause, StepRecord
from layerlab.render import steps_table
from layerlab.reports import Transferred


def test_a_sentence_for_people_has_its_numbers_for_programs() -> None:
    moved = Transferred("layer abc", 1_500_000, 3_000_000)
    assert (moved, moved.done, moved.total) == ("layer abc: 1.5 of 3.0 MB", 1_500_000, 3_000_000)
    endless = Transferred("fetching http://host/f", 2_000_000)
    assert (endless, endless.total) == ("fetching http://host/f: 2.0 MB", None)


def test_how_far_a_transfer_is_gets_said_once_a_second_and_all_else_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    report = reporter(argparse.Namespace(quiet=False))
    for done in range(1000):
        report(Transferred("layer abc", done * 1_000_000, 1_000_000_000))
    report("layer abc: 3 of 5 MB")
    report("layer abc: pushed")
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "layer abc: 0.0 of 1000.0 MB"
    assert lines[-2:] == ["layer abc: 3 of 5 MB", "layer abc: pushed"]
    assert len(lines) < 10


def test_quiet_is_quiet(capsys: pytest.CaptureFixture[str]) -> None:
    report = reporter(argparse.Namespace(quiet=True))
    report("pulling")
    report(Transferred("layer abc", 1))
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("planned", [False, True])
@pytest.mark.parametrize("columns", [60, 80, 100, 120])
def test_a_table_of_steps_is_as_wide_as_the_terminal(columns: int, planned: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    cause = Cause(kind="file", origin=3, paths=("a/long/path.ts",) * 5, text="It reads a/long/path.ts, and more. " * 9)
    steps = tuple(
        StepRecord(
            number=number,
            stage="a-stage-with-a-name",
            instruction="RUN echo " + "words " * 40,
            line=number,
            end_line=number,
            status="executed" if number % 2 else "undecided",
            makes_layer=True,
            index=f"{number}/12",
            size=123_400_000,
            seconds=1234.5,
            cause=cause if number % 2 else None,
        )
        for number in range(1, 12)
    )
    lines = steps_table(steps, planned=planned).splitlines()
    assert max(map(len, lines)) <= columns
    # And no narrower than it has to be.
    assert any("…" in line for line in lines)
    assert max(len(line) for line in lines if "…" in line) > columns - 20
