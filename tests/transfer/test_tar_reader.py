"""Archives of strangers: what Python's ``tarfile`` and GNU tar write is read as they mean it, what is too much is refused before it is
written, and nothing but ``ArchiveError`` comes of anything else."""

from __future__ import annotations

import bz2
import contextlib
import gzip
import io
import lzma
import os
import random
import shutil
import subprocess
import sys
import tarfile
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from layerlab.engines.embedded.rootfs import compression, tar_reader
from layerlab.engines.embedded.rootfs.compression import decompressed
from layerlab.engines.embedded.rootfs.tar_reader import ArchiveError, TarReader
from layerlab.engines.embedded.rootfs.unpack import is_archive, unpack

ROOT = Path(__file__).resolve().parents[2]
GIB = 1 << 30
_QUICK = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
_NAMES = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0/"), min_size=1, max_size=80)
_PATHS = st.lists(_NAMES, min_size=1, max_size=6).map("/".join)
_NUMBERS = st.one_of(st.integers(0, 1 << 21), st.integers(0, (1 << 31)))


@st.composite
def _members(draw: st.DrawFn) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(draw(_PATHS))
    info.type = draw(st.sampled_from([b"0", b"1", b"2", b"3", b"4", b"5", b"6", b"7"]))
    info.mode, info.uid, info.gid, info.mtime = draw(st.integers(0, 0o7777)), draw(_NUMBERS), draw(_NUMBERS), draw(_NUMBERS)
    content = draw(st.binary(max_size=1500)) if info.isreg() else b""
    info.size = len(content)
    if info.type in (b"1", b"2"):
        info.linkname = draw(_PATHS)
    if info.type in (b"3", b"4"):
        info.devmajor, info.devminor = draw(st.integers(0, 4095)), draw(st.integers(0, 4095))
    return info, content


def _archive(members: list[tuple[tarfile.TarInfo, bytes]], kind: int) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=kind) as archive:
        for info, content in members:
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def _read(data: bytes, limit: int = 64 << 20) -> list[tuple[tar_reader.Member, bytes]]:
    reader = TarReader(io.BytesIO(data), limit=limit)
    found = []
    for member in reader:
        content = bytearray(member.size)
        if member.kind == "file":
            for offset, block in reader.content(member):
                content[offset : offset + len(block)] = block
        found.append((member, bytes(content) if member.kind == "file" else b""))
    return found


@_QUICK
@given(st.lists(_members(), min_size=1, max_size=5), st.sampled_from([tarfile.PAX_FORMAT, tarfile.GNU_FORMAT]))
def test_what_tarfile_writes_is_read_as_it_was_meant(members: list[tuple[tarfile.TarInfo, bytes]], kind: int) -> None:
    found = _read(_archive(members, kind))
    kinds = {b"0": "file", b"7": "file", b"1": "hardlink", b"2": "symlink", b"3": "char", b"4": "block", b"5": "dir", b"6": "fifo"}
    for (info, content), (member, read) in zip(members, found, strict=True):
        assert (member.name, member.kind, read) == (info.name.rstrip("/"), kinds[info.type], content)
        assert (member.mode, member.uid, member.gid, member.mtime) == (info.mode, info.uid, info.gid, info.mtime)
        assert (member.target, member.major, member.minor) == (info.linkname, info.devmajor, info.devminor)


@_QUICK
@given(st.binary(max_size=4096))
def test_of_any_bytes_comes_an_archive_or_our_own_error(data: bytes) -> None:
    _refused_or_read(data)


@_QUICK
@given(st.lists(_members(), min_size=1, max_size=3), st.sampled_from([tarfile.PAX_FORMAT, tarfile.GNU_FORMAT]), st.data())
def test_of_an_archive_with_wrong_bytes_comes_an_archive_or_our_own_error(
    members: list[tuple[tarfile.TarInfo, bytes]], kind: int, data: st.DataObject
) -> None:
    raw = bytearray(_archive(members, kind))
    for _ in range(data.draw(st.integers(1, 6))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    # The checksums are made right again, or no change of a header would ever be looked at.
    for start in range(0, len(raw) - 511, 512):
        if data.draw(st.booleans()):
            raw[start + 148 : start + 156] = b"%06o\0 " % (sum(raw[start : start + 148]) + 256 + sum(raw[start + 156 : start + 512]))
    _refused_or_read(bytes(raw[: data.draw(st.integers(0, len(raw)))]))


def _refused_or_read(data: bytes) -> None:
    for pack in (bytes, gzip.compress, bz2.compress, lzma.compress):
        try:
            _read_packed(pack(data))
        except ArchiveError:
            continue


def _read_packed(data: bytes) -> int:
    reader = TarReader(decompressed(io.BytesIO(data)), limit=1 << 20)
    return sum(len(block) for member in reader if member.kind == "file" for _, block in reader.content(member))


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress, lambda data: lzma.compress(data, lzma.FORMAT_ALONE)])
@pytest.mark.parametrize("seed", range(8))
def test_damaged_compression_is_our_own_error(pack: Callable[[bytes], bytes], seed: int) -> None:
    dice = random.Random(seed)
    info = tarfile.TarInfo("f")
    info.size = 200_000
    raw = bytearray(pack(_archive([(info, dice.randbytes(info.size))], tarfile.PAX_FORMAT)))
    for _ in range(40):
        raw[dice.randrange(20, len(raw))] ^= 1 << dice.randrange(8)
    print("seed", seed)
    with contextlib.suppress(ArchiveError):
        # Or the damage was in what says nothing.
        assert _read_packed(bytes(raw)) == info.size


