"""Reading what is compressed, never more at once than was asked for, and how far a file of strangers may expand."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
from typing import IO, Final, cast

ZSTD: Final = b"\x28\xb5\x2f\xfd"
_MAGIC: Final = 6
_INPUT: Final = 1 << 16
# A decoder of xz keeps as much of what it has written as the file tells it to; ``xz -9`` wants 65 MiB.
_XZ_MEMORY: Final = 160 << 20
# Layers of programs and sources shrink to a half or a tenth, and text that repeats itself to a hundredth. What is small may be anything:
# a demonstration of layers makes files of zeros.
_RATIO: Final = 200
_ALWAYS: Final = 1 << 30


def expansion_limit(stored: int) -> int:
    """Bytes that an archive or layer of ``stored`` bytes may unpack to, holes of sparse files included."""
    return max(_ALWAYS, _RATIO * stored)


def is_compressed(start: bytes) -> bool:
    """Whether a file that begins so is compressed in a way that Docker looks into."""
    return start.startswith((b"\x1f\x8b\x08", b"BZh", b"\xfd7zXZ\0"))


def decompressed(stream: IO[bytes]) -> IO[bytes]:
    """What is in ``stream``, a seekable file at its start, without its compression by gzip, bzip2 or xz; itself where it has none.

    Reading raises ``EOFError``, ``OSError``, ``zlib.error`` or ``lzma.LZMAError`` for what is damaged.
    """
    start = stream.read(_MAGIC)
    stream.seek(0)
    if start[:2] == b"\x1f\x8b":
        return cast(IO[bytes], gzip.GzipFile(fileobj=stream, mode="rb"))
    if start[:3] == b"BZh":
        return bz2.BZ2File(stream, "rb")
    if start == b"\xfd7zXZ\0" or start[:3] == b"\x5d\0\0":
        return io.BufferedReader(_Xz(stream), _INPUT)
    return stream


class _Xz(io.RawIOBase):
    """``lzma.LZMAFile`` knows no limit of memory."""

    def __init__(self, stream: IO[bytes]) -> None:
        super().__init__()
        self._stream = stream
        self._decoder = self._fresh()

    @staticmethod
    def _fresh() -> lzma.LZMADecompressor:
        return lzma.LZMADecompressor(lzma.FORMAT_AUTO, memlimit=_XZ_MEMORY)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        while True:
            data = b""
            if self._decoder.eof:
                # Another stream may follow; between two there may be zeros, four by four.
                data = (self._decoder.unused_data or self._stream.read(_INPUT)).lstrip(b"\0")
                while not data:
                    data = self._stream.read(_INPUT)
                    if not data:
                        return 0
                    data = data.lstrip(b"\0")
                self._decoder = self._fresh()
            elif self._decoder.needs_input:
                data = self._stream.read(_INPUT)
                if not data:
                    raise EOFError("the compressed file ends too early")
            found = self._decoder.decompress(data, len(buffer))
            if found:
                buffer[: len(found)] = found
                return len(found)
