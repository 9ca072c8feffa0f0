"""Archives of ``docker save``, read as a stream for what their layers hold; and layouts made into archives for ``docker load``.

Both forms of an archive have ``manifest.json``: the classic one with a directory for each layer, and the one of Docker 25 and later,
which is an OCI layout too. Nothing is unpacked.
"""

from __future__ import annotations

import io
import json
import lzma
import os
import posixpath
import re
import tarfile
import zlib
from collections.abc import Iterable, Iterator
from typing import IO, Any, Final

from layerlab.engines.docker.client import DockerError
from layerlab.errors import BaseImageError, UnsupportedError, UsageError
from layerlab.model import ImageView
from layerlab.oci.layer_view import view_of
from layerlab.oci.references import parse_reference
from layerlab.oci.tar_entries import OPAQUE, WHITEOUT, LayerEntry
from layerlab.platform import ARCHITECTURE, OPERATING_SYSTEM
from layerlab.reports import Report

_AUFS: Final = WHITEOUT + WHITEOUT
_JSON_LIMIT: Final = 16 << 20
_ZSTD: Final = b"\x28\xb5\x2f\xfd"
_HEAD: Final = 512
_DIGEST: Final = re.compile(r"sha256:([0-9a-f]{64})\Z")


# --- reading ----------------------------------------------------------------------------------------------------------


def view_archive(image: str, blocks: Iterable[bytes], report: Report) -> ImageView:
    """See the one image of a ``docker save`` stream as its layers. Raises ``DockerError``, ``UnsupportedError``."""
    documents: dict[str, Any] = {}
    layers: dict[str, list[LayerEntry]] = {}
    links: dict[str, str] = {}
    try:
        with tarfile.open(fileobj=io.BufferedReader(_Blocks(blocks), 1 << 20), mode="r|") as archive:
            for member in archive:
                name = posixpath.normpath(member.name)
                if member.issym() or member.islnk():
                    # Two equal layers of a classic archive.
                    target = member.linkname if member.islnk() else posixpath.join(posixpath.dirname(name), member.linkname)
                    links[name] = posixpath.normpath(target)
                elif member.isfile() and member.size:
                    source = archive.extractfile(member)
                    assert source is not None
                    _take(name, member.size, source, documents, layers, report)
    except (tarfile.TarError, EOFError, zlib.error, lzma.LZMAError) as error:
        raise DockerError(f"the archive that Docker wrote cannot be read: {error}") from error
    try:
        (described,) = documents["manifest.json"]
        config = documents[posixpath.normpath(described["Config"])]
        names = [posixpath.normpath(layer) for layer in described["Layers"]]
        found = [layers[links.get(name, name)] for name in names]
        sizes = [sum(entry.size for entry in layer) for layer in found]
        return view_of(image, config, sizes, found)
    except (KeyError, TypeError, ValueError) as error:
        raise DockerError(f"the archive that Docker wrote is not of a known form: {error!r}") from error


def _take(name: str, size: int, source: IO[bytes], documents: dict[str, Any], layers: dict[str, list[LayerEntry]], report: Report) -> None:
    head = source.read(_HEAD)
    if head[:1] in (b"{", b"[") and size <= _JSON_LIMIT:
        try:
            documents[name] = json.loads(head + source.read())
        except ValueError as error:
            raise DockerError(f"the archive that Docker wrote cannot be read: {name} is not JSON") from error
        return
    if head.startswith(_ZSTD):
        raise UnsupportedError("a layer is compressed with zstd, which this version cannot read")
    if posixpath.basename(name) == "VERSION":
        # One for each layer of a classic archive.
        return
    report(f"reading layer {len(layers) + 1} ({size / 1e6:.1f} MB)")
    layers[name] = layer_members(io.BufferedReader(_Joined(head, source), 1 << 20))


def layer_members(stream: IO[bytes]) -> list[LayerEntry]:
    """The members of a layer's tar as they are in a layer directory: sorted, parents first, missing parents made."""
    found: dict[tuple[str, str], LayerEntry] = {}
    with tarfile.open(fileobj=stream, mode="r|*") as archive:
        for member in archive:
            parts = [part for part in member.name.split("/") if part not in ("", ".")]
            if not parts or (parts[-1].startswith(_AUFS) and parts[-1] != OPAQUE):
                continue
            for end in range(1, len(parts)):
                parent = "/".join(parts[:end])
                found.setdefault((parent, ""), LayerEntry(path=parent, type="dir", mode=0o755))
            entry = _entry(member, parts)
            found[entry.path, entry.type if entry.type in ("whiteout", "opaque") else ""] = entry
    order = {"whiteout": 0, "opaque": 2}
    return sorted(found.values(), key=lambda entry: (entry.path.split("/"), order.get(entry.type, 1)))


