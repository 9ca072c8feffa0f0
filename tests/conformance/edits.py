"""The edit operations of the cases."""

from __future__ import annotations

import os
import shutil
import stat
from pathlib import Path
from typing import Any

from .context import Clock, content, make_parents, put, stamp


class CannotEditError(Exception):
    """This machine or user cannot do the operation (another owner, extended attributes)."""


class MisfitError(OSError):
    """A context or an edit that cannot be made, so that the case does not fit together. No engine had a part in it."""


def apply(directory: Path, edit: dict[str, Any], clock: Clock) -> None:
    """Do one operation. Raises ``CannotEditError``, and ``OSError`` for a case that does not fit its context."""
    operation = edit["op"]
    path = directory / edit["path"]
    if operation == "write":
        before = path.stat().st_mtime_ns if edit.get("mtime") == "keep" else None
        put(path, {key: value for key, value in edit.items() if key not in ("op", "path", "mtime")})
        if before is not None:
            os.utime(path, ns=(before, before))
        elif not edit.get("dir"):
            stamp(path, clock.tick())
    elif operation == "append":
        with path.open("ab") as stream:
            stream.write(content(edit))
        stamp(path, clock.tick())
    elif operation == "delete":
        remove(path)
    elif operation == "chmod":
        path.chmod(int(edit["mode"], 8))
    elif operation == "chown":
        try:
            os.chown(path, edit["uid"], edit["gid"], follow_symlinks=False)
        except PermissionError as error:
            raise CannotEditError("giving a file to another user needs root") from error
    elif operation == "touch":
        stamp(path, clock.tick())
    elif operation == "rename":
        target = directory / edit["to"]
        make_parents(target)
        path.rename(target)
    elif operation == "symlink":
        if path.is_symlink() or path.exists():
            remove(path)
        make_parents(path)
        path.symlink_to(edit["target"])
        stamp(path, clock.tick())
    elif operation == "hardlink":
        make_parents(path)
        os.link(directory / edit["target"], path, follow_symlinks=False)
    elif operation == "mkdir":
        make_parents(path)
        path.mkdir()
        path.chmod(int(edit.get("mode", "0755"), 8))
    elif operation == "mkfifo":
        make_parents(path)
        os.mkfifo(path)
        path.chmod(int(edit.get("mode", "0644"), 8))
        stamp(path, clock.tick())
    elif operation == "setxattr":
        try:
            os.setxattr(path, edit["name"], str(edit["value"]).encode("utf-8"), follow_symlinks=False)
        except OSError as error:
            raise CannotEditError(f"no extended attributes here: {error}") from error
    else:
        raise ValueError(f"unknown edit operation {operation!r}")


def remove(path: Path) -> None:
    """Delete a file, a link or a whole tree."""
    if stat.S_ISDIR(path.lstat().st_mode):
        shutil.rmtree(path)
    else:
        path.unlink()
