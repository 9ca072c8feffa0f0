"""Names for containers that were given none: an adjective and a noun, as docker makes them, from our own words."""

from __future__ import annotations

import secrets
from collections.abc import Container
from typing import Final

_ADJECTIVES: Final = (
    *("able", "amber", "brave", "bright", "brisk", "calm", "candid", "cheerful", "clever", "cosy", "daring", "eager", "early", "fair"),
    *("fancy", "fond", "gentle", "glad", "golden", "happy", "humble", "jolly", "keen", "kind", "lively", "lucky", "mellow", "merry"),
    *("mild", "neat", "nimble", "patient", "plucky", "polite", "proud", "quick", "quiet", "ready", "rosy", "silver", "smart", "snug"),
    *("steady", "sunny", "swift", "tidy", "warm", "witty"),
)
_NOUNS: Final = (
    *("acorn", "anchor", "badger", "beacon", "birch", "bridge", "brook", "cedar", "cloud", "comet", "coral", "crane", "daisy", "dune"),
    *("falcon", "fern", "finch", "fjord", "forest", "garden", "harbor", "hazel", "heron", "island", "kettle", "lantern", "lark", "maple"),
    *("meadow", "otter", "owl", "pebble", "pine", "plover", "pond", "puffin", "reed", "river", "robin", "sparrow", "spruce", "stone"),
    *("thistle", "valley", "walnut", "willow", "wren", "yarrow"),
)
_TRIES: Final = 50


def new_name(taken: Container[str]) -> str:
    """A name that is not in ``taken``, such as ``brave_otter``; with a number behind it when luck runs out."""
    for attempt in range(_TRIES):
        name = f"{secrets.choice(_ADJECTIVES)}_{secrets.choice(_NOUNS)}"
        if attempt > _TRIES // 2:
            name += str(secrets.randbelow(1000))
        if name not in taken:
            return name
    return f"{name}_{secrets.token_hex(4)}"
