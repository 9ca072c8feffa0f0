"""The owners that files of a layer should have, where they cannot have them on disk: a file beside the layer's directory.

msgpack: a map of paths to pairs of user and group. A path that is no UTF-8 stands there as bytes.
"""

from __future__ import annotations

import os
from typing import Any

import msgspec

from layerlab.engines.embedded.rootfs.messages import Owners


def sidecar(layer: str) -> str:
    """Where the owners of a layer's directory are."""
    return f"{layer}.owners"


def write_owners(layer: str, owners: Owners) -> None:
    """Write what is said of a layer; nothing where nothing is. Raises ``OSError``."""
    if owners:
        with open(sidecar(layer), "wb") as stream:
            stream.write(msgspec.msgpack.encode({_name(path): ids for path, ids in owners.items()}))


def read_owners(layer: str) -> Owners:
    """What is said of a layer. Raises ``OSError``, but not for want of a file."""
    try:
        with open(sidecar(layer), "rb") as stream:
            found = msgspec.msgpack.decode(stream.read(), type=dict[Any, tuple[int, int]])
    except FileNotFoundError:
        return {}
    return {os.fsdecode(path): ids for path, ids in found.items()}


def _name(path: str) -> str | bytes:
    try:
        path.encode()
    except UnicodeEncodeError:
        return os.fsencode(path)
    return path
