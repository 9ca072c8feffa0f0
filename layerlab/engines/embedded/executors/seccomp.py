"""seccomp filters: system calls that are answered without being made, as BPF programs.

**Faked root.** In a user namespace with one id, ``chown`` gives EINVAL and ``setgroups`` EPERM, and package managers stop. Answering
"done" lets them go on, as Charliecloud's ``ch-image --force=seccomp`` does (``doc/ch-image_desc.rst``, "fake root by seccomp"). The
owners that matter for the image come from ``--chown``, USER and WORKDIR instead.

**No further user namespace.** In one a command would have every capability: it could mount file systems that are memory past every
count, and reach parts of the kernel that are otherwise root's. Docker's default profile refuses the same, and answers ``clone3``, whose
flags a filter cannot see, as if the kernel lacked it.

**Calls that proot does not translate.** proot 5.1 does not know ``statx``, ``faccessat2``, ``openat2`` and ``clone3``, or handles them
wrongly; a program that is told that the kernel lacks them (ENOSYS) uses the older ones. It also has no network namespace: a step that
must have no network gets no internet socket at all.
"""

from __future__ import annotations

import errno
import os
import struct
from typing import Final, NamedTuple

_LD_ABS: Final = 0x20
_JEQ: Final = 0x15
_RET: Final = 0x06
_JUMP: Final = 0x05
_AND: Final = 0x54
_ALLOW: Final = 0x7FFF0000
_ERRNO: Final = 0x00050000
_FORMAT: Final = 0o170000
_DEVICES: Final = (0o020000, 0o060000)
# AF_INET, AF_INET6, AF_PACKET.
_INTERNET: Final = (2, 10, 17)
_NEW_USER: Final = 0x10000000


class _Machine(NamedTuple):
    """Numbers of system calls. ``makers``: mknod and mknodat, to the place of the mode among their arguments."""

    architecture: int
    # chown fchown lchown fchownat setuid setgid setreuid setregid setgroups setresuid setresgid setfsuid setfsgid capset
    owners: tuple[int, ...]
    makers: dict[int, int]
    # statx faccessat2 openat2 clone3
    untranslated: tuple[int, ...]
    socket: int
    io_uring_setup: int
    # unshare clone clone3, by the architecture's number: its own, and the older one of which it runs programs, too
    namespaces: dict[int, tuple[int, int, int]]


_MACHINES: Final = {
    "x86_64": _Machine(
        0xC000003E,
        (92, 93, 94, 260, 105, 106, 113, 114, 116, 117, 119, 122, 123, 126),
        {133: 1, 259: 2},
        (332, 439, 437, 435),
        41,
        425,
        {0xC000003E: (272, 56, 435), 0x40000003: (310, 120, 435)},
    ),
    "aarch64": _Machine(
        0xC00000B7,
        (55, 54, 146, 144, 145, 143, 159, 147, 149, 151, 152, 91),
        {33: 2},
        (291, 439, 437, 435),
        198,
        425,
        {0xC00000B7: (97, 220, 435), 0x40000028: (337, 120, 435)},
    ),
}


def bwrap_filter(*, faked_root: bool) -> bytes | None:
    """The program for what bwrap runs, or ``None`` on a machine whose system call numbers are not known here."""
    machine = _MACHINES.get(os.uname().machine)
    if machine is None:
        return None
    program, older = (_Program(architecture) for architecture in machine.namespaces)
    if faked_root:
        _fake_root(program, machine)
    for part, (unshare, clone, clone3) in zip((program, older), machine.namespaces.values(), strict=True):
        for call in (unshare, clone):
            part.answer_where(call, 0, _NEW_USER, (_NEW_USER,), errno.EPERM)
        part.answer(clone3, errno.ENOSYS)
    return program.assembled(otherwise=older)


def proot_filter(*, network: bool) -> bytes | None:
    """The program for what proot runs, or ``None`` on a machine whose system call numbers are not known here."""
    machine = _MACHINES.get(os.uname().machine)
    if machine is None:
        return None
    program = _Program(machine.architecture)
    _fake_root(program, machine)
    for call in machine.untranslated:
        program.answer(call, errno.ENOSYS)
    if not network:
        # io_uring makes sockets, too, past every filter on calls.
        program.answer(machine.io_uring_setup, errno.ENOSYS)
        program.answer_where(machine.socket, 0, 0xFFFFFFFF, _INTERNET, errno.EACCES)
    return program.assembled()


def _fake_root(program: _Program, machine: _Machine) -> None:
    for call in machine.owners:
        program.answer(call, 0)
    for call, place in machine.makers.items():
        # A named pipe needs no privilege, so of mknod's kinds only devices are faked.
        program.answer_where(call, place, _FORMAT, _DEVICES, 0)


class _Program:
    """A BPF program that is written call by call. Every block ends in an answer, so blocks can stand in any order."""

    def __init__(self, architecture: int) -> None:
        self._lines: list[tuple[int, int, int, int]] = [
            (_LD_ABS, 0, 0, 4),
            (_JEQ, 1, 0, architecture),
            (_RET, 0, 0, _ALLOW),
            (_LD_ABS, 0, 0, 0),
        ]

    def answer(self, call: int, number: int) -> None:
        """Answer a call with an error number; 0 says that it was done."""
        self._lines += [(_JEQ, 0, 1, call), (_RET, 0, 0, _ERRNO | number)]

    def answer_where(self, call: int, place: int, mask: int, values: tuple[int, ...], number: int) -> None:
        """Answer a call so where an argument, masked, has one of these values; else it is made."""
        block: list[tuple[int, int, int, int]] = [(_LD_ABS, 0, 0, 16 + 8 * place), (_AND, 0, 0, mask)]
        for position, value in enumerate(values):
            left = len(values) - position - 1
            # Over the other comparisons and the answer that lets it be made.
            block.append((_JEQ, left + 1, 0, value))
        block += [(_RET, 0, 0, _ALLOW), (_RET, 0, 0, _ERRNO | number)]
        self._lines += [(_JEQ, 0, len(block), call), *block]

    def assembled(self, otherwise: _Program | None = None) -> bytes:
        """The program's bytes. ``otherwise``: what decides on calls of another architecture; without it they are made."""
        lines = [*self._lines, (_RET, 0, 0, _ALLOW)]
        if otherwise is not None:
            # In the place of the third line, which lets them be made, to the line behind the last.
            lines[2] = (_JUMP, 0, 0, len(lines) - 3)
        return b"".join(struct.pack("<HBBI", *line) for line in lines) + (otherwise.assembled() if otherwise is not None else b"")