# --- holes ---------------------------------------------------------------------------------------------------------------


def _header(flag: bytes, size: int, name: bytes = b"f", tail: bytes = b"") -> bytes:
    """A GNU header, written anew here: an oracle that shares nothing with what it judges. ``tail`` from byte 345 on."""
    block = bytearray(512)
    block[: len(name)] = name
    block[100:108], block[108:116], block[116:124] = b"0000644\0", b"0000000\0", b"0000000\0"
    block[124:136] = _field(size)
    block[136:148], block[156:157], block[257:265] = b"%011o\0" % 0, flag, b"ustar  \0"
    block[345 : 345 + len(tail)] = tail
    block[148:156] = b"%06o\0 " % (sum(block) + 256)
    return bytes(block)


def _field(number: int) -> bytes:
    return b"%011o\0" % number if number < 8**11 else b"\x80" + number.to_bytes(11, "big")


def _pad(data: bytes) -> bytes:
    return data + bytes(-len(data) % 512)


def _pax(records: list[tuple[str, str]]) -> bytes:
    lines = []
    for key, value in records:
        rest = f" {key}={value}\n".encode()
        length = len(rest) + 1
        while length != len(rest) + len(str(length)):
            length = len(rest) + len(str(length))
        lines.append(b"%d" % length + rest)
    body = b"".join(lines)
    return _header(b"x", len(body), b"pax") + _pad(body)


def _old(size: int, data: bytes) -> bytes:
    tail = bytes(386 - 345) + _field(size - len(data)) + _field(len(data)) + bytes(24 * 3) + b"\0" + _field(size)
    return _header(b"S", len(data), tail=tail) + _pad(data) + bytes(1024)


def _pax_0(size: int, data: bytes, *, minor: int) -> bytes:
    start = str(size - len(data))
    one = [("GNU.sparse.map", f"{start},{len(data)}")] if minor else [("GNU.sparse.offset", start), ("GNU.sparse.numbytes", str(len(data)))]
    records = [("GNU.sparse.size", str(size)), ("GNU.sparse.numblocks", "1"), *one, ("GNU.sparse.name", "f")]
    return _pax(records) + _header(b"0", len(data), b"GNUSparseFile.1/f") + _pad(data) + bytes(1024)


def _pax_1(size: int, data: bytes) -> bytes:
    body = _pad(f"1\n{size - len(data)}\n{len(data)}\n".encode()) + data
    records = [("GNU.sparse.major", "1"), ("GNU.sparse.minor", "0"), ("GNU.sparse.name", "f"), ("GNU.sparse.realsize", str(size))]
    return _pax(records) + _header(b"0", len(body), b"GNUSparseFile.1/f") + _pad(body) + bytes(1024)


FORMS: dict[str, Callable[[int, bytes], bytes]] = {
    "old": _old,
    "PAX 0.0": lambda size, data: _pax_0(size, data, minor=0),
    "PAX 0.1": lambda size, data: _pax_0(size, data, minor=1),
    "PAX 1.0": _pax_1,
}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS.keys())
def test_a_file_with_holes_is_what_tarfile_makes_of_it_and_keeps_them(form: Callable[[int, bytes], bytes], tmp_path: Path) -> None:
    data = os.urandom(5000)
    raw = form(40 << 20, data)
    with tarfile.open(fileobj=io.BytesIO(raw)) as archive:
        member = archive.next()
        assert member is not None
        stream = archive.extractfile(member)
        assert stream is not None
        wanted = stream.read()
    ((read, content),) = _read(raw)
    assert (read.name, read.size, content) == ("f", 40 << 20, wanted)
    (tmp_path / "a.tar").write_bytes(raw)
    _unpack(tmp_path / "a.tar", tmp_path / "root")
    status = (tmp_path / "root" / "f").stat()
    assert status.st_size == 40 << 20
    assert status.st_blocks * 512 < 1 << 20


