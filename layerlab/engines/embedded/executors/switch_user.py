"""A tiny static program that is process 1 of a sandbox, and starts the command there: in its directory, as its user, with its variables.

bwrap cannot switch to a user other than root once a full id map is in place, it passes on the descriptors that it was given for itself,
adds PWD to every environment, which Docker does not, and takes three thousand variables at most. It also holds the host's ``/proc`` open
while it enters a directory, and its own process 1 does so for a moment after the command has begun; a directory such as
``/proc/self/fd/3`` is then the host's (the class of CVE-2024-21626). An image need not hold a ``setpriv`` or a shell. So the program is
made here, some hundred bytes of machine code in an ELF file: close_range, while nobody else is there; fork; in the child chdir, with a
look whether that is inside of the root, setgroups, setresgid, setresuid, execve; in the parent wait4 for whatever ends, and then the exit
status of the child, or 128 and its signal. What fails ends with 255, as under runc.

Whoever started it may be killed at any moment, before bwrap or the kernel could be told to end with it. So process 1 holds one of two
connected sockets, and ends, and with it everything, when nobody has the other one any more. On it goes one byte before the command is
begun: without that, bwrap itself has failed.
"""

from __future__ import annotations

import functools
import itertools
import os
import struct
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

_BASE: Final = 0x400000
_HEADERS: Final = 64 + 56
# close_range(2), Linux 5.9, and pidfd_open(2) have the same numbers everywhere.
_CLOSE_RANGE: Final = 436
_PIDFD_OPEN: Final = 434
# Where the socket is, beside standard input, output and error.
_GUARD: Final = 3
_LAST: Final = 0xFFFFFFFF
_KILLED: Final = 137
_FAILED: Final = 255
_NO_SIGNAL: Final = 0x4000
_LOST: Final = b"the working directory cannot be entered, or is outside of the image\n"


def program(ids: tuple[int, int, tuple[int, ...]] | None, environment: Mapping[str, str], cwd: str, guard: int) -> bytes | None:
    """The ELF file, or ``None`` on a machine whose instructions are not known here.

    ``ids`` are user, group and supplementary groups, or ``None`` to keep those of the caller. ``environment`` and ``cwd``: of the command.
    ``guard``: the descriptor of the socket, as it is given to the program.
    """
    machine = os.uname().machine
    groups = ids[2] if ids is not None else ()
    data = {"groups": struct.pack(f"<{len(groups)}I", *groups), "cwd": os.fsencode(cwd) + b"\0", "words": _LOST}
    variables = [os.fsencode(f"{key}={value}") + b"\0" for key, value in environment.items()]
    if machine == "x86_64":
        return _elf(62, _x86_64(ids, guard), data, variables)
    if machine == "aarch64":
        return _elf(183, _aarch64(ids, guard), data, variables)
    return None


class _Label(NamedTuple):
    """A place in the code."""

    name: str


class _To(NamedTuple):
    """An instruction that names a place: its bits without the distance, and where the distance goes (see ``_distance``)."""

    bits: bytes
    name: str
    kind: str = ""


_Part = bytes | _Label | _To
_Code = Sequence[_Part]


def _elf(machine: int, code: _Code, data: dict[str, bytes], variables: Sequence[bytes]) -> bytes:
    code = [*code, *(part for name, content in data.items() for part in (_Label(name), content)), _Label("environment")]
    places: dict[str, int] = {}
    at = 0
    for part in code:
        if isinstance(part, _Label):
            places[part.name] = at
        else:
            at += len(part) if isinstance(part, bytes) else len(part.bits) + (0 if part.kind else 4)
    body = b""
    for part in code:
        if isinstance(part, _To):
            body += _distance(part, places[part.name] - len(body))
        elif isinstance(part, bytes):
            body += part
    # Addresses of the variables, a zero, and then they themselves: an instruction reaches no further than a megabyte.
    first = _BASE + _HEADERS + len(body) + 8 * (len(variables) + 1)
    starts = itertools.accumulate(map(len, variables), initial=first)
    body += struct.pack(f"<{len(variables) + 1}Q", *itertools.islice(starts, len(variables)), 0) + b"".join(variables)
    size = _HEADERS + len(body)
    head = b"\x7fELF\x02\x01\x01" + bytes(9)
    head += struct.pack("<HHIQQQIHHHHHH", 2, machine, 1, _BASE + _HEADERS, 64, 0, 0, 64, 56, 1, 0, 0, 0)
    segment = struct.pack("<IIQQQQQQ", 1, 5, 0, _BASE, _BASE, size, size, 0x1000)
    return head + segment + body


