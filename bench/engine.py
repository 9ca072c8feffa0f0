"""Side by side with ``docker build``: no-op, source edit, first build; and planning 10 000 files against a bare walk.

    .venv/bin/python bench/engine.py [--runs N] [--only GROUP …] [--without-docker]

Every row measures both sides in this run, taking turns, and gives medians in seconds and their ratio (ours / theirs). Docker's rows need a
daemon of its own (``DOCKER_HOST``; ``tests/docker/daemon.sh`` starts one), because its build cache is emptied again and again; without one
they are left out and the program says so. Both sides build the same contexts on the same
base images: the small one is a BusyBox with stubs for npm, so that the engines are measured and not npm; the real one is the lesson's app
with an npm cache in the base image and no network, so that both install from the same bytes.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from bench.contexts import OPTIMISED, app, many_files  # noqa: E402
from layerlab.context import Selection, select  # noqa: E402
from layerlab.context.build_context import load_context  # noqa: E402
from layerlab.engines.api import BuildOptions  # noqa: E402
from layerlab.engines.embedded.engine import EmbeddedEngine  # noqa: E402
from layerlab.engines.embedded.rootfs.messages import Export, Remove  # noqa: E402
from layerlab.errors import LayerlabError  # noqa: E402
from layerlab.fsutil import collection_paused  # noqa: E402
from layerlab.model import BuildRecord  # noqa: E402
from tests.conformance import bases  # noqa: E402
from tests.docker.private import FLAG, FLAG_HELP, SharedDaemonError, borrowed, check_private, empty_cache  # noqa: E402

REAL_BASE = "bench-node:1"
_TAG = "bench"
# The registry's answers are laid down once; from then on npm installs from its cache, without a network.
FILL_CACHE = """\
FROM node:alpine
WORKDIR /cache
COPY package.json package-lock.json ./
RUN npm ci --cache /npm-cache && rm -rf /cache/node_modules /root/.npm
ENV npm_config_cache=/npm-cache npm_config_offline=true \\
    PRISMA_SCHEMA_ENGINE_BINARY=/bin/sh PRISMA_QUERY_ENGINE_LIBRARY=/bin/sh
