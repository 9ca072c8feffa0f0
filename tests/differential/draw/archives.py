"""Archives for ADD: plain ones, and with the theme what few archives have."""

from __future__ import annotations

import base64
import bz2
import gzip
import io
import tarfile
from typing import Final

from .dice import Dice

NAMES: Final = ("t.tar", "u.tgz")
_PATHS: Final = ("f", "d/f", "d/e/g", "./h", "abs/f", "d", "ln", "d/ln", "e/")
_ODD_PATHS: Final = ("../out", "/abs", "ln/f", "./", ".wh.f", "d/.wh..wh..opq", f"{'long' * 30}/{'name' * 30}", "d/../g", "é")
_MODES: Final = ("644", "755", "600")
_ODD_MODES: Final = ("4755", "2755", "1777", "0")
_TARGETS: Final = ("f", "d", "d/f")
_ODD_TARGETS: Final = ("/etc", "nowhere", "..", "../..", "ln")
_TIMES: Final = (0, 0, 1_500_000_000, 1_600_000_000.5)


def archive(dice: Dice) -> str:
    """A tar, mostly compressed, in base64."""
    odd = dice.theme("archives")
    buffer = io.BytesIO()
    # Not xz: a daemon needs a program of its machine for that, and copies the archive where there is none.
    pack = dice.one((bytes, bytes, _gzip, bz2.compress))
    form = dice.one(
        (tarfile.GNU_FORMAT, tarfile.PAX_FORMAT, tarfile.PAX_FORMAT, tarfile.USTAR_FORMAT)
        if odd
        else (tarfile.GNU_FORMAT, tarfile.PAX_FORMAT)
    )
    with tarfile.open(fileobj=buffer, mode="w", format=form) as tar:
        for number in range(dice.number(0 if odd else 1, 5)):
            _add(dice, tar, number, odd=odd)
    return base64.b64encode(pack(buffer.getvalue())).decode()


def _gzip(data: bytes) -> bytes:
    """Without the time at which it was done, so that a case is the same each time."""
    return gzip.compress(data, mtime=0)


def _add(dice: Dice, tar: tarfile.TarFile, number: int, *, odd: bool) -> None:
    often = 0.25 if odd else 0.05
    name = dice.one(_PATHS, _ODD_PATHS, often=often)
    if len(name) > 200 and tar.format == tarfile.USTAR_FORMAT:
        name = "short"
    info = tarfile.TarInfo(name)
    info.mode = int(dice.one(_MODES, _ODD_MODES, often=often), 8)
    info.uid = info.gid = dice.one((0, 0, 1000))
    info.mtime = dice.one(_TIMES) if tar.format == tarfile.PAX_FORMAT else int(dice.one(_TIMES))
    if odd and tar.format == tarfile.PAX_FORMAT and dice.theme("xattrs", 0.4):
        info.pax_headers = {"SCHILY.xattr.user.k": "v"}
    kind = dice.one(("file", "file", "file", "dir", "symlink", "hardlink"), ("fifo", "sparse"), often=0.15 if odd else 0)
    data = b""
    if kind == "file":
        data = b"%d\n" % number
    elif kind == "sparse" and tar.format == tarfile.PAX_FORMAT:
        # GNU's format 1.0: a map of what is no hole, filled up to a block, and then what is none.
        info.pax_headers = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.name": info.name, "GNU.sparse.realsize": "1030"}
        data = b"1\n1024\n6\n".ljust(512, b"\0") + b"sparse"
    elif kind == "dir":
        info.type, info.mode = tarfile.DIRTYPE, 0o755
    elif kind == "fifo":
        info.type = tarfile.FIFOTYPE
    elif kind in ("symlink", "hardlink"):
        info.type = tarfile.SYMTYPE if kind == "symlink" else tarfile.LNKTYPE
        info.linkname = dice.one(_TARGETS, _ODD_TARGETS, often=often)
    info.size = len(data)
    tar.addfile(info, io.BytesIO(data))
