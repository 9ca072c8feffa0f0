"""How many bytes of System V shared memory, message queues and semaphores a sandbox holds. A program of its own; standard library only.

``/proc/sysvipc`` shows the namespace of whoever reads it, and to join another one a process must have one thread and must not be the
grader. Argument: a process id of the sandbox. Prints a number for each line that it reads, until there are no more.
"""

import ctypes
import fcntl
import os
import sys

_NEW_USER = 0x10000000
_NEW_IPC = 0x08000000
_GET_USER_NAMESPACE = 0xB701
# What the kernel needs for a message beside its text, which may be empty, and for a semaphore.
_MESSAGE = 64
_SEMAPHORE = 64


def _join(process: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    theirs = os.open(f"/proc/{process}/ns/ipc", os.O_RDONLY | os.O_CLOEXEC)
    if libc.setns(theirs, _NEW_IPC) != 0:
        owner = fcntl.ioctl(theirs, _GET_USER_NAMESPACE)
        if libc.setns(owner, _NEW_USER) != 0 or libc.setns(theirs, _NEW_IPC) != 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def _sum(name: str, *columns: str) -> int:
    with open(f"/proc/sysvipc/{name}", encoding="ascii") as stream:
        head, *rows = [line.split() for line in stream]
    places = [head.index(column) for column in columns]
    return sum(int(row[place]) for row in rows for place in places)


def main(arguments: list[str]) -> int:
    """Answer until standard input ends."""
    try:
        _join(int(arguments[0]))
    except OSError as error:
        print(f"error {error}", flush=True)
        return 1
    for _ in sys.stdin:
        messages = _sum("msg", "cbytes") + _sum("msg", "qnum") * _MESSAGE
        print(_sum("shm", "rss", "swap") + messages + _sum("sem", "nsems") * _SEMAPHORE, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
