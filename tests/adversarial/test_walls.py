"""What a RUN can see and reach of this machine: nothing, whatever it tries. Each look is a command that says so where a wall has a hole."""

from __future__ import annotations

import contextlib
import ctypes
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from layerlab.engines.embedded.executors.memory_files import sweep
from layerlab.engines.embedded.executors.seccomp import bwrap_filter, proot_filter
from tests.engine.conftest import Lab, MakeLab

SECRET = "correct-horse-battery-staple"

# A command that prints something only where there is a hole.
LOOKS = {
    # The patterns are written so that they do not find themselves.
    "paths of this machine in a command line": "cat /proc/[0-9]*/cmdline | tr '\\0' ' ' | grep -o '@STORE@\\|@PYTHON@'",
    "paths of the store in an environment": "cat /proc/[0-9]*/environ | tr '\\0' '\\n' | grep -v ^PWD | grep -o @STORE@",
    "paths of the layers in the list of mounts": "grep ' / / ' /proc/self/mountinfo | grep -o @STORE@",
    "descriptors of ours": "ls /proc/2/fd > /tmp/o; grep -v '^[012]$\\|^10$' /tmp/o",
    "keys of the kernel": "cat /proc/keys /proc/key-users 2>/dev/null",
    "interrupts and timers": "cat /proc/interrupts /proc/timer_list /proc/sched_debug /proc/kcore 2>/dev/null | head -c 100",
    "firmware": "ls /sys/firmware",
    "files of a debugger of the kernel": "ls /sys/kernel/debug /sys/kernel/tracing 2>/dev/null | grep -v ^/sys | grep .",
    "settings that can be written": "for f in /proc/sys/kernel/core_pattern /proc/sysrq-trigger /proc/irq/default_smp_affinity; do "
    "(echo x > $f) 2>/dev/null && echo $f; done",
    "processes of others": "ls -d /proc/[0-9]* | wc -l | grep -v '^[1-9]$'",
    "devices": "(dd if=/dev/mem bs=1 count=1; cat /dev/kmsg; ls /dev/sd* /dev/vd* /dev/nvme*) 2>/dev/null",
    "a mount": "for d in /mnt /tmp /dev /proc; do mount -t tmpfs x $d 2>/dev/null && echo mounted; done",
    "the sandbox's own program": "(chmod 755 /proc/1/exe || touch /proc/1/exe || echo >> /proc/1/exe) 2>/dev/null && echo changed",
    "what covers files of the kernel": "for f in /proc/keys /proc/interrupts; do "
    "(chmod 666 $f || touch $f) 2>/dev/null && echo changed; done",
    "a mount undone": "for d in /dev /sys /proc /etc/hosts /proc/sys; do umount $d 2>/dev/null && echo undone; done",
}


@pytest.mark.parametrize("look", LOOKS.values(), ids=LOOKS.keys())
def test_a_look_finds_nothing(walled_lab: Lab, look: str) -> None:
    lab = walled_lab
    if "/proc/interrupts" in look and lab.ids == "single":
        pytest.skip("an ordinary user reads there what it reads outside")
    filled = look.replace("@STORE@", f"[/]{lab.engine.store_path[1:]}").replace("@PYTHON@", f"[/]{sys.prefix[1:]}")
    lab.try_build(f"FROM base:1\nRUN {filled}; true\n")
    assert lab.output == ""


def test_no_device_of_this_machine_changes(walled_lab: Lab) -> None:
    """A step may do as it likes with its own, where it has any; the next step has them all, and they work."""
    names = ("null", "zero", "full", "random", "urandom", "tty")

    def here() -> list[tuple[int, ...]]:
        return [(found.st_mode, found.st_uid, found.st_gid, found.st_rdev) for found in (os.stat(f"/dev/{name}") for name in names)]

    lab, before = walled_lab, here()
    paths = " ".join(f"/dev/{name}" for name in names)
    changes = f"chmod 000 {paths}; chown 1:1 {paths}; rm -f {paths}"
    works = f"for f in {paths}; do test -c $f && test -w $f || echo $f; done; echo x > /dev/null; head -c 4 /dev/zero | tr '\\0' z"
    lab.try_build(f"FROM base:1\nRUN ({changes}) 2> /tmp/said; true\nRUN {works}\n")
    assert here() == before
    assert lab.output == "zzzz"


