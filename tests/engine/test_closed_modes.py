"""Modes keep nobody out of an image while it is built, not even a worker that is an ordinary user without namespaces (proot)."""

from __future__ import annotations

import io
import os
import shutil
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import msgspec
import pytest

from layerlab.engines.api import BuildOptions
from layerlab.engines.embedded.engine import EmbeddedEngine
from layerlab.fsutil import remove_tree
from layerlab.oci.tar_entries import LayerEntry

from .conftest import verdicts

_TIME: Final = 1_700_000_000

# ``closed.tar`` has /c (mode 0), /c/in (0300), /c/in/f and /c/zero (0), /c/e (0400) and a link /l to /c/in; ``ro`` has modes of 0555.
CASES: Final = {
    "the same twice": "FROM scratch\nCOPY f /\nCOPY f /\nCOPY f /d/\nCOPY f /d/\n",
    "directories made with a mode": "FROM scratch\nCOPY --chmod=600 f /w/\nCOPY g /w/\nCOPY --chmod=600 g /w/a/b/\nCOPY f /w/a/b/h\n",
    "directories copied with a mode": "FROM scratch AS a\nCOPY --chmod=0 d /a/b/\nCOPY d /a/b/\nFROM scratch\nCOPY --from=a /a /z\n",
    "out of closed ones": (
        "FROM scratch AS a\nADD closed.tar /\nFROM scratch\nCOPY --from=a /c /x\nCOPY --from=a /c/in/f /y\nCOPY --from=a /c/*/f /z/\n"
        "COPY --from=a / /all\nCOPY --from=a /c/zero /\n"
    ),
    "out of closed ones of two layers": (
        "FROM scratch AS a\nADD closed.tar /\nCOPY f /\nFROM scratch\nCOPY --from=a /c /x\nCOPY --from=a --parents c/in/f c/e /p/\n"
        "COPY --from=a --exclude=in c /q/\nCOPY --from=a --exclude=* --exclude=!in/f c /r/\n"
    ),
    "into closed ones": (
        "FROM scratch\nADD closed.tar /\nCOPY f /c/\nCOPY f /c/in/g\nCOPY f /c/in/f\nADD closed.tar /c/\nCOPY d /c\nCOPY d /c/in\n"
        "COPY --chmod=700 d /c\n"
    ),
    "through a link": "FROM scratch\nADD closed.tar /\nCOPY f /l/g\nCOPY d /l\n",
    "of a context that is read-only": (
        "FROM scratch\nCOPY ro /ro\nCOPY ro /ro\nCOPY --chmod=500 ro /s\nCOPY --parents ro/in/f /p\nCOPY --exclude=in ro /q\n"
        "COPY --exclude=in --exclude=!in/f ro /r\n"
    ),
    "over closed files": "FROM scratch\nADD closed.tar /\nADD --chmod=0 f /c/zero\nCOPY f /c/zero\n",
}


@pytest.fixture
def context(tmp_path: Path) -> Iterator[Path]:
    place = tmp_path / "context"
    for path, text in {"f": "f", "g": "gg", "d/in/k": "k", "d/top": "t", "ro/in/f": "k", "ro/e": "t"}.items():
        (place / path).parent.mkdir(parents=True, exist_ok=True)
        (place / path).write_text(text, encoding="utf-8")
    with tarfile.open(place / "closed.tar", "w") as archive:
        for name, mode, fields in (
            ("c", 0, {"type": tarfile.DIRTYPE}),
            ("c/in", 0o300, {"type": tarfile.DIRTYPE}),
            ("c/in/f", 0, {"size": 6}),
            ("c/e", 0o400, {"type": tarfile.DIRTYPE}),
            ("c/zero", 0, {"size": 6}),
            ("l", 0o777, {"type": tarfile.SYMTYPE, "linkname": "/c/in"}),
        ):
            archive.addfile(_member(name, mode, fields), io.BytesIO(b"closed"))
    for path in ("ro/in", "ro"):
        (place / path).chmod(0o555)
    yield place
    # What pytest may not enter it leaves behind.
    remove_tree(str(tmp_path))


def _member(name: str, mode: int, fields: dict[str, Any]) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.mode, member.mtime = mode, _TIME
    for key, value in fields.items():
        setattr(member, key, value)
    return member


def _layers(store: Path, context: Path, dockerfile: str) -> tuple[list[list[LayerEntry]], list[str]]:
    """The layers of an image, but for the times of directories, which are those of the build; and the verdicts when it is built again."""
    file = store.parent / "Dockerfile"
    file.write_text(f"# syntax=docker/dockerfile:1-labs\n{dockerfile}", encoding="utf-8")
    options = BuildOptions(context=str(context), file=str(file), network="none", offline=True)
    with EmbeddedEngine(str(store)) as engine:
        record = engine.build(options)
        assert record.failure is None, record.failure
        assert record.image is not None
        layers = [
            [msgspec.structs.replace(entry, mtime=0) if entry.type == "dir" else entry for entry in layer]
            for layer in engine.layer_entries(record.image)
        ]
        return layers, verdicts(engine.build(options))


@pytest.mark.parametrize("name", CASES)
def test_an_ordinary_user_without_namespaces_makes_the_same_layers(
    name: str, tmp_path: Path, context: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if os.geteuid() == 0:
        pytest.skip("modes keep root out of nothing")
    if not shutil.which("proot"):
        pytest.skip("proot is missing: apt-get install proot")
    wanted = _layers(tmp_path / "store", context, CASES[name])
    monkeypatch.setenv("LAYERLAB_EXECUTOR", "proot")
    actual = _layers(tmp_path / "copies", context, CASES[name])
    assert actual == wanted
    assert set(actual[1]) == {"cached"}
