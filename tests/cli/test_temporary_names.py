"""Nothing is made under a name that another user could have put into the folder for temporary files beforehand.

Whoever knows a name can make it first, as a link to a file of whoever runs the command, or as a pipe. So each command runs twice, the
kernel tells which names it makes in ``TMPDIR``, and no name may come twice.
"""

from __future__ import annotations

import ctypes
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from .conftest import Cli

_CREATE, _MOVED_TO = 0x100, 0x80
_EVENT = struct.Struct("iIII")
DOCKERFILE = "FROM base:1\nCOPY f /f\nRUN --mount=type=cache,target=/c --mount=type=tmpfs,target=/t cat /f > /g\nADD a.tar /a/\n"
COMMANDS = [
    ("build", "-t", "it", "--network", "none", "."),
    ("build", "-t", "it", "--network", "none", "--no-cache", "."),
    ("plan", "."),
    ("explain", "."),
    ("run", "--rm", "it", "cat", "/g"),
    ("layers", "it"),
    ("save", "-o", "it.tar", "it"),
    ("load", "-i", "it.tar"),
    ("verify",),
    ("doctor",),
    ("prune",),
]


@contextmanager
def made_in(folder: Path) -> Iterator[list[str]]:
    """Names that anybody makes in a folder during the block; the list is complete when the block has ended."""
    names: list[str] = []
    library = ctypes.CDLL(None, use_errno=True)
    descriptor = library.inotify_init1(os.O_NONBLOCK)
    assert descriptor >= 0, os.strerror(ctypes.get_errno())
    try:
        assert library.inotify_add_watch(descriptor, os.fsencode(folder), _CREATE | _MOVED_TO) >= 0
        yield names
        try:
            while events := os.read(descriptor, 1 << 16):
                at = 0
                while at < len(events):
                    *_, length = _EVENT.unpack_from(events, at)
                    at += _EVENT.size
                    names.append(os.fsdecode(events[at : at + length].rstrip(b"\0")))
                    at += length
        except BlockingIOError:
            pass
    finally:
        os.close(descriptor)


@pytest.mark.timeout(300)
def test_no_name_can_be_known_beforehand(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text(DOCKERFILE, encoding="utf-8")
    (tmp_path / "f").write_text("f", encoding="utf-8")
    # An empty archive.
    (tmp_path / "a.tar").write_bytes(bytes(1024))
    everybody = tmp_path / "everybody's"
    everybody.mkdir()
    everybody.chmod(0o1777)
    seen: set[str] = set()
    for command in COMMANDS:
        for _ in range(2):
            with made_in(everybody) as names:
                answer = cli(*command, environment={"TMPDIR": str(everybody)})
            assert answer.status == 0, (command, answer.out, answer.err)
            assert not seen & set(names), (command, names)
            seen |= set(names)
    # It would see one.
    for expected in (frozenset(), frozenset({"known"})):
        with made_in(everybody) as names:
            (everybody / "known").unlink(missing_ok=True)
            (everybody / "known").touch()
        assert seen & set(names) == expected
        seen |= set(names)