WORKDIR /
"""


class Row(NamedTuple):
    """One line of the table; times in seconds."""

    what: str
    ours: list[float]
    theirs: list[float]
    target: str


class Bench:
    """Everything a measurement needs, in one temporary directory."""

    def __init__(self, place: Path, runs: int, docker: str | None, made: set[str]) -> None:
        self.place = place
        self.runs = runs
        self.engine = EmbeddedEngine(str(place / "store"))
        self.docker = docker
        self.made = made
        self.rows: list[Row] = []
        self.notes: list[str] = []
        for base in bases.bases():
            layout = place / "layouts" / base.name.replace(":", "-")
            bases.write_layout(base, layout)
            self.engine.import_layout(str(layout), base.name)
        if self.docker:
            bases.load_into_docker(self.docker)

    # --- both sides -------------------------------------------------------------------------------------------------

    def ours(self, context: Path, file: str = "Dockerfile") -> BuildRecord:
        """Build in process."""
        record = self.engine.build(BuildOptions(context=str(context), file=str(context / file), tag=_TAG, network="none", offline=True))
        if record.failure is not None:
            raise SystemExit(f"our build failed: {record.failure.message}\n{record.steps}")
        return record

    def ours_process(self, context: Path, file: str = "Dockerfile") -> None:
        """Build as a process of its own."""
        command = [
            sys.executable,
            "-P",
            "-m",
            "layerlab",
            "build",
            "-q",
            "--engine",
            "embedded",
            "--network",
            "none",
            "--offline",
            "--store",
            self.engine.store_path,
        ]
        _run([*command, "-t", _TAG, "-f", str(context / file), str(context)])

    def theirs(self, context: Path, file: str = "Dockerfile") -> None:
        """``docker build``."""
        assert self.docker is not None
        self.made.add(_run([self.docker, "build", "-q", "--network=none", "-t", _TAG, "-f", str(context / file), str(context)]).strip())

    def close(self) -> None:
        """Remove the store's layers and end the engine."""
        self.engine.worker.ask(Remove(paths=["s", "tmp"]))
        self.engine.close()

    def forget(self) -> None:
        """Both caches are emptied, base images stay."""
        for name in ("records", "contexts"):
            for path in Path(self.engine.store.path, name).iterdir():
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        self.engine.close()
        self.engine = EmbeddedEngine(self.engine.store_path)
        if self.docker:
            empty_cache(self.docker)

    def compare(
        self,
        what: str,
        target: str,
        ours: Callable[[], object],
        theirs: Callable[[], object] | None,
        *,
        runs: int,
        before: Callable[[str], None] | None = None,
    ) -> None:
        """Time both sides in turns. ``before`` prepares one measurement and is not timed."""
        if theirs is None:
            self.notes.append(f"{what}: left out, no Docker daemon answers")
            return
        mine: list[float] = []
        other: list[float] = []
        for _ in range(runs):
            for times, act, side in ((mine, ours, "ours"), (other, theirs, "theirs")):
                if before is not None:
                    before(side)
                started = time.perf_counter()
                act()
                times.append(time.perf_counter() - started)
        self.rows.append(Row(what, mine, other, target))
        print(f"  {what}: {statistics.median(mine):.3f} s against {statistics.median(other):.3f} s", file=sys.stderr, flush=True)

    # --- what is measured -------------------------------------------------------------------------------------------

    def small(self) -> None:
        """The optimised file with stub commands: what the engines themselves cost."""
        context = app(self.place / "small")
        (context / "Dockerfile").write_text(OPTIMISED, encoding="utf-8")
        docker = (lambda: self.theirs(context)) if self.docker else None

        self.compare("first build, stub commands", "≤ 1.0×", lambda: self.ours(context), docker, runs=3, before=lambda _side: self.forget())
        self.ours(context)
        self.compare("no-op, in process", "≤ 0.1×", lambda: self.ours(context), docker, runs=self.runs)
        self.compare("no-op, whole process", "≤ 1.0×", lambda: self.ours_process(context), docker, runs=self.runs)
        counter = iter(range(1, 10_000))

        def edit(_side: str) -> None:
            (context / "src" / "index.ts").write_text(f"// edit {next(counter)}\n", encoding="utf-8")

        self.compare("source edit, in process", "≤ 1.0×", lambda: self.ours(context), docker, runs=self.runs, before=edit)
        self.compare("source edit, whole process", "≤ 1.0×", lambda: self.ours_process(context), docker, runs=self.runs, before=edit)

    def real(self) -> None:
        """The lesson's app with real npm, Prisma and TypeScript, from one npm cache."""
        if not self.docker:
            self.notes.append("the real app: left out, no Docker daemon answers")
            return
        context = app(self.place / "real")
        filler = self.place / "filler"
        filler.mkdir()
        for name in ("package.json", "package-lock.json"):
            shutil.copy(context / name, filler)
        (filler / "Dockerfile").write_text(FILL_CACHE.replace("node:alpine", "node:24-alpine"), encoding="utf-8")
        record = self.engine.build(BuildOptions(context=str(filler), tag=REAL_BASE))
        if record.failure is not None:
            self.notes.append(f"the real app: left out, its npm cache could not be filled: {record.failure.message}")
            return
        _load_image(self.engine, REAL_BASE, self.docker, self.place)
        (context / "Dockerfile").write_text(OPTIMISED.replace("node:alpine", REAL_BASE), encoding="utf-8")

        def forget(_side: str) -> None:
            self.forget()

        act, docker = (lambda: self.ours(context)), (lambda: self.theirs(context))
        self.compare("first build, real app, same npm cache", "≤ 1.0×", act, docker, runs=3, before=forget)
        self.ours(context)
        counter = iter(range(1, 10_000))
        source = (context / "src" / "index.ts").read_text(encoding="utf-8")

        def edit(_side: str) -> None:
            (context / "src" / "index.ts").write_text(f"{source}// edit {next(counter)}\n", encoding="utf-8")

        self.compare("source edit, real app", "≤ 1.0×", act, docker, runs=5, before=edit)
        self.compare("no-op, real app, in process", "≤ 0.1×", act, docker, runs=self.runs)

    def many_files(self) -> None:
        """A build context of 10 000 files: planning it against only looking at it."""
        context = many_files(self.place / "many")
        time.sleep(0.2)
        options = BuildOptions(context=str(context), network="none", offline=True)
        self.engine.plan(options)
        cache = self.engine.store.context_directory(str(context)) + "/checksums"

        def ours() -> None:
            with collection_paused():
                loaded = load_context(str(context), cache_file=cache)
                select(loaded.root, Selection("/"))

        self.compare(
            "plan, 10 000 files, against a bare walk",
            "≤ 1.6×",
            lambda: self.engine.plan(options),
            lambda: _walk(context),
            runs=4 * self.runs,
        )
        self.compare("  of it: context checksums alone", "", ours, lambda: _walk(context), runs=4 * self.runs)
        if self.docker:
            docker = functools.partial(self.theirs, context)
            self.ours(context)
            self.theirs(context)
            self.compare("no-op, 10 000 files, whole process", "≤ 1.0×", lambda: self.ours_process(context), docker, runs=self.runs)
            counter = iter(range(1, 10_000))

            def edit(_side: str) -> None:
                (context / "src" / "d0" / "f0.ts").write_text(f"// edit {next(counter)}\n", encoding="utf-8")

            self.compare("source edit, 10 000 files, in process", "≤ 1.0×", lambda: self.ours(context), docker, runs=3, before=edit)

    def table(self) -> str:
        """The results as Markdown."""
        lines = ["| what | ours, s | Docker or walk, s | ratio | target |", "| --- | --- | --- | --- | --- |"]
        for row in self.rows:
            mine, other = statistics.median(row.ours), statistics.median(row.theirs)
            spread = f"{min(row.ours):.3f}–{max(row.ours):.3f}"
            lines.append(
                f"| {row.what} | {mine:.3f} ({spread}, n={len(row.ours)}) | {other:.3f} ({min(row.theirs):.3f}–{max(row.theirs):.3f}) "
                f"| {mine / other:.2f}× | {row.target} |"
            )
        return "\n".join(lines)


