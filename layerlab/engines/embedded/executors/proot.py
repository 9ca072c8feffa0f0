"""The proot executor: for machines that allow no namespaces at all, such as a container of Binder with user id 1000.

proot follows a command with ptrace and translates the paths in its system calls. That makes a root filesystem, **but no wall**: a hostile
command can get past it. Landlock, where the kernel has it, then still keeps it from all files but those of the step; its processes and
network are the host's, and limits are ours alone. Whoever runs code of others must not use it (``Host.isolates``). What it cannot do at
all is listed in ``docs/differences.md``.
"""

from __future__ import annotations

import contextlib
import os
import posixpath
import random
import secrets
import select
import shutil
import signal
import struct
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final, Literal

from layerlab.engines.embedded.executors import landlock
from layerlab.engines.embedded.executors.base import BindMount, FileMount, Mount, Output, OverlayMount, Process, Root, TmpfsMount
from layerlab.engines.embedded.executors.launcher import Setup, launcher
from layerlab.engines.embedded.executors.memory_files import memory_file
from layerlab.engines.embedded.executors.programs import Helper
from layerlab.engines.embedded.executors.seccomp import proot_filter
from layerlab.engines.embedded.rootfs.paths import inside, resolve
from layerlab.errors import DockerfileError, ExecutorError
from layerlab.fsutil import scratch_directory

_DEVICES: Final = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom", "/dev/tty")
# Where the libraries of a program of this machine are, besides the folder ``lib`` beside its own.
_LIBRARIES: Final = ("/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/local/lib", "/etc/ld.so.cache", "/etc/ld.so.preload")
_END_SECONDS: Final = 5.0
_STATUS: Final = struct.Struct("<i")
# proot ignores most signals; for this one it ends all that it follows, and itself (``src/tracee/event.c``).
_END: Final = signal.SIGQUIT


