"""Memory that is in no process and in no file that has a name: it counts, or the step cannot have it; and nobody pays for a neighbour."""

from __future__ import annotations

import base64
import contextlib
import os
import platform
import random
import re
import subprocess
import sys
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from autograder.sandbox import disk, processes, watch
from autograder.sandbox.disk import memory_files
from autograder.sandbox.memory_use import watches
from autograder.sandbox.sandbox import Sandbox
from autograder.sandbox.unseen import alone
from layerlab.model import BuildRecord
from tests.autograder.material import ps1
from tests.engine.conftest import Lab, MakeLab

MIB = 1 << 20
LIMIT = 200
# More than that, and as much as the machine can bear.
TAKEN = 400
SECONDS = 8

# A static program: KIND, MiB that are taken, seconds for which they are held. It prints HOLDING when it has them.
PROGRAM = zlib.decompress(
    base64.b64decode(
        "eNqtVt1PHFUUvwO7LtLobJuGgml1rRPFVFaGgAHctjvtrtxJppYqbUkUFdht2lRKLbMNNWjZALEXXOOL/0BffNXow2QDCwhL3fjSYNImtmij2O52y0doAlYb"
        "x3PuzC7QEuuDkzD3Y849H7/f79zlfFB7rUAQSO4pIHsIrr4ifr722/vlRXkT2KsFOz9xEge3dXF768mdy427XGTdmIt06Hc99Bj574/bHim7RftmF9NlMJen"
        "absZlKeD8lhQThm3+OcronNCOSovK0eUw0qTyu4ffpNG71zAb0MNbjp0sHSQUDGxuX9af5KeXC6m5jiN6SWXs7cpu6sOaZInKJt0/LetOSP1pIlGWqxnGxj5"
        "PtS3yXO+05FzyggmpSQc4DpTBXUp8WdhqvZ9DzmlZNN4HFbxQp7Uz6JTnlPZpDKyHTfxCK2bEWNLTqhiWY35Xppy7BFodApd0ujfiHHkTr40jaVFJ40mcTs7"
        "5esQByogHo31SI15G3opIDV2g2NjL35j85TdFp0QE6IbB2BfY7dEp5LAhJQ40nCA3aBsgaepsSXRCa5UlgRvGlsE45wLeU4ZzmeduQivfVMOj0CdPNfdPNU5"
        "NTYs4dpKB18pYxOYJsjiXiI6je1WAhqb56HsWjgG846NoUugBcePlyGPZT95BEg31jv+wmGB21NBsknfMXHAA1UnsHIt1oQ0c9XUcIJWLLRGBFuiQXlWrbsu"
        "xg45uMwAabcVCGF2d3OLlI00KI6ypBInpLfA2MG3FmArFpBK5WXZBGpYQCrHdTn4wMV7uKilTJca8dUMAsRZQDpteHk6w1Ivju09kgcDlrbiCiaVgj2p3coB"
        "fV/ywx9lmqTh7vHc5+5SDhsdGDtXPIq8pS/fN00sINcsli4XePZqdBJzzxSbpumL6CVBoDyB7esLi/2t4DNTzOW9c5WjnHAS2JlrSVKmHI412nCDNuQ5jdeH"
        "nAiFqLulNdiPYs4JoQhxXpfx05CxMvIKTLFe5AVpq0VQQPUpTmTcxWFIK4bDKhg+NvFuUTiVcWTTPrHaSxq7ySOdf2KNVdZJhWT2R+5hI2Pxs1cBHrS57vtA"
        "HPiG3z8A1EjAxryRg8+apOZsfd6BbCbIRxChV8A8F9cVuPsv01RBr/5niFo30/NDZlawr4VrAjrPO0lYp9OUXbU6etXHvT8hJ0RXSQR5Y5MilCYPPW31MY8Z"
        "+ZL2Jf3ZX3x6pIWO39wBZPq5hoFIpNS6rAQLRDYB1C2a5tktPAhl1VL6cww0VC2BgOuufOwedDxFo98R4iEXgJxsdhDeGUlAl8B2TSfMfCGx/2sUUZc48C1Z"
        "V5AxyrvkKqgvM0NytwZ+KEAx7CN5xFbg/pl+qLusnltF4e49E0Q5a11rKkujJ0udbrsqjoMVxjjK1ytArMZ+hbvJbgXsgyRGATLET08A2dkjvrORN6z2r13N"
        "sST3O6P2TRahXnxW/4IGmh3cd0hqNEqEVUD7/vgpUjz6PKZKIVVDWFszjdWoWHARd3sJCh5D6kCz/ILHa6EZwhnPcV+ymXaCCxqdxJ+0t1qUt5UW5R3l3YmX"
        "O8Idx0L13YQe1ALq6w3FpGH//npPeSDcdqL1lEeu8lZ5Kyvk6l2hcJtcFZFftLcI8XYd79LP6K1txKuHu3XiPdMZatVbibe9s6MjfEon/8ezyb5YXQ/9n2A9"
        "Za719sID5zfbe1X2OuXy26O13kI2Pp8by+x55QN21+zzLzziPI6FG9RVYP9ftJP8e/7/ALEAj8U="
    )
)
# What it does with the memory, by KIND.
KINDS = {
    "z": "a shared mapping, dropped piece by piece (MADV_DONTNEED)",
    "p": "shared mappings of which all but one page was unmapped",
    "m": "a memfd, mapped, closed and dropped",
    "f": "memfds on their way in a socket, and nowhere else",
    "u": "what waits in sockets",
    "e": "semaphores",
    "q": "messages without a text",
    "t": "page tables, over a mapping of which only zeros were read",
}
# memfd_secret and vmsplice: the kernel has none, says status 38.
REFUSED = ["s", "v"]
# All in a root of its own, where the file is not to be seen.
CHROOTED = (
    "--mount=type=tmpfs,target=/t mkdir /c && cp /m /c/ && exec 3>/t/x; for i in 1 2 3 4 5 6; do chroot /c /m n 0 8 & done; "
    f"head -c {TAKEN * MIB} /dev/zero >&3; exec chroot /c /m n 0 8"
)

