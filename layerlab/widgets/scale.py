"""The scale of the stack: how high a layer is drawn. Logarithmic, since a base image is a million times as large as an empty folder."""

from __future__ import annotations

import math
from typing import Final

# Pixels: what fits two lines of text, and what a thousand times as many bytes add.
LOWEST: Final = 40
THOUSANDFOLD: Final = 20
_SMALL: Final = 1000


def height(size: int) -> int:
    """The height of a layer of so many bytes, in pixels. All up to 1 kB are the lowest."""
    return LOWEST + round(THOUSANDFOLD * math.log(max(size, _SMALL) / _SMALL, 1000))


# What the legend of a stack shows.
MARKS: Final[dict[str, int]] = {"1 kB or less": height(1000), "1 MB": height(10**6), "1 GB": height(10**9)}
