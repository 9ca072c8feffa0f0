"""A small static program that sets itself up with a few system calls and then becomes another program.

proot hands its own environment on to what it runs, so a Dockerfile's ENV would act on proot, a program of the host. Therefore proot is
started with an environment of ours, and what it starts is this program, which holds the arguments and the environment of the step and needs
nothing that an image may lack. It also sets the step's seccomp filter; another one starts proot, with the signal by which it ends with us.

Yet another one starts bwrap, in the namespaces that the worker has laid the step's tree in. It joins them between fork and exec, which a
process with threads, as a notebook's kernel is, cannot do by itself.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

_BASE: Final = 0x400000
_HEADERS: Final = 64 + 56
_PR_SET_PDEATHSIG: Final = 1
_PR_SET_NO_NEW_PRIVS: Final = 38
_SET_MODE_FILTER: Final = 1
_INSTRUCTION: Final = 8
# landlock_restrict_self(2) has the same number everywhere.
_RESTRICT_SELF: Final = 446
# keyctl(2).
_JOIN_SESSION_KEYRING: Final = 1
_AT_FDCWD: Final = 0xFFFFFF9C
_OOM: Final = b"/proc/self/oom_score_adj\0"
# As for a command that cannot be executed.
_CANNOT: Final = 126

_SIGCHLD: Final = 17


class _Calls(NamedTuple):
    """Numbers of system calls, and of the machine in an ELF header."""

    machine: int
    prctl: int
    seccomp: int
    execve: int
    exit: int
    clone: int
    close: int
    wait4: int
    write: int
    openat: int
    setns: int
    keyctl: int


_MACHINES: Final = {
    "x86_64": _Calls(
        62, prctl=157, seccomp=317, execve=59, exit=60, clone=56, close=3, wait4=61, write=1, openat=257, setns=308, keyctl=250
    ),
    "aarch64": _Calls(
        183, prctl=167, seccomp=277, execve=221, exit=93, clone=220, close=57, wait4=260, write=64, openat=56, setns=268, keyctl=219
    ),
}


class Setup(NamedTuple):
    """What a program does before it becomes another.

    ``seccomp``       a BPF program that is set; empty for none.
    ``death_signal``  sent to it when the thread that started it ends; 0 for none.
    ``report``        a descriptor; the other program runs as a child then, and its wait status (4 bytes, as ``waitpid`` has it) is
                      written there when it ends. -1 for none.
    ``groups``        descriptors of ``cgroup.procs`` files: it joins these groups, where it may.
    ``oom_score_adj`` what is added to its badness when memory runs out (``proc(5)``); 0 leaves it.
    ``join``          descriptors of namespaces with their kinds (``CLONE_NEW…``), joined in this order; else it ends with 126.
    ``keyring``       it gets a session keyring of its own, without the keys of this login.
    ``landlock``      a descriptor of Landlock's rules that it puts on itself, else it ends with 126; -1 for none.
    ``close``         descriptors that the other program does not get.
    ``path``          the file that is executed; empty for ``argv[0]``.
    """

    seccomp: bytes = b""
    death_signal: int = 0
    report: int = -1
    groups: tuple[int, ...] = ()
    oom_score_adj: int = 0
    join: tuple[tuple[int, int], ...] = ()
    keyring: bool = False
    landlock: int = -1
    close: tuple[int, ...] = ()
    path: str = ""


def launcher(argv: Sequence[str], environment: Mapping[str, str], setup: Setup, machine: str = "") -> bytes | None:
    """The ELF file for this machine or the one named, or ``None`` where its instructions are not known here.

    ``argv[0]`` is executed as it stands; nothing looks it up in PATH. The program exits with 255 where it cannot execute.
    """
    calls = _MACHINES.get(machine or os.uname().machine)
    if calls is None:
        return None
    # Addresses have the same length whatever their value, so the code's length is known before the data's place is.
    length = len(_code(calls, setup, [0] * 7))
    start = _BASE + _HEADERS + length + -length % 16
    data = _Data(start)
    path = data.add(os.fsencode(setup.path or argv[0]) + b"\0")
    words = data.pointers([data.add(os.fsencode(word) + b"\0") for word in argv])
    settings = data.pointers([data.add(os.fsencode(f"{key}={value}") + b"\0") for key, value in environment.items()])
    program = 0
    if setup.seccomp:
        instructions = data.add(setup.seccomp)
        program = data.add(struct.pack("<HxxxxxxQ", len(setup.seccomp) // _INSTRUCTION, instructions))
    score = str(setup.oom_score_adj).encode()
    code = _code(calls, setup, [path, words, settings, program, data.add(b"0"), data.add(_OOM), data.add(score)])
    body = code + bytes(-length % 16) + bytes(data.content)
    head = b"\x7fELF\x02\x01\x01" + bytes(9)
    head += struct.pack("<HHIQQQIHHHHHH", 2, calls.machine, 1, _BASE + _HEADERS, 64, 0, 0, 64, 56, 1, 0, 0, 0)
    size = _HEADERS + len(body)
    return head + struct.pack("<IIQQQQQQ", 1, 5, 0, _BASE, _BASE, size, size, 0x1000) + body


class _Data:
    """What follows the code: strings and arrays, each at a known address."""

    def __init__(self, start: int) -> None:
        self._start = start
        self.content = bytearray()

    def add(self, block: bytes) -> int:
        self.content += bytes(-len(self.content) % 8)
        place = self._start + len(self.content)
        self.content += block
        return place

    def pointers(self, addresses: Sequence[int]) -> int:
        return self.add(struct.pack(f"<{len(addresses) + 1}Q", *addresses, 0))


def _code(calls: _Calls, setup: Setup, addresses: Sequence[int]) -> bytes:
    path, argv, environment, program, this, oom, score = addresses
    make = _x86_64 if calls.machine == _MACHINES["x86_64"].machine else _aarch64
    becomes = b""
    for group in setup.groups:
        becomes += make(calls.write, (group, this, 1)) + make(calls.close, (group,))
    if setup.oom_score_adj:
        # The descriptor that openat gives is the first argument of write.
        handed = b"\x89\xc7" if make is _x86_64 else b""
        length = len(str(setup.oom_score_adj))
        becomes += make(calls.openat, (_AT_FDCWD, oom, os.O_WRONLY | os.O_CLOEXEC)) + handed + make(calls.write, (score, length), first=1)
    leave = make(calls.exit, (_CANNOT,))
    # test eax, eax; jns over it. tbz x0, #63 over it.
    over = b"\x85\xc0\x79" + bytes([len(leave)]) if make is _x86_64 else struct.pack("<I", 0xB6F80000 | (len(leave) // 4 + 1) << 5)
    for descriptor, kind in setup.join:
        becomes += make(calls.setns, (descriptor, kind)) + over + leave
    if setup.keyring:
        becomes += make(calls.keyctl, (_JOIN_SESSION_KEYRING, 0))
    if setup.landlock >= 0:
        becomes += make(calls.prctl, (_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)) + make(_RESTRICT_SELF, (setup.landlock, 0)) + over + leave
        becomes += make(calls.close, (setup.landlock,))
    for descriptor in setup.close:
        becomes += make(calls.close, (descriptor,))
    if setup.report >= 0:
        becomes += make(calls.close, (setup.report,))
    if setup.death_signal:
        becomes += make(calls.prctl, (_PR_SET_PDEATHSIG, setup.death_signal, 0, 0, 0))
    if setup.seccomp:
        becomes += make(calls.prctl, (_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)) + make(calls.seccomp, (_SET_MODE_FILTER, 0, program))
    becomes += make(calls.execve, (path, argv, environment)) + make(calls.exit, (255,))
    if setup.report < 0:
        return becomes
    fork = make(calls.clone, (_SIGCHLD, 0, 0, 0, 0))
    leave = make(calls.exit, (0,))
    if make is _x86_64:
        # test eax, eax; jnz over the child's part
        split = b"\x85\xc0\x0f\x85" + struct.pack("<I", len(becomes))
        # mov ebx, eax; sub rsp, 16; then, until it is no error: wait4(ebx, rsp, 0, 0)
        wait = b"\x89\xdf\x48\x89\xe6\x31\xd2\x45\x31\xd2\xb8" + struct.pack("<I", calls.wait4) + b"\x0f\x05\x85\xc0\x78"
        wait = b"\x89\xc3\x48\x83\xec\x10" + wait + struct.pack("<b", -len(wait) - 1)
        # mov edi, report; mov rsi, rsp; mov edx, 4
        report = b"\xbf" + struct.pack("<I", setup.report) + b"\x48\x89\xe6\xba\x04\x00\x00\x00\xb8"
        return fork + split + becomes + wait + report + struct.pack("<I", calls.write) + b"\x0f\x05" + leave
    # cbnz x0 over the child's part; mov x19, x0; sub sp, sp, #16
    start = [0xB5000000 | (len(becomes) // 4 + 1) << 5]
    # mov x0, x19; mov x1, sp; x2 = x3 = 0; svc; tbnz x0, #63 back
    loop = [0xAA1303E0, 0x910003E1, 0xD2800002, 0xD2800003, 0xD2800008 | calls.wait4 << 5, 0xD4000001]
    loop.append(0xB7F80000 | (-len(loop) & 0x3FFF) << 5)
    after = [0xAA0003F3, 0xD10043FF, *loop]
    # x0 = report; mov x1, sp; x2 = 4
    after += [0xD2800000 | setup.report << 5, 0x910003E1, 0xD2800082, 0xD2800008 | calls.write << 5, 0xD4000001]
    return fork + struct.pack("<I", *start) + becomes + struct.pack(f"<{len(after)}I", *after) + leave


def _x86_64(number: int, arguments: tuple[int, ...], *, first: int = 0) -> bytes:
    """A system call; the arguments before ``first`` are in their registers already."""
    # mov edi/esi/edx/r10d/r8d, imm32; mov eax, imm32; syscall. All addresses are below 4 GiB.
    registers = (b"\xbf", b"\xbe", b"\xba", b"\x41\xba", b"\x41\xb8")
    code = b"".join(register + struct.pack("<I", value) for register, value in zip(registers[first:], arguments, strict=False))
    return code + b"\xb8" + struct.pack("<I", number) + b"\x0f\x05"


def _aarch64(number: int, arguments: tuple[int, ...], *, first: int = 0) -> bytes:
    """See ``_x86_64``."""
    # movz/movk of both halves into x0… and x8; svc #0.
    words = []
    for register, value in (*enumerate(arguments, first), (8, number)):
        words += [0xD2800000 | ((value & 0xFFFF) << 5) | register, 0xF2A00000 | ((value >> 16) << 5) | register]
    return struct.pack(f"<{len(words) + 1}I", *words, 0xD4000001)