# bwrap holds this machine's /proc open while it sets a sandbox up (the class of CVE-2024-21626).
DIRECTORIES = {
    "by number": "WORKDIR /proc/self/fd/{number}",
    "of a thread": "WORKDIR /proc/thread-self/fd/{number}",
    "of process 1": "WORKDIR /proc/1/fd/{number}",
    "by a link": "RUN ln -s /proc/self/fd/{number} /w\nWORKDIR /w",
    "by the home directory": "ENV HOME=/proc/self/fd/{number} PWD=/proc/self/fd/{number}",
}


@pytest.mark.parametrize("steps", DIRECTORIES.values(), ids=DIRECTORIES.keys())
def test_no_working_directory_is_this_machine_s(walled_lab: Lab, tmp_path: Path, steps: str) -> None:
    lab = walled_lab
    (tmp_path / "canary").write_text("canary-outside\n")
    for number in (*range(3, 12), 20):
        up = "for u in . .. ../.. ../../..; do cat $u@CANARY@ 2>/dev/null; done; true".replace("@CANARY@", f"{tmp_path}/canary")
        lab.try_build(f"FROM base:1\n{steps.format(number=number)}\nRUN {up}\nRUN --network=none {up}\n")
        assert "canary-outside" not in lab.output, number


def test_a_cache_that_changes_meanwhile_is_no_way_out(walled_lab: Lab, tmp_path: Path) -> None:
    """The working directory is entered when nothing of this machine is open any more."""
    lab = walled_lab
    mount = "RUN --mount=type=cache,target=/c"
    lab.try_build(f"FROM base:1\n{mount} ln -s /proc/self/fd/3 /c/w\nWORKDIR /c/w\n{mount} ls ..; pwd\n")
    assert "usr" not in lab.output.split()


def test_no_program_of_the_sandbox_s_own_runs_beside_a_command(walled_lab: Lab) -> None:
    """bwrap's process 1 would have this machine's /proc open for a moment, and a command could be quicker."""
    lab = walled_lab
    lab.build("FROM base:1\nRUN cat /proc/[0-9]*/comm; cat /proc/1/cmdline | tr '\\0' ' '\n")
    assert "bwrap" not in lab.output
    assert "/dev/.switch-user" in lab.output


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_a_filter_refuses_by_name_and_answers_for_what_it_does_not_know(machine: str) -> None:
    """Interpreted here, instruction by instruction, on every architecture that this machine may not be."""
    numbers = {
        "x86_64": (0xC000003E, {"keyctl": 250, "add_key": 248, "bpf": 321, "perf_event_open": 298, "mount": 165, "setns": 308}),
        "aarch64": (0xC00000B7, {"keyctl": 219, "add_key": 217, "bpf": 280, "perf_event_open": 241, "mount": 40, "setns": 268}),
    }
    common = {"io_uring_setup": 425, "open_tree": 428, "move_mount": 429, "fsopen": 430, "mount_setattr": 442}
    architecture, own = numbers[machine]
    eperm, enosys, allowed = 0x00050001, 0x00050026, 0x7FFF0000
    programs = [bwrap_filter(faked_root=True, machine=machine), bwrap_filter(faked_root=False, machine=machine)]
    for program in [*programs, proot_filter(network=True, machine=machine), proot_filter(network=False, machine=machine)]:
        assert program is not None
        for name, number in {**own, **common}.items():
            assert _answer(program, architecture, number) == eperm, name
        # The x32 ABI, a kernel to come, and another architecture.
        assert _answer(program, architecture, 0x40000000 | 59) == enosys
        assert _answer(program, architecture, 5000) == enosys
        assert _answer(program, 0xC0000015, 1) == enosys
        read, openat = {"x86_64": (0, 257), "aarch64": (63, 56)}[machine]
        assert _answer(program, architecture, read) == allowed
        assert _answer(program, architecture, openat) == allowed