pytestmark = pytest.mark.skipif(platform.machine() != "x86_64", reason="a program of other instructions")


class Confined:
    """A lab whose builds are graded ones, under a small limit."""

    def __init__(self, lab: Lab, place: Path) -> None:
        self.lab = lab
        self.watch: watch.Watch | None = None
        self._cache = place / "npm"
        for part in ("index-v5", "content-v2"):
            (self._cache / "_cacache" / part).mkdir(parents=True)
        lab.file("m", PROGRAM, 0o755)

    def build(self, command: str, before: str = "", **limited: int) -> BuildRecord:
        limits = msgspec.structs.replace(ps1().limits, **{"memory_bytes": LIMIT * MIB, **limited})
        self.lab.engine.close()
        self.watch = watch.Watch(limits, str(self.lab.directory))
        store = self.lab.engine.store_path
        with self.watch, Sandbox(str(self._cache), self.watch) as sandbox, sandbox.engine(store) as self.lab.engine:
            return self.lab.try_build(f"FROM base:1\nCOPY m /m\n{before}\nRUN {command}\n")


@pytest.fixture
def confined(make_lab: MakeLab, tmp_path: Path) -> Confined:
    lab = make_lab()
    if not lab.engine.host.isolates:
        pytest.skip("nothing isolates a build here")
    return Confined(lab, tmp_path)


@pytest.fixture
def neighbour(tmp_path: Path) -> Iterator[Callable[[int], None]]:
    """Takes so many MiB of shared memory that no sandbox has, for the length of the test."""
    (tmp_path / "neighbour").write_bytes(PROGRAM)
    (tmp_path / "neighbour").chmod(0o755)
    children: list[subprocess.Popen[bytes]] = []

    def take(size: int) -> None:
        child = subprocess.Popen([tmp_path / "neighbour", "z", str(size), "60"], stdout=subprocess.PIPE)
        children.append(child)
        assert child.stdout is not None
        assert child.stdout.readline() == b"HOLDING\n"

    yield take
    for child in children:
        child.kill()
        child.communicate()


