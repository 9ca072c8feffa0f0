"""Reading tar archives of strangers, front to back, under limits.

``tarfile`` is not used for them: it reads headers of any length into memory, keeps every member, expands sparse members unasked, and before
Python 3.11.10 takes quadratic time for a PAX header. Here what an archive may cost is known before a byte of it is written: each header,
the number of members and the sum of all that is read or would be written stand under a limit, holes of sparse members included.

Formats: v7, ustar, PAX (POSIX.1-2017, ``pax``), GNU long names, and the sparse members of GNU tar in all four forms (``tar(5)`` of
libarchive, and the manual of GNU tar, "Sparse Formats"). Global PAX headers are passed over, as in Docker.
"""

from __future__ import annotations

import lzma
import os
import re
import zlib
from collections.abc import Iterator
from typing import IO, Final

import msgspec

# The words of Go's ``archive/tar``, and ours.
_INVALID: Final = "archive/tar: invalid tar header: not a valid tar archive"
MEMBER_LIMIT: Final = 2_000_000
# All headers of one member together: names, PAX records, the map of its holes.
HEADER_LIMIT: Final = 1 << 20
BLOCK: Final = 512
_READ: Final = 1 << 20
_KINDS: Final = {
    **dict.fromkeys((b"0", b"\0", b"7", b"S"), "file"),
    b"1": "hardlink",
    b"2": "symlink",
    b"3": "char",
    b"4": "block",
    b"5": "dir",
    b"6": "fifo",
}
_NUMBER: Final = re.compile(rb"-?[0-9]{1,20}\Z")
_TIME: Final = re.compile(rb"-?[0-9]{1,20}(?:\.[0-9]{0,40})?\Z")
_OCTAL: Final = re.compile(rb"[0-7]*\Z")


class ArchiveError(Exception):
    """An archive that cannot or must not be unpacked; the message says why."""


class Member(msgspec.Struct, kw_only=True):
    """One member. ``kind``: ``file dir symlink hardlink fifo char block other``; ``size``: of a file when it is unpacked, in bytes.

    ``pieces``: (offset in the file, length) of what the archive has of it; the rest are holes. ``flag``: the type as the header has it.
    """

    name: str
    kind: str
    flag: int
    mode: int
    uid: int
    gid: int
    size: int
    mtime: float
    target: str
    major: int
    minor: int
    xattrs: dict[str, bytes]
    pieces: list[tuple[int, int]]


