"""Memory that nothing shows whose it is: shared mappings that were dropped, files without a name, what waits in sockets and pipes, locks.

Such a page is in no process (``RssAnon``…) and in no file that can be looked at, and an ordinary user cannot ask the kernel about the file
behind a mapping (``/proc/PID/map_files`` is root's). But the machine as a whole says how much of all this there is, so three questions in a
row tell enough. Has it grown by what is too much? If not, nobody has it. Could this sandbox have it? If not, it is a neighbour's. And does
it go when the sandbox goes? Only then was it the sandbox's, and only then is it said so.
"""

from __future__ import annotations

import contextlib
import os
import re
import resource
import socket
import stat
import struct
import time
from collections.abc import Iterable, Iterator
from typing import Final

# A mapping of memory that has no name in any file system.
_NAMELESS: Final = re.compile(r"(?:\S+ +){5}(?:/memfd:|/dev/zero|/anon_hugepage).* \(deleted\)")
# What is sent to a Unix socket of datagrams and not received: ten messages from ten senders, and one more.
_MESSAGES: Final = 11
# At the most, a pipe of an ordinary user; a lock; and what the kernel needs for the mappings of one process (``vm.max_map_count``).
_PIPE: Final = 1 << 20
_LOCK: Final = 512
_AREAS: Final = 32 << 20
_SOCKETS: Final = ("unix", "tcp", "tcp6", "udp", "udp6", "netlink")
# Without end, for a sum.
ANYTHING: Final = 1 << 62
_GONE_SECONDS: Final = 5.0
# As long as it keeps coming back, and so much at a time: the kernel takes a while for millions of small things.
_MOST_SECONDS: Final = 40.0
_COMING_BACK: Final = 8 << 20
_POLL_SECONDS: Final = 0.02
_ASK_SECONDS: Final = 1.0
# pid, uid, gid (unix(7), SO_PEERCRED).
_CREDENTIALS: Final = struct.Struct("iII")
# A name of this machine's network, which no sandbox is in.
_LOCK_NAME: Final = "\0layerlab-whose-memory"


def unseen() -> int:
    """Bytes of this machine that are neither private memory of processes nor caches that the kernel can drop; those in swap, too."""
    found: dict[str, int] = {}
    with open("/proc/meminfo", encoding="ascii") as stream:
        for line in stream:
            name, _, rest = line.partition(":")
            found[name] = int(rest.split()[0]) << 10
    dropped = found["Buffers"] + found["Cached"] - found["Shmem"] + found.get("SReclaimable", 0)
    swapped = found.get("SwapTotal", 0) - found.get("SwapFree", 0)
    return found["MemTotal"] - found["MemFree"] - _kept_free() - found["AnonPages"] - dropped + swapped


def _kept_free() -> int:
    """Bytes of free pages that each processor keeps for itself, hundreds of MiB at times. ``MemFree`` is without them."""
    with contextlib.suppress(OSError), open("/proc/zoneinfo", encoding="ascii") as stream:
        return sum(int(line.split()[1]) for line in stream if line.lstrip().startswith("count:")) * resource.getpagesize()
    return 0


def could_hide(processes: Iterable[int]) -> int:
    """The most that these processes could hold where nothing shows it, by what they have. It is far more than they do hold."""
    most = 0
    spaces: set[str] = set()
    pipes: set[tuple[int, int]] = set()
    for process in processes:
        with contextlib.suppress(OSError):
            if _maps_nameless(process):
                return ANYTHING
            most += _AREAS
            for number in os.listdir(f"/proc/{process}/fd"):
                with contextlib.suppress(OSError):
                    status = os.stat(f"/proc/{process}/fd/{number}")
                    # Files can be on their way in a socket, and in no process.
                    if stat.S_ISSOCK(status.st_mode) and _carries(process, number):
                        return ANYTHING
                    if stat.S_ISFIFO(status.st_mode):
                        pipes.add((status.st_dev, status.st_ino))
            space = os.readlink(f"/proc/{process}/ns/net")
            if space not in spaces:
                spaces.add(space)
                most += _socket() * sum(_sockets(process, kind) for kind in _SOCKETS)
    return most + _PIPE * len(pipes) + _LOCK * _lines("/proc/locks")


def _maps_nameless(process: int) -> bool:
    with open(f"/proc/{process}/maps", encoding="utf-8", errors="surrogateescape") as stream:
        return any(_NAMELESS.match(line) is not None for line in stream)


def _carries(process: int, number: str) -> bool:
    """Whether descriptors were sent to a socket and not received yet."""
    with open(f"/proc/{process}/fdinfo/{number}", encoding="ascii", errors="replace") as stream:
        text = stream.read()
    return "scm_fds:" in text and re.search(r"^scm_fds:\s*0$", text, re.MULTILINE) is None


def _socket() -> int:
    """The most that waits in one socket, by the settings of this machine."""
    core = _setting("core/rmem_max") + _setting("core/wmem_max")
    return 2 * core * _MESSAGES + _setting("ipv4/tcp_rmem") + _setting("ipv4/tcp_wmem")


def _setting(name: str) -> int:
    with open(f"/proc/sys/net/{name}", encoding="ascii") as stream:
        return int(stream.read().split()[-1])


def _sockets(process: int, kind: str) -> int:
    """The sockets of a kind in the network of a process; those of netlink that are the kernel's own have the number 0."""
    with contextlib.suppress(OSError), open(f"/proc/{process}/net/{kind}", encoding="utf-8", errors="replace") as stream:
        return sum(1 for line in list(stream)[1:] if kind != "netlink" or line.split()[2] != "0")
    return 0


def _lines(path: str) -> int:
    with contextlib.suppress(OSError), open(path, "rb") as stream:
        return sum(1 for _ in stream)
    return 0


class Unseen:
    """How much more of such memory this machine has than it had: the least that was seen is nobody's who is watched here."""

    def __init__(self) -> None:
        self._least = unseen()

    def grown(self) -> int:
        """Bytes. The sandboxes that are watched hold at most so much where nothing shows it."""
        now = unseen()
        self._least = min(self._least, now)
        return now - self._least


@contextlib.contextmanager
def alone() -> Iterator[bool]:
    """For the length of the block no other grader of this machine finds out what goes with a sandbox. False where one does already.

    Everybody can have that name; what counts is who has it.
    """
    with socket.socket(socket.AF_UNIX) as lock:
        try:
            lock.bind(_LOCK_NAME)
            lock.listen()
        except OSError:
            yield not _is_held()
        else:
            yield True


def _is_held() -> bool:
    """Whether the lock is held by a process of this user or of root."""
    with socket.socket(socket.AF_UNIX) as asking:
        asking.settimeout(_ASK_SECONDS)
        try:
            asking.connect(_LOCK_NAME)
            _, uid, _ = _CREDENTIALS.unpack(asking.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size))
        except OSError:
            # Given back meanwhile, or nobody's who listens.
            return False
    return uid in (0, os.getuid())


def went(before: int, processes: Iterable[int], enough: int) -> int:
    """Bytes that the machine has got back since there were ``before``, when these processes have gone; it waits for ``enough``."""
    waiting = set(processes)
    end = time.monotonic() + _GONE_SECONDS
    last = time.monotonic() + _MOST_SECONDS
    most = 0
    while (fell := before - unseen()) <= enough or waiting:
        waiting = {process for process in waiting if os.path.exists(f"/proc/{process}")}
        if fell > most + _COMING_BACK:
            most, end = fell, min(last, time.monotonic() + _GONE_SECONDS)
        if time.monotonic() > end:
            break
        time.sleep(_POLL_SECONDS)
    return fell
