"""seccomp filters: which system calls are made, and which are answered without being made, as BPF programs.

**What a step needs.** Calls are allowed by name (``syscalls``), as in Docker's default profile; all others give EPERM, and those that are
newer than the list ENOSYS, so that programs fall back on older ones. Keys of the kernel, which all processes of a user share,
``io_uring``, ``bpf``, ``userfaultfd``, ``perf_event_open`` and mounts are among the others. On x86_64 the numbers of the x32 ABI are newer
than any list, and programs of 32 bits have a list of their own; on aarch64, where they are rare, they have none.

**Faked root.** In a user namespace with one id, ``chown`` gives EINVAL and ``setgroups`` EPERM, and package managers stop. Answering
"done" lets them go on, as Charliecloud's ``ch-image --force=seccomp`` does (``doc/ch-image_desc.rst``, "fake root by seccomp"). The
owners that matter for the image come from ``--chown``, USER and WORKDIR instead.

**No further namespace.** In a user namespace of its own a command would have every capability: it could mount file systems that are memory
past every count, and reach parts of the kernel that are otherwise root's. ``clone3``, whose flags a filter cannot see, is answered as if
the kernel lacked it.

**No memory that nobody sees.** Pages of ``memfd_secret`` and those that ``vmsplice`` puts in a pipe (of a huge page, all of it) are in no
process and no file. Programs know kernels without these calls, so both give ENOSYS.

**No marks on files that no layer has.** Flags of an inode, its generation, its project, encryption and verity are in no tar, and the step
of another build that has the same layer would find them, so ``ioctl`` says that the file system has none (ENOTTY).

**No say in who opens a file.** Whoever holds a lease on a file is asked before anybody else opens it, for up to 45 s, and the files that
are bound in from this machine, or lent to many, are the same for all. So ``fcntl`` gives EINVAL for leases and notices, as on a file
system that has none.

**Calls that proot does not translate.** A call that proot 5.1 does not know would act on the paths of this machine (``_UNTRANSLATED``: the
list less ``sysnums.list`` and ``enter.c`` of its sources); a program that is told that the kernel lacks it (ENOSYS) uses an older one. A
program of 64 bits can make calls of 32 (``int 0x80``), which proot takes for others, so those get ENOSYS, all of them. proot also has no
network namespace: a step that must have no network gets no internet socket at all.
"""

from __future__ import annotations

import errno
import functools
import os
import struct
from typing import Final, NamedTuple

from layerlab.engines.embedded.executors.syscalls import NEWEST, Table, allowed, numbers

_LD_ABS: Final = 0x20
_JEQ: Final = 0x15
_JGE: Final = 0x35
_RET: Final = 0x06
_JUMP: Final = 0x05
_AND: Final = 0x54
_ALLOW: Final = 0x7FFF0000
_WATCHING: Final = frozenset({"inotify_init", "inotify_init1"})
_MOVING: Final = frozenset({"sched_setaffinity"})
_LACKING: Final = frozenset({"io_setup"})
_ERRNO: Final = 0x00050000
# Calls with a path.
_UNTRANSLATED: Final = frozenset(
    ["execveat", "faccessat2", "fchmodat2", "getxattrat", "listxattrat", "openat2", "removexattrat", "renameat2", "setxattrat", "statx"]
)
_FORMAT: Final = 0o170000
_DEVICES: Final = (0o020000, 0o060000)
_WHOLE: Final = 0xFFFFFFFF
# AF_INET, AF_INET6, AF_PACKET; AF_ALG, the kernel's cryptography, and AF_VSOCK, the way to the host of a virtual machine.
_INTERNET: Final = (2, 10, 17)
_NOT_A_BUILDS: Final = (38, 40)
# FS_IOC_SETFLAGS, FS_IOC_SETVERSION and EXT4_IOC_SETVERSION of 64 and 32 bits; FS_IOC_FSSETXATTR, FS_IOC_SET_ENCRYPTION_POLICY and
# FS_IOC_ENABLE_VERITY, which have one size.
_MARKS: Final = (0x40086602, 0x40046602, 0x40087602, 0x40047602, 0x40086604, 0x40046604, 0x401C5820, 0x800C6613, 0x40806685)
_FCNTL: Final = frozenset({"fcntl", "fcntl64"})
# F_SETLEASE, F_NOTIFY, F_SETDELEG.
_LEASES: Final = (1024, 1026, 1040)
# All of the CLONE_NEW… flags.
_NAMESPACES: Final = 0x7E020000
_UNTRACED: Final = 0x00800000
# What Docker lets personality(2) set: Linux, and with it short times, 32 bits, both; 0xFFFFFFFF asks.
_PERSONALITIES: Final = (0x0, 0x8, 0x20000, 0x20008, 0xFFFFFFFF)