@pytest.mark.parametrize(
    ("architecture", "calls", "moving"),
    [(0xC000003E, (253, 294), 203), (0x40000003, (291, 332), 241), (0xC00000B7, (26,), 122)],
    ids=["x86_64", "i386", "aarch64"],
)
def test_a_neighbourly_command_takes_nothing_that_all_of_a_user_share(architecture: int, calls: tuple[int, ...], moving: int) -> None:
    """Instances of inotify (EMFILE), and the processors of others, to which it has then moved as far as it knows."""
    machine = "aarch64" if architecture == 0xC00000B7 else "x86_64"
    for neighbourly, watching, moved in ((True, 0x00050018, 0x00050000), (False, 0x7FFF0000, 0x7FFF0000)):
        program = bwrap_filter(faked_root=False, neighbourly=neighbourly, machine=machine)
        assert program is not None
        assert {_answer(program, architecture, call) for call in calls} == {watching}
        assert _answer(program, architecture, moving) == moved


@pytest.mark.parametrize(("architecture", "ioctl", "bits"), [(0xC000003E, 16, 64), (0x40000003, 54, 32), (0xC00000B7, 29, 64)])
def test_a_file_gets_no_flag_that_no_layer_has(architecture: int, ioctl: int, bits: int) -> None:
    """The numbers are those of linux/fs.h, fscrypt.h and fsverity.h: direction, size, kind and number of the call."""
    write, enotty, allowed = 1 << 30, 0x00050019, 0x7FFF0000
    long = bits // 8 << 16
    marks = [
        *(write | long | kind << 8 | number for kind, number in ((ord("f"), 2), (ord("v"), 2), (ord("f"), 4))),
        write | 28 << 16 | ord("X") << 8 | 32,
        2 << 30 | 12 << 16 | ord("f") << 8 | 19,
        write | 128 << 16 | ord("f") << 8 | 133,
    ]
    # Asking is no mark, and a terminal is asked in this way, too (TCGETS).
    harmless = [2 << 30 | long | ord("f") << 8 | 1, 0x5401]
    machine = "aarch64" if architecture == 0xC00000B7 else "x86_64"
    for faked in (True, False):
        program = bwrap_filter(faked_root=faked, machine=machine)
        assert program is not None
        assert {_answer(program, architecture, ioctl, (3, mark)) for mark in marks} == {enotty}
        assert {_answer(program, architecture, ioctl, (3, call)) for call in harmless} == {allowed}


@pytest.mark.parametrize(("architecture", "fcntl"), [(0xC000003E, (72,)), (0x40000003, (55, 221)), (0xC00000B7, (25,))])
def test_nobody_waits_to_open_what_a_command_has_opened(architecture: int, fcntl: tuple[int, ...]) -> None:
    """Leases, directory notices and delegations (linux/fcntl.h). Locks that only those meet who ask for them are none of these."""
    machine = "aarch64" if architecture == 0xC00000B7 else "x86_64"
    for program in (bwrap_filter(faked_root=True, machine=machine), bwrap_filter(faked_root=False, machine=machine)):
        assert program is not None
        for call in fcntl:
            assert {_answer(program, architecture, call, (3, what)) for what in (1024, 1026, 1040)} == {0x00050016}
            # F_GETFD, F_SETFD, F_SETLK, F_OFD_SETLKW, F_DUPFD_CLOEXEC, F_ADD_SEALS.
            assert {_answer(program, architecture, call, (3, what)) for what in (1, 2, 6, 38, 1030, 1033)} == {0x7FFF0000}


