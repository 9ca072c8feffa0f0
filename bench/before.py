"""Two versions of the embedded engine side by side: this checkout, and a commit before it.

    .venv/bin/python bench/before.py COMMIT [--runs N] [--only ROW …]

Both build the same contexts on the same base images, each in a store of its own, taking turns: ours, theirs, ours, theirs. A row is met
where the median is not more than 5 % or 5 ms slower, whichever is larger. RUN steps have no network in all rows but those that say so:
there a helper (``pasta``) connects them, and only where both versions have one are they comparable.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from bench.contexts import OPTIMISED, app, many_files  # noqa: E402

# What a version does, in a process of its own: one line of JSON in, one out.
_DRIVER: Final = """
import json, os, subprocess, sys, time
from pathlib import Path
checkout, place = Path(sys.argv[1]), Path(sys.argv[2])
sys.path.insert(0, str(checkout))
try:
    from layerlab.engines.api import BuildOptions
except ModuleNotFoundError:
    # An older version has it elsewhere.
    from layerlab.engines.base import BuildOptions
from layerlab.engines.embedded.engine import EmbeddedEngine
from tests.conformance import bases
store = str(place / "store")
engine = EmbeddedEngine(store)
for base in bases.bases():
    bases.write_layout(base, place / "layouts" / base.name.replace(":", "-"))
    engine.import_layout(str(place / "layouts" / base.name.replace(":", "-")), base.name)

def build(context, network="none", no_cache=False):
    record = engine.build(BuildOptions(context=context, tag="bench", network=network, offline=network == "none", no_cache=no_cache))
    if record.failure is not None:
        raise SystemExit(record.failure.message)

def process(context):
    words = ["build", "-q", "--engine", "embedded", "--network", "none", "--offline", "--store", store, "-t", "bench", context]
    environment = {**os.environ, "PYTHONPATH": str(checkout)}
    subprocess.run([sys.executable, "-P", "-m", "layerlab", *words], check=True, capture_output=True, cwd=checkout, env=environment)

def plan(context):
    engine.plan(BuildOptions(context=context, network="none", offline=True))

print("{}", flush=True)
for line in sys.stdin:
    asked = json.loads(line)
    act = {"build": build, "process": process, "plan": plan}[asked.pop("act")]
    started = time.perf_counter()
    act(**asked)
    print(json.dumps({"seconds": time.perf_counter() - started}), flush=True)
try:
    from layerlab.engines.embedded.rootfs.messages import Remove
    engine.worker.ask(Remove(paths=["s", "tmp"]))
except ModuleNotFoundError:
    engine.worker.ask("remove", paths=["s", "tmp"])
