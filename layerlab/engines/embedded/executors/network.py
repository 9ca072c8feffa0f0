"""A network of its own for a RUN of an ordinary build: the way out, and not this machine's loopback and sockets without a file.

What listens on loopback was never meant for a build: Jupyter's own server, a database, a display. A build needs registries. So a command
gets a network namespace, and a program of user-mode networking, ``pasta`` (Debian's passt) or ``slirp4netns``, carries its packets out as
connections of this user. Both would map the gateway's address to this machine's loopback, so both are told not to.

What the user's own settings name on loopback must still work: a proxy, a mirror, a resolver. pasta forwards these ports and no others.
Where that cannot be done, or neither program is there, commands share this machine's network, and ``doctor`` says so.
"""

from __future__ import annotations

import contextlib
import fcntl
import ipaddress
import os
import select
import signal
import subprocess
import time
import urllib.parse
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final, Literal, NamedTuple

from layerlab.engines.embedded.executors.launcher import Setup, launcher
from layerlab.engines.embedded.executors.programs import Helper
from layerlab.errors import ExecutorError

# ioctl_ns(2): the user namespace that owns a namespace.
_GET_USER_NAMESPACE: Final = 0xB701
_READY_SECONDS: Final = 10.0
_RESOLVER: Final = "/etc/resolv.conf"
# systemd-resolved listens on loopback; here it says whom it asks. Docker reads it, too.
_UPSTREAM: Final = "/run/systemd/resolve/resolv.conf"
_SLIRP_RESOLVER: Final = "nameserver 10.0.2.3\n"
_NAMES: Final = ("http_proxy", "https_proxy", "ftp_proxy", "all_proxy", "npm_config_registry", "pip_index_url")
_PORTS: Final = {"http": 80, "https": 443, "ftp": 21}
_DNS: Final = 53
# Of a machine without any network: then its loopback is all that a command has, too.
_NO_ROUTE: Final = ("routable interface", "No usable")


class Network(NamedTuple):
    """What a command has of the network: ``mode`` is ``none`` (loopback of its own), ``own`` or ``host``.

    ``ports`` of this machine's loopback are reachable in ``own``. ``resolver``: the text of ``/etc/resolv.conf``.
    """

    mode: Literal["none", "own", "host"]
    ports: tuple[int, ...] = ()
    resolver: bytes | None = None


def network_for(helper: Helper | None, environment: Mapping[str, str]) -> Network:
    """The network of a command that asked for none in particular; ``environment`` as it has it."""
    text = _resolver()
    ports = _loopback_ports(environment)
    servers = [line.split()[1] for line in text.splitlines() if line.startswith("nameserver") and len(line.split()) > 1]
    local = [server for server in servers if _is_loopback(server)]
    if helper is None:
        return Network("host")
    if helper.name == "slirp4netns":
        # It answers for the resolver itself, wherever that is.
        kept = [line for line in text.splitlines() if not line.startswith("nameserver")]
        return Network("host") if ports else Network("own", (), (_SLIRP_RESOLVER + "".join(f"{line}\n" for line in kept)).encode())
    if any(server not in ("127.0.0.1", "::1") for server in local):
        return Network("host")
    return Network("own", tuple(sorted({*ports, *((_DNS,) if local else ())})), text.encode())


def _resolver() -> str:
    for path in (_RESOLVER, _UPSTREAM):
        with contextlib.suppress(OSError):
            text = Path(path).read_text(encoding="utf-8", errors="replace")
            if "nameserver 127.0.0.53" not in text:
                return text
    return ""


def _is_loopback(host: str) -> bool:
    if host.lower() in ("localhost", "localhost.localdomain") or host.lower().endswith(".localhost"):
        return True
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(host.split("%", maxsplit=1)[0]).is_loopback
    return False


def _loopback_ports(environment: Mapping[str, str]) -> set[int]:
    """Ports on loopback that proxies and mirrors of the environment name."""
    found = set()
    for name, value in environment.items():
        if name.lower() in _NAMES and value:
            with contextlib.suppress(ValueError):
                url = urllib.parse.urlsplit(value if "://" in value else f"http://{value}")
                if _is_loopback(url.hostname or ""):
                    found.add(url.port or _PORTS.get(url.scheme, 80))
    return found


@contextlib.contextmanager
def connected(helper: Helper, process: int, ports: tuple[int, ...]) -> Iterator[None]:
    """Connect the network namespace of a process for the length of the block. Raises ``ExecutorError`` where that cannot be done."""
    with contextlib.ExitStack() as stack:
        if not _has_loopback(process):
            # It has ended, and its own words say why.
            yield
            return
        network, owner = _namespaces(process, stack)
        if helper.name == "pasta":
            _start_pasta(helper, network, owner, ports, stack)
        else:
            _start_slirp(helper, network, owner, stack)
        yield