def _answer(program: bytes, architecture: int, number: int, arguments: tuple[int, ...] = ()) -> int:
    """What a BPF program returns for a call: an interpreter of the few instructions that a filter has."""
    data = number.to_bytes(4, "little") + architecture.to_bytes(4, "little") + bytes(8)
    data += b"".join(argument.to_bytes(8, "little") for argument in (*arguments, *[0] * 6)[:6])
    lines = [program[at : at + 8] for at in range(0, len(program), 8)]
    place = held = 0
    while True:
        line = lines[place]
        code, yes, no = int.from_bytes(line[:2], "little"), line[2], line[3]
        value = int.from_bytes(line[4:], "little")
        place += 1
        if code == 0x20:
            held = int.from_bytes(data[value : value + 4], "little")
        elif code == 0x15:
            place += yes if held == value else no
        elif code == 0x35:
            place += yes if held >= value else no
        elif code == 0x54:
            held &= value
        elif code == 0x05:
            place += value
        else:
            assert code == 0x06
            return value


def test_keys_do_not_pass_from_a_login_to_a_step_or_from_step_to_step(walled_lab: Lab) -> None:
    """The session keyring of whoever starts a build is inherited by all that it starts."""
    lab = walled_lab
    libc = ctypes.CDLL(None, use_errno=True)
    if os.uname().machine != "x86_64":
        pytest.skip("a program of this machine's instructions")
    # keyctl(KEYCTL_SEARCH, session, "user", name) as machine code; exit status 5 where it finds the key.
    name = b"layerlab-test"
    code = _finds_key()
    assert libc.syscall(250, 1, 0) >= 0
    assert libc.syscall(248, b"user", name, b"of-the-login", 12, -3) >= 0
    record = lab.try_build(f"FROM base:1\nRUN printf '{code}' > /p && chmod 755 /p && /p; test $? != 5\n")
    assert record.failure is None, lab.output


def _finds_key() -> str:
    """An ELF file in printf's octal escapes: keyctl(10, -3, "user", "layerlab-test", 0); exit(result > 0 ? 5 : 0)."""
    body = bytearray()
    body += b"\xbf\x0a\x00\x00\x00" + b"\x48\xc7\xc6\xfd\xff\xff\xff"  # rdi = 10, rsi = -3
    body += b"\x48\x8d\x15TYPE" + b"\x4c\x8d\x15NAME" + b"\x45\x31\xc0"  # rdx, r10 = addresses, r8 = 0
    body += b"\xb8\xfa\x00\x00\x00\x0f\x05"  # eax = 250; syscall
    body += b"\x31\xff\x48\x85\xc0\x7e\x05\xbf\x05\x00\x00\x00"  # edi = 0; if rax > 0: edi = 5
    body += b"\xb8\x3c\x00\x00\x00\x0f\x05"
    for mark, text in ((b"TYPE", b"user\0"), (b"NAME", b"layerlab-test\0")):
        place = body.index(mark)
        body[place : place + 4] = (len(body) - place - 4).to_bytes(4, "little")
        body += text
    start, size = 0x400000, 120 + len(body)
    header = b"\x7fELF\x02\x01\x01" + bytes(9)
    fields = ((2, 2), (62, 2), (1, 4), (start + 120, 8), (64, 8), (0, 8), (0, 4), (64, 2), (56, 2), (1, 2), (0, 2), (0, 2), (0, 2))
    for value, width in fields:
        header += value.to_bytes(width, "little")
    for value, width in ((1, 4), (5, 4), (0, 8), (start, 8), (start, 8), (size, 8), (size, 8), (4096, 8)):
        header += value.to_bytes(width, "little")
    return "".join(f"\\\\{byte:03o}" for byte in header + bytes(body))


# --- the network of ordinary builds --------------------------------------------------------------------------------------


class _Listening:
    """A port of this machine's loopback and a socket without a file; who connects is noted."""

    def __init__(self) -> None:
        self.reached: list[str] = []
        self._tcp = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._tcp.getsockname()[1]
        self.name = f"layerlab-{os.getpid()}-{self.port}"
        self._unix = socket.socket(socket.AF_UNIX)
        self._unix.bind(f"\0{self.name}")
        self._unix.listen()
        for what, server in (("tcp", self._tcp), ("abstract", self._unix)):
            threading.Thread(target=self._serve, args=(what, server), daemon=True).start()

    def _serve(self, what: str, server: socket.socket) -> None:
        while True:
            try:
                connection, _ = server.accept()
            except OSError:
                return
            self.reached.append(what)
            connection.close()

    def close(self) -> None:
        for server in (self._tcp, self._unix):
            server.close()