@pytest.mark.skipif(shutil.which("tar") is None, reason="no tar")
@pytest.mark.parametrize("form", ["gnu", "posix --sparse-version=0.0", "posix --sparse-version=0.1", "posix --sparse-version=1.0"])
def test_what_gnu_tar_writes_of_a_file_with_many_holes(form: str, tmp_path: Path) -> None:
    dice = random.Random(7)
    with (tmp_path / "f").open("wb") as sink:
        for _ in range(60):
            sink.seek(dice.randrange(2, 40) * 4096, os.SEEK_CUR)
            sink.write(dice.randbytes(dice.randrange(1, 9000)))
        sink.truncate(sink.tell() + 100_000)
    command = ["tar", "-C", str(tmp_path), "-S", *f"--format={form}".split(), "-cf", str(tmp_path / "a.tar"), "f"]
    if subprocess.run(command, check=False, capture_output=True).returncode != 0:
        pytest.skip("this tar makes no such archives")
    ((member, content),) = _read((tmp_path / "a.tar").read_bytes())
    assert (member.name, content) == ("f", (tmp_path / "f").read_bytes())


def _unpack(archive: Path, root: Path, *, layer: bool = True) -> dict[str, tuple[int, int]]:
    root.mkdir()
    with archive.open("rb") as stream:
        return unpack(stream, str(root), "/", layer=layer, real_ids=os.geteuid() == 0)


def _zeros(size: int, pack: Callable[[str], Any], path: Path) -> None:
    with pack(str(path)) as sink:
        sink.write(_header(b"0", size))
        for _ in range(size >> 20):
            sink.write(bytes(1 << 20))
        sink.write(bytes(1024))


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS.keys())
@pytest.mark.parametrize("size", [3 * GIB, 1 << 50])
def test_a_small_archive_of_a_large_file_with_holes_is_refused_and_nothing_is_written(
    form: Callable[[int, bytes], bytes], size: int, tmp_path: Path
) -> None:
    (tmp_path / "a.tar").write_bytes(form(size, b"x" * 9000))
    with pytest.raises(ArchiveError, match="unpacks to more than"):
        _unpack(tmp_path / "a.tar", tmp_path / "root")
    assert list((tmp_path / "root").iterdir()) == []


def test_many_files_with_holes_count_together(tmp_path: Path) -> None:
    (tmp_path / "a.tar").write_bytes(_old(700 << 20, b"x")[:-1024] * 2 + bytes(1024))
    with pytest.raises(ArchiveError, match="unpacks to more than"):
        _unpack(tmp_path / "a.tar", tmp_path / "root")


@pytest.mark.parametrize("pack", [bz2.open, lzma.open, gzip.open], ids=["bz2", "xz", "gz"])
def test_a_bomb_is_refused_at_its_limit_and_takes_no_memory(
    pack: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compression, "_ALWAYS", 8 << 20)
    _zeros(48 << 20, lambda path: pack(path, "wb"), tmp_path / "bomb")
    # One of many headers instead of one large file.
    with pack(str(tmp_path / "headers"), "wb") as sink:
        for _ in range(48 * 2048):
            sink.write(_header(b"5", 0, b"d"))
    for name in ("bomb", "headers"):
        tracemalloc.start()
        try:
            with pytest.raises(ArchiveError, match="unpacks to more than"):
                _unpack(tmp_path / name, tmp_path / f"{name}-root")
            # bz2 takes blocks of 900 kB, seven times, by itself; that is outside of what Python counts.
            assert tracemalloc.get_traced_memory()[1] < 20 << 20
        finally:
            tracemalloc.stop()


@pytest.mark.parametrize("pack", [bytes, gzip.compress, bz2.compress, lzma.compress])
def test_what_is_an_archive_is_found_out_from_one_header(pack: Callable[[bytes], bytes], tmp_path: Path) -> None:
    info = tarfile.TarInfo("f")
    files = {
        "archive": (pack(_archive([(info, b"")], tarfile.PAX_FORMAT)), True),
        "large": (pack(_header(b"0", 1 << 50)), True),
        "text": (pack(b"text" * 500), False),
        "header without end": (pack(_header(b"x", 1 << 30)[:257] + bytes(5) + _header(b"x", 1 << 30)[262:] + b"1" * (20 << 20)), False),
    }
    for name, (data, wanted) in files.items():
        (tmp_path / name).write_bytes(data)
        started = time.process_time()
        assert (name, is_archive(str(tmp_path / name))) == (name, wanted)
        assert time.process_time() - started < 2