def _distance(part: _To, away: int) -> bytes:
    """x86_64: 32 bits behind the bits, from the end of the instruction on. aarch64: in the word, from its beginning on, and in words but
    for ``adr``."""
    if not part.kind:
        return part.bits + struct.pack("<i", away - len(part.bits) - 4)
    (word,) = struct.unpack("<I", part.bits)
    if part.kind == "adr":
        word |= ((away & 3) << 29) | (((away >> 2) & 0x7FFFF) << 5)
    elif part.kind == "b":
        word |= (away >> 2) & 0x3FFFFFF
    else:
        word |= ((away >> 2) & {"condition": 0x7FFFF, "bit": 0x3FFF}[part.kind]) << 5
    return struct.pack("<I", word)


@functools.lru_cache(maxsize=8)
def _x86_64(ids: tuple[int, int, tuple[int, ...]] | None, guard: int) -> _Code:
    def move(register: int, value: int) -> bytes:
        return bytes([0xB8 + register]) + struct.pack("<I", value)

    eax, edx, esi, edi = 0, 2, 6, 7
    syscall = b"\x0f\x05"
    jump, if_zero, if_not_zero, if_negative, if_positive = b"\xe9", b"\x0f\x84", b"\x0f\x85", b"\x0f\x88", b"\x0f\x8f"
    test = b"\x85\xc0"
    code: list[_Part] = []
    if guard != _GUARD:
        code += [move(edi, guard) + move(esi, _GUARD) + move(eax, 33) + syscall + test, _To(if_negative, "leave")]  # dup2
    code += [
        move(edi, _GUARD + 1) + move(esi, _LAST) + move(edx, 0) + move(eax, _CLOSE_RANGE) + syscall + test,
        _To(if_not_zero, "leave"),
        # sendto(guard, "t…", 1, MSG_NOSIGNAL, NULL, 0)
        *(move(edi, _GUARD), _To(b"\x48\x8d\x35", "words"), move(edx, 1) + b"\x41\xba" + struct.pack("<I", _NO_SIGNAL)),
        b"\x45\x31\xc0" + b"\x45\x31\xc9" + move(eax, 44) + syscall,
        move(eax, 57) + syscall + test,  # fork
        *(_To(if_zero, "child"), _To(if_negative, "leave")),
        b"\x89\xc3" + b"\x89\xc7" + move(esi, 0) + move(eax, _PIDFD_OPEN) + syscall + test,  # ebx = the child
        _To(if_negative, "leave"),
        b"\x41\x89\xc4" + b"\x48\x83\xec\x40",  # r12d = its descriptor; rsp -= 64
        _Label("wait"),
        # At rsp the socket, of which only the end is asked, and the child; at rsp + 16 a second. ppoll(rsp, 2, rsp + 16, NULL, 0)
        b"\xc7\x04\x24" + struct.pack("<I", _GUARD) + b"\xc7\x44\x24\x04" + bytes(4),
        b"\x44\x89\x64\x24\x08" + b"\xc7\x44\x24\x0c" + struct.pack("<I", 1),
        b"\x48\xc7\x44\x24\x10" + struct.pack("<I", 1) + b"\x48\xc7\x44\x24\x18" + bytes(4),
        b"\x48\x89\xe7" + move(esi, 2) + b"\x48\x8d\x54\x24\x10" + b"\x45\x31\xd2" + b"\x45\x31\xc0" + move(eax, 271) + syscall,
        b"\x66\x83\x7c\x24\x06\x00",  # cmp word [rsp + 6], 0
        _To(if_not_zero, "alone"),
        _Label("reap"),
        # wait4(-1, rsp + 32, WNOHANG, NULL)
        b"\x48\xc7\xc7\xff\xff\xff\xff" + b"\x48\x8d\x74\x24\x20" + move(edx, 1) + b"\x45\x31\xd2" + move(eax, 61) + syscall,
        b"\x39\xd8",  # cmp eax, ebx
        *(_To(if_zero, "ended"), test, _To(if_positive, "reap"), _To(jump, "wait")),
        _Label("alone"),
        *(move(edi, _KILLED), _To(jump, "exit")),
        _Label("ended"),
        b"\x8b\x44\x24\x20" + b"\x89\xc7" + b"\x83\xe7\x7f",  # eax = status; edi = status & 127
        _To(if_zero, "exited"),
        b"\x81\xc7\x80\x00\x00\x00",
        _To(jump, "exit"),
        _Label("exited"),
        b"\x89\xc7" + b"\xc1\xef\x08" + b"\x81\xe7\xff\x00\x00\x00",  # edi = status >> 8 & 255
        _Label("exit"),
        move(eax, 231) + syscall,
        _Label("child"),
        move(edi, _GUARD) + move(eax, 3) + syscall,  # close
        *(_To(b"\x48\x8d\x3d", "cwd"), move(eax, 80) + syscall + test, _To(if_not_zero, "lost")),
        # getcwd(rsp - 4224, 4096), whose first character is a slash inside of the root
        b"\x48\x8d\xbc\x24\x80\xef\xff\xff" + move(esi, 4096) + move(eax, 79) + syscall + test,
        *(_To(if_negative, "lost"), b"\x80\xbc\x24\x80\xef\xff\xff\x2f", _To(if_not_zero, "lost")),
    ]
    if ids is not None:
        uid, gid, groups = ids
        code += [move(edi, len(groups)), _To(b"\x48\x8d\x35", "groups"), move(eax, 116) + syscall + test, _To(if_not_zero, "leave")]
        for number, identity in ((119, gid), (117, uid)):
            code += [move(edi, identity) + move(esi, identity) + move(edx, identity) + move(eax, number) + syscall + test]
            code += [_To(if_not_zero, "leave")]
    return [
        *code,
        # rdi = argv[1], rsi = &argv[1], rdx = environment
        b"\x48\x8b\x7c\x24\x10" + b"\x48\x8d\x74\x24\x10",
        *(_To(b"\x48\x8d\x15", "environment"), move(eax, 59) + syscall),
        _Label("leave"),
        move(edi, _FAILED) + move(eax, 231) + syscall,
        _Label("lost"),
        *(move(edi, 2), _To(b"\x48\x8d\x35", "words"), move(edx, len(_LOST)) + move(eax, 1) + syscall, _To(jump, "leave")),
    ]