class _Calls(NamedTuple):
    """Numbers of system calls of one architecture that are answered by their arguments, or faked."""

    table: Table
    # AUDIT_ARCH_…
    architecture: int
    clone: int
    socket: int
    personality: int
    vmsplice: int
    ioctl: int
    # chown fchown lchown fchownat setuid setgid setreuid setregid setgroups setresuid setresgid setfsuid setfsgid capset
    owners: tuple[int, ...]
    # mknod and mknodat, to the place of the mode among their arguments
    makers: dict[int, int]


# The same numbers everywhere.
_CLONE3: Final = 435
_MEMFD_SECRET: Final = 447

_X86_64: Final = _Calls(
    table="x86_64",
    architecture=0xC000003E,
    clone=56,
    socket=41,
    personality=135,
    vmsplice=278,
    ioctl=16,
    owners=(92, 93, 94, 260, 105, 106, 113, 114, 116, 117, 119, 122, 123, 126),
    makers={133: 1, 259: 2},
)
_I386: Final = _Calls(
    table="i386",
    architecture=0x40000003,
    clone=120,
    socket=359,
    personality=136,
    vmsplice=316,
    ioctl=54,
    owners=(182, 95, 16, 298, 23, 46, 70, 71, 81, 164, 170, 138, 139, 185, 212, 207, 198, 213, 214, 203, 204, 206, 208, 210, 215, 216),
    makers={14: 1, 297: 2},
)
_AARCH64: Final = _Calls(
    table="aarch64",
    architecture=0xC00000B7,
    clone=220,
    socket=198,
    personality=92,
    vmsplice=75,
    ioctl=29,
    owners=(55, 54, 146, 144, 145, 143, 159, 147, 149, 151, 152, 91),
    makers={33: 2},
)
_MACHINES: Final[dict[str, tuple[_Calls, ...]]] = {"x86_64": (_X86_64, _I386), "aarch64": (_AARCH64,)}


@functools.cache
def bwrap_filter(*, faked_root: bool, neighbourly: bool = False, machine: str = "") -> bytes | None:
    """The program for what bwrap runs, on this machine or one named; ``None`` where system call numbers are not known here.

    ``neighbourly``: see ``Process``.
    """
    found = _MACHINES.get(machine or os.uname().machine)
    if found is None:
        return None
    programs = []
    for calls in found:
        program = _Program(calls.architecture)
        if neighbourly:
            for call in numbers(calls.table, _WATCHING):
                program.answer(call, errno.EMFILE)
            for call in numbers(calls.table, _MOVING):
                program.answer(call, 0)
            for call in numbers(calls.table, _LACKING):
                program.answer(call, errno.ENOSYS)
        programs.append(_written(program, calls, faked_root=faked_root))
    return _assembled(programs)


@functools.cache
def proot_filter(*, network: bool, machine: str = "") -> bytes | None:
    """The program for what proot runs; see ``bwrap_filter``."""
    found = _MACHINES.get(machine or os.uname().machine)
    if found is None:
        return None
    calls = found[0]
    extra = _Program(calls.architecture)
    # A process that proot does not follow would have this machine's paths.
    extra.refuse_bits(calls.clone, 0, _UNTRACED, errno.EPERM)
    for call in numbers(calls.table, _UNTRANSLATED):
        extra.answer(call, errno.ENOSYS)
    if not network:
        extra.answer_where(calls.socket, 0, _WHOLE, (*_INTERNET, *_NOT_A_BUILDS), errno.EACCES)
    return _assembled([_written(extra, calls, faked_root=True)])


