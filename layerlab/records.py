"""What records are made of: ``msgspec.Struct`` where msgspec is, and the same in plain Python where only the standard library is.

The solver and what is below it run in a browser, too. Where layerlab is installed msgspec makes the classes, fifteen times as fast as
``dataclasses`` would (of a start that is 20 ms), and reads and writes them; without it ``plain_records`` does what the solver needs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from msgspec import UNSET, UnsetType
    from msgspec import Struct as Record
    from msgspec.json import encode as encode_json
    from msgspec.structs import replace
else:
    try:
        from msgspec import UNSET, UnsetType
        from msgspec import Struct as Record
        from msgspec.json import encode as encode_json
        from msgspec.structs import replace
    except ImportError:
        from layerlab.plain_records import UNSET, Record, UnsetType, encode_json, replace

__all__ = ["UNSET", "Record", "UnsetType", "encode_json", "replace"]
