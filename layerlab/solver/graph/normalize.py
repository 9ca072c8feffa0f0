"""Values in the normal form that BuildKit gives them: paths, owners, what Go prints."""

from __future__ import annotations

import posixpath
import re
from typing import Final

from layerlab.dockerfile.chars import quoted

_LARGEST_ID: Final = 2**31 - 1


def normalize(cwd: str, path: str, *, keep_slash: bool) -> str:
    """BuildKit's ``system.NormalizePath``: absolute and clean; if asked a trailing ``/`` or ``/.`` stays."""
    joined = path if path.startswith("/") else posixpath.join(cwd, path)
    found = clean(joined)
    if keep_slash and path.endswith("/."):
        return found.rstrip("/") + "/."
    if keep_slash and found != "/" and path.endswith("/"):
        return found + "/"
    return found


def clean(path: str) -> str:
    cleaned = posixpath.normpath(path)
    return cleaned[1:] if cleaned.startswith("//") else cleaned


def upper_keyword(text: str) -> str:
    head, blank, rest = text.partition(" ")
    return head.upper() + blank + rest


def truthy(value: str | None) -> bool:
    return value is not None and value.lower() == "true"


def normal_owner(text: str) -> str:
    """``--chown`` and USER in normal form (``llb.WithUser``): numbers plain, ``root`` and nothing are 0.

    A missing group stays missing: it keys differently.
    """
    return ":".join(_normal_id(part) for part in text.split(":", 1)) if text else ""


def _normal_id(text: str) -> str:
    if text in ("", "root"):
        return "0"
    # ``ParseInt`` with 32 bits; what it does not take is a name. Zeros in front may be more than Python's ``int`` reads.
    match = re.fullmatch(r"([-+]?)0*([0-9]{1,10})", text)
    number = int(match[1] + match[2]) if match is not None else _LARGEST_ID + 1
    return str(number) if -_LARGEST_ID - 1 <= number <= _LARGEST_ID else text


def go_list(items: list[str]) -> str:
    return "[" + " ".join(quoted(item) for item in items) + "]"


def go_duration(nanoseconds: int) -> str:
    """Go's ``Duration.String``: the largest unit below a second, else hours, minutes and seconds; no zeros at the end."""
    if nanoseconds == 0:
        return "0s"
    for unit, length in (("ns", 1), ("µs", 1_000), ("ms", 1_000_000)):
        if nanoseconds < min(length * 1_000, 1_000_000_000):
            return _decimal(nanoseconds, length) + unit
    minutes, rest = divmod(nanoseconds, 60_000_000_000)
    hours, minutes = divmod(minutes, 60)
    text = _decimal(rest, 1_000_000_000) + "s"
    if hours:
        return f"{hours}h{minutes}m{text}"
    return f"{minutes}m{text}" if minutes else text


def _decimal(value: int, unit: int) -> str:
    whole, rest = divmod(value, unit)
    fraction = f"{rest:0{len(str(unit)) - 1}d}".rstrip("0") if rest else ""
    return f"{whole}.{fraction}" if fraction else str(whole)
