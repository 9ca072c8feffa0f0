"""What is in the layers of Docker's images: the same view as the embedded engine has, from every form of archive; and layouts loaded."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from layerlab.engines.api import BuildOptions
from layerlab.engines.docker.archives import layer_members, pack_layout, view_archive
from layerlab.engines.docker.client import DockerError
from layerlab.engines.docker.engine import DockerEngine
from layerlab.engines.embedded.engine import EmbeddedEngine
from layerlab.errors import BaseImageError, UnsupportedError, UsageError

TAG = "layerlab-test:layers"
STEPS = (
    "FROM base:1\n"
    "RUN mkdir -p /d/e /gone && echo one > /d/e/f && echo two > /d/g && head -c 100000 /dev/zero > /gone/big && ln -s f /d/e/l\n"
    "RUN rm -r /gone && rm -r /d/e && mkdir -p /d/e && echo new > /d/e/n && echo longer than two > /d/g && ln /d/g /d/h\n"
    "COPY f /d/e/f\nENV X=1\nRUN rm /d/h && chmod 700 /d\n"
)


def _silent(_text: str) -> None:
    """Nobody watches."""


def _build(engine: EmbeddedEngine, place: Path) -> None:
    place.mkdir()
    (place / "f").write_text("from the context\n", encoding="utf-8")
    (place / "Dockerfile").write_text(STEPS, encoding="utf-8")
    record = engine.build(BuildOptions(context=str(place), tag=TAG, network="none", offline=True))
    assert record.failure is None, record.failure


@pytest.mark.docker
def test_docker_and_the_embedded_engine_see_the_same_layers(
    docker_engine: DockerEngine, embedded_engine: EmbeddedEngine, tmp_path: Path
) -> None:
    _build(embedded_engine, tmp_path / "app")
    embedded_engine.save((TAG,), str(tmp_path / "image.tar"))
    docker_engine.load(str(tmp_path / "image.tar"))
    said: list[str] = []
    ours, theirs = embedded_engine.view(TAG), docker_engine.view(TAG, said.append)
    docker_engine.untag(TAG)
    assert theirs == ours
    assert ours.wasted > 100_000
    assert any(layer.removed for layer in ours.layers)
    assert said[0].startswith(f"docker writes out {TAG} (")


@pytest.mark.docker
def test_a_layout_is_loaded_into_docker(docker_engine: DockerEngine, embedded_engine: EmbeddedEngine, tmp_path: Path) -> None:
    _build(embedded_engine, tmp_path / "app")
    embedded_engine.save((TAG,), str(tmp_path / "image.tar"))
    with tarfile.open(tmp_path / "image.tar") as archive:
        archive.extractall(tmp_path / "layout")
    (tmp_path / "layout" / "manifest.json").unlink()
    assert docker_engine.load(str(tmp_path / "layout")) == [TAG]
    assert docker_engine.image_row(TAG).config == embedded_engine.image_row(TAG).config
    docker_engine.untag(TAG)
    with pytest.raises(UsageError, match="is not an OCI image layout"):
        docker_engine.load(str(tmp_path / "app"))


# --- without a daemon: forms of archives --------------------------------------------------------------------------------


def _tar(members: dict[str, bytes | None], links: dict[str, str] | None = None) -> bytes:
    """A tar of files and (``None``) directories."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, data in members.items():
            member = tarfile.TarInfo(name)
            member.type = tarfile.DIRTYPE if data is None else tarfile.REGTYPE
            member.size = len(data or b"")
            archive.addfile(member, io.BytesIO(data or b""))
        for name, target in (links or {}).items():
            member = tarfile.TarInfo(name)
            member.type, member.linkname = tarfile.SYMTYPE, target
            archive.addfile(member)
    return out.getvalue()


FIRST = _tar({"a": None, "a/big": b"x" * 5000, "keep": b"12345"})
SECOND = _tar({"a/.wh.big": b"", "keep": b"123", "b/c": b"1"})
CONFIG = json.dumps(
    {"rootfs": {"diff_ids": ["sha256:1", "sha256:2", "sha256:2"]}, "history": [{"created_by": "one"}, {"empty_layer": True}]}
).encode()


def _pieces(data: bytes) -> Iterator[bytes]:
    """As they come from a daemon: of any length."""
    for start in range(0, len(data), 777):
        yield data[start : start + 777]


