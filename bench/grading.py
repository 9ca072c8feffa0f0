"""A class of thirty: layerlab's grader against nbgrader with ``docker build``, and two workers against one.

    .venv/bin/python bench/grading.py [--place DIR] [--without-docker]

Both sides grade the same thirty submissions (``tests/sample_class``) into a gradebook of nbgrader, each from caches without any
student's layers but with those of the reference solution, which either side builds before an assignment is released; from the same
base image with the same npm cache in it or beside it, without a network. The other side is stock
nbgrader, which executes each notebook; its checks are ``bench/stock_grader.py``, a ``docker build`` for each edit. It needs a daemon
of its own (``DOCKER_HOST``; ``tests/docker/daemon.sh`` starts one): its build cache is emptied, and its ``node:alpine`` replaced.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
from autograder.exercise.workspace import Workspace  # noqa: E402
from autograder.release import reference  # noqa: E402
from bench.engine import _load_image  # noqa: E402
from layerlab.engines.api import BuildOptions  # noqa: E402
from layerlab.engines.embedded.engine import EmbeddedEngine  # noqa: E402
from tests.docker.private import FLAG, FLAG_HELP, SharedDaemonError, borrowed, check_private, empty_cache  # noqa: E402
from tests.sample_class.make import expected, make  # noqa: E402

SEED: Final = "bench"
# What the answers need to be built without a network, and no more. A step of ``USER node`` must be able to use the cache, too.
_FILL: Final = """\
FROM node:alpine
WORKDIR /cache
COPY package.json package-lock.json ./
RUN npm ci --cache /npm-cache && rm -rf /cache/node_modules /root/.npm && chmod -R a+rwX /npm-cache
ENV npm_config_cache=/npm-cache npm_config_offline=true PRISMA_SCHEMA_ENGINE_BINARY=/bin/sh
WORKDIR /
"""
STOCK_CONFIG: Final = """\
c = get_config()
c.CourseDirectory.root = {root!r}
c.CourseDirectory.course_id = "stock"
c.Execute.timeout = 900
"""


def ours(course: Path, place: Path, workers: int) -> tuple[float, float, dict[str, Any]]:
    """Grade the class with fresh caches. Returns the seconds, the most memory of any worker in bytes, and the record."""
    command = [sys.executable, "-P", "-m", "layerlab", "grade", "ps1", "--json", "--seed", SEED, "--workers", str(workers)]
    command += ["--course", str(course), "--place", str(place)]
    with _memory_of_workers() as peak:
        started = time.perf_counter()
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT, env=_environment())
        seconds = time.perf_counter() - started
    if done.returncode != 0:
        raise SystemExit(f"our grader failed:\n{done.stderr}")
    return seconds, peak[0], json.loads(done.stdout)


def theirs(course: Path) -> tuple[float, dict[str, float]]:
    """``nbgrader autograde`` over the class. Returns the seconds and the scores."""
    environment = {**_environment(), "STOCK_APP": str(ROOT / "node-app"), "STOCK_SEED": SEED}
    environment["PYTHONPATH"] = os.pathsep.join((str(ROOT), str(ROOT / "bench")))
    started = time.perf_counter()
    subprocess.run([sys.executable, "-m", "nbgrader", "autograde", "ps1"], cwd=course, env=environment, capture_output=True, check=False)
    seconds = time.perf_counter() - started
    subprocess.run(
        [sys.executable, "-m", "nbgrader", "export", "--to", "grades.csv"], cwd=course, env=environment, capture_output=True, check=True
    )
    with (course / "grades.csv").open(encoding="utf-8") as stream:
        return seconds, {row["student_id"]: float(row["score"] or 0) for row in csv.DictReader(stream)}


def _environment() -> dict[str, str]:
    path = os.pathsep.join((os.path.dirname(sys.executable), os.environ.get("PATH", os.defpath)))
    # Programs that may not keep what they compiled compile it for each student.
    kept = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    return {**kept, "PATH": path, "PYTHONPATH": str(ROOT)}


@contextlib.contextmanager
def _memory_of_workers() -> Iterator[list[int]]:
    """For the length of the block, the most memory that any grading worker held, in bytes, is in the list."""
    peak = [0]
    done = threading.Event()

    def look() -> None:
        while not done.wait(0.05):
            for entry in Path("/proc").iterdir():
                with contextlib.suppress(OSError, ValueError):
                    if entry.name.isdigit() and b"autograder.backends.worker" in (entry / "cmdline").read_bytes().split(b"\0"):
                        status = (entry / "status").read_text(encoding="ascii", errors="replace")
                        peak[0] = max(peak[0], 1024 * int(status.split("VmHWM:")[1].split()[0]))

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield peak
    finally:
        done.set()
        thread.join()


def _course(place: Path, prepared: Path) -> Path:
    """A course whose ``ps1`` was released from the place ``prepared``, with the class in it."""
    place.mkdir()
    shutil.copytree(ROOT / "node-app", place / "node-app", ignore=shutil.ignore_patterns("node_modules", "dist"))
    course = place / "exercises"
    shutil.copytree(ROOT / "exercises", course, ignore=shutil.ignore_patterns("submitted", "release", "autograded", "feedback", "*.db*"))
    command = [sys.executable, "-P", "-m", "layerlab", "release", "ps1", "--course", str(course), "--place", str(prepared)]
    subprocess.run(command, check=True, cwd=ROOT, env=_environment(), stdout=subprocess.DEVNULL)
    make(course)
    return course


def _stock_course(place: Path, course: Path) -> Path:
    """The same class for stock nbgrader: the same cells, with the other extension.

    The two notebooks that cannot be graded are left out: stock nbgrader stops the whole class at one of them.
    """
    stock = place / "stock"
    stock.mkdir()
    (stock / "nbgrader_config.py").write_text(STOCK_CONFIG.format(root=str(stock)), encoding="utf-8")
    for kind in ("source", "submitted"):
        for path in sorted((course / kind).glob("ps1/*.ipynb" if kind == "source" else "*/ps1/*.ipynb")):
            if kind == "submitted" and "notebook" in expected()[path.parts[-3]]:
                continue
            target = stock / path.relative_to(course)
            target.parent.mkdir(parents=True, exist_ok=True)
            text = path.read_bytes().replace(b"%load_ext autograder.notebook", b"%load_ext stock_grader")
            # Docker would pull that frontend, and there is no network.
            target.write_bytes(text.replace(b"# syntax=docker/dockerfile:1\\n", b""))
    command = [sys.executable, "-m", "nbgrader", "generate_assignment", "ps1", "--force", "--create"]
    subprocess.run(command, cwd=stock, env=_environment(), check=True, capture_output=True)
    return stock


def _docker_base(place: Path, docker: str) -> None:
    """``node:alpine`` with the npm cache in it, so that Docker's side needs no network either."""
    filler = place / "filler"
    filler.mkdir()
    for name in ("package.json", "package-lock.json"):
        shutil.copy(ROOT / "node-app" / name, filler)
    (filler / "Dockerfile").write_text(_FILL, encoding="utf-8")
    with EmbeddedEngine(str(place / "base-store")) as engine:
        record = engine.build(BuildOptions(context=str(filler), tag="node:alpine"))
        if record.failure is not None:
            raise SystemExit(f"the npm cache cannot be filled: {record.failure.message}")
        _load_image(engine, "node:alpine", docker, place)


