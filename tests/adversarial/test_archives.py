"""Archives that mean harm, through the commands that read them: ``load``, the layers of an image, and ADD.

The store of root never gets a device that anybody could open, and a small file never fills the disk.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import stat
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

import pytest

from layerlab.engines.api import BuildOptions
from layerlab.engines.embedded.engine import EmbeddedEngine
from layerlab.errors import LayerlabError
from layerlab.platform import ARCHITECTURE
from tests.conformance import bases
from tests.transfer.test_tar_reader import FORMS, GIB, _header

Member = tuple[str, bytes, bytes, tuple[int, int]]
# Name, type, content or target, device numbers. The last ones would be a whiteout in overlayfs, and a disk.
DEVICES: list[Member] = [
    ("srv", tarfile.DIRTYPE, b"", (0, 0)),
    ("srv/null", tarfile.CHRTYPE, b"", (1, 3)),
    ("srv/mem", tarfile.CHRTYPE, b"", (1, 1)),
    ("srv/disk", tarfile.BLKTYPE, b"", (8, 0)),
    ("srv/twice", tarfile.LNKTYPE, b"srv/disk", (0, 0)),
    ("etc/passwd", tarfile.CHRTYPE, b"", (0, 0)),
]


def _silent(_text: str) -> None:
    """Nobody watches."""


def _tar(members: list[Member]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, kind, content, (major, minor) in members:
            info = tarfile.TarInfo(name)
            info.type, info.mtime, info.devmajor, info.devminor = kind, 1_700_000_000, major, minor
            info.mode = 0o755 if kind == tarfile.DIRTYPE else 0o660
            if kind == tarfile.REGTYPE:
                info.size = len(content)
            else:
                info.linkname = content.decode()
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def _image(layers: list[bytes], path: Path, name: str = "hostile:1") -> None:
    """An archive as ``docker save`` before version 25 writes it."""
    config = {
        "architecture": ARCHITECTURE,
        "os": "linux",
        "config": {"Cmd": ["/bin/sh"], "Env": ["PATH=/usr/local/bin:/bin"]},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(layer).hexdigest()}" for layer in layers]},
        "history": [{"created_by": "x"} for _ in layers],
    }
    names = [f"{number}.tar" for number in range(len(layers))]
    manifest = [{"Config": "config.json", "RepoTags": [name], "Layers": names}]
    files: list[Member] = [
        ("config.json", tarfile.REGTYPE, json.dumps(config).encode(), (0, 0)),
        ("manifest.json", tarfile.REGTYPE, json.dumps(manifest).encode(), (0, 0)),
        *((name, tarfile.REGTYPE, layer, (0, 0)) for name, layer in zip(names, layers, strict=True)),
    ]
    path.write_bytes(_tar(files))


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[EmbeddedEngine]:
    with EmbeddedEngine(str(tmp_path / "store")) as opened:
        if not opened.host.executor:
            pytest.skip("nothing on this machine can run a build step")
        base = next(base for base in bases.bases() if base.name == "base:1")
        bases.write_layout(base, tmp_path / "base")
        opened.import_layout(str(tmp_path / "base"), "base:1")
        yield opened


def _build(engine: EmbeddedEngine, context: Path, text: str, tag: str = "made:1") -> None:
    (context / "Dockerfile").write_text(text, encoding="utf-8")
    record = engine.build(BuildOptions(context=str(context), tag=tag, network="none", offline=True))
    assert record.failure is None, record.failure


def _live_devices(store: str) -> list[str]:
    found = []
    for folder, _, names in os.walk(store):
        for name in names:
            status = os.lstat(os.path.join(folder, name))
            # 0:0 is how overlayfs says that something is hidden; nothing answers there.
            if (stat.S_ISCHR(status.st_mode) and status.st_rdev) or stat.S_ISBLK(status.st_mode):
                found.append(os.path.join(folder, name))
    return found


def _saved_layers(engine: EmbeddedEngine, name: str, path: Path) -> list[bytes]:
    engine.save((name,), str(path))
    with tarfile.open(path) as archive:

        def read(member: str) -> bytes:
            stream = archive.extractfile(member)
            assert stream is not None
            return stream.read()

        return [read(layer) for layer in json.loads(read("manifest.json"))[0]["Layers"]]


def _devices_in(layer: bytes) -> dict[str, tuple[bytes, int, int]]:
    with tarfile.open(fileobj=io.BytesIO(layer)) as archive:
        return {info.name: (info.type, info.devmajor, info.devminor) for info in archive if info.ischr() or info.isblk()}


WANTED = {"srv/null": (tarfile.CHRTYPE, 1, 3), "srv/mem": (tarfile.CHRTYPE, 1, 1), "srv/disk": (tarfile.BLKTYPE, 8, 0)}


def test_devices_of_a_layer_are_noted_and_never_made(engine: EmbeddedEngine, tmp_path: Path) -> None:
    base = next(base for base in bases.bases() if base.name == "base:1")
    layer = _tar(DEVICES)
    _image([base.layer, layer], tmp_path / "image.tar")
    assert engine.load(str(tmp_path / "image.tar")) == ["hostile:1"]
    assert _live_devices(engine.store.path) == []
    # What is sent on is what came, byte for byte.
    assert _saved_layers(engine, "hostile:1", tmp_path / "saved.tar") == [base.layer, layer]
    assert engine.verify(_silent).damaged == ()
    # And a step finds no device, nor is anything hidden from it that a whiteout does not hide.
    _build(
        engine,
        tmp_path / "base",
        "FROM hostile:1\nRUN ! test -b /srv/disk && test -e /etc/passwd\nRUN rm /srv/null\n",
    )
    assert _live_devices(engine.store.path) == []


@pytest.mark.parametrize("suffix", ["tar", "tar.gz"])
def test_devices_of_an_added_archive_are_in_the_layer_and_not_in_the_store(engine: EmbeddedEngine, tmp_path: Path, suffix: str) -> None:
    context = tmp_path / "context"
    context.mkdir()
    data = _tar(DEVICES)
    packed: Literal["w:gz", "w"] = "w:gz" if suffix == "tar.gz" else "w"
    with tarfile.open(context / f"a.{suffix}", packed) as out, tarfile.open(fileobj=io.BytesIO(data)) as source:
        for info in source:
            out.addfile(info)
    _build(
        engine,
        context,
        f"FROM base:1 AS a\nADD a.{suffix} /x/\nFROM base:1\nCOPY --from=a /x /y\nRUN rm /y/srv/mem\n",
    )
    assert _live_devices(engine.store.path) == []
    *_, copied, _removed = _saved_layers(engine, "made:1", tmp_path / "saved.tar")
    found = _devices_in(copied)
    assert {path.removeprefix("y/"): value for path, value in found.items() if "srv" in path} == WANTED
    assert found["y/etc/passwd"] == (tarfile.CHRTYPE, 0, 0)
    # Loaded again, it is the same layer.
    with EmbeddedEngine(str(tmp_path / "other")) as other:
        other.load(str(tmp_path / "saved.tar"))
        assert _live_devices(other.store.path) == []
        assert _saved_layers(other, "made:1", tmp_path / "again.tar")[-2] == copied
        assert other.verify(_silent).damaged == ()


def test_an_archive_cannot_pass_a_file_off_as_a_device(engine: EmbeddedEngine, tmp_path: Path) -> None:
    info = tarfile.TarInfo("file")
    info.pax_headers = {"SCHILY.xattr.user.layerlab.device": "block-8-0", "SCHILY.xattr.user.note": "kept"}
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        archive.addfile(info)
    context = tmp_path / "context"
    context.mkdir()
    (context / "a.tar").write_bytes(buffer.getvalue())
    _build(engine, context, "FROM scratch\nADD a.tar /\n")
    (layer,) = _saved_layers(engine, "made:1", tmp_path / "saved.tar")
    with tarfile.open(fileobj=io.BytesIO(layer)) as archive:
        (member,) = archive.getmembers()
    assert member.isreg()
    assert member.pax_headers == {"SCHILY.xattr.user.note": "kept"}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS.keys())
@pytest.mark.parametrize("where", ["the archive", "a layer", "an added archive"])
def test_a_file_of_holes_fills_no_disk(engine: EmbeddedEngine, tmp_path: Path, form: Callable[[int, bytes], bytes], where: str) -> None:
    bomb = form(3 * GIB, b"x" * 5000)
    assert len(bomb) < 20_000
    context = tmp_path / "context"
    context.mkdir()
    before = _used(tmp_path)
    (context / "a.tar").write_bytes(bomb)
    _image([bomb], tmp_path / "image.tar")
    acts: dict[str, Callable[[], object]] = {
        "the archive": lambda: engine.load(str(context / "a.tar")),
        "a layer": lambda: engine.load(str(tmp_path / "image.tar")),
        "an added archive": lambda: _build(engine, context, "FROM base:1\nADD a.tar /x/\n"),
    }
    with pytest.raises((LayerlabError, AssertionError), match="unpacks to more than"):
        acts[where]()
    assert _used(tmp_path) - before < 4 << 20


def _used(place: Path) -> int:
    """Bytes by their length, holes and all."""
    return sum(path.lstat().st_size for path in place.rglob("*") if not path.is_dir())


@pytest.mark.parametrize("kind", [tarfile.LNKTYPE, tarfile.SYMTYPE], ids=["hard", "symbolic"])
def test_many_names_of_one_large_member_are_one_file(engine: EmbeddedEngine, tmp_path: Path, kind: bytes) -> None:
    layer = _tar([("f", tarfile.REGTYPE, os.urandom(4 << 20), (0, 0))])
    _image([layer], tmp_path / "plain.tar")
    with tarfile.open(tmp_path / "plain.tar", "a") as archive:
        for number in range(3000):
            info = tarfile.TarInfo(f"more/{number}.tar")
            info.type, info.linkname = kind, "0.tar" if kind == tarfile.LNKTYPE else "../0.tar"
            archive.addfile(info)
    # Twelve gigabytes, if each were a copy; the store's file system says what was taken at the most.
    assert engine.load(str(tmp_path / "plain.tar")) == ["hostile:1"]
    assert _used(tmp_path / "store") < 64 << 20


@pytest.mark.parametrize(
    "names", [["a", "a/b"], ["a/b", "a"], ["x" * 300], ["a/" * 3000 + "b"], ["..", "../x", "/x"], ["index.json/x"]], ids=range(6)
)
def test_an_archive_with_names_that_cannot_be_is_refused(engine: EmbeddedEngine, tmp_path: Path, names: list[str]) -> None:
    (tmp_path / "a.tar").write_bytes(_tar([(name, tarfile.REGTYPE, b"x", (0, 0)) for name in names]))
    with pytest.raises(LayerlabError, match=r"is not an (archive of images|OCI image layout)"):
        engine.load(str(tmp_path / "a.tar"))
    assert not (tmp_path / "x").exists()


def test_a_header_that_lies_about_its_size_is_refused(engine: EmbeddedEngine, tmp_path: Path) -> None:
    (tmp_path / "a.tar").write_bytes(_header(b"0", 1 << 50, b"index.json") + bytes(1024))
    with pytest.raises(LayerlabError, match="unpacks to more than"):
        engine.load(str(tmp_path / "a.tar"))


MANY_LAYERS = {
    "COPY": "FROM many:1\nCOPY f /copied\n",
    "WORKDIR": "FROM many:1\nWORKDIR /made\n",
    "RUN": "FROM many:1\nRUN true\n",
    "COPY from it": "FROM base:1\nCOPY --from=many:1 /f0 /copied\n",
}


@pytest.mark.parametrize("snapshotter", ["overlay", "copy"])
def test_more_layers_than_an_overlay_has_are_an_error_that_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, snapshotter: str
) -> None:
    """All that mounts them says it alike; where nothing is mounted they are an image like any other."""
    monkeypatch.setenv("LAYERLAB_SNAPSHOTTER", snapshotter)
    shell = next(base for base in bases.bases() if base.name == "base:1")
    with EmbeddedEngine(str(tmp_path / "store")) as engine:
        if not engine.host.executor or engine.host.snapshotter != snapshotter:
            pytest.skip(f"this machine has no {snapshotter}")
        bases.write_layout(shell, tmp_path / "base")
        engine.import_layout(str(tmp_path / "base"), "base:1")
        below = _saved_layers(engine, "base:1", tmp_path / "again.tar")
        _image([*below, *(_tar([(f"f{n}", tarfile.REGTYPE, b"", (0, 0))]) for n in range(501))], tmp_path / "many.tar", "many:1")
        engine.load(str(tmp_path / "many.tar"))
        (tmp_path / "f").touch()
        said = {}
        for name, text in MANY_LAYERS.items():
            (tmp_path / "Dockerfile").write_text(text, encoding="utf-8")
            record = engine.build(BuildOptions(context=str(tmp_path), network="none", offline=True))
            said[name] = record.failure.message if record.failure is not None else ""
        try:
            with engine.container("many:1", command=("true",), network=False) as running:
                said["run"] = "" if running.wait(lambda _: None) == 0 else "failed"
        except LayerlabError as error:
            said["run"] = error.message
        if snapshotter == "copy":
            assert set(said.values()) == {""}
        else:
            assert all("layers cannot be mounted: an overlay of Linux has at most 500" in text for text in said.values()), said