@pytest.fixture
def listening() -> Iterator[_Listening]:
    found = _Listening()
    yield found
    found.close()


def _connects(port: int) -> str:
    return f"RUN echo | timeout 5 nc 127.0.0.1 {port}; echo | timeout 5 nc 10.0.2.2 {port}; echo | timeout 5 nc localhost {port}; true\n"


def test_a_build_does_not_reach_this_machine_s_loopback(make_lab: MakeLab, listening: _Listening, monkeypatch: pytest.MonkeyPatch) -> None:
    lab = make_lab()
    if lab.engine.host.network_helper is None:
        pytest.skip("needs pasta or slirp4netns, and leave to use /dev/net/tun (apt-get install passt)")
    for name in ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    # A Dockerfile's own variables open nothing.
    lab.try_build(f"FROM base:1\nENV http_proxy=http://127.0.0.1:{listening.port}\n{_connects(listening.port)}", network="default")
    assert listening.reached == []
    lab.try_build(f"FROM base:1\nRUN true\n{_connects(listening.port)}", network="host")
    assert set(listening.reached) == {"tcp"}, "the test itself can reach it"


def test_a_proxy_on_loopback_that_the_user_names_is_reached_and_no_other_port(
    make_lab: MakeLab, listening: _Listening, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab = make_lab()
    helper = lab.engine.host.network_helper
    if helper is None or helper.name != "pasta":
        pytest.skip("needs pasta, and leave to use /dev/net/tun (apt-get install passt)")
    other = _Listening()
    try:
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{listening.port}")
        lab.try_build(f"FROM base:1\n{_connects(listening.port)}{_connects(other.port)}", network="default")
        assert listening.reached
        assert other.reached == []
    finally:
        other.close()


def test_many_builds_at_once_are_connected(make_lab: MakeLab) -> None:
    """What connects one must not come between bwrap and the kernel."""
    lab = make_lab()
    if lab.engine.host.network_helper is None:
        pytest.skip("needs pasta or slirp4netns, and leave to use /dev/net/tun (apt-get install passt)")
    failed: list[object] = []

    def build(name: int) -> None:
        file = lab.directory / str(name)
        with type(lab.engine)(lab.engine.store_path) as engine:
            for number in range(25):
                file.write_text(f"FROM base:1\nRUN echo {name} {number}\n")
                failed.append(engine.build(lab.options(file=str(file), network="default")).failure)

    threads = [threading.Thread(target=build, args=(name,)) for name in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == [None] * 100


# --- kill -9 -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("whom", ["the build", "the sandbox's first process outside"])
def test_a_step_ends_with_its_build_at_whatever_moment_that_is_killed(make_lab: MakeLab, whom: str) -> None:
    """From before the sandbox is there until long after."""
    lab = make_lab()
    if not lab.engine.host.isolates:
        pytest.skip("nothing isolates a build here")
    seed = os.environ.get("LAYERLAB_SEED") or f"{random.SystemRandom().getrandbits(32):x}"
    print(f"LAYERLAB_SEED={seed}")
    draws = random.Random(seed)
    number = 100_000 + draws.getrandbits(20)
    (lab.directory / "Dockerfile").write_text(f"FROM base:1\nRUN sleep {number}\n")
    variables = {"LAYERLAB_STORE": lab.engine.store_path, "LAYERLAB_ENGINE": "embedded", "PYTHONPATH": os.pathsep.join(sys.path)}
    words = [sys.executable, "-P", "-m", "layerlab", "build", "--offline", str(lab.directory)]
    # While a network is connected bubblewrap waits, and goes on when whoever it waits for has gone.
    for _ in range(12):
        child = subprocess.Popen(words, env={**os.environ, **variables}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            started = _first_of_sandbox(child.pid)
            time.sleep(draws.random() * 0.06)
            with contextlib.suppress(ProcessLookupError):
                os.kill(child.pid if whom == "the build" else started, signal.SIGKILL)
            if whom != "the build":
                child.wait(timeout=30)
        finally:
            child.kill()
            child.wait()
        end = time.monotonic() + 10
        while _running(f"sleep\0{number}\0") and time.monotonic() < end:
            time.sleep(0.05)
        assert _running(f"sleep\0{number}\0") == []


def _first_of_sandbox(engine: int) -> int:
    """The process that a build starts for a sandbox, as soon as it is there."""
    end = time.monotonic() + 20
    while time.monotonic() < end:
        with contextlib.suppress(OSError):
            for task in Path(f"/proc/{engine}/task").iterdir():
                for word in (task / "children").read_text().split():
                    if Path(f"/proc/{word}/cmdline").read_bytes().startswith(b"bwrap\0"):
                        return int(word)
    raise AssertionError("the build started no sandbox")


def _running(command: str) -> list[int]:
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if command.encode() in (place / "cmdline").read_bytes():
                found.append(int(place.name))
    return found


# --- secrets ------------------------------------------------------------------------------------------------------------


def _holders() -> list[str]:
    """Files of this machine that hold the secret: in memory, and where temporary things are."""
    found = []
    for place in (Path("/dev/shm"), Path("/run/user") / str(os.getuid())):
        for path in place.glob("*") if place.is_dir() else ():
            try:
                if path.is_file() and path.stat().st_size < 1 << 20 and SECRET.encode() in path.read_bytes():
                    found.append(str(path))
            except OSError:
                continue
    return found


def test_a_build_that_is_killed_leaves_no_secret(make_lab: MakeLab, tmp_path: Path) -> None:
    lab = make_lab()
    (lab.directory / "Dockerfile").write_text("FROM base:1\nRUN --mount=type=secret,id=s cat /run/secrets/s > /dev/null; sleep 30\n")
    (tmp_path / "secret").write_text(SECRET)
    words = ["build", "--offline", "--network", "none", "--secret", f"id=s,src={tmp_path / 'secret'}", str(lab.directory)]
    variables = {"LAYERLAB_STORE": lab.engine.store_path, "LAYERLAB_ENGINE": "embedded", "PYTHONPATH": os.pathsep.join(sys.path)}
    child = subprocess.Popen(
        [sys.executable, "-P", "-m", "layerlab", *words],
        env={**os.environ, **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        end = time.monotonic() + 20
        while time.monotonic() < end and not _sleeping(child.pid):
            time.sleep(0.05)
        assert _sleeping(child.pid)
        assert _holders() == []
    finally:
        os.killpg(child.pid, signal.SIGKILL)
        child.communicate()
    assert _holders() == []
    for here, _, names in os.walk(lab.engine.store_path):
        for name in names:
            path = Path(here, name)
            assert path.is_symlink() or not path.is_file() or SECRET.encode() not in path.read_bytes(), path


def _sleeping(parent: int) -> bool:
    """Whether a descendant of a process is ``sleep 30``."""
    waiting, found = [parent], False
    while waiting:
        process = waiting.pop()
        try:
            found |= b"sleep\x0030" in Path(f"/proc/{process}/cmdline").read_bytes()
            for task in Path(f"/proc/{process}/task").iterdir():
                waiting += [int(word) for word in (task / "children").read_text().split()]
        except OSError:
            continue
    return found


def test_secrets_that_an_older_version_left_are_swept() -> None:
    left = Path("/dev/shm/layerlab-secret-of-a-test")
    foreign = Path("/dev/shm/layerlab-secret-link")
    left.write_text(SECRET)
    foreign.symlink_to("/etc/hostname")
    try:
        sweep()
        assert not left.exists()
        assert foreign.is_symlink()
    finally:
        foreign.unlink()
        left.unlink(missing_ok=True)
