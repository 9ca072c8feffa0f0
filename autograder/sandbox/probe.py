"""Asks a server inside a sandbox for one page, from inside the sandbox's network. A program of its own; standard library only.

A process that joins a user namespace must have one thread, and must not be the grader. Arguments: process id, port, path, seconds,
most bytes. Prints one JSON object: ``{"status": int, "body": str, "headers": [str]}`` (names, in lower case) or ``{"error": str}``.
"""

import ctypes
import fcntl
import http.client
import json
import os
import resource
import signal
import sys
import time

_NEW_USER = 0x10000000
_NEW_NET = 0x40000000
_GET_USER_NAMESPACE = 0xB701
# From the request to the end of the answer. A limit on each read alone would let an answer drip for ever.
_ANSWER_SECONDS = 5
# An answer can ask http.client for all that comes: a chunk of -1 bytes does.
_MEMORY_BYTES = 256 << 20
# What http.client, and email's parser below it, let through where an answer's numbers, parameters or character sets are nonsense. Of an
# error of another kind, or of one of these elsewhere, this program is the cause.
_NO_HTTP = (ValueError, LookupError, OverflowError, TypeError, AttributeError)


class _NoHttpError(Exception):
    """What came is no answer of HTTP."""


def _join(process: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    network = os.open(f"/proc/{process}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    if libc.setns(network, _NEW_NET) == 0:
        return
    # An ordinary user has the right only inside the user namespace that owns the network.
    owner = fcntl.ioctl(network, _GET_USER_NAMESPACE)
    if libc.setns(owner, _NEW_USER) != 0 or libc.setns(network, _NEW_NET) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def _too_slow(_number: int, _frame: object) -> None:
    raise TimeoutError(f"it took the request and did not finish its answer within {_ANSWER_SECONDS} s")


def _ask(port: int, path: str, limit: int) -> dict[str, object]:
    connection = http.client.HTTPConnection("127.0.0.1", port)
    signal.signal(signal.SIGALRM, _too_slow)
    signal.setitimer(signal.ITIMER_REAL, _ANSWER_SECONDS)
    try:
        connection.request("GET", path)
        try:
            answer = connection.getresponse()
            body, headers = answer.read(limit), answer.getheaders()
        except _NO_HTTP as error:
            raise _NoHttpError(str(error)) from error
        return {"status": answer.status, "body": body.decode("utf-8", "replace"), "headers": [name.lower() for name, _ in headers]}
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        connection.close()


def main(arguments: list[str]) -> int:
    """Ask until there is an answer or the time is over."""
    process, port, path, seconds, limit = int(arguments[0]), int(arguments[1]), arguments[2], float(arguments[3]), int(arguments[4])
    try:
        _join(process)
    except OSError as error:
        # What has ended, reaped or not, has no network any more: that is an answer, too, and no trouble of the grader.
        gone = isinstance(error, FileNotFoundError | ProcessLookupError) or not os.path.exists(f"/proc/{process}")
        print(json.dumps({"error": "it ended at once"} if gone else {"join": str(error)}))
        return 2
    reply = ask(process, port, path, seconds, limit)
    print(json.dumps(reply))
    return 0 if "body" in reply else 1


def ask(process: int, port: int, path: str, seconds: float, limit: int) -> dict[str, object]:
    """Ask as long as there is no answer, the process lives and there is time. Limits the memory of this process for good."""
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY_BYTES, _MEMORY_BYTES))
    end = time.monotonic() + seconds
    while True:
        try:
            return _ask(port, path, limit)
        except MemoryError:
            return {"error": "its answer is no HTTP: it has no end"}
        except (OSError, http.client.HTTPException) as error:
            if time.monotonic() > end or not os.path.exists(f"/proc/{process}"):
                return {"error": str(error)}
        except _NoHttpError as error:
            return {"error": f"its answer is no HTTP: {error}"}
        time.sleep(0.1)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
