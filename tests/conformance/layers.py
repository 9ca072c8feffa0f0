"""The members of a layer, read from its tar with the standard library: what is recorded, and more where two live engines are compared.

Nothing here is layerlab's: it judges layerlab.
"""

from __future__ import annotations

import hashlib
import io
import os
import tarfile
from collections.abc import Mapping
from typing import Any, Final

from . import bases

_RECENT: Final = 1_750_000_000
"""No file of a context, a base image or a drawn archive is as young as this; what a build makes is younger."""
LIVE: Final = ("mtime", "sha256", "xattrs")
"""What a member has beside what is recorded."""
# The last is what BUILDKIT_INLINE_CACHE adds for Docker's own use, times included.
_NOT_REST: Final = ("created", "config", "history", "rootfs", "moby.buildkit.cache.v0")
_XATTR: Final = "SCHILY.xattr."
_TYPES: Final = {
    tarfile.REGTYPE: "file",
    tarfile.AREGTYPE: "file",
    tarfile.DIRTYPE: "dir",
    tarfile.SYMTYPE: "symlink",
    tarfile.LNKTYPE: "hardlink",
    tarfile.FIFOTYPE: "fifo",
    tarfile.CHRTYPE: "char",
    tarfile.BLKTYPE: "block",
}


def rest_of(config: Mapping[str, Any]) -> dict[str, Any]:
    """What an image configuration says beside its ``config`` and history, times left out.

    ``base`` has those of its layers that base images have.
    """
    base = [diff_id for diff_id in config["rootfs"].get("diff_ids") or () if diff_id in bases.diff_ids()]
    return {"base": base, **{key: value for key, value in config.items() if key not in _NOT_REST}}


def members(layer: bytes, *, whole: bool = False) -> list[dict[str, Any]]:
    """The members by path. ``whole``: with digest, extended attributes and time, which no recorded case has."""
    found = []
    with tarfile.open(fileobj=io.BytesIO(layer)) as archive:
        for info in archive:
            path = info.name.strip("/")
            folder, name = os.path.split(path)
            if name == ".wh..wh..opq":
                found.append({"path": folder, "type": "opaque"})
                continue
            if name.startswith(".wh."):
                found.append({"path": os.path.join(folder, name.removeprefix(".wh.")), "type": "whiteout"})
                continue
            value: dict[str, Any] = {"path": path, "type": _TYPES[info.type], "mode": f"{info.mode:04o}", "uid": info.uid, "gid": info.gid}
            if value["type"] == "file":
                value["size"] = info.size
            if value["type"] in ("symlink", "hardlink"):
                value["target"] = info.linkname
            found.append(value | _rest(archive, info) if whole else value)
    return sorted(found, key=lambda member: str(member["path"]))


def file_bytes(layer: bytes) -> int:
    """The bytes of all files in a layer's tar, also of one whose name is that of a whiteout: so the classic store counts them."""
    with tarfile.open(fileobj=io.BytesIO(layer)) as archive:
        return sum(info.size for info in archive if info.isreg())


def _rest(archive: tarfile.TarFile, info: tarfile.TarInfo) -> dict[str, Any]:
    """What counts beside what is recorded. A time is one that was kept, or "new": when a step ran is nobody's promise.

    A directory's own time in Docker is that of the last file that the builder was sent for it, now or in an earlier build. Of attributes
    file capabilities count: those of users are in no layer of Docker's, though the steps that follow see them.
    """
    if info.islnk():
        # All that it has is its target's.
        return {}
    rest: dict[str, Any] = {} if info.isdir() else {"mtime": int(info.mtime) if info.mtime < _RECENT else "new"}
    attributes = {key.removeprefix(_XATTR): value for key, value in info.pax_headers.items() if key.startswith(f"{_XATTR}security.")}
    if attributes:
        rest["xattrs"] = attributes
    if info.isreg():
        stream = archive.extractfile(info)
        assert stream is not None
        rest["sha256"] = hashlib.sha256(stream.read()).hexdigest()
    return rest
