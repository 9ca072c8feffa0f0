"""How something goes that takes long, told while it goes on: sentences for people, and how far bytes have come as numbers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Self

Report = Callable[[str], None]


class Transferred(str):
    """How much of ``what`` has come or gone: a sentence, with ``done`` and ``total`` in bytes (``None``: nobody knows).

    Whoever shows it need not show each: one a second is enough.
    """

    __slots__ = ("done", "total")
    done: int
    total: int | None

    def __new__(cls, what: str, done: int, total: int | None = None) -> Self:
        whole = f" of {total / 1e6:.1f}" if total is not None else ""
        made = super().__new__(cls, f"{what}: {done / 1e6:.1f}{whole} MB")
        made.done, made.total = done, total
        return made


def silent(_text: str) -> None:
    """For nobody who watches."""
