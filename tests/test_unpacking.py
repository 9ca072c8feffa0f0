"""Unpacking our own archives, with every Python from 3.11 on."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest

from layerlab.errors import LayerlabError
from layerlab.unpacking import unpack_data


@pytest.fixture(params=["as it is", "before 3.11.4"])
def python(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """This Python, and one whose ``tarfile`` knows no filters."""
    if request.param != "as it is":
        monkeypatch.delattr(tarfile, "data_filter", raising=False)
    return str(request.param)


def _archive(*members: tuple[str, bytes, str]) -> tarfile.TarFile:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, kind, content in members:
            member = tarfile.TarInfo(name)
            member.type, member.mode, member.uid = kind, 0o6777, 12345
            if kind == tarfile.REGTYPE:
                member.size = len(content)
            else:
                member.linkname = content
            archive.addfile(member, io.BytesIO(content.encode()))
    buffer.seek(0)
    return tarfile.open(fileobj=buffer)


@pytest.mark.usefixtures("python")
def test_files_and_folders_come_out_as_ours(tmp_path: Path) -> None:
    with _archive(("app", tarfile.DIRTYPE, ""), ("app/a.txt", tarfile.REGTYPE, "a"), ("other", tarfile.REGTYPE, "b")) as archive:
        unpack_data(archive, tmp_path, [member for member in archive if member.name.startswith("app")])
    assert [str(path.relative_to(tmp_path)) for path in sorted(tmp_path.rglob("*"))] == ["app", "app/a.txt"]
    status = (tmp_path / "app/a.txt").stat()
    assert (status.st_mode & 0o7777, status.st_uid) == (0o755, tmp_path.stat().st_uid)
    assert (tmp_path / "app/a.txt").read_text(encoding="utf-8") == "a"


@pytest.mark.usefixtures("python")
@pytest.mark.parametrize(
    "member", [("../out", tarfile.REGTYPE, "x"), ("link", tarfile.SYMTYPE, "/etc/passwd"), ("pipe", tarfile.FIFOTYPE, "")]
)
def test_nothing_leaves_the_directory(tmp_path: Path, member: tuple[str, bytes, str]) -> None:
    place = tmp_path / "place"
    place.mkdir()
    with _archive(member) as archive, pytest.raises((LayerlabError, tarfile.TarError)):
        unpack_data(archive, place)
    assert not list(place.iterdir())
    assert [path.name for path in tmp_path.iterdir()] == ["place"]
