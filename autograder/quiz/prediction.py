"""A prediction as a learner writes it: one line for each step, its number and a verdict. Forms differ, what is meant counts."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Final

import msgspec

from layerlab.model import Status

CACHED: Final = "cached"
RUNS: Final = "runs"
UNDECIDED: Final = "undecided"
NO_VERDICT: Final = "no verdict"

# The words of the course for the states of a plan.
WORD_OF: Final[dict[Status, str]] = {
    "base": NO_VERDICT,
    "metadata": NO_VERDICT,
    "cached": CACHED,
    "executed": RUNS,
    "undecided": UNDECIDED,
}

_MEANT: Final = {
    **dict.fromkeys((CACHED, "cache", "hit", "cache hit"), CACHED),
    **dict.fromkeys((RUNS, "run", "ran", "executed", "executes", "execute", "miss", "cache miss"), RUNS),
    **dict.fromkeys((UNDECIDED, "unknown", "not decided"), UNDECIDED),
    **dict.fromkeys((NO_VERDICT, "no", "none", "noverdict", "metadata", "base"), NO_VERDICT),
}
# Each run of blanks has one place in it: with two, all ways to share it out would be tried.
_LINE: Final = re.compile(r"(?:step\b)?\s*(?:#\s*)?([0-9]{1,4})\b[\s.:)=,>-]*(.*)", re.I)
_SHOWN: Final = 60
_MOST_PROBLEMS: Final = 20


class Prediction(msgspec.Struct, frozen=True, kw_only=True):
    """What was predicted: verdict by step number. ``problems``: lines that cannot be read, in words."""

    given: dict[int, str]
    problems: tuple[str, ...] = ()


def read_prediction(text: str, steps: Collection[int]) -> Prediction:
    """Read a prediction for the steps with these numbers. Nothing is raised: what cannot be read is no prediction."""
    given: dict[int, str] = {}
    problems = []
    for line in text.splitlines():
        # A comment; but "step #3" is a number.
        content = re.split(r"(?<!step )#", line, maxsplit=1, flags=re.I)[0].strip()
        if not content:
            continue
        match = _LINE.fullmatch(content)
        if match is None:
            problems.append(f"{content[:_SHOWN]!r} does not begin with the number of a step.")
            continue
        number, said = int(match[1]), " ".join(re.split(r"[\s_-]+", match[2].casefold())).strip(" .;,!\"'`")
        if number not in steps:
            problems.append(f"There is no step {number} to predict.")
        elif not said:
            continue
        elif said not in _MEANT:
            problems.append(f"Step {number}: {said[:_SHOWN]!r} is none of the words {CACHED}, {RUNS}, {UNDECIDED}, {NO_VERDICT}.")
        elif given.setdefault(number, _MEANT[said]) != _MEANT[said]:
            problems.append(f"Step {number} is predicted twice, and differently; the first one counts.")
    if len(problems) > _MOST_PROBLEMS:
        problems[_MOST_PROBLEMS:] = [f"So it goes on, for {len(problems) - _MOST_PROBLEMS} more lines."]
    return Prediction(given=given, problems=tuple(problems))