@pytest.mark.parametrize("kind", KINDS, ids=[*KINDS.values()])
def test_memory_that_no_process_shows_is_counted(confined: Confined, kind: str) -> None:
    for _ in range(3):
        started = time.monotonic()
        record = confined.build(f"/m {kind} {TAKEN} {SECONDS}")
        assert confined.watch is not None
        # Other tests take memory at the same time, and a step that they meet is tried again.
        if not confined.watch.trouble:
            break
    assert confined.watch is not None
    assert record.failure is not None, confined.lab.output
    assert re.search("it used .* MiB of memory; at most 200 are allowed", "".join(confined.watch.told[:1])), confined.watch.told
    assert not confined.watch.trouble
    # No advice for a machine that has no more memory: the limit was met.
    assert record.failure.remedy is None
    assert time.monotonic() - started < SECONDS + 4


# Where a mount of type tmpfs can be, each as a variable's value in a Dockerfile.
PLACES = {
    "letters of more than a byte": "/t/\u00e9\u4e2d",
    "what ends a word": "/t/a b",
    "a backslash": r"/t/a\\\\b",
    "digits that look like an escape": r"/t/\\303\\251",
    "as long as a path may be": "/t" + f"/{'d' * 250}" * 15,
}


@pytest.mark.parametrize("place", PLACES.values(), ids=PLACES.keys())
def test_a_file_system_in_memory_is_counted_whatever_its_place_is_called(confined: Confined, place: str) -> None:
    fill = "for i in 1 2 3 4 5 6 7 8; do head -c 52428800 /dev/zero > $i || exit 7; done; sleep 5"
    for _ in range(3):
        record = confined.build(f'--mount=type=tmpfs,target=$D cd "$D" && {{ {fill}; }}', before=f'ENV D="{place}"')
        assert confined.watch is not None
        # Other tests take memory at the same time, and a step that they meet is tried again.
        if not confined.watch.trouble:
            break
    assert confined.watch is not None
    assert record.failure is not None, confined.lab.output
    assert re.search("it used .* MiB of memory; at most 200 are allowed", "".join(confined.watch.told[:1])), confined.watch.told


def test_drawn_places_of_file_systems_are_read_as_the_kernel_writes_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Names of any bytes, in folders deeper than a path can say."""
    seed = os.environ.get("LAYERLAB_SEED") or f"{random.SystemRandom().getrandbits(64):x}"
    print(f"LAYERLAB_SEED={seed}")
    draws = random.Random(seed)
    for _ in range(200):
        names = [
            bytes(draws.choice(b"ab \t\n\\#0123\xc3\xa9\xff") for _ in range(draws.randrange(1, 40))) for _ in range(draws.randrange(1, 5))
        ]
        held = os.open("/", os.O_PATH)
        for name in [*os.fsencode(tmp_path).split(b"/")[1:], *names]:
            with contextlib.suppress(FileExistsError):
                os.mkdir(name, dir_fd=held)
            below = os.open(name, os.O_PATH | os.O_DIRECTORY, dir_fd=held)
            os.close(held)
            held = below
        # show_mountinfo (fs/proc_namespace.c) escapes these, and nothing else.
        written = b"/".join([os.fsencode(tmp_path), *names])
        for byte in b"\\ \t\n#":
            written = written.replace(bytes((byte,)), b"\\%03o" % byte)
        found = disk._opened("self", os.fsdecode(written))
        assert os.path.sameopenfile(found, held), written
        os.close(found)
        os.close(held)


def test_files_in_memory_are_counted_when_all_have_another_root(confined: Confined, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also when such a process is looked at last."""
    monkeypatch.setattr(
        watch,
        "memory_files",
        lambda found: memory_files(sorted(found, key=lambda process: Path(f"/proc/{process}/exe").resolve().name == "m")),
    )
    record = confined.build(CHROOTED)
    assert confined.watch is not None
    assert record.failure is not None, confined.lab.output
    assert "MiB of memory" in "".join(confined.watch.told[:1])


@pytest.mark.parametrize("kind", REFUSED)
def test_memory_that_could_not_be_counted_is_not_to_be_had(confined: Confined, kind: str) -> None:
    confined.build(f"/m {kind} 1 0; echo status $?")
    assert "status 38" in confined.lab.output


