"""A step that ended for want of memory: the message says so, with the limit, and what to do."""

from __future__ import annotations

from pathlib import Path

import pytest

from layerlab.engines.embedded import oom

_LOW = 1_000_000_000


@pytest.fixture
def group(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A control group of ours instead of this machine's."""
    monkeypatch.setattr(oom, "_directories", lambda: [str(tmp_path / "inner"), str(tmp_path)])
    (tmp_path / "inner").mkdir()
    return tmp_path


@pytest.mark.parametrize(("name", "unlimited"), [("memory.max", "max"), ("memory.limit_in_bytes", "9223372036854771712")])
def test_the_smallest_limit_on_the_way_up_counts(group: Path, name: str, unlimited: str) -> None:
    (group / name).write_text(f"{_LOW}\n", encoding="ascii")
    (group / "inner" / name).write_text(f"{unlimited}\n", encoding="ascii")
    assert oom.limit() == _LOW
    (group / name).write_text(f"{unlimited}\n", encoding="ascii")
    assert oom.limit() is None


@pytest.mark.parametrize(
    ("name", "text"), [("memory.events", "low 0\noom 3\noom_kill 2\n"), ("memory.oom_control", "under_oom 0\noom_kill 2\n")]
)
def test_a_kill_by_the_kernel_is_told_with_the_limit(group: Path, name: str, text: str) -> None:
    (group / "memory.max").write_text(f"{_LOW}\n", encoding="ascii")
    (group / "inner" / name).write_text(text, encoding="ascii")
    assert oom.kills() == 2
    said = oom.remedy(1, "npm error", kills_before=1)
    assert said is not None
    assert said.startswith("The kernel killed it because memory ran out: everything that runs here may use 1000 MB together.")
    assert "Shut down other notebooks" in said
    assert oom.remedy(1, "npm error", kills_before=2) is None


def test_what_the_signal_and_nodes_own_words_tell(group: Path) -> None:
    assert "most often because memory ran out" in (oom.remedy(137, "", 0) or "")
    heap = oom.remedy(134, "FATAL ERROR: Reached heap limit Allocation failed - JavaScript heap out of memory", 0)
    assert (heap or "").startswith("Node's memory ran out")
    assert oom.remedy(2, "error TS2304", 0) is None


def test_this_machine_can_be_asked() -> None:
    assert oom.kills() >= 0
    assert oom.limit() is None or (oom.limit() or 0) > 1 << 20
