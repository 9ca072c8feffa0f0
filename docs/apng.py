"""An animated PNG from pictures of one size: the chunks of the pictures, in the order of the APNG specification.

Thirty lines, and so no library: an APNG is a PNG whose further frames are the data of other PNGs under another name.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Sequence

_SIGNATURE = b"\x89PNG\r\n\x1a\n"


def animated(frames: Sequence[bytes], milliseconds: Sequence[int]) -> bytes:
    """The file. ``frames`` are PNG files of one size and kind; each is shown for so many milliseconds, and the whole again and again."""
    head = next(body for kind, body in _chunks(frames[0]) if kind == b"IHDR")
    size = head[:8]
    parts = [_SIGNATURE, _chunk(b"IHDR", head), _chunk(b"acTL", struct.pack(">II", len(frames), 0))]
    number = 0
    for place, (frame, shown) in enumerate(zip(frames, milliseconds, strict=True)):
        if next(body for kind, body in _chunks(frame) if kind == b"IHDR") != head:
            raise ValueError(f"frame {place} has another size than the first")
        parts.append(_chunk(b"fcTL", struct.pack(">I", number) + size + struct.pack(">IIHHBB", 0, 0, shown, 1000, 0, 0)))
        number += 1
        for body in (body for kind, body in _chunks(frame) if kind == b"IDAT"):
            if place == 0:
                parts.append(_chunk(b"IDAT", body))
            else:
                parts.append(_chunk(b"fdAT", struct.pack(">I", number) + body))
                number += 1
    return b"".join([*parts, _chunk(b"IEND", b"")])


def _chunks(png: bytes) -> Iterator[tuple[bytes, bytes]]:
    if not png.startswith(_SIGNATURE):
        raise ValueError("no PNG")
    place = len(_SIGNATURE)
    while place < len(png):
        (length,) = struct.unpack_from(">I", png, place)
        yield png[place + 4 : place + 8], png[place + 8 : place + 8 + length]
        place += 12 + length


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
