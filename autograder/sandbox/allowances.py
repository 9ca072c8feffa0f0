"""What a machine has once, for all its namespaces and users together: memory for TCP and for UDP, and open files.

One sandbox could take all of it, and whoever else needs some is refused: connections on loopback are reset, files are not opened. The
kernel has no limit of a sandbox's own for them without a control group of version 2, so the one that has most is ended while half is left.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Final

_PROC: Final = Path("/proc")
_PAGE: Final = os.sysconf("SC_PAGE_SIZE")
# The most that a socket holds by itself: what it sends and what it receives (``tcp_wmem``, ``tcp_rmem``; twice ``rmem_max``).
_MOST: Final = {"TCP": 10 << 20, "UDP": 512 << 10}
_FEW: Final = 16
_FILES: Final = 16_384


def exhausted(processes: Iterable[int], proc: Path = _PROC) -> str:
    """What processes have too much of while the machine runs out of it, in words that follow "it"; empty for nothing.

    ``proc``: where the kernel tells; what it does not tell there is not judged.
    """
    found = list(processes)
    for protocol in ("TCP", "UDP"):
        few = _harmless(protocol, proc)
        if few is not None and (sockets := _sockets(found, protocol, proc)) > few:
            return f"had {sockets} {protocol} sockets, and this machine has room for few more: all networks share what it has for them"
    if _are_files_scarce(proc) and (files := _files(found, proc)) > _FILES:
        return f"had {files} files open, which are most of those that this machine can open"
    return ""


def _harmless(protocol: str, proc: Path) -> int | None:
    """How many sockets nobody needs to mind; ``None`` for any number, while there is enough.

    Too little is left when more than half is gone of the memory that the kernel gives without a thought (``tcp_mem``, ``udp_mem``;
    ip-sysctl), or of the connections that it keeps for nobody until what was sent has arrived (``tcp_max_orphans``). Others of this
    machine may have it: then a few sockets, which could not hold so much, are no reason to end anybody.
    """
    said = proc / "net" / "sockstat"
    half = _at_ease(protocol, proc) // 2
    if _value(said, f"{protocol}:", "mem") > half:
        return max(_FEW, half * _PAGE // _MOST[protocol])
    with contextlib.suppress(OSError, ValueError):
        most = int((proc / "sys" / "net" / "ipv4" / "tcp_max_orphans").read_text(encoding="ascii"))
        if protocol == "TCP" and _value(said, "TCP:", "orphan") > most // 2:
            return most // 4
    return None


def _at_ease(protocol: str, proc: Path) -> int:
    """Pages."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        return int((proc / "sys" / "net" / "ipv4" / f"{protocol.lower()}_mem").read_text(encoding="ascii").split()[0])
    # A network namespace does not show it. From tcp_init_mem: three quarters of a sixteenth of the memory; UDP has twice as much.
    with contextlib.suppress(OSError, ValueError, IndexError):
        lines = (proc / "meminfo").read_text(encoding="ascii").splitlines()
        size = next(int(line.split()[1]) << 10 for line in lines if line.startswith("MemTotal:"))
        return size // _PAGE * 3 // 64 * (2 if protocol == "UDP" else 1)
    return 1 << 62


def _sockets(processes: Iterable[int], protocol: str, proc: Path) -> int:
    """Sockets in the networks of these processes."""
    seen: set[str] = set()
    count = 0
    for process in processes:
        with contextlib.suppress(OSError):
            space = os.readlink(proc / str(process) / "ns" / "net")
            if space in seen:
                continue
            seen.add(space)
            here = proc / str(process) / "net"
            count += _value(here / "sockstat", f"{protocol}:", "inuse") + _value(here / "sockstat6", f"{protocol}6:", "inuse")
    return count


def _value(file: Path, row: str, name: str) -> int:
    """A number of ``sockstat`` (proc_pid_net(5)): rows of a title, and names with numbers. 0 where there is none."""
    with contextlib.suppress(OSError, ValueError):
        for line in file.read_text(encoding="ascii", errors="replace").splitlines():
            title, _, rest = line.partition(" ")
            if title == row:
                words = rest.split()
                return int(dict(zip(words[::2], words[1::2], strict=False)).get(name, 0))
    return 0


def _are_files_scarce(proc: Path) -> bool:
    with contextlib.suppress(OSError, ValueError):
        allocated, _, most = map(int, (proc / "sys" / "fs" / "file-nr").read_text(encoding="ascii").split())
        return allocated > most // 2
    return False


def _files(processes: Iterable[int], proc: Path) -> int:
    """Open files of these processes. Since Linux 6.2 their number is a size; before they are counted, which takes longer."""
    count = 0
    for process in processes:
        with contextlib.suppress(OSError):
            folder = proc / str(process) / "fd"
            count += os.stat(folder).st_size or len(os.listdir(folder))
    return count
