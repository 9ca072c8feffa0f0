"""Published ports as docker's ``-p`` writes them. What publishing means is each engine's own affair."""

from __future__ import annotations

import ipaddress
import re
from typing import Final

from layerlab.errors import UnsupportedError, UsageError
from layerlab.model import PublishedPort

_SPECIFICATION: Final = re.compile(r"(?:(?P<ip>\[[^\]]*\]|[^:]*):)?(?P<host>\d*):(?P<container>\d+)(?:/(?P<protocol>\w+))?\Z", re.ASCII)
_REMEDY: Final = "Write -p HOST:CONTAINER or -p IP:HOST:CONTAINER, for example -p 8080:3000."
_LAST: Final = 65535


def parse_port(text: str) -> PublishedPort:
    """``[IP:]HOST:CONTAINER[/tcp]``. Raises ``UsageError``, ``UnsupportedError``."""
    match = _SPECIFICATION.match(text)
    if match is None or not match["host"]:
        raise UsageError(f"invalid published port {text!r}", remedy=_REMEDY)
    if match["protocol"] not in (None, "tcp"):
        raise UnsupportedError(f"-p {text}: only TCP ports can be published", remedy="Leave the protocol out.")
    host, container = (_port(text, match[name]) for name in ("host", "container"))
    ip = (match["ip"] or "").strip("[]")
    if ip:
        try:
            ipaddress.ip_address(ip)
        except ValueError as error:
            raise UsageError(f"invalid published port {text!r}: {ip} is not an IP address", remedy=_REMEDY) from error
    return PublishedPort(host=host, container=container, ip=ip)


def _port(text: str, digits: str) -> int:
    # Python's ``int`` reads 4,300 digits at most.
    significant = digits.lstrip("0")
    if not significant or len(significant) > len(str(_LAST)) or int(significant) > _LAST:
        raise UsageError(f"invalid published port {text!r}: {significant or 0} is not between 1 and {_LAST}", remedy=_REMEDY)
    return int(significant)