@functools.lru_cache(maxsize=8)
def _aarch64(ids: tuple[int, int, tuple[int, ...]] | None, guard: int) -> _Code:
    def words(*numbers: int) -> bytes:
        return struct.pack(f"<{len(numbers)}I", *numbers)

    def move(register: int, value: int) -> bytes:
        return words(0xD2800000 | ((value & 0xFFFF) << 5) | register, 0xF2A00000 | ((value >> 16) << 5) | register)

    def call(number: int) -> bytes:
        return move(8, number) + words(0xD4000001)

    def to(word: int, name: str, kind: str) -> _To:
        return _To(words(word), name, kind)

    # cbz x0, cbnz x0, b.eq, b.ne, b.gt; tbnz of the sign of x0
    if_zero, if_not_zero, equal, unequal, greater = 0xB4000000, 0xB5000000, 0x54000000, 0x54000001, 0x5400000C
    negative = 0xB7F80000
    code: list[_Part] = []
    if guard != _GUARD:
        code += [move(0, guard) + move(1, _GUARD) + move(2, 0) + call(24), to(negative, "leave", "bit")]  # dup3
    code += [
        move(0, _GUARD + 1) + move(1, _LAST) + move(2, 0) + call(_CLOSE_RANGE),
        to(if_not_zero, "leave", "condition"),
        # sendto(guard, "t…", 1, MSG_NOSIGNAL, NULL, 0)
        *(move(0, _GUARD), to(0x10000001, "words", "adr"), move(2, 1) + move(3, _NO_SIGNAL) + move(4, 0) + move(5, 0) + call(206)),
        move(0, 17) + move(1, 0) + move(2, 0) + move(3, 0) + move(4, 0) + call(220),  # clone(SIGCHLD, …)
        *(to(if_zero, "child", "condition"), to(negative, "leave", "bit")),
        words(0xAA0003F3) + move(1, 0) + call(_PIDFD_OPEN),  # x19 = the child
        to(negative, "leave", "bit"),
        words(0xAA0003F4, 0xD10103FF),  # x20 = its descriptor; sp -= 64
        _Label("wait"),
        # At sp the socket, of which only the end is asked, and the child; at sp + 16 a second. ppoll(sp, 2, sp + 16, NULL, 0)
        move(1, _GUARD) + words(0xB90003E1, 0xB90007FF, 0xB9000BF4) + move(1, 1) + words(0xB9000FE1, 0xF9000BE1, 0xF9000FFF),
        words(0x910003E0) + move(1, 2) + words(0x910043E2) + move(3, 0) + move(4, 0) + call(73),
        *(words(0x79400FE1), to(0x35000001, "alone", "condition")),  # w1 = what came of the socket
        _Label("reap"),
        words(0x92800000, 0x910083E1) + move(2, 1) + move(3, 0) + call(260),  # wait4(-1, sp + 32, WNOHANG, NULL)
        *(words(0xEB13001F), to(equal, "ended", "condition")),  # cmp x0, x19
        *(words(0xF100001F), to(greater, "reap", "condition"), to(0x14000000, "wait", "b")),  # cmp x0, 0
        _Label("alone"),
        *(move(0, _KILLED), to(0x14000000, "exit", "b")),
        _Label("ended"),
        words(0xB94023E1, 0x72001820),  # w1 = status; w0 = status & 127
        to(equal, "exited", "condition"),
        words(0x11020000),  # w0 += 128
        to(0x14000000, "exit", "b"),
        _Label("exited"),
        words(0x53083C20),  # w0 = status >> 8 & 255
        _Label("exit"),
        call(94),
        _Label("child"),
        move(0, _GUARD) + call(57),  # close
        *(to(0x10000000, "cwd", "adr"), call(49), to(if_not_zero, "lost", "condition")),
        words(0xD14007E0, 0xAA0003F4) + move(1, 4096) + call(17),  # x20 = x0 = sp - 4096; getcwd(x0, 4096)
        to(negative, "lost", "bit"),
        words(0x39400281, 0x7100BC3F),  # its first character, and a slash
        to(unequal, "lost", "condition"),
    ]
    if ids is not None:
        uid, gid, groups = ids
        code += [move(0, len(groups)), to(0x10000001, "groups", "adr"), call(159), to(if_not_zero, "leave", "condition")]
        for number, identity in ((149, gid), (147, uid)):
            code += [move(0, identity) + move(1, identity) + move(2, identity) + call(number), to(if_not_zero, "leave", "condition")]
    return [
        *code,
        words(0xF9400BE0, 0x910043E1),  # x0 = argv[1]; x1 = &argv[1]
        *(to(0x10000002, "environment", "adr"), call(221)),
        _Label("leave"),
        move(0, _FAILED) + call(94),
        _Label("lost"),
        *(move(0, 2), to(0x10000001, "words", "adr"), move(2, len(_LOST)) + call(64), to(0x14000000, "leave", "b")),
    ]