@pytest.mark.parametrize("kind", ["z", "u", "e", "t"])
def test_less_than_is_allowed_is_no_fault(confined: Confined, kind: str) -> None:
    record = confined.build(f"/m {kind} {LIMIT // 5} 1")
    assert confined.watch is not None
    assert (record.failure, confined.watch.told) == (None, []), confined.lab.output


def test_a_neighbour_s_memory_is_no_fault_of_a_step_that_could_not_have_it(
    confined: Confined, neighbour: Callable[[int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It goes on: it has nothing in which so much could be hidden."""
    with_neighbour(confined, neighbour, monkeypatch)
    record = confined.build("sleep 2")
    assert confined.watch is not None
    assert (record.failure, confined.watch.told, confined.watch.trouble) == (None, [], "")


def test_nor_of_one_that_could(confined: Confined, neighbour: Callable[[int], None], monkeypatch: pytest.MonkeyPatch) -> None:
    """It is ended, but that is called trouble of the machine, and no score comes of it."""
    for _ in range(3):
        with_neighbour(confined, neighbour, monkeypatch)
        confined.build("/m z 8 20")
        assert confined.watch is not None
        # Other tests give memory back at the same time, and then the machine has not lost what the neighbour took.
        if confined.watch.trouble:
            break
    assert confined.watch is not None
    assert "not to the step that was ended" in confined.watch.trouble
    assert not any("it used" in sentence for sentence in confined.watch.told)


def with_neighbour(confined: Confined, neighbour: Callable[[int], None], monkeypatch: pytest.MonkeyPatch) -> None:
    """The neighbour takes memory when the step runs: as soon as its processes are seen."""
    real = processes.sandboxed
    taken: list[bool] = []

    def sandboxed() -> frozenset[int]:
        found = real()
        if found and not taken:
            taken.append(True)
            neighbour(TAKEN)
        return found

    monkeypatch.setattr(watch, "sandboxed", sandboxed)


def test_what_is_waited_for_is_counted_and_guessed_where_nobody_may_look() -> None:
    """Epoll's watches are counted by the kernel for a user, and one answer could have all of them."""
    code = (
        "import ctypes, os, select, sys; files = [os.eventfd(0) for _ in range(200)]; polls = [select.epoll() for _ in range(100)]; "
        "[poll.register(file) for poll in polls for file in files]; "
        "ctypes.CDLL(None).prctl(4, int(sys.argv[1]), 0, 0, 0); print(flush=True); input()"
    )
    for dumpable in ("1", "0"):
        command = [sys.executable, "-c", code, dumpable]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as waiting:
            assert waiting.stdout is not None
            waiting.stdout.readline()
            hidden = dumpable == "0" and os.geteuid() != 0
            expected = 20_000 if not hidden else (os.stat(f"/proc/{waiting.pid}/fd").st_size // 2) ** 2
            assert watches([waiting.pid], 1 << 20) == expected
            assert 5_000 < watches([waiting.pid], 5_000) <= expected
            waiting.communicate(b"\n")


def test_only_one_grader_finds_out_at_a_time() -> None:
    with alone() as mine:
        assert mine
        with alone() as another:
            assert not another
    with alone() as mine:
        assert mine


def test_another_user_holds_up_nobody_who_finds_out() -> None:
    """The name is everybody's; the lock is a grader's of this user, or root's."""
    if os.geteuid() != 0:
        pytest.skip("only root can be another user, too")
    code = (
        "import os, socket; os.setuid(65534); lock = socket.socket(socket.AF_UNIX); "
        "lock.bind('\\0layerlab-whose-memory'); lock.listen(); print(flush=True); input()"
    )
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        other.stdout.readline()
        with alone() as mine:
            assert mine
        other.communicate(b"\n")


def test_a_name_on_disk_does_not_make_a_file_memory(confined: Confined) -> None:
    """What is mapped is told by where it lies and not by what it was called: "/memfd:x"."""
    record = confined.build(f"/m d {TAKEN} {SECONDS}", disk_bytes=100 * MIB)
    assert confined.watch is not None
    assert record.failure is not None, confined.lab.output
    assert re.search("have no name|of disk that are allowed", confined.watch.told[0])
