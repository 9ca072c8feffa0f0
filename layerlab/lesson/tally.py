"""How the predictions of the course went so far: a small file beside the working copy, which survives kernels and machines' breaks."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Final

import msgspec

from layerlab.lesson.workcopy import work_directory

_NAME: Final = "predictions.json"


class _Tally(msgspec.Struct):
    """Of each question how many answers were right, and how many were given."""

    answers: dict[str, tuple[int, int]] = {}


def count(name: str, right: int, given: int) -> str:
    """Note how a question went, instead of how it went before, and say how all went so far; in one sentence, empty for nothing."""
    path = work_directory() / _NAME
    tally = _read(path)
    if given:
        tally.answers[name] = (right, given)
        # Somebody else's folder or a full disk costs the tally, and no more.
        with contextlib.suppress(OSError):
            path.parent.mkdir(parents=True, exist_ok=True)
            new = path.with_name(f".{_NAME}.{os.getpid()}")
            new.write_bytes(msgspec.json.encode(tally))
            new.replace(path)
    rights, all_given = (sum(numbers) for numbers in zip(*tally.answers.values(), strict=True)) if tally.answers else (0, 0)
    return f"So far in the course: {rights} of {all_given}." if all_given else ""


def _read(path: Path) -> _Tally:
    try:
        return msgspec.json.decode(path.read_bytes(), type=_Tally)
    except (OSError, msgspec.DecodeError):
        return _Tally()