def test_an_xz_file_that_wants_all_the_memory_is_refused() -> None:
    filters = [{"id": lzma.FILTER_LZMA2, "preset": 0, "dict_size": 1 << 29}]
    with pytest.raises(ArchiveError, match="is damaged: Memory usage limit"):
        _read_packed(lzma.compress(bytes(1 << 16), filters=filters))


# What costs more than it should, by how often it is there. None may take more than time in proportion, and all are refused or read.
COSTLY: dict[str, Callable[[int], bytes]] = {
    "digits in a PAX header": lambda n: _pax([("comment", "1" * n)]) + _header(b"0", 0),
    "a PAX header of digits": lambda n: _header(b"x", n) + _pad(b"1" * n) + _header(b"0", 0),
    "many PAX records": lambda n: _pax([("k", "v")] * (n // 6)) + _header(b"0", 0),
    "global headers": lambda n: (_header(b"g", 6) + _pad(b"6 k=v\n")) * (n // 1024) + _header(b"0", 0),
    "long names": lambda n: (_header(b"L", 2) + _pad(b"n\0")) * (n // 1024) + _header(b"0", 0),
    "extensions of a map of holes": lambda n: (
        _header(b"S", 0, tail=bytes(386 - 345) + bytes(96) + b"\1" + b"%011o\0" % 9) + (bytes(504) + b"\1" + bytes(7)) * (n // 512)
    ),
    "a map of holes in the data": lambda n: (
        _pax([("GNU.sparse.major", "1"), ("GNU.sparse.minor", "0"), ("GNU.sparse.realsize", "9")])
        + _header(b"0", n)
        + _pad(b"99999\n" + b"0\n" * (n // 2))
    ),
    "members": lambda n: _header(b"5", 0, b"d") * (n // 512),
    "names of many parts": lambda n: _header(b"L", n) + _pad(b"a/" * (n // 2)) + _header(b"5", 0),
}


@pytest.mark.parametrize("make", COSTLY.values(), ids=COSTLY.keys())
def test_time_and_memory_grow_with_the_size(make: Callable[[int], bytes]) -> None:
    table = []
    for size in (1 << 18, 1 << 20, 1 << 22):
        data = make(size)
        started = time.process_time()
        try:
            for _ in TarReader(io.BytesIO(data), limit=GIB):
                pass
        except ArchiveError:
            pass
        table.append((size, time.process_time() - started))
    print("\n".join(f"{size:>9} bytes: {seconds * 1000:8.1f} ms" for size, seconds in table))
    assert table[-1][1] < 3
    # Sixteen times the size: in quadratic time 256 times the seconds.
    assert table[-1][1] < 60 * max(table[0][1], 0.005)


@pytest.mark.parametrize("kind", ["x", "L", "S", "1.0"])
def test_a_header_without_end_is_refused_in_little_memory(kind: str) -> None:
    """In a child, whose peak the kernel knows: the whole expands to a gigabyte, compressed to one megabyte."""
    code = f"""
import io, gzip, resource, sys
from tests.transfer.test_tar_reader import _header, _pax
from layerlab.engines.embedded.rootfs.compression import decompressed
from layerlab.engines.embedded.rootfs.tar_reader import ArchiveError, TarReader
kind = {kind!r}
buffer = io.BytesIO()
with gzip.GzipFile(fileobj=buffer, mode="wb", compresslevel=1) as sink:
    if kind in "xL":
        sink.write(_header(kind.encode(), 300 << 20))
    elif kind == "S":
        sink.write(_header(b"S", 0, tail=bytes(41) + bytes(96) + b"\\1" + b"%011o\\0" % 9))
    else:
        sink.write(_pax([("GNU.sparse.major", "1"), ("GNU.sparse.minor", "0"), ("GNU.sparse.realsize", "9")]) + _header(b"0", 300 << 20))
    for _ in range(300):
        sink.write((b"0" * 504 + b"\\1" + bytes(7)) * 2048)
buffer.seek(0)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    list(TarReader(decompressed(buffer), limit=1 << 40))
except ArchiveError as error:
    print(error)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True, cwd=ROOT, env=environment)
    *said, grown = done.stdout.splitlines()
    assert said, done.stdout
    assert "longer than" in said[0] or "not a valid" in said[0]
    # In kilobytes.
    assert int(grown) < 40 << 10