class TarReader:
    """The members of an uncompressed archive in ``stream``; iterate once. A member's content is read before the next one is asked for.

    ``limit``: bytes that the archive may have, and unpack to. Raises ``ArchiveError``, and ``OSError`` from reading ``stream``.
    """

    def __init__(self, stream: IO[bytes], *, limit: int) -> None:
        self._stream = stream
        self._limit = limit
        self._spent = 0
        self._left = 0
        self.has_global = False
        """Whether a global header was passed over."""

    def __iter__(self) -> Iterator[Member]:
        for number in range(MEMBER_LIMIT + 1):
            self._skip(self._left)
            self._left = 0
            member = self._next(first=number == 0)
            if member is None:
                return
            yield member
        raise ArchiveError(f"the archive has more than {MEMBER_LIMIT} members")

    def content(self, member: Member) -> Iterator[tuple[int, bytes]]:
        """The bytes of a file with their offsets, holes left out."""
        for offset, length in member.pieces:
            while length:
                block = self._take(min(length, _READ))
                self._left -= len(block)
                yield offset, block
                offset += len(block)
                length -= len(block)

    def write(self, member: Member, sink: IO[bytes]) -> None:
        """Write a file's content to an empty file; holes stay holes. Raises ``ArchiveError``, ``OSError``."""
        for offset, block in self.content(member):
            sink.seek(offset)
            sink.write(block)
        sink.truncate(member.size)

    # --- the stream -------------------------------------------------------------------------------------------------

    def _spend(self, count: int) -> None:
        self._spent += count
        if self._spent > self._limit:
            raise ArchiveError(
                f"the archive unpacks to more than {self._limit / 1e6:.0f} MB, which is the limit for one of its size: is it meant to?"
            )

    def _take(self, count: int) -> bytes:
        found = bytearray()
        while len(found) < count:
            block = _read(self._stream, min(count - len(found), _READ))
            if not block:
                raise ArchiveError("unexpected EOF: the archive ends too early")
            found += block
        return bytes(found)

    def _skip(self, count: int) -> None:
        while count:
            count -= len(self._take(min(count, _READ)))

    # --- headers ----------------------------------------------------------------------------------------------------

    def _next(self, *, first: bool) -> Member | None:
        records: list[tuple[bytes, bytes]] = []
        long: dict[bytes, bytes] = {}
        spent = 0
        while True:
            spent += BLOCK
            if spent > HEADER_LIMIT:
                raise ArchiveError(f"the headers of one member of the archive are longer than {HEADER_LIMIT} bytes")
            header = self._header(first=first)
            if header is None and (records or long):
                raise ArchiveError("unexpected EOF: the archive ends too early")
            if header is None:
                return None
            first = False
            flag = header[156:157]
            if flag not in b"xgLK":
                return self._member(header, flag, dict(records), records, long)
            size = _number(header[124:136])
            spent += size
            if not 0 <= spent <= HEADER_LIMIT:
                raise ArchiveError(f"a header of the archive is longer than {HEADER_LIMIT} bytes")
            self._spend(size)
            body = self._take(size + -size % BLOCK)[:size]
            if flag == b"x":
                records = _pax_records(body)
            elif flag == b"g":
                self.has_global = True
            else:
                long[flag] = body.split(b"\0", 1)[0]

    def _header(self, *, first: bool) -> bytes | None:
        self._spend(BLOCK)
        found = bytearray()
        while len(found) < BLOCK and (block := _read(self._stream, BLOCK - len(found))):
            found += block
        header = bytes(found)
        if not header and not first:
            return None
        if len(header) < BLOCK:
            raise ArchiveError(f"{_INVALID}: it ends in a header" if header else f"{_INVALID}: it is empty")
        if not any(header):
            return None
        if not _is_checked(header):
            raise ArchiveError(f"{_INVALID}: the checksum of a header is wrong")
        return header

    def _member(
        self, header: bytes, flag: bytes, pax: dict[bytes, bytes], records: list[tuple[bytes, bytes]], long: dict[bytes, bytes]
    ) -> Member:
        name = _text(header[0:100])
        if header[257:263] == b"ustar\0" and (prefix := _text(header[345:500])):
            name = prefix + b"/" + name
        name = pax.get(b"GNU.sparse.name", pax.get(b"path", long.get(b"L", name)))
        target = pax.get(b"linkpath", long.get(b"K", _text(header[157:257])))
        if b"\0" in name or b"\0" in target:
            raise ArchiveError(f"{_INVALID}: a name has a zero byte")
        kind = _KINDS.get(flag, "other")
        if flag == b"\0" and name.endswith(b"/"):
            kind = "dir"
        stored = _pax_number(pax, b"size", _number(header[124:136])) if kind in ("file", "other") else 0
        if stored < 0:
            raise ArchiveError(f"{_INVALID}: a size is negative")
        self._left = stored + -stored % BLOCK
        self._spend(self._left)
        size, pieces = stored, [(0, stored)]
        if flag == b"S" or any(key.startswith(b"GNU.sparse.") for key in pax):
            size, pieces = self._sparse(header, flag, pax, records, stored)
        return Member(
            name=os.fsdecode(name.rstrip(b"/") if kind == "dir" else name),
            kind=kind,
            flag=flag[0],
            mode=_number(header[100:108]) & 0o7777,
            uid=_pax_number(pax, b"uid", _number(header[108:116])),
            gid=_pax_number(pax, b"gid", _number(header[116:124])),
            size=size,
            mtime=_mtime(pax, header),
            target=os.fsdecode(target),
            major=_number(header[329:337]) if kind in ("char", "block") else 0,
            minor=_number(header[337:345]) if kind in ("char", "block") else 0,
            xattrs={os.fsdecode(key[13:]): value for key, value in pax.items() if key.startswith(b"SCHILY.xattr.")},
            pieces=pieces,
        )

    # --- holes ------------------------------------------------------------------------------------------------------

    def _sparse(
        self, header: bytes, flag: bytes, pax: dict[bytes, bytes], records: list[tuple[bytes, bytes]], stored: int
    ) -> tuple[int, list[tuple[int, int]]]:
        """(size, pieces) of a file with holes."""
        if flag == b"S":
            size, numbers = _number(header[483:495]), self._old_map(header)
        elif b"GNU.sparse.major" in pax:
            if (pax[b"GNU.sparse.major"], pax.get(b"GNU.sparse.minor")) != (b"1", b"0"):
                raise ArchiveError("the archive has a file with holes in a form that is not known")
            size, numbers = _pax_number(pax, b"GNU.sparse.realsize", -1), self._map_in_data()
            stored = self._left - (-stored % BLOCK)
        else:
            size = _pax_number(pax, b"GNU.sparse.size", -1)
            text = pax.get(b"GNU.sparse.map")
            fields = (
                text.split(b",") if text else [value for key, value in records if key in (b"GNU.sparse.offset", b"GNU.sparse.numbytes")]
            )
            numbers = [_decimal(field) for field in fields]
        pieces = list(zip(numbers[::2], numbers[1::2], strict=False))
        end = 0
        for offset, length in pieces:
            if offset < end or length < 0:
                raise ArchiveError(f"{_INVALID}: the map of a file's holes has no order")
            end = offset + length
        if len(numbers) % 2 or end > size or sum(length for _, length in pieces) != stored:
            raise ArchiveError(f"{_INVALID}: the map of a file's holes does not fit its size")
        # What is stored has been counted.
        self._spend(size - stored)
        return size, pieces

    def _old_map(self, header: bytes) -> list[int]:
        numbers = _pairs(header[386:482])
        more, blocks = header[482], 0
        while more:
            blocks += 1
            if blocks * BLOCK > HEADER_LIMIT:
                raise ArchiveError(f"the map of a file's holes is longer than {HEADER_LIMIT} bytes")
            self._spend(BLOCK)
            block = self._take(BLOCK)
            numbers += _pairs(block[:504])
            more = block[504]
        return numbers

    def _map_in_data(self) -> list[int]:
        """Form 1.0: decimal numbers, one a line, before the content: how many pieces, then offset and length of each."""
        text = bytearray()
        lines, wanted = 0, 1
        while lines < wanted:
            if len(text) >= HEADER_LIMIT:
                raise ArchiveError(f"the map of a file's holes is longer than {HEADER_LIMIT} bytes")
            if self._left < BLOCK:
                raise ArchiveError(f"{_INVALID}: the map of a file's holes is cut off")
            block = self._take(BLOCK)
            self._left -= BLOCK
            if not text:
                # A number that is longer than a block is none.
                wanted += 2 * max(_decimal(block.split(b"\n", 1)[0]), 0)
            text += block
            lines += block.count(b"\n")
        return [_decimal(field) for field in bytes(text).split(b"\n")[1:wanted]]


