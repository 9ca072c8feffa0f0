"""EXPOSE's words: ports and ranges of them (``nat.ParsePortSpec`` of docker/go-connections)."""

from __future__ import annotations

import re

from layerlab.dockerfile.ast import Instruction
from layerlab.dockerfile.chars import quoted
from layerlab.solver.graph.scope import Scope


def ports_of(scope: Scope, text: str, at: Instruction) -> list[str]:
    """The ports that a word of EXPOSE names, like ``80/tcp``. Raises ``DockerfileError``."""
    if scope.observer is not None:
        scope.observer.exposed(at, text)
    # An address and a port of the host may stand before the last colon; they are read and left out.
    *host, container = text.split(":")
    address, host_port = ":".join(host[:-1]), (host or [""])[-1]
    number, _, protocol = container.partition("/")
    remedy = "A port is a number up to 65535, or a range like 8000-8010, and may end in /udp."
    if not number:
        raise scope.error(at, f"invalid port: {quoted(text)}: no port specified", remedy)
    if protocol.lower() not in ("", "tcp", "udp", "sctp"):
        raise scope.error(at, f"invalid port: {quoted(text)}: invalid proto: {protocol}", "Write tcp, udp or sctp behind the slash.")
    if address and not _is_address(address):
        raise scope.error(at, f"invalid IP address: {address}", "EXPOSE takes no address: write the port alone.")
    ports = _port_range(number)
    if ports is None:
        raise scope.error(at, f"invalid containerPort: {number}", remedy)
    low, high = ports
    if host_port:
        hosts = _port_range(host_port)
        if hosts is None:
            raise scope.error(at, f"invalid hostPort: {host_port}", remedy)
        if low != high and high - low != hosts[1] - hosts[0]:
            raise scope.error(at, f"invalid ranges specified for container and host Ports: {number} and {host_port}", remedy)
    return [f"{port}/{protocol.lower() or 'tcp'}" for port in range(low, high + 1)]


def _port_range(text: str) -> tuple[int, int] | None:
    match = re.fullmatch(r"\+?0*([0-9]{1,5})(?:-\+?0*([0-9]{1,5}))?", text)
    low, high = (int(match[1]), int(match[2] or match[1])) if match else (1, 0)
    return (low, high) if low <= high <= 65535 else None


def _is_address(text: str) -> bool:
    # Seldom written, and it takes 3 ms to import.
    from ipaddress import ip_address

    try:
        ip_address(text[1:-1] if text.startswith("[") and text.endswith("]") else text)
    except ValueError:
        return False
    return True
