"""Unpacking archives of our own making: no member may leave the directory, none keeps an owner or a special mode."""

from __future__ import annotations

import os
import tarfile
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from layerlab.errors import LayerlabError


def unpack_data(archive: tarfile.TarFile, target: Path, members: Iterable[tarfile.TarInfo] | None = None) -> None:
    """As ``extractall(filter="data")`` (PEP 706), which Python 3.11 has from 3.11.4 on. Before it, an archive may hold no links.

    Raises ``LayerlabError`` for what may not be unpacked, ``OSError``, ``tarfile.TarError``.
    """
    if hasattr(tarfile, "data_filter"):
        archive.extractall(target, members, filter="data")
        return
    for member in members if members is not None else archive:
        name = PurePosixPath(member.name)
        if not (member.isreg() or member.isdir()) or name.is_absolute() or ".." in name.parts:
            raise LayerlabError(
                f"{member.name} in an archive is neither a file nor a directory below it", remedy="Python 3.11.4 or newer unpacks links."
            )
        member.mode = member.mode & 0o755 | (0o700 if member.isdir() else 0o600)
        member.uid, member.gid, member.uname, member.gname = os.geteuid(), os.getegid(), "", ""
        archive.extract(member, target)