def is_header(block: bytes) -> bool:
    """Whether a block is the header of a member: those of old archives have no other mark than their checksum."""
    try:
        return len(block) == BLOCK and any(block) and _is_checked(block)
    except ArchiveError:
        return False


def _is_checked(header: bytes) -> bool:
    blank = header[:148] + b" " * 8 + header[156:]
    found, wanted = sum(blank), _number(header[148:156])
    # Old archives have the sum of signed bytes.
    return wanted == found or wanted == found - 256 * sum(byte > 127 for byte in blank)


def _read(stream: IO[bytes], count: int) -> bytes:
    """One read, with all that a damaged compression raises as ``ArchiveError``."""
    try:
        return stream.read(count)
    except EOFError as error:
        raise ArchiveError("unexpected EOF: the archive ends too early") from error
    except (zlib.error, lzma.LZMAError) as error:
        raise ArchiveError(f"the archive is damaged: {error}") from error
    except OSError as error:
        if error.errno is None:
            # What gzip and bz2 raise for bytes that are not theirs; the operating system always has a number.
            raise ArchiveError(f"the archive is damaged: {error}") from error
        raise


def _text(field: bytes) -> bytes:
    return field.split(b"\0", 1)[0]


def _number(field: bytes) -> int:
    """A number of a header: octal digits, or base 256 as GNU writes what is too large for them."""
    if field[0] in (0x80, 0xFF):
        value = int.from_bytes(field[1:], "big")
        return value if field[0] == 0x80 else value - (1 << 8 * (len(field) - 1))
    digits = _text(field).strip(b" ")
    if _OCTAL.match(digits) is None:
        raise ArchiveError(f"{_INVALID}: a header has something else where a number must be")
    return int(digits or b"0", 8)


def _pairs(field: bytes) -> list[int]:
    numbers: list[int] = []
    for start in range(0, len(field) - 23, 24):
        if not any(field[start : start + 24]):
            break
        numbers += (_number(field[start : start + 12]), _number(field[start + 12 : start + 24]))
    return numbers


def _decimal(text: bytes) -> int:
    if _NUMBER.match(text) is None:
        raise ArchiveError(f"{_INVALID}: a header has something else where a number must be")
    return int(text)


def _pax_number(pax: dict[bytes, bytes], key: bytes, otherwise: int) -> int:
    return _decimal(pax[key]) if key in pax else otherwise


def _mtime(pax: dict[bytes, bytes], header: bytes) -> float:
    text = pax.get(b"mtime")
    if text is None:
        return _number(header[136:148])
    if _TIME.match(text) is None:
        raise ArchiveError(f"{_INVALID}: a header has something else where a time must be")
    return float(text)


def _pax_records(body: bytes) -> list[tuple[bytes, bytes]]:
    """(key, value) of each ``LENGTH KEY=VALUE\\n``, in linear time."""
    records: list[tuple[bytes, bytes]] = []
    start = 0
    while start < len(body) and body[start]:
        space = body.find(b" ", start, start + 21)
        digits = body[start:space] if space > 0 else b""
        length = int(digits) if digits.isdigit() else 0
        end = start + length
        key, equals, value = body[space + 1 : end - 1].partition(b"=")
        if end > len(body) or not equals or not key or end <= space + 1 or body[end - 1 : end] != b"\n":
            raise ArchiveError(f"{_INVALID}: a PAX header has a record that is none")
        records.append((key, value))
        start = end
    return records