def _manifest(config: str, *layers: str) -> bytes:
    return json.dumps([{"Config": config, "RepoTags": ["x:1"], "Layers": layers}]).encode()


FORMS = {
    "classic": _tar(
        {
            "1/VERSION": b"1.0",
            "1/layer.tar": FIRST,
            "2/layer.tar": SECOND,
            "abc.json": CONFIG,
            "manifest.json": _manifest("abc.json", "1/layer.tar", "2/layer.tar", "3/layer.tar"),
        },
        {"3/layer.tar": "../2/layer.tar"},
    ),
    "a layout": _tar(
        {
            "blobs": None,
            "manifest.json": _manifest("blobs/sha256/c", "blobs/sha256/a", "blobs/sha256/b", "blobs/sha256/b"),
            "blobs/sha256/c": CONFIG,
            "blobs/sha256/a": FIRST,
            "blobs/sha256/b": SECOND,
            "oci-layout": b"{}",
        }
    ),
    "compressed": _tar(
        {
            "blobs/sha256/a": gzip.compress(FIRST),
            "blobs/sha256/b": gzip.compress(SECOND),
            "blobs/sha256/c": CONFIG,
            "manifest.json": _manifest("blobs/sha256/c", "blobs/sha256/a", "blobs/sha256/b", "blobs/sha256/b"),
        }
    ),
}


@pytest.mark.parametrize("archive", FORMS.values(), ids=FORMS.keys())
def test_every_form_of_archive_is_read(archive: bytes) -> None:
    view = view_archive("sha256:x", _pieces(archive), _silent)
    one, two, three = view.layers
    assert (one.created_by, one.size, one.added, one.wasted) == ("one", 5005, ("a", "a/big", "keep"), 5005)
    assert (two.added, two.changed, two.removed, two.size) == (("b", "b/c"), ("keep",), ("a/big",), 4)
    assert three.changed == ("b/c", "keep")
    assert view.origin == {"a": 1, "b": 2, "b/c": 3, "keep": 3}
    assert view.size == 5005 + 4 + 4


def test_members_are_sorted_and_a_hidden_directory_comes_before_what_is_new_in_it() -> None:
    tar = _tar({"d/new": b"1", "d/.wh..wh..opq": b"", ".wh..wh.plnk": b"", "./z": b"", "c.d/e": b"", "c/e": b""})
    found = [(entry.path, entry.type) for entry in layer_members(io.BytesIO(tar))]
    assert found == [
        *(("c", "dir"), ("c/e", "file"), ("c.d", "dir"), ("c.d/e", "file")),
        *(("d", "dir"), ("d", "opaque"), ("d/new", "file"), ("z", "file")),
    ]


BROKEN: dict[str, tuple[bytes, type[Exception]]] = {
    "nothing": (b"", DockerError),
    "cut off": (FORMS["classic"][:5000], DockerError),
    "no manifest": (_tar({"a": FIRST}), DockerError),
    "a layer that is not there": (_tar({"c.json": CONFIG, "manifest.json": _manifest("c.json", "1", "2", "3")}), DockerError),
    "no JSON": (_tar({"manifest.json": b"{no"}), DockerError),
    "zstd": (_tar({"blobs/sha256/a": b"\x28\xb5\x2f\xfd" + bytes(600)}), UnsupportedError),
}


@pytest.mark.parametrize(("archive", "error"), BROKEN.values(), ids=BROKEN.keys())
def test_an_archive_that_cannot_be_read_is_one_message(archive: bytes, error: type[Exception]) -> None:
    with pytest.raises(error):
        view_archive("sha256:x", _pieces(archive), _silent)


def test_packing_a_layout_that_lacks_something(tmp_path: Path) -> None:
    digest = hashlib.sha256(b"x").hexdigest()
    (tmp_path / "index.json").write_text(json.dumps({"manifests": [{"digest": f"sha256:{digest}"}]}), encoding="utf-8")
    with pytest.raises(BaseImageError, match="is missing"):
        pack_layout(str(tmp_path), io.BytesIO())
    (tmp_path / "index.json").write_text(json.dumps({"manifests": [{"digest": "sha256:../../etc/passwd"}]}), encoding="utf-8")
    with pytest.raises(BaseImageError, match="not valid"):
        pack_layout(str(tmp_path), io.BytesIO())