def _docker() -> str | None:
    found = shutil.which("docker")
    if found is None or subprocess.run([found, "version"], capture_output=True, check=False).returncode != 0:
        return None
    return found


def _run(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stdout}{done.stderr}")
    return done.stdout


def _walk(directory: Path | str) -> int:
    count = 0
    with os.scandir(directory) as scan:
        for entry in scan:
            entry.stat(follow_symlinks=False)
            count += 1
            if entry.is_dir(follow_symlinks=False):
                count += _walk(entry.path)
    return count


def _load_image(engine: EmbeddedEngine, name: str, docker: str, place: Path) -> None:
    """Give the Docker daemon an image of ours, as ``docker load`` reads it."""
    archive = place / "image.tar"
    config = engine.image_config(name)
    with tarfile.open(archive, "w") as out:
        layers = []
        for number, diff_id in enumerate(config["rootfs"]["diff_ids"]):
            target = place / f"layer-{number}.tar"
            engine.worker.ask(Export(layer=engine.store.layer_path(diff_id), target=str(target)))
            layers.append(f"{number}/layer.tar")
            out.add(target, layers[-1])
            target.unlink()
        for path, value in (("config.json", config), ("manifest.json", [{"Config": "config.json", "RepoTags": [name], "Layers": layers}])):
            file = place / path
            file.write_text(json.dumps(value), encoding="utf-8")
            out.add(file, path)
    _run([docker, "load", "-q", "-i", str(archive)])
    archive.unlink()


def main() -> int:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--runs", type=int, default=9, help="repetitions of the quick rows (default 9)")
    parser.add_argument("--only", action="append", choices=("small", "real", "many"), help="only these groups of rows")
    parser.add_argument("--place", help="directory for the temporary store (default: the system's)")
    parser.add_argument("--without-docker", action="store_true", help="leave Docker's rows out")
    parser.add_argument(FLAG, dest="told", action="store_true", help=FLAG_HELP)
    arguments = parser.parse_args()
    docker = None if arguments.without_docker else _docker()
    if docker is not None:
        try:
            check_private(told=arguments.told, without="--without-docker")
        except SharedDaemonError as error:
            parser.error(str(error))
    place = Path(tempfile.mkdtemp(prefix="layerlab-bench-", dir=arguments.place))
    wanted = arguments.only or ["small", "real", "many"]
    try:
        with contextlib.ExitStack() as stack:
            made: set[str] = set()
            if docker is not None:
                made = stack.enter_context(borrowed(docker, [*(base.name for base in bases.bases()), REAL_BASE, _TAG]))
            bench = Bench(place, arguments.runs, docker, made)
            stack.callback(bench.close)
            for name, measure in (("small", bench.small), ("real", bench.real), ("many", bench.many_files)):
                if name in wanted:
                    measure()
    except LayerlabError as error:
        print(error.describe(), file=sys.stderr)
        return 1
    finally:
        shutil.rmtree(place, ignore_errors=True)
    print(
        f"{platform.machine()}, {os.cpu_count()} cores, Linux {platform.release()}, "
        f"Python {platform.python_version()}, {time.strftime('%Y-%m-%d')}"
    )
    if bench.docker:
        version = subprocess.run(
            [bench.docker, "version", "--format", "{{.Server.Version}}"], capture_output=True, text=True, check=False
        ).stdout.strip()
        print(f"Docker Engine {version}")
    print(bench.table())
    for note in bench.notes:
        print(f"- {note}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
