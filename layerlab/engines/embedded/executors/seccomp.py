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
_ALLOW: Final = 0x7FFF0000
_ERRNO: Final = 0x00050000

# Audit architecture, then the numbers of: chown fchown lchown fchownat setuid setgid setreuid setregid setgroups setresuid
# setresgid setfsuid setfsgid mknod mknodat capset.
_CALLS: Final = {
    "x86_64": (0xC000003E, (92, 93, 94, 260, 105, 106, 113, 114, 116, 117, 119, 122, 123, 133, 259, 126)),
    "aarch64": (0xC00000B7, (55, 54, 146, 144, 145, 143, 159, 147, 149, 151, 152, 33, 91)),
}


def faked_root_filter() -> bytes | None:
    """The BPF program for ``bwrap --seccomp``, or ``None`` on a machine whose system call numbers are not known here."""
    known = _CALLS.get(os.uname().machine)
    if known is None:
        return None
    architecture, calls = known
    count = len(calls)
    program = [
        (_LD_ABS, 0, 0, 4),
        (_JEQ, 1, 0, architecture),
        (_RET, 0, 0, _ALLOW),
        (_LD_ABS, 0, 0, 0),
        *[(_JEQ, count - position, 0, call) for position, call in enumerate(calls)],
        (_RET, 0, 0, _ALLOW),
        (_RET, 0, 0, _ERRNO),
    ]
    return b"".join(struct.pack("<HBBI", *instruction) for instruction in program)
