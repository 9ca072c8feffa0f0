"""Errors as the front end shows them: the line that they stand at, the message, what to do."""

from __future__ import annotations

import re
from typing import Final

from layerlab.errors import LayerlabError
from layerlab.model import Failure
from layerlab.widgets.shapes import Problem
from layerlab.widgets.words import one_line

# The line is shown in front of the message already.
_REPEATED: Final = re.compile(r"^dockerfile parse error on line \d+: ")


def problem_of(error: LayerlabError | Failure, log: str = "") -> Problem:
    """What went wrong. ``log`` is the end of what the failed step wrote."""
    return Problem(
        kind=error.kind,
        file=error.file or "",
        line=error.line or 0,
        column=error.column or 0,
        message=_REPEATED.sub("", one_line(error.message)),
        remedy=one_line(error.remedy or ""),
        log="\n".join(log.rstrip().splitlines()[-12:]),
    )
