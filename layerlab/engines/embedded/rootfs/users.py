"""Users and groups of an image: what ``USER`` and ``--chown`` mean in its ``/etc/passwd`` and ``/etc/group``.

Rules: BuildKit ``solver/llbsolver/ops/user_linux.go`` for ``--chown`` (an unknown name is 0:0), and
``executor/oci/user.go`` for USER (an unknown name is an error).
"""

from __future__ import annotations

import os
import stat

from layerlab.engines.embedded.rootfs.paths import resolve

_LIMIT = 16 << 20
_HIGHEST = 2**31 - 1


def _lines(root: str, path: str) -> list[list[str]]:
    try:
        file = resolve(root, path)
        # An image may hold anything under that name; a named pipe would be waited for.
        if not stat.S_ISREG(os.lstat(file).st_mode):
            return []
        with open(file, encoding="utf-8", errors="replace") as stream:
            return [line.split(":") for line in stream.read(_LIMIT).splitlines() if line.strip() and not line.startswith("#")]
    except OSError:
        return []


def _number(text: str) -> int | None:
    """A number, and for any that is too large ``_HIGHEST + 1``; ``None`` for other words. An image may have digits without end there."""
    if not (text.isascii() and text.isdigit()):
        return None
    digits = text.lstrip("0") or "0"
    return min(int(digits), _HIGHEST + 1) if len(digits) <= 10 else _HIGHEST + 1


def _id(text: str) -> int | None:
    """The number of a user or group; one that is too large is none, and so the name of nobody."""
    number = _number(text)
    return number if number is not None and number <= _HIGHEST else None


def chown_ids(root: str, owner: str) -> tuple[int, int]:
    """(uid, gid) for the value of ``--chown`` or for USER where WORKDIR makes a directory."""
    user, _, group = owner.partition(":")
    uid = gid = 0
    number = _id(user)
    if number is not None:
        uid = gid = number
    elif user:
        for fields in _lines(root, "/etc/passwd"):
            if fields[0] == user and len(fields) > 3:
                uid, gid = _id(fields[2]) or 0, _id(fields[3]) or 0
                break
    if group:
        number = _id(group)
        if number is not None:
            gid = number
        else:
            gid = next((_id(f[2]) or 0 for f in _lines(root, "/etc/group") if f[0] == group and len(f) > 2), gid)
    return uid, gid


class UnknownUserError(Exception):
    """USER names somebody whom the image does not know."""


def process_ids(root: str, user: str) -> tuple[int, int, tuple[int, ...], str]:
    """(uid, gid, supplementary groups, home) of a process under USER ``user``. Raises ``UnknownUserError``."""
    name, _, group = (user or "0").partition(":")
    passwd = _lines(root, "/etc/passwd")
    groups = _lines(root, "/etc/group")
    number = _number(name)
    entry = next((f for f in passwd if len(f) > 5 and (f[0] == name if number is None else f[2] == str(number))), None)
    if entry is None and number is None:
        why = (
            "no matching entries in passwd file"
            if os.path.isfile(resolve(root, "/etc/passwd"))
            else "invalid argument (there is no /etc/passwd)"
        )
        raise UnknownUserError(f"unable to find user {name}: {why}")
    if number is not None and number > _HIGHEST:
        raise UnknownUserError(f"uids and gids must be in range 0-{_HIGHEST}")
    uid = _id(entry[2]) or 0 if entry is not None else number or 0
    gid = _id(entry[3]) or 0 if entry is not None else 0
    home = entry[5] if entry is not None and entry[5] else "/"
    extra: tuple[int, ...] = ()
    if group:
        gid_number = _number(group)
        if gid_number is None:
            found = next((f for f in groups if f[0] == group and len(f) > 2), None)
            if found is None:
                raise UnknownUserError(f"unable to find group {group}: no matching entries in group file")
            gid_number = _id(found[2]) or 0
        if gid_number > _HIGHEST:
            raise UnknownUserError(f"uids and gids must be in range 0-{_HIGHEST}")
        gid = gid_number
    elif entry is not None:
        extra = tuple(sorted(_id(f[2]) or 0 for f in groups if len(f) > 3 and entry[0] in f[3].split(",") and f[2].isdigit()))
    # The group of the process is a supplementary one too, before all others.
    return uid, gid, tuple(dict.fromkeys((gid, *extra))), home
