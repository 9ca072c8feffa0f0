"""Keeping a student's commands within memory, number of processes, disk and output, and files within a size.

Control groups (``cgroups``) are not to be had for an ordinary user everywhere, so a thread looks at what runs in sandboxes a few times
a second and ends all of it when it is too much; the step then fails as one that was killed. The size of a file is the kernel's to limit.
"""

from __future__ import annotations

import contextlib
import resource
import threading
import time
from collections.abc import Iterator
from typing import Final, Self

from autograder.exercise.assignment import Limits
from autograder.sandbox.allowances import exhausted
from autograder.sandbox.cgroups import memory_kills
from autograder.sandbox.disk import DiskUse, is_the_machines, memory_files
from autograder.sandbox.memory_use import SystemV, Uncountable, resident, threads, watches
from autograder.sandbox.processes import end, sandboxed, stopped
from autograder.sandbox.unseen import Unseen, alone, could_hide, unseen, went

_INTERVAL: Final = 0.1
_SLOW_SECONDS: Final = 1.0
# Fewer than the 1024 that programs have by default: a user's files on their way are as many as the sender may have open (unix(7)).
_OPEN_FILES: Final = 1000
_QUEUED_SIGNALS: Final = 4096
# A user has some hundred thousand on a small machine (``fs.epoll.max_user_watches``).
_EPOLL_WATCHES: Final = 20_000
# Of the time of one look at what was written that passes before the next one.
_SHARE: Final = 9


def limit_processes(limits: Limits) -> None:
    """Limit what this process and those that it starts may have, each alone. It cannot be undone.

    The size of any file; open files, of which so many may be on their way through sockets, too; and what is counted for a user: queued
    signals and message queues. A user namespace keeps the last two for all that is in it together (user_namespaces(7), Linux 5.14).
    """
    for kind, most in {
        resource.RLIMIT_FSIZE: limits.file_bytes,
        resource.RLIMIT_NOFILE: _OPEN_FILES,
        resource.RLIMIT_SIGPENDING: _QUEUED_SIGNALS,
        resource.RLIMIT_MSGQUEUE: 0,
    }.items():
        _, hard = resource.getrlimit(kind)
        wanted = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(kind, (wanted, wanted))


class Peak:
    """``size``: bytes that a command had written at one time, at the most."""

    def __init__(self) -> None:
        self.size = 0