engine.close()
"""

_ONE: Final = "FROM base:1\nCOPY f /f\nRUN cat /f\n"
_MOUNTS: Final = (
    "FROM base:1\nCOPY f /f\nRUN --mount=type=cache,target=/c --mount=type=bind,target=/b,source=d --mount=type=tmpfs,target=/t cat /f\n"
)
_TEN: Final = "FROM base:1\nCOPY f /f\n" + "".join(f"RUN echo {number}\n" for number in range(10))


class Side:
    """One version, at work."""

    def __init__(self, checkout: Path, place: Path) -> None:
        place.mkdir()
        self._child = subprocess.Popen(
            [sys.executable, "-P", "-c", _DRIVER, str(checkout), str(place)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self._answer()

    def do(self, **asked: Any) -> float:
        """Do one thing; seconds."""
        assert self._child.stdin is not None
        self._child.stdin.write(json.dumps(asked) + "\n")
        self._child.stdin.flush()
        seconds: float = self._answer()["seconds"]
        return seconds

    def close(self) -> None:
        """End it, and take away what commands left in its store."""
        assert self._child.stdin is not None
        self._child.stdin.close()
        self._child.wait()

    def _answer(self) -> dict[str, Any]:
        assert self._child.stdout is not None
        line = self._child.stdout.readline()
        if not line:
            raise SystemExit("bench: a version ended; its words are above")
        found: dict[str, Any] = json.loads(line)
        return found


def contexts(place: Path) -> dict[str, Path]:
    """What is built."""
    small = app(place / "small")
    (small / "Dockerfile").write_text(OPTIMISED, encoding="utf-8")
    found = {"small": small}
    for name, text in (("one", _ONE), ("mounts", _MOUNTS), ("ten", _TEN)):
        found[name] = place / name
        (place / name / "d").mkdir(parents=True)
        (place / name / "d" / "x").write_text("x")
        (place / name / "f").write_text("f")
        (place / name / "Dockerfile").write_text(text, encoding="utf-8")
    found["many"] = many_files(place / "many")
    return found


def rows(folders: dict[str, Path]) -> Iterator[tuple[str, dict[str, Any], Callable[[int], None] | None]]:
    """Name, what is asked, and what changes before each turn."""

    def edited(file: Path) -> Callable[[int], None]:
        text = file.read_text(encoding="utf-8")
        return lambda turn: (file.write_text(f"{text}// edit {time.time_ns()} {turn}\n", encoding="utf-8"), None)[1]

    small, many = str(folders["small"]), str(folders["many"])
    source = edited(folders["small"] / "src" / "index.ts")
    yield "first build, stub commands", {"act": "build", "context": small, "no_cache": True}, None
    yield "no-op, in process", {"act": "build", "context": small}, None
    yield "no-op, whole process", {"act": "process", "context": small}, None
    yield "source edit, in process", {"act": "build", "context": small}, source
    yield "source edit, whole process", {"act": "process", "context": small}, source
    for name, what in (("one", "one RUN"), ("mounts", "one RUN with three mounts"), ("ten", "ten RUNs")):
        yield what, {"act": "build", "context": str(folders[name])}, edited(folders[name] / "f")
    yield "one RUN with a network", {"act": "build", "context": str(folders["one"]), "network": "default"}, edited(folders["one"] / "f")
    yield "plan, 10 000 files", {"act": "plan", "context": many}, None
    yield "no-op, 10 000 files", {"act": "build", "context": many}, None
    yield "source edit, 10 000 files", {"act": "build", "context": many}, edited(folders["many"] / "src" / "d0" / "f0.ts")


def main() -> int:
    """Measure and print the table; status 1 where a row is not met."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("commit", help="the version to compare with")
    parser.add_argument("--runs", type=int, default=15, help="turns of each side (default 15)")
    parser.add_argument("--only", action="append", metavar="ROW", help="only rows whose name begins so")
    arguments = parser.parse_args()
    met = True
    with contextlib.ExitStack() as stack:
        place = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="layerlab-bench-", ignore_cleanup_errors=True)))
        before = place / "before"
        subprocess.run(["git", "-C", str(ROOT), "worktree", "add", "--quiet", "--detach", str(before), arguments.commit], check=True)
        stack.callback(subprocess.run, ["git", "-C", str(ROOT), "worktree", "remove", "--force", str(before)], check=False)
        # As ./lab does: also where Python is told to write no bytecode, both sides have theirs.
        for checkout in (ROOT, before):
            subprocess.run([sys.executable, "-m", "compileall", "-q", str(checkout / "layerlab"), str(checkout / "tests")], check=True)
        sides = []
        for name, checkout in (("ours", ROOT), ("theirs", before)):
            sides.append(Side(checkout, place / name))
            stack.callback(sides[-1].close)
        machine = f"{platform.machine()}, {os.cpu_count()} cores, Linux {platform.release()}"
        print(f"{machine}, {time.strftime('%Y-%m-%d')}, against {arguments.commit}")
        print("| what | ours, ms | before, ms | difference | met |\n| --- | --- | --- | --- | --- |", flush=True)
        for what, asked, change in rows(contexts(place)):
            if arguments.only and not any(what.startswith(name) for name in arguments.only):
                continue
            times: list[list[float]] = [[], []]
            for turn in range(arguments.runs + 1):
                # So that neither has the colder caches, each is first in half of the turns.
                for number in (0, 1) if turn % 2 else (1, 0):
                    if change is not None:
                        change(turn)
                    seconds = sides[number].do(**asked) * 1000
                    if turn:
                        times[number].append(seconds)
            ours, theirs = (statistics.median(each) for each in times)
            good = ours <= theirs + max(0.05 * theirs, 5)
            met = met and good
            spread = [f"{statistics.median(each):.1f} ({min(each):.1f}–{max(each):.1f})" for each in times]
            print(f"| {what} | {spread[0]} | {spread[1]} | {ours - theirs:+.1f} | {'yes' if good else 'NO'} |", flush=True)
    return 0 if met else 1


if __name__ == "__main__":
    raise SystemExit(main())
