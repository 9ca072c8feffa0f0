"""A grammar of conformance cases: a build context, a Dockerfile, and builds with edits between them.

What is drawn has the form of a recorded case (``tests/conformance/README.md``), so that what is found becomes one. A case is drawn from
a seed and a number alone: the same on every machine. Every case has a few *themes* of odd things, which its description names: then one odd
thing meets another, most builds succeed all the same, and a theme can be left out while what it found is mended.
"""

from __future__ import annotations

import random
from collections.abc import Collection
from typing import Any

from .case import Drawing
from .dice import THEMES, Dice

__all__ = ["THEMES", "draw_case"]


def draw_case(
    seed: str, number: int, *, commands: bool = True, older: bool = False, without: Collection[str] = (), own: bool = False
) -> dict[str, Any]:
    """The case of that number. ``commands``: whether it may have RUN; ``older``: nothing that 26.1.5 reads in another way.

    ``without``: themes that are left out; ``own``: with flags that are newer than the recorded engines. With any of these it is
    another case.
    """
    dice = Dice(random.Random(f"{seed}/{number}"), commands=commands, older=older, without=without, own=own)
    return Drawing(dice).case(f"drawn-{seed}-{number}")
