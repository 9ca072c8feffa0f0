"""Of tests that are many of one kind, and each dear, ``--many N`` runs one in N.

``.ci/run`` does so, with a seed that is its commit: each commit runs others, and the same commit the same. The seed is printed at the end.
"""

from __future__ import annotations

import os
import random
from collections import defaultdict
from collections.abc import Sequence
from typing import TypeVar

import pytest

CASES_SEED = "LAYERLAB_CASES_SEED"
MARK = "many"
OPTION = "--many"

_T = TypeVar("_T")


def one_in(config: pytest.Config, kind: str, things: Sequence[_T]) -> list[_T]:
    """One in N of these, in their order; at least one. ``kind`` names them, so that each kind is drawn for itself."""
    number = -(-len(things) // max(1, config.getoption(OPTION)))
    chosen = random.Random(f"{os.environ[CASES_SEED]} {kind}").sample(range(len(things)), number)
    return [things[index] for index in sorted(chosen)]


def leave_out(config: pytest.Config, items: list[pytest.Item]) -> list[pytest.Item]:
    """Take those that were not drawn out of ``items``. Returns them."""
    kinds: dict[str, list[pytest.Item]] = defaultdict(list)
    for item in items:
        if item.get_closest_marker(MARK):
            kinds[item.nodeid.partition("[")[0]].append(item)
    drawn = {item for kind, those in kinds.items() for item in one_in(config, kind, those)}
    left = [item for those in kinds.values() for item in those if item not in drawn]
    out = set(left)
    items[:] = [item for item in items if item not in out]
    return left
