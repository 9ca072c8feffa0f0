"""SHA-256, loaded at its first use: OpenSSL takes a quarter of the time that all of the solver takes to load."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hashlib import _Hash


def sha256(data: bytes = b"") -> _Hash:
    """See ``hashlib.sha256``."""
    import hashlib

    return hashlib.sha256(data)
