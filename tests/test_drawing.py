"""``--many``: what is drawn is repeatable, never nothing, and in the end everything."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from tests.drawing import CASES_SEED, one_in


def _draw(patch: pytest.MonkeyPatch, seed: str, number: int, things: list[int]) -> list[int]:
    config: Any = SimpleNamespace(getoption=lambda _name: number)
    patch.setenv(CASES_SEED, seed)
    return one_in(cast(pytest.Config, config), "a kind", things)


@pytest.mark.parametrize(("count", "number", "drawn"), [(40, 4, 10), (41, 4, 11), (3, 4, 1), (1, 4, 1), (7, 1, 7)])
def test_one_in_so_many_is_drawn_and_never_none(monkeypatch: pytest.MonkeyPatch, count: int, number: int, drawn: int) -> None:
    things = list(range(count))
    assert len(_draw(monkeypatch, "abc", number, things)) == drawn
    assert _draw(monkeypatch, "abc", number, things) == _draw(monkeypatch, "abc", number, things)


def test_other_seeds_draw_others_until_all_were_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    things = list(range(40))
    assert {thing for seed in range(100) for thing in _draw(monkeypatch, str(seed), 4, things)} == set(things)