class ProotExecutor:
    """Runs commands with proot, in a plain tree. ``directory``: on a file system that programs may be started from, for small files."""

    name = "proot"
    helper: Helper | None = None
    ids: Literal["full", "single"] = "single"

    def __init__(self, binary: str, directory: str) -> None:
        self.binary = binary
        self.directory = directory

    def probe(self) -> None:
        """Run the host's ``true`` with the host's root. Raises ``ExecutorError`` with proot's words."""
        true = shutil.which("true")
        if true is None:
            raise ExecutorError("proot cannot be tried: this machine has no program named true")
        said = bytearray()
        with self.start(Root(tree="/"), Process(argv=(os.path.realpath(true),), environment={}, cwd="/")) as running:
            status = running.wait(said.extend)
        if status != 0:
            raise ExecutorError(f"proot does not work here: {said.decode(errors='replace').strip() or status}")

    def keeps_files(self) -> bool:
        """Whether a command that gets past proot still cannot open this user's files."""
        return bool(landlock.version() and self._loader())

    def run(self, root: Root, process: Process, output: Output) -> int:
        """Run a command; see ``Executor.run``."""
        with self.start(root, process) as running:
            return running.wait(output)

    def start(self, root: Root, process: Process) -> RunningProot:
        """Start a command; see ``Executor.start``."""
        if not root.tree:
            raise ExecutorError("proot needs the copy snapshotter")
        with contextlib.ExitStack() as stack:
            scratch = Path(stack.enter_context(scratch_directory("proot-", self.directory)))
            command = [self.binary, "-r", root.tree, "-w", process.cwd, "-i", f"{process.uid}:{process.gid}"]
            rules = [(root.tree, landlock.ALL), (str(scratch), landlock.ALL), *self._programs_own()]
            # A name that no Dockerfile can mount on: what stands there runs without the filter.
            program = f"/dev/.{secrets.token_hex(16)}"
            for source, target, rights in self._binds(root.tree, process, scratch, program, stack):
                # The mark says that no link is followed in the last place; without it one of the target's own would say so.
                command += ["-b", f"{source}:{target}!"]
                rules.append((source, rights))
            report, told = os.pipe()
            stack.callback(os.close, report)
            with contextlib.ExitStack() as ours:
                ours.callback(os.close, told)
                loader = self._loader()
                walls = landlock.ruleset([*rules, (loader, landlock.READ)]) if loader else None
                own = None
                if walls is not None:
                    ours.callback(os.close, walls)
                    # Once more for the command alone: what is in proot's own domain could trace it, write to its memory, and end it.
                    own = os.dup(walls)
                    ours.callback(os.close, own)
                filter_ = proot_filter(network=process.network != "none") or b""
                setup = Setup(seccomp=filter_, report=told, landlock=-1 if own is None else own)
                inner = launcher(process.argv, process.environment, setup)
                setup = Setup(death_signal=_END, landlock=-1 if walls is None else walls)
                environment = {"PATH": os.defpath, "PROOT_TMP_DIR": str(scratch), **({"PROOT_LOADER": loader} if loader else {})}
                outer = launcher([*command, program], environment, setup)
                if inner is None or outer is None:
                    raise ExecutorError(f"proot is not supported on {os.uname().machine}")
                _write_program(scratch / "run", inner)
                _write_program(scratch / "start", outer)
                child = _spawn(scratch / "start", (told, *(held for held in (walls, own) if held is not None)))
            return RunningProot(child, report, stack.pop_all())

    def _loader(self) -> str:
        """A copy of the program that proot puts in the place of each that is executed; empty where it cannot be had.

        proot 5.1 writes its own into ``/tmp``, whatever it is told, and then a step would have to be let into ``/tmp``.
        """
        status = os.stat(self.binary)
        kept = os.path.join(self.directory, f"loader-{status.st_mtime_ns:x}-{status.st_size:x}")
        if not os.path.exists(kept):
            content = _taken_loader(self.binary)
            if not content:
                return ""
            with scratch_directory("loader-", self.directory) as scratch:
                _write_program(Path(scratch) / "loader", content)
                os.rename(os.path.join(scratch, "loader"), kept)
        return kept

    def _programs_own(self) -> Iterator[tuple[str, int]]:
        """What proot itself reads."""
        binary = os.path.realpath(self.binary)
        beside = os.path.join(os.path.dirname(os.path.dirname(binary)), "lib")
        return ((path, landlock.READ) for path in (binary, beside, *_LIBRARIES))

    def _binds(
        self, tree: str, process: Process, scratch: Path, program: str, stack: contextlib.ExitStack
    ) -> Iterator[tuple[str, str, int]]:
        """Sources, targets and what Landlock allows, parents first. Raises ``DockerfileError`` for a mount that has no place."""
        devices = scratch / "dev"
        for path in (devices, devices / "shm"):
            path.mkdir()
        (devices / "shm").chmod(0o1777)
        for name, target in (("fd", ""), ("stdin", "/0"), ("stdout", "/1"), ("stderr", "/2")):
            (devices / name).symlink_to(f"/proc/self/fd{target}")
        yield "/proc", "/proc", landlock.USE
        yield "/sys", "/sys", landlock.USE
        yield str(devices), "/dev", landlock.ALL
        for device in filter(os.path.exists, _DEVICES):
            (devices / os.path.basename(device)).touch()
            yield device, device, landlock.USE
        placed: list[tuple[str, Mount]] = []
        for mount in process.mounts:
            try:
                placed.append((_guest(tree, mount.target), mount))
            except DockerfileError:
                if not getattr(mount, "optional", False):
                    raise
        for target, mount in sorted(placed, key=lambda found: found[0].split("/")):
            source = self._source(mount, scratch, stack)
            if target.startswith("/dev/"):
                _make_mount_point(devices, target, directory=os.path.isdir(source))
            yield source, target, landlock.ALL
        (devices / os.path.basename(program)).touch()
        yield str(scratch / "run"), program, landlock.READ

    def _source(self, mount: Mount, scratch: Path, stack: contextlib.ExitStack) -> str:
        """A mount's source. proot has no read-only mounts, so of what must stay as it is the command gets a copy."""
        if isinstance(mount, BindMount) and (not mount.readonly or mount.checked):
            return mount.source
        place = Path(tempfile.mkdtemp(dir=scratch, prefix="mount-")) / "mount"
        if isinstance(mount, TmpfsMount):
            place.mkdir()
            place.chmod(0o1777)
        elif isinstance(mount, FileMount):
            return memory_file(mount.content, mount.mode, str(scratch), stack)
        elif isinstance(mount, OverlayMount):
            raise ExecutorError("proot has no overlays")
        elif os.path.isdir(mount.source):
            shutil.copytree(mount.source, place, symlinks=True)
        else:
            shutil.copy2(mount.source, place)
        return str(place)


def _guest(tree: str, target: str) -> str:
    """Where a mount is in the tree of a command: links of the image followed, up to ``/dev``, which is not the image's.

    Raises ``DockerfileError`` for a place that is the root, ``/dev``, or the kernel's.
    """
    parts = [part for part in posixpath.normpath("/" + target.lstrip("/")).split("/") if part]
    place = "/"
    for number in range(1, len(parts) + 1):
        try:
            place = "/" + inside(tree, resolve(tree, "/".join(parts[:number])))
        except OSError as error:
            raise DockerfileError(f"nothing can be mounted at {target}: {os.strerror(error.errno or 0).lower()}") from error
        if place == "/dev" or place.startswith("/dev/"):
            place = posixpath.join("/dev", *parts[number:])
            break
    if place in ("/", "/dev") or any(place == name or place.startswith(name + "/") for name in ("/proc", "/sys")):
        raise DockerfileError(f"nothing can be mounted at {target}: it is, or it lies in, what the sandbox has of its own")
    return place


