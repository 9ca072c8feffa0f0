"""What is told of something that takes long."""

from __future__ import annotations

import argparse
import io
import re
import time

import pytest

from layerlab.commands.common import reporter
from layerlab.engines.api import Event
from layerlab.model import Cause, Status, StepRecord
from layerlab.progress import LiveProgress
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


class Terminal(io.StringIO):
    """What is seen on a terminal: it understands "up" and "clear below", and nothing else may come."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = [""]
        self._up = 0

    def write(self, text: str) -> int:
        for part in re.split(r"(\x1b\[\d*[AJ]|\n)", text):
            if part == "\n":
                self.seen.append("")
            elif part.endswith("A") and part.startswith("\x1b"):
                count = int(part[2:-1])
                assert count < len(self.seen)
                self._up = len(self.seen) - 1 - count
            elif part == "\x1b[J":
                self.seen[self._up :] = [""]
            else:
                assert "\x1b" not in part
                self.seen[-1] += part
        return len(text)


def test_on_a_terminal_the_running_step_is_drawn_in_place(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its clock goes on, of its output the last lines are seen, and in the end nothing is left but notes and what a failed step said."""
    monkeypatch.setenv("COLUMNS", "40")
    terminal = Terminal()
    progress = LiveProgress(terminal)

    def step(number: int, status: Status) -> StepRecord:
        return StepRecord(
            number=number, stage="0", instruction=f"RUN number {number} " + "x" * 80, line=1, end_line=1, status=status, makes_layer=True
        )

    progress(Event(kind="note", text="told once"))
    progress(Event(kind="done", step=step(1, "cached")))
    progress(Event(kind="start", step=step(2, "executed")))
    progress(Event(kind="log", step=step(2, "executed"), text="".join(f"line {number}\n" for number in range(9)) + "\x1b[2Jhalf"))
    time.sleep(0.5)
    head, *said, last = terminal.seen[1:]
    assert re.fullmatch(r"RUN number 2 x+ 0\.\d s", head)
    assert (said, last) == ([f"  | line {number}" for number in (5, 6, 7, 8)], "")
    assert max(map(len, terminal.seen)) < 40
    progress(Event(kind="done", step=step(2, "executed")))
    progress(Event(kind="start", step=step(3, "executed")))
    progress(Event(kind="log", step=step(3, "executed"), text="why it fails\n"))
    progress(Event(kind="done", step=step(3, "failed")))
    progress.close()
    assert terminal.seen == ["note: told once", "  | why it fails", ""]
