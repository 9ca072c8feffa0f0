"""A container with no more rights and means than Binder gives, and what it uses of them."""

from __future__ import annotations

import contextlib
import json
import re
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from .image import HOME, ways

# Docker's default seccomp profile holds besides: it is not named, so it is not changed.
RIGHTS: Final = ("--user=1000:1000", "--cap-drop=ALL", "--security-opt=no-new-privileges", "--read-only", "--tmpfs=/tmp:exec,mode=1777")
PORT: Final = 8888
_JUPYTER: Final = (
    *("jupyter", "lab", "--ip=0.0.0.0", f"--port={PORT}", "--no-browser", "--IdentityProvider.token=", "--ServerApp.password="),
    *("--ServerApp.disable_check_xsrf=True", "--LabApp.expose_app_in_browser=True", "--LabApp.extension_manager=readonly"),
)


class Container:
    """A running container. ``acts`` has a row for each thing that was done: name, seconds, peak of memory in bytes."""

    def __init__(self, identity: str, limit: int) -> None:
        self.identity = identity
        self.limit = limit
        self.acts: list[tuple[str, float, int]] = []
        self._memory = _memory_directory(int(docker("inspect", "--format", "{{.State.Pid}}", identity)))

    @contextlib.contextmanager
    def act(self, name: str) -> Iterator[None]:
        """Time what the block does, and watch the memory of the container meanwhile."""
        peak = 0
        done = threading.Event()

        def watch() -> None:
            nonlocal peak
            while True:
                with contextlib.suppress(OSError):
                    peak = max(peak, self.used())
                if done.wait(0.1):
                    return

        thread = threading.Thread(target=watch, daemon=True)
        thread.start()
        started = time.monotonic()
        try:
            yield
        finally:
            done.set()
            thread.join()
            self.acts.append((name, time.monotonic() - started, peak))

    def run(self, name: str, *command: str, seconds: float = 900) -> str:
        """Run a command as a learner's kernel would, through ``start``. Raises ``AssertionError`` with its output when it fails."""
        words = ["docker", "exec", self.identity, f"{HOME}/binder/start", *command]
        with self.act(name):
            done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=seconds)
        assert done.returncode == 0, f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout[-3000:]}\n{done.stderr[-6000:]}"
        return done.stdout

    def used(self) -> int:
        """Bytes that the kernel cannot get back without killing: anonymous memory and what lies in tmpfs. File cache is not counted."""
        numbers = dict(line.split() for line in (self._memory / "memory.stat").read_text(encoding="ascii").splitlines())
        # Version 1 counts shared memory as cache, and has the sums with those of groups below under names of their own.
        first, second = ("total_rss", "total_shmem") if "total_rss" in numbers else ("anon", "shmem")
        return int(numbers[first]) + int(numbers.get(second, "0"))

    def killed(self) -> int:
        """How often the kernel killed something here for want of memory."""
        for name in ("memory.events", "memory.oom_control"):
            with contextlib.suppress(OSError):
                found = re.search(r"^oom_kill (\d+)$", (self._memory / name).read_text(encoding="ascii"), re.MULTILINE)
                return int(found[1]) if found else 0
        return 0

    def address(self) -> str:
        """Where its Jupyter answers."""
        return f"http://{docker('port', self.identity, str(PORT)).splitlines()[0]}/"


def docker(*words: str) -> str:
    """Docker's answer. Raises ``CalledProcessError``."""
    return subprocess.run(["docker", *words], stdout=subprocess.PIPE, text=True, check=True, timeout=900).stdout.strip()


def _memory_directory(process: int) -> Path:
    """The memory controller's directory of a process, in either version of control groups."""
    for line in Path(f"/proc/{process}/cgroup").read_text(encoding="ascii").splitlines():
        _, controllers, path = line.split(":", 2)
        top = "/sys/fs/cgroup/memory" if controllers == "memory" else "/sys/fs/cgroup" if not controllers else ""
        directory = Path(top + path)
        if top and (directory / "memory.stat").is_file():
            return directory
    raise RuntimeError("the container's memory cannot be watched from here")


@contextlib.contextmanager
def running(image: str, memory: str, *rights: str) -> Iterator[Container]:
    """Start Jupyter in a container, and remove it afterwards. ``rights`` more than ``RIGHTS`` has."""
    surroundings = [f"--env={name}={value}" for name, value in ways().items()]
    # The home is a volume, so that it and /tmp are all that can be written to. Docker would fill it without the times of directories,
    # which count in a layer; on Binder the home is the image's own.
    volume = docker("volume", "create")
    try:
        docker("run", "--rm", "--user=0", "--entrypoint=cp", f"--volume={volume}:/mnt", image, "--archive", f"{HOME}/.", "/mnt/")
        means = [f"--memory={memory}", f"--memory-swap={memory}", "--cpus=1", f"--volume={volume}:{HOME}", f"--publish=127.0.0.1::{PORT}"]
        identity = docker("run", "--detach", "--init", *RIGHTS, *rights, *means, *surroundings, image, *_JUPYTER)
        try:
            yield Container(identity, _bytes(memory))
        finally:
            subprocess.run(["docker", "rm", "--force", identity], capture_output=True, check=False, timeout=900)
    finally:
        subprocess.run(["docker", "volume", "rm", "--force", volume], capture_output=True, check=False, timeout=900)


def _bytes(text: str) -> int:
    return int(text[:-1]) << {"g": 30, "m": 20}[text[-1]]


def facts(acts: Sequence[dict[str, Any]]) -> list[tuple[Any, ...]]:
    """What two executors must agree on in the acts of a demo: verdicts, kinds of causes, where the chain began, and paths."""
    return [
        (act["act"], step["instruction"], step["index"], step["status"], _cause(step.get("cause")))
        for act in acts
        for step in act["record"]["steps"]
    ]


def _cause(cause: dict[str, Any] | None) -> tuple[Any, ...] | None:
    return (cause["kind"], cause.get("origin"), tuple(cause.get("paths") or ())) if cause else None


def table(containers: Sequence[Container], executor: str, size: int) -> str:
    """What was done, for the log of a test."""
    lines = [f"executor {executor}, image {size / 1e6:.0f} MB", f"{'act':<34} {'seconds':>8} {'peak memory':>12} {'limit':>8}"]
    for container in containers:
        for name, seconds, peak in container.acts:
            # Parts of an act have no peak of their own.
            memory = f" {peak / 1e6:>9.0f} MB {container.limit / 1e6:>5.0f} MB" if peak else ""
            lines.append(f"{name:<34} {seconds:>8.1f}{memory}")
    return "\n".join(lines)


def decoded(text: str) -> Any:
    """The JSON document at the end of an output."""
    return json.loads(text[text.index("{") :])