def _make_mount_point(devices: Path, target: str, *, directory: bool) -> None:
    """Make what is missing of a place in ``/dev``: proot would do it in a folder of its own in ``/tmp``, which it cannot get at."""
    *folders, name = target.removeprefix("/dev/").split("/")
    place = devices
    try:
        for folder in folders:
            place /= folder
            if place.is_symlink():
                raise DockerfileError(f"nothing can be mounted at {target}: the way to it has a link into /proc")
            place.mkdir(exist_ok=True)
        place /= name
        if not os.path.lexists(place):
            place.mkdir() if directory else place.touch()
    except (FileExistsError, NotADirectoryError) as error:
        raise DockerfileError(f"nothing can be mounted at {target}: there is a file where a directory must be") from error


def _taken_loader(binary: str) -> bytes:
    """What the kernel says that a command of proot's has executed; nothing where that is the command itself."""
    cat = shutil.which("cat")
    if cat is None:
        return b""
    with subprocess.Popen(
        [binary, "-r", "/", cat], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env={"PATH": os.defpath}
    ) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        # cat runs when it has answered.
        with contextlib.suppress(OSError):
            child.stdin.write(b"\n")
            child.stdin.flush()
            child.stdout.read(1)
            for process in _children(child.pid):
                program = f"/proc/{process}/exe"
                if not os.path.samefile(program, cat):
                    return Path(program).read_bytes()
    return b""


@contextlib.contextmanager
def _one_cpu() -> Iterator[None]:
    """For the length of the block, this thread and what it starts run on one CPU.

    At each system call proot and the command that it follows wait for each other. To wake a process on another CPU takes far longer than
    to switch to it on the same: an ``npm install`` of 15 s takes 36 s on two.
    """
    try:
        allowed = os.sched_getaffinity(0)
        os.sched_setaffinity(0, {random.choice(sorted(allowed))})  # noqa: S311 - so that several builds spread
    except OSError:
        yield
        return
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            os.sched_setaffinity(0, allowed)


def _spawn(program: Path, descriptors: tuple[int, ...]) -> subprocess.Popen[bytes]:
    try:
        with _one_cpu():
            return subprocess.Popen(
                [str(program)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                pass_fds=descriptors,
                env={},
                umask=0o022,
                start_new_session=True,
            )
    except OSError as error:
        raise ExecutorError(f"proot cannot be started: {error}", remedy="Put the store where programs may be started from.") from error


def _write_program(path: Path, content: bytes) -> None:
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o700), "wb") as stream:
        stream.write(content)
    path.chmod(0o755)


class RunningProot(contextlib.AbstractContextManager["RunningProot"]):
    """A started command. Leaving the context kills whatever still runs."""

    seen: tuple[str, ...] = ()
    ended = False

    def __init__(self, child: subprocess.Popen[bytes], report: int, stack: contextlib.ExitStack) -> None:
        self._child = child
        self._report = report
        self._stack = stack

    def __exit__(self, *_: object) -> None:
        with self._stack:
            self.kill()

    def wait(self, output: Output) -> int:
        """See ``Running.wait``.

        proot would wait for whatever a command left running; in a container that ends with the command.
        """
        assert self._child.stdout is not None
        descriptor = self._child.stdout.fileno()
        waiting = {descriptor, self._report}
        told = b""
        while waiting:
            # Not select: it knows descriptors below 1024 alone.
            watched = select.poll()
            for one in waiting:
                watched.register(one, select.POLLIN)
            for ready, _ in watched.poll():
                block = os.read(ready, 1 << 16)
                if not block:
                    waiting.discard(ready)
                elif ready == descriptor:
                    output(block)
                else:
                    told += block
                    _end_traced(self._child.pid)
        self._child.wait()
        # Nothing is told where the program that tells was killed itself.
        code = os.waitstatus_to_exitcode(_STATUS.unpack(told)[0]) if len(told) == _STATUS.size else -signal.SIGKILL
        return 128 - code if code < 0 else code

    def stop(self) -> None:
        """See ``Running.stop``."""
        if self._child.poll() is None:
            _end_traced(self._child.pid)
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._child.pid, _END)

    def signal(self, number: int) -> None:
        """See ``Running.signal``."""
        if self._child.poll() is None:
            # proot, then the program that tells how it ended, then the command.
            for teller in _children(self._child.pid):
                for process in _children(teller):
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(process, number)

    def kill(self) -> None:
        """See ``Running.kill``."""
        end = time.monotonic() + _END_SECONDS
        while self._child.poll() is None and time.monotonic() < end:
            self.stop()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._child.wait(timeout=0.1)
        if self._child.poll() is None:
            self._child.kill()
            self._child.wait()
        if self._child.stdout is not None:
            self._child.stdout.close()


def _end_traced(tracer: int) -> None:
    for process in _traced(tracer):
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)


def _traced(tracer: int) -> list[int]:
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            with contextlib.suppress(OSError), open(f"/proc/{entry}/status", encoding="utf-8", errors="replace") as stream:
                if any(line.split()[1] == str(tracer) for line in stream if line.startswith("TracerPid:")):
                    found.append(int(entry))
    return found


def _children(process: int) -> list[int]:
    try:
        with open(f"/proc/{process}/task/{process}/children", encoding="ascii") as stream:
            return [int(word) for word in stream.read().split()]
    except OSError:
        return []