def _has_loopback(process: int) -> bool:
    """Wait until bwrap has brought up the loopback of its network; whether it has.

    A netlink socket gets the number of its process, or any other one where that is taken, and then bwrap does not know the answers to its
    own requests. The helper, which counts processes in a namespace of its own, could have taken it.
    """
    end = time.monotonic() + _READY_SECONDS
    while time.monotonic() < end:
        try:
            if "127.0.0.1" in Path(f"/proc/{process}/net/fib_trie").read_text(encoding="ascii"):
                return True
        except OSError:
            return os.path.exists(f"/proc/{process}/net")
        time.sleep(0.001)
    return True


def _namespaces(process: int, stack: contextlib.ExitStack) -> tuple[str, str]:
    """Paths of the network namespace of a process and of the user namespace that owns it."""
    own = f"/proc/{process}/ns/net"
    if os.getuid() == 0:
        # pasta first drops what it would need to see descriptors of a process that has more rights than it.
        return own, f"/proc/{process}/ns/user"
    with open(own, "rb") as network:
        # As a user, bwrap may have moved on into another user namespace, which has no rights over the network.
        owner = fcntl.ioctl(network, _GET_USER_NAMESPACE)
    stack.callback(os.close, owner)
    return own, f"/proc/{os.getpid()}/fd/{owner}"


def _start_pasta(helper: Helper, network: str, owner: str, ports: tuple[int, ...], stack: contextlib.ExitStack) -> None:
    tcp = ",".join(map(str, ports)) or "none"
    # -T and -U: ports of this machine's loopback that the namespace has on its own. By default pasta takes all.
    words = [helper.name, "--foreground", "--config-net", "--no-map-gw", "--tcp-ports", "none", "--udp-ports", "none", "--tcp-ns", tcp]
    # It tells its number when all is connected.
    words += ["--pid", "/proc/self/fd/1", "--udp-ns", str(_DNS) if _DNS in ports else "none", "--netns", network, "--userns", owner]
    if os.getuid() == 0:
        # It would become nobody, who may not open the namespace.
        words += ["--runas", "0:0"]
    read, write = os.pipe()
    with open(read, "rb", buffering=0) as ready:
        try:
            child, said = _spawned(helper, words, (), write, stack)
        finally:
            os.close(write)
        # Not select: it knows descriptors below 1024 alone.
        waiting = select.poll()
        waiting.register(ready, select.POLLIN)
        if not waiting.poll(_READY_SECONDS * 1000) or not ready.read(1):
            _failed(helper, child, said)


def _start_slirp(helper: Helper, network: str, owner: str, stack: contextlib.ExitStack) -> None:
    read, write = os.pipe()
    words = [helper.name, "--configure", "--disable-host-loopback", "--mtu=65520", f"--ready-fd={write}", f"--userns-path={owner}"]
    try:
        child, said = _spawned(helper, [*words, "--netns-type=path", network, "tap0"], (write,), subprocess.DEVNULL, stack)
    finally:
        os.close(write)
    with open(read, "rb") as stream:
        if not stream.read(1):
            _failed(helper, child, said)


def _spawned(
    helper: Helper, words: list[str], passed: tuple[int, ...], stdout: int, stack: contextlib.ExitStack
) -> tuple[subprocess.Popen[bytes], int]:
    """The program, which ends when the block does, and with this process, however that ends; and a file of what it says meanwhile."""
    program = launcher(words, {}, Setup(death_signal=signal.SIGKILL, path=helper.binary))
    if program is None:
        raise ExecutorError(f"{helper.name} cannot be started on {os.uname().machine}")
    # A pipe that nobody empties would stop it some day.
    said = os.memfd_create("layerlab-network-said")
    stack.callback(os.close, said)
    start = os.memfd_create("layerlab-network", 0)
    try:
        with open(start, "wb", closefd=False) as stream:
            stream.write(program)
        child = subprocess.Popen(
            [helper.name],
            executable=f"/proc/self/fd/{start}",
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=said,
            pass_fds=(*passed, start),
            env={},
            start_new_session=True,
        )
    finally:
        os.close(start)
    stack.callback(_end, child)
    return child, said


def _end(child: subprocess.Popen[bytes]) -> None:
    child.kill()
    child.wait()


def _failed(helper: Helper, child: subprocess.Popen[bytes], said: int) -> None:
    _end(child)
    os.lseek(said, 0, os.SEEK_SET)
    with open(said, "rb", closefd=False) as stream:
        text = stream.read().decode("utf-8", "replace")
    lines = [line for line in text.splitlines() if line.strip() and "syslog" not in line]
    if any(word in text for word in _NO_ROUTE):
        return
    raise ExecutorError(
        f"{helper.name} cannot connect a build step: {lines[-1].strip() if lines else 'it gave no reason'}",
        remedy="Build with --network host, or --network none for steps that need none.",
    )
