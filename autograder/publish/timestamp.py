"""When a submission was handed in: ``timestamp.txt``, which nbgrader's exchange writes, and which may be anything."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Final

from nbgrader.utils import parse_utc

from autograder.submission.notebook_reader import opened

TIMESTAMP: Final = "timestamp.txt"
_BYTES: Final = 200


def read_timestamp(course: Path, name: str, student: str) -> str | None:
    """The text of a submission's time, as nbgrader can read it; empty where there is none, ``None`` where it is no time."""
    try:
        with opened(course / "submitted", [student, name], TIMESTAMP) as descriptor:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                return None
            data = os.read(descriptor, _BYTES + 1)
        text = data.decode("ascii").strip()
        if len(data) > _BYTES:
            return None
        if text:
            parse_utc(text)
    except FileNotFoundError:
        return ""
    except (OSError, ValueError, OverflowError):
        return None
    return text