def _entry(member: tarfile.TarInfo, parts: list[str]) -> LayerEntry:
    path = "/".join(parts)
    if parts[-1] == OPAQUE:
        return LayerEntry(path="/".join(parts[:-1]), type="opaque", mode=0)
    if parts[-1].startswith(WHITEOUT):
        return LayerEntry(path="/".join([*parts[:-1], parts[-1][len(WHITEOUT) :]]), type="whiteout", mode=0)
    kinds = {
        tarfile.DIRTYPE: "dir",
        tarfile.SYMTYPE: "symlink",
        tarfile.LNKTYPE: "hardlink",
        tarfile.FIFOTYPE: "fifo",
        tarfile.CHRTYPE: "char",
        tarfile.BLKTYPE: "block",
    }
    kind = kinds.get(member.type, "file")
    return LayerEntry(
        path=path,
        type=kind,
        mode=member.mode,
        uid=member.uid,
        gid=member.gid,
        size=member.size if kind == "file" else 0,
        mtime=int(member.mtime),
        target=member.linkname,
    )


class _Blocks(io.RawIOBase):
    """Blocks that come one after the other, as a file."""

    def __init__(self, blocks: Iterable[bytes]) -> None:
        super().__init__()
        self._blocks: Iterator[bytes] = iter(blocks)
        self._left = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._left:
            block = next(self._blocks, None)
            if block is None:
                return 0
            self._left = memoryview(block)
        count = min(len(buffer), len(self._left))
        buffer[:count] = self._left[:count]
        self._left = self._left[count:]
        return count


class _Joined(io.RawIOBase):
    """A file of which the beginning has been read already."""

    def __init__(self, head: bytes, rest: IO[bytes]) -> None:
        super().__init__()
        self._head = head
        self._rest = rest

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        block = self._head[: len(buffer)] if self._head else self._rest.read(len(buffer))
        self._head = self._head[len(block) :]
        buffer[: len(block)] = block
        return len(block)


# --- packing ----------------------------------------------------------------------------------------------------------


def pack_layout(path: str, out: IO[bytes]) -> None:
    """Write an OCI layout directory as an archive that ``docker load`` reads. Docker checks the layers against their diff IDs.

    An index with several platforms resolves to this machine's. Raises ``UsageError`` for what is no layout, ``BaseImageError``.
    """
    try:
        with open(os.path.join(path, "index.json"), "rb") as stream:
            entries = json.load(stream)["manifests"]
    except (OSError, ValueError, KeyError) as error:
        raise UsageError(f"{path} is not an OCI image layout: {error}", remedy="It needs the files oci-layout and index.json.") from error
    described = []
    wanted: set[str] = set()
    try:
        for entry in entries:
            manifest = _manifest(path, entry)
            names = [_file(item["digest"]) for item in (manifest["config"], *manifest["layers"])]
            wanted.update(names)
            annotations = entry.get("annotations") or {}
            name = annotations.get("io.containerd.image.name") or annotations.get("org.opencontainers.image.ref.name")
            tag = parse_reference(name or f"loaded:{entry['digest'][7:19]}").short
            described.append({"Config": names[0], "RepoTags": [tag], "Layers": names[1:]})
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise BaseImageError(f"{path}: the image's manifest is not valid: {error!r}") from error
    with tarfile.open(fileobj=out, mode="w|", format=tarfile.PAX_FORMAT) as archive:
        for name in sorted(wanted):
            try:
                with open(os.path.join(path, name), "rb") as blob:
                    _add(archive, name, os.fstat(blob.fileno()).st_size, blob)
            except FileNotFoundError as error:
                raise BaseImageError(f"{path}: {name} is missing") from error
        body = json.dumps(described).encode()
        _add(archive, "manifest.json", len(body), io.BytesIO(body))


def _manifest(path: str, entry: dict[str, Any]) -> dict[str, Any]:
    for _ in range(4):
        try:
            with open(os.path.join(path, _file(entry["digest"])), "rb") as stream:
                document: dict[str, Any] = json.loads(stream.read(_JSON_LIMIT))
        except FileNotFoundError as error:
            raise BaseImageError(f"{path}: {entry['digest']} is missing") from error
        if "layers" in document:
            return document
        fitting = [inner for inner in document["manifests"] if _fits(inner.get("platform"))]
        if not fitting:
            raise BaseImageError(f"{path} has no image for {OPERATING_SYSTEM}/{ARCHITECTURE}")
        entry = fitting[0]
    raise BaseImageError(f"{path}: indexes nested too deep")


def _fits(platform: dict[str, Any] | None) -> bool:
    return platform is None or (platform.get("os"), platform.get("architecture")) == (OPERATING_SYSTEM, ARCHITECTURE)


def _file(digest: str) -> str:
    match = _DIGEST.match(digest)
    if match is None:
        raise ValueError(f"digest {digest!r} is not supported")
    return f"blobs/sha256/{match[1]}"


def _add(archive: tarfile.TarFile, name: str, size: int, source: IO[bytes]) -> None:
    member = tarfile.TarInfo(name)
    member.size = size
    member.mode = 0o644
    archive.addfile(member, source)
