"""A tiny static program that closes what it was left, becomes another user, leaves PWD out of its environment, and executes its arguments.

bwrap cannot switch to a user other than root once a full id map is in place, it passes on the descriptors that it was given for itself,
and it adds PWD to every environment, which Docker does not. An image need not hold a ``setpriv`` or a shell. So the program is made here:
close_range, setgroups, setresgid, setresuid, execve; about 200 bytes of machine code in an ELF file, one for each combination of ids.
Failing any of them it exits with 127.
"""

from __future__ import annotations

import os
import struct
from typing import Final

_BASE: Final = 0x400000
_HEADERS: Final = 64 + 56
# close_range(2), Linux 5.9, the same number everywhere: all but standard input, output and error.
_CLOSE_RANGE: Final = 436
_FIRST: Final = 3
_LAST: Final = 0xFFFFFFFF


def program(ids: tuple[int, int, tuple[int, ...]] | None, variables: int) -> bytes | None:
    """The ELF file, or ``None`` on a machine whose instructions are not known here.

    ``ids`` are user, group and supplementary groups, or ``None`` to keep those of the caller. Of the environment the first
    ``variables`` are passed on: what bwrap adds comes last.
    """
    machine = os.uname().machine
    groups = ids[2] if ids is not None else ()
    if machine == "x86_64":
        return _elf(62, _x86_64(ids, variables), groups)
    if machine == "aarch64":
        return _elf(183, _aarch64(ids, variables), groups)
    return None


def _elf(machine: int, code: bytes, groups: tuple[int, ...]) -> bytes:
    body = code + struct.pack(f"<{len(groups)}I", *groups)
    size = _HEADERS + len(body)
    head = b"\x7fELF\x02\x01\x01" + bytes(9)
    head += struct.pack("<HHIQQQIHHHHHH", 2, machine, 1, _BASE + _HEADERS, 64, 0, 0, 64, 56, 1, 0, 0, 0)
    segment = struct.pack("<IIQQQQQQ", 1, 5, 0, _BASE, _BASE, size, size, 0x1000)
    return head + segment + body


def _x86_64(ids: tuple[int, int, tuple[int, ...]] | None, variables: int) -> bytes:
    def move(register: int, value: int) -> bytes:
        return bytes([0xB8 + register]) + struct.pack("<I", value)

    eax, edx, esi, edi = 0, 2, 6, 7
    syscall = b"\x0f\x05"
    failed = b"\x85\xc0\x75"  # test eax,eax; jnz …
    parts: list[bytes] = [move(edi, _FIRST) + move(esi, _LAST) + move(edx, 0) + move(eax, _CLOSE_RANGE) + syscall]
    if ids is not None:
        uid, gid, groups = ids
        parts += [
            move(edi, len(groups)) + b"\x48\x8d\x35GRPS" + move(eax, 116) + syscall,
            move(edi, gid) + move(esi, gid) + move(edx, gid) + move(eax, 119) + syscall,
            move(edi, uid) + move(esi, uid) + move(edx, uid) + move(eax, 117) + syscall,
        ]
    # rdi = argv[1], rsi = &argv[1], rdx = &envp (rsp + 8*argc + 16), envp[variables] = NULL
    execute = b"\x48\x8b\x0c\x24" + b"\x48\x8b\x7c\x24\x10" + b"\x48\x8d\x74\x24\x10" + b"\x48\x8d\x54\xcc\x10"
    execute += b"\x48\xc7\x82" + struct.pack("<II", 8 * variables, 0) + move(eax, 59) + syscall
    leave = move(edi, 127) + move(eax, 60) + syscall
    code = b""
    total = sum(len(part) + len(failed) + 1 for part in parts) + len(execute)
    for part in parts:
        code += part + failed
        code += bytes([total - len(code) - 1])
    code += execute + leave
    if ids is None:
        return code
    place = code.index(b"GRPS")
    return code.replace(b"GRPS", struct.pack("<i", len(code) - (place + 4)))


def _aarch64(ids: tuple[int, int, tuple[int, ...]] | None, variables: int) -> bytes:
    def move(register: int, value: int) -> list[int]:
        return [0xD2800000 | ((value & 0xFFFF) << 5) | register, 0xF2A00000 | ((value >> 16) << 5) | register]

    svc = 0xD4000001
    blocks: list[list[int | str]] = [[*move(0, _FIRST), *move(1, _LAST), *move(2, 0), *move(8, _CLOSE_RANGE), svc]]
    if ids is not None:
        uid, gid, groups = ids
        blocks += [
            [*move(0, len(groups)), "groups", *move(8, 159), svc],
            [*move(0, gid), *move(1, gid), *move(2, gid), *move(8, 149), svc],
            [*move(0, uid), *move(1, uid), *move(2, uid), *move(8, 147), svc],
        ]
    # x3 = argc; x0 = argv[1]; x1 = &argv[1]; x2 = sp + 16 + 8*argc; x4 = 8*variables; str xzr, [x2, x4]
    execute = [0xF94003E3, 0xF9400BE0, 0x910043E1, 0x910043E2, 0x8B030C42, *move(4, 8 * variables), 0xF824685F, *move(8, 221), svc]
    leave = [*move(0, 127), *move(8, 93), svc]
    words: list[int | str] = []
    for block in blocks:
        words.extend(block)
        words.append("check")
    words.extend([*execute, *leave])
    leave_at = len(words) - len(leave)
    encoded: list[int] = []
    for position, word in enumerate(words):
        if word == "groups":
            offset = (len(words) - position) * 4
            encoded.append(0x10000001 | ((offset & 3) << 29) | ((offset >> 2) << 5))
        elif word == "check":
            encoded.append(0xB5000000 | ((leave_at - position) << 5))
        else:
            assert isinstance(word, int)
            encoded.append(word)
    return struct.pack(f"<{len(encoded)}I", *encoded)