def _written(program: _Program, calls: _Calls, *, faked_root: bool) -> _Program:
    if faked_root:
        for call in calls.owners:
            program.answer(call, 0)
        for call, place in calls.makers.items():
            # A named pipe needs no privilege, so of mknod's kinds only devices are faked.
            program.answer_where(call, place, _FORMAT, _DEVICES, 0)
    # Where a command asks for a namespace. unshare and setns are not in the list at all.
    program.refuse_bits(calls.clone, 0, _NAMESPACES, errno.EPERM)
    program.answer(_CLONE3, errno.ENOSYS)
    for call in (_MEMFD_SECRET, calls.vmsplice):
        program.answer(call, errno.ENOSYS)
    program.answer_where(calls.socket, 0, _WHOLE, _NOT_A_BUILDS, errno.EPERM)
    program.answer_where(calls.ioctl, 1, _WHOLE, _MARKS, errno.ENOTTY)
    for call in numbers(calls.table, _FCNTL):
        program.answer_where(call, 1, _WHOLE, _LEASES, errno.EINVAL)
    program.allow_where(calls.personality, 0, _PERSONALITIES)
    program.allow(allowed(calls.table))
    return program


class _Program:
    """A BPF program for one architecture, written call by call. Every block ends in an answer; the first that fits counts."""

    def __init__(self, architecture: int) -> None:
        self.architecture = architecture
        self.lines: list[tuple[int, int, int, int]] = [(_LD_ABS, 0, 0, 0)]

    def answer(self, call: int, number: int) -> None:
        """Answer a call with an error number; 0 says that it was done."""
        self.lines += [(_JEQ, 0, 1, call), (_RET, 0, 0, _ERRNO | number)]

    def answer_where(self, call: int, place: int, mask: int, values: tuple[int, ...], number: int) -> None:
        """Answer a call so where an argument, masked, has one of these values; else it is made."""
        self._by_argument(call, place, mask, values, fits=_ERRNO | number, otherwise=_ALLOW)

    def allow_where(self, call: int, place: int, values: tuple[int, ...]) -> None:
        """Make a call where an argument has one of these values; else it gives EPERM."""
        self._by_argument(call, place, _WHOLE, values, fits=_ALLOW, otherwise=_ERRNO | errno.EPERM)

    def refuse_bits(self, call: int, place: int, bits: int, number: int) -> None:
        """Answer a call with an error number where an argument has any of these bits; else it is made."""
        self._by_argument(call, place, bits, (0,), fits=_ALLOW, otherwise=_ERRNO | number)

    def _by_argument(self, call: int, place: int, mask: int, values: tuple[int, ...], *, fits: int, otherwise: int) -> None:
        block: list[tuple[int, int, int, int]] = [(_LD_ABS, 0, 0, 16 + 8 * place), (_AND, 0, 0, mask)]
        for position, value in enumerate(values):
            left = len(values) - position - 1
            # Over the other comparisons and the answer for what does not fit.
            block.append((_JEQ, left + 1, 0, value))
        block += [(_RET, 0, 0, otherwise), (_RET, 0, 0, fits)]
        self.lines += [(_JEQ, 0, len(block), call), *block]

    def allow(self, calls: list[int]) -> None:
        """Make these calls (ascending numbers), and end the program: others give EPERM, and those that are not known here ENOSYS."""
        ranges: list[tuple[int, int]] = []
        for call in calls:
            if ranges and ranges[-1][1] == call - 1:
                ranges[-1] = (ranges[-1][0], call)
            else:
                ranges.append((call, call))
        for first, last in ranges:
            self.lines += [(_JGE, 2, 0, last + 1), (_JGE, 0, 1, first), (_RET, 0, 0, _ALLOW)]
        self.lines += [(_JGE, 1, 0, NEWEST + 1), (_RET, 0, 0, _ERRNO | errno.EPERM), (_RET, 0, 0, _ERRNO | errno.ENOSYS)]


def _assembled(programs: list[_Program]) -> bytes:
    """The bytes of programs for several architectures; calls of any other are answered as if there were none."""
    lines: list[tuple[int, int, int, int]] = [(_LD_ABS, 0, 0, 4)]
    for program in programs:
        # A conditional jump reaches 255 lines, the other one any.
        lines += [(_JEQ, 1, 0, program.architecture), (_JUMP, 0, 0, len(program.lines)), *program.lines]
    lines.append((_RET, 0, 0, _ERRNO | errno.ENOSYS))
    return b"".join(struct.pack("<HBBI", *line) for line in lines)
