"""The Dask cluster of one machine: its ports are on loopback, which every user of the machine reaches."""

from __future__ import annotations

import asyncio
import http.client
import os
import tempfile
import urllib.request
from pathlib import Path
from typing import Any

import pytest

distributed = pytest.importorskip("distributed")

from autograder.backends.cluster import DaskBackend  # noqa: E402

_LISTENS = "0A"


def _listening() -> set[int]:
    """The TCP ports of this process and its children, by what the kernel says."""
    inodes = set()
    mine = _descendants(os.getpid())
    for process in mine:
        folder = Path(f"/proc/{process}/fd")
        for link in folder.iterdir():
            try:
                inodes.add(str(link.readlink()))
            except OSError:
                continue
    rows = [line.split() for name in ("tcp", "tcp6") for line in Path(f"/proc/net/{name}").read_text(encoding="ascii").splitlines()[1:]]
    return {int(row[1].rpartition(":")[2], 16) for row in rows if row[3] == _LISTENS and f"socket:[{row[9]}]" in inodes}


def _descendants(process: int) -> set[int]:
    found = {process}
    for task in Path(f"/proc/{process}/task").iterdir():
        for child in (task / "children").read_text(encoding="ascii").split():
            found |= _descendants(int(child))
    return found


def _heard(address: str, security: Any) -> bool:
    """Whether the process there answers to who asks it who it is."""

    async def ask() -> bool:
        connection = await distributed.core.connect(address, timeout=2, **security.get_connection_args("client"))
        try:
            await connection.write({"op": "identity", "reply": True})
            return bool(await connection.read())
        finally:
            connection.abort()

    try:
        return asyncio.run(asyncio.wait_for(ask(), 5))
    except (OSError, ValueError):
        # Also a time that is over.
        return False


def test_it_writes_to_no_directory_that_another_user_may_have_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """distributed has a name for one that everybody knows, and empties the files in it through links."""
    shared, precious = tmp_path / "shared", tmp_path / "precious"
    planted = shared / "dask-scratch-space"
    planted.mkdir(parents=True)
    precious.write_text("of great worth", encoding="utf-8")
    for name in ("global.lock", "purge.lock"):
        (planted / name).symlink_to(precious)
    before = planted.stat().st_mtime_ns
    monkeypatch.setenv("TMPDIR", str(shared))
    monkeypatch.setattr(tempfile, "tempdir", None)
    with DaskBackend("", 1, tmp_path / "place") as backend:
        assert backend.run([]) is not None
    assert precious.read_text(encoding="utf-8") == "of great worth"
    assert planted.stat().st_mtime_ns == before
    assert os.listdir(tmp_path / "place") == []


def test_nobody_is_shown_how_far_it_is(tmp_path: Path) -> None:
    before = _listening()
    with DaskBackend("", 1, tmp_path):
        ports = _listening() - before
        assert len(ports) >= 2
        pages = ("status", "info/main/workers.html", "json/counts.json", "metrics")
        assert {_page(port, path) for port in ports for path in pages} == {""}


def _page(port: int, path: str) -> str:
    """What a browser of another user gets there."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/{path}", timeout=5) as answer:
            return str(answer.read())
    except (OSError, ValueError, http.client.HTTPException):
        return ""


def test_nobody_without_its_key_is_heard(tmp_path: Path) -> None:
    """Who is heard runs functions as the grader's user. A stranger has no key, or one of their own."""
    before = _listening()
    with DaskBackend("", 1, tmp_path) as backend:
        ports = _listening() - before
        ours = backend.security
        assert sum(_heard(f"tls://127.0.0.1:{port}", ours) for port in ports) >= 2
        for port in ports:
            assert not _heard(f"tcp://127.0.0.1:{port}", distributed.Security())
            assert not _heard(f"tls://127.0.0.1:{port}", distributed.Security.temporary())