def _docker_reference(place: Path, course: Path, docker: str) -> str:
    """Build the reference solution, as our side has done before it released the assignment. Returns the image's ID."""
    workspace = Workspace(ROOT / "node-app", place / "reference", reference(course, "ps1").files)
    command = [docker, "build", "-q", "--network=none", str(workspace.directory)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def main() -> int:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--place", help="directory for temporary files (default: the system's)")
    parser.add_argument("--without-docker", action="store_true", help="only one worker against two")
    parser.add_argument(FLAG, dest="told", action="store_true", help=FLAG_HELP)
    arguments = parser.parse_args()
    docker = None if arguments.without_docker else shutil.which("docker")
    if docker is not None:
        try:
            check_private(told=arguments.told, without="--without-docker")
        except SharedDaemonError as error:
            parser.error(str(error))
    place = Path(tempfile.mkdtemp(prefix="layerlab-bench-", dir=arguments.place))
    rows = []
    try:
        course = _course(place / "class", place / "prepared")
        times, memory = {}, 0.0
        for workers in (2, 1):
            # Each has a course without results: a gradebook that is there already needs not be made.
            machine, own = place / f"machine-{workers}", place / f"class-{workers}"
            for original, copy in ((place / "prepared", machine), (place / "class", own)):
                subprocess.run(["cp", "-a", str(original), str(copy)], check=True)
            os.sync()
            times[workers], peak, record = ours(own / course.name, machine, workers)
            memory = max(memory, peak)
            _agrees(record)
            print(f"  {workers} workers: {times[workers]:.1f} s", file=sys.stderr, flush=True)
        if docker is None:
            print("Docker's side is left out", file=sys.stderr)
        else:
            with borrowed(docker, ["node:alpine"]) as made:
                _docker_base(place, docker)
                empty_cache(docker)
                made.add(_docker_reference(place, course, docker))
                seconds, scores = theirs(_stock_course(place, course))
            ours_by_student = {row["student"]: row["score"] for row in record["submissions"]}
            same = sum(scores[student] == ours_by_student[student] for student in scores)
            print(f"  stock: {seconds:.1f} s; {same} of {len(scores)} scores are the same", file=sys.stderr, flush=True)
            if 2 * same < len(scores):
                raise SystemExit("the other side does not work here: most of its scores are wrong")
            rows.append(_row("class of 30, 2 workers, against nbgrader and docker build", times[2], seconds, "≥ 20×"))
        rows.append(_row("class of 30, 2 workers against 1", times[2], times[1], "≥ 1.8×"))
        rows.append(f"| memory of a worker, the most | {memory / 1e6:.0f} MB | | | < 200 MB |")
    finally:
        shutil.rmtree(place, ignore_errors=True)
    print("| what | ours | other | ratio | target |\n| --- | --- | --- | --- | --- |")
    print("\n".join(rows))
    print(f"\n{os.cpu_count()} cores, load average {os.getloadavg()[0]:.1f}, Python {platform.python_version()}")
    return 0


def _row(what: str, mine: float, other: float, target: str) -> str:
    return f"| {what} | {mine:.1f} s | {other:.1f} s | {other / mine:.2f}× | {target} |"


def _agrees(record: dict[str, Any]) -> None:
    """A quick wrong answer is no answer: the verdicts must be the class's."""
    for row in record["submissions"]:
        wanted = expected()[row["student"]]
        lost = {check["id"]: check["max_points"] - check["points"] for check in row["checks"] if check["points"] != check["max_points"]}
        right = row["status"] == wanted["status"] and (row["score"] == 0 if wanted.get("lost") == "all" else lost == wanted.get("lost", {}))
        if not right:
            raise SystemExit(f"{row['student']}: {row}")


if __name__ == "__main__":
    sys.exit(main())
