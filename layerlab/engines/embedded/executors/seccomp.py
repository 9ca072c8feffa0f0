"""The seccomp filter of single-id mode: system calls that would need a second id are answered 0 without doing anything.

In a user namespace with one id, ``chown`` gives EINVAL and ``setgroups`` EPERM, and package managers stop. Answering "done" lets them
go on, as Charliecloud's ``ch-image --force=seccomp`` does (``doc/ch-image_desc.rst``, "fake root by seccomp"). The owners that
matter for the image come from ``--chown``, USER and WORKDIR instead.
"""

from __future__ import annotations

import os
import struct
from typing import Final

_LD_ABS: Final = 0x20
_JEQ: Final = 0x15
_RET: Final = 0x06
_AND: Final = 0x54
_JUMP: Final = 0x05
_ALLOW: Final = 0x7FFF0000
_ERRNO: Final = 0x00050000

# Audit architecture, then the numbers of: chown fchown lchown fchownat setuid setgid setreuid setregid setgroups setresuid
# setresgid setfsuid setfsgid capset; and of mknod and mknodat with the place of their mode among the arguments.
_CALLS: Final = {
    "x86_64": (0xC000003E, (92, 93, 94, 260, 105, 106, 113, 114, 116, 117, 119, 122, 123, 126), {133: 1, 259: 2}),
    "aarch64": (0xC00000B7, (55, 54, 146, 144, 145, 143, 159, 147, 149, 151, 152, 91), {33: 2}),
}


def faked_root_filter() -> bytes | None:
    """The BPF program for ``bwrap --seccomp``, or ``None`` on a machine whose system call numbers are not known here.

    A named pipe needs no privilege, so of mknod's kinds only devices are faked.
    """
    known = _CALLS.get(os.uname().machine)
    if known is None:
        return None
    architecture, calls, makers = known
    # Places of the last instructions, behind 4 at the start and one comparison for each call.
    devices = 4 + len(calls) + len(makers) + 1
    check = devices + 2 * len(makers)
    fake = check + 4
    program = [
        (_LD_ABS, 0, 0, 4),
        (_JEQ, 1, 0, architecture),
        (_RET, 0, 0, _ALLOW),
        (_LD_ABS, 0, 0, 0),
    ]
    program += [(_JEQ, fake - len(program) - number - 1, 0, call) for number, call in enumerate(calls)]
    program += [(_JEQ, devices + 2 * number - len(program) - number - 1, 0, call) for number, call in enumerate(makers)]
    program.append((_RET, 0, 0, _ALLOW))
    for number, place in enumerate(makers.values()):
        program.append((_LD_ABS, 0, 0, 16 + 8 * place))
        program.append((_JUMP, 0, 0, check - (devices + 2 * number + 1) - 1))
    program += [
        (_AND, 0, 0, 0o170000),
        (_JEQ, 2, 0, 0o020000),
        (_JEQ, 1, 0, 0o060000),
        (_RET, 0, 0, _ALLOW),
        (_RET, 0, 0, _ERRNO),
    ]
    return b"".join(struct.pack("<HBBI", *instruction) for instruction in program)