class Watch(contextlib.AbstractContextManager["Watch"]):
    """Ends what uses too much, from entering the context to leaving it.

    ``told``  a sentence each time that something was ended. ``trouble``: a sentence when that was the machine's fault, which then could
    not measure. ``disk``: what the commands of this submission write. ``log_bytes``: what one command may print. ``directory``: on the
    file system that they write to. ``groups``: the control groups that the commands join, if any could be made.
    """

    def __init__(self, limits: Limits, directory: str, groups: tuple[str, ...] = ()) -> None:
        self.told: list[str] = []
        self.trouble = ""
        self.groups = groups
        self.disk = DiskUse(directory, limits.disk_bytes, limits.file_bytes)
        self.log_bytes = limits.log_bytes
        self._limits = limits
        self._kills = memory_kills(groups)
        self._system_v = SystemV()
        self._unseen = Unseen()
        self._peaks: list[Peak] = []
        self._rest = 0.0
        self._slow = False
        self._found_out = 0
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._look, name="watch", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()
        self._system_v.__exit__()

    @property
    def interventions(self) -> int:
        """How often a command was ended, or noted to be too much. It grows before the command ends; what is ``told`` may come later."""
        return self._found_out + len(self.told)

    @contextlib.contextmanager
    def measured(self) -> Iterator[Peak]:
        """During the block it is measured how much a command writes.

        A command can remove what it made; a look a few times a second sees it all the same.
        """
        peak = Peak()
        self._peaks.append(peak)
        try:
            yield peak
        finally:
            self._peaks.remove(peak)

    def too_much_output(self) -> None:
        """Note that a command wrote more than ``log_bytes``; the caller ends it."""
        self.told.append(f"it wrote more than {_mib(self.log_bytes)} MiB of output that are allowed")

    def killed(self) -> None:
        """A command was killed. Note it where the kernel did so, at the group's limit."""
        kills = memory_kills(self.groups)
        if kills > self._kills:
            self._kills = kills
            self.told.append(f"it used more than the {_mib(self._limits.memory_bytes)} MiB of memory that are allowed")

    def cannot_be_counted(self, problem: Uncountable) -> str:
        """Note that what a command wrote cannot be measured; the caller lets the step fail. Returns the words."""
        self.told.append(f"it {problem}; what cannot be measured is not allowed")
        return self.told[-1]

    def too_much_disk(self) -> str:
        """Note that more was written to disk than is allowed; the caller lets the step fail. Returns the words."""
        self.told.append(f"it wrote more than the {_mib(self._limits.disk_bytes)} MiB of disk that are allowed")
        return self.told[-1]

    def _look(self) -> None:
        while not self._done.wait(_INTERVAL):
            found: frozenset[int] = frozenset()
            began = time.monotonic()
            try:
                found = sandboxed()
                with stopped(found) if self._slow else contextlib.nullcontext():
                    self._note(found)
                    sentence = self._judge(found)
            except Uncountable as problem:
                sentence = f"it {problem}; what cannot be measured is not allowed"
            except Exception as error:  # noqa: BLE001 - a thread that ends in silence would leave everything unlimited
                sentence = f"what it uses cannot be measured: {type(error).__name__}: {error}"
                if is_the_machines(error):
                    self.trouble = sentence
            if sentence:
                self.told.append(sentence)
                end(found)
            # Who is looked at has the processor that looks.
            self._slow = time.monotonic() - began > _SLOW_SECONDS

    def _note(self, found: frozenset[int]) -> None:
        began = time.monotonic()
        if self._peaks and found and began >= self._rest:
            with contextlib.suppress(OSError, Uncountable):
                held = self.disk.held(found)
                for peak in tuple(self._peaks):
                    peak.size = max(peak.size, held)
            # Whoever writes much takes long to be measured, and is not to be slowed by that.
            ended = time.monotonic()
            self._rest = ended + _SHARE * (ended - began)

    def _judge(self, found: frozenset[int]) -> str:
        limits = self._limits
        if not found:
            self._system_v.size(found)
            return ""
        if len(found) > limits.processes:
            return f"it ran {len(found)} processes and threads at once; at most {limits.processes} are allowed"
        # The machine has so many numbers, and a thread has one, too.
        if (running := threads(found)) > limits.processes:
            return f"it ran {running} processes and threads at once; at most {limits.processes} are allowed"
        if watches(found, _EPOLL_WATCHES) > _EPOLL_WATCHES:
            return f"it waited for more than {_EPOLL_WATCHES} files by epoll, which are counted for all processes of the grader's user"
        if taken := exhausted(found):
            return f"it {taken}"
        held = resident(found, limits.memory_bytes)
        memory, known = sum(held), 0
        if memory <= limits.memory_bytes:
            known = memory_files(found) + self._system_v.size(found)
            memory += known
        if memory > limits.memory_bytes:
            return self._too_much_memory(memory)
        # What is private, more than the machine has grown by, it cannot have.
        allowed = limits.memory_bytes - held.private
        if self._unseen.grown() > allowed and known + could_hide(found) > allowed:
            return self._find_out(found)
        if self.disk.exceeded(found):
            return f"it wrote more than the {_mib(limits.disk_bytes)} MiB of disk that are allowed"
        return ""

    def _find_out(self, found: frozenset[int]) -> str:
        """The machine has less memory than it had, by more than is allowed, and nothing shows who has it. End this sandbox, and see whether
        it comes back: if not, that was a neighbour's work, and the step is to be tried again."""
        limit = self._limits.memory_bytes
        with alone() as mine:
            private = resident(found, limit).private
            # Another grader finds out at the moment, or has just done so.
            if not mine or self._unseen.grown() <= limit - private:
                return ""
            before = unseen()
            self._found_out += 1
            end(found)
            # Whoever measures in a sandbox's namespace keeps what is there.
            self._system_v.size(())
            memory = private + went(before, found, limit - private)
        if memory > limit:
            return self._too_much_memory(memory)
        self.trouble = f"this machine lost more than {_mib(limit)} MiB of memory, and not to the step that was ended: try again"
        return self.trouble

    def _too_much_memory(self, size: int) -> str:
        return f"it used {_mib(size)} MiB of memory; at most {_mib(self._limits.memory_bytes)} are allowed"


def _mib(size: int) -> int:
    return size >> 20
