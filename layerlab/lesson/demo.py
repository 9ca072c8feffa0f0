"""``demo``: the whole lesson on the real app, headless. Every line that it prints was measured in this very run.

It works in a store and a copy of the app of its own, made anew each time, so that "first build" means it.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import socket
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec

from layerlab.engines.api import BuildOptions, Event
from layerlab.engines.connect import connect
from layerlab.engines.data_directory import default_store
from layerlab.errors import LayerlabError, UsageError
from layerlab.fsutil import remove_written
from layerlab.loopback import raise_loopback
from layerlab.model import BuildRecord, StepRecord
from layerlab.progress import TextProgress
from layerlab.render import build_summary, history_table, steps_table

if TYPE_CHECKING:
    from layerlab.engines.api import Container, Engine

TAG: Final = "100x-node"
# A daemon's images are the user's: one of the same name must stay what it is.
SHARED_TAG: Final = "100x-node:layerlab-demo"
# Where a wheel has the app.
INSTALLED: Final = Path(__file__).resolve().parent / "node-app"
_GREETING: Final = re.compile(r'(const GREETING = ")([^"]*)(";)')
_ANSWER_SECONDS: Final = 60
# Numbered headings of the story, the running container's among them.
_OWN_TITLES: Final = 7


class Act(msgspec.Struct, frozen=True, kw_only=True):
    """One build of the story."""

    act: str
    record: BuildRecord


class Served(msgspec.Struct, frozen=True, kw_only=True):
    """What the built app answered: ``expected`` is the greeting that was edited in."""

    expected: str
    greeting: str
    visits: str


class FurtherAct(msgspec.Struct, frozen=True, kw_only=True):
    """An act that an installed package adds; ``record`` is that package's own."""

    act: str
    record: Any


class Setting(msgspec.Struct, frozen=True, kw_only=True):
    """What a further act is given: its ``number`` in the story, the ``store`` that was asked for, and how to print a line."""

    number: int
    store: str | None
    say: Callable[[str], None]


class DemoRecord(msgspec.Struct, frozen=True, kw_only=True):
    """The whole demo. ``seconds`` is its wall time."""

    engine: str
    acts: tuple[Act | FurtherAct, ...]
    served: Served
    seconds: float
    schema: int = 1


def find_app(given: str | None) -> Path:
    """The lesson's app: the one given, else ``node-app`` of this checkout or here, else the one installed. Raises ``UsageError``."""
    places = (Path(__file__).resolve().parents[2] / "node-app", Path("node-app"))
    app = Path(given) if given is not None else next(filter(Path.is_dir, places), INSTALLED)
    if not (app / "Dockerfile").is_file() or not (app / "src" / "index.ts").is_file():
        raise UsageError(
            f"{app} is not the lesson's app: it needs Dockerfile, Dockerfile.optimized and src/index.ts",
            remedy="Give its directory with --app.",
        )
    return app


def run_demo(
    *, store: str | None = None, app: str | None = None, offline: bool = False, quiet: bool = False, engine: str = "auto"
) -> DemoRecord:
    """Tell the lesson on the engine of that name, then the acts of installed packages. ``quiet`` shows progress on standard error only.

    An act is a function of ``Setting`` that returns a ``FurtherAct``, or ``None`` where it has nothing to show, and is found as an entry
    point of the group ``layerlab.acts``. Raises ``LayerlabError`` when a build or the app fails.
    """
    source = find_app(app)
    started = time.monotonic()
    raise_loopback()
    with contextlib.ExitStack() as stack:
        base = store if store is not None else default_store()
        os.makedirs(base, exist_ok=True)
        place = tempfile.mkdtemp(prefix="demo-", dir=base)
        stack.callback(remove_written, place)
        builder = connect(engine, os.path.join(place, "store"))
        stack.callback(builder.close)
        work = Path(place) / "node-app"
        shutil.copytree(source, work, ignore=shutil.ignore_patterns("node_modules", "dist", "*.db"))
        story = _Story(builder, work, offline=offline, quiet=quiet)
        stack.callback(_forget, builder, story)
        acts, served = story.tell()
    acts += _further(store, story.say)
    return DemoRecord(engine=builder.name, acts=acts, served=served, seconds=round(time.monotonic() - started, 1))


def _further(store: str | None, say: Callable[[str], None]) -> tuple[FurtherAct, ...]:
    found: list[FurtherAct] = []
    for point in entry_points(group="layerlab.acts"):
        act: FurtherAct | None = point.load()(Setting(number=_OWN_TITLES + 1 + len(found), store=store, say=say))
        if act is not None:
            found.append(act)
    return tuple(found)


def _forget(engine: Engine, story: _Story) -> None:
    """Take away the images of the demo: a daemon keeps them, and an engine of our own has them in a store that goes anyhow."""
    images = [story.tag, *(act.record.image for act in story.acts if act.record.image)]
    for image in dict.fromkeys(images):
        with contextlib.suppress(LayerlabError, OSError):
            engine.untag(image)


class _Story:
    def __init__(self, engine: Engine, work: Path, *, offline: bool, quiet: bool) -> None:
        self.engine = engine
        self.work = work
        self.offline = offline
        self.quiet = quiet
        self.tag = SHARED_TAG if engine.is_shared else TAG
        self.acts: list[Act] = []
        self._edits = 0
        self._greeting = ""

    def tell(self) -> tuple[tuple[Act | FurtherAct, ...], Served]:
        self.say(f"layerlab demo: the lesson on the real app, with the {self.engine.name} engine.")
        self.say("It installs real npm packages three times, so it takes about a minute.")
        self._act("naive-first", "1. The naive Dockerfile, built for the first time", "Dockerfile")
        self._history()
        self._act("naive-again", "2. The same build again: everything comes from the cache", "Dockerfile")
        self._edit()
        self._act("naive-edit", "3. src/index.ts edited: cached up to the COPY, and everything below it runs again", "Dockerfile")
        self._act("optimized-first", "4. The optimised Dockerfile, built for the first time", "Dockerfile.optimized")
        self._act("optimized-again", "5. The same build again", "Dockerfile.optimized")
        self._edit()
        record = self._act("optimized-edit", "6. src/index.ts edited again: which steps run now?", "Dockerfile.optimized")
        ran = [step.instruction for step in record.executed]
        self.say(f"   Ran: {', '.join(ran)}. npm install and prisma generate were reused.")
        served = self._serve()
        before = next(act.record for act in self.acts if act.act == "naive-edit")
        self.say("")
        self.say(
            f"The same kind of edit cost {before.seconds:.1f} s with the naive file and {record.seconds:.1f} s with the optimised one."
        )
        return tuple(self.acts), served

    def say(self, text: str) -> None:
        """Print a line of the story."""
        print(text, file=sys.stderr if self.quiet else sys.stdout, flush=True)

    def _act(self, name: str, title: str, dockerfile: str) -> BuildRecord:
        self.say("")
        self.say(title)
        options = BuildOptions(context=str(self.work), file=str(self.work / dockerfile), tag=self.tag, offline=self.offline)
        progress = TextProgress(sys.stderr, quiet=True)

        def shown(event: Event) -> None:
            # A step is announced when it starts; what came from the cache stands in the table below.
            ran = event.step is not None and event.step.status in ("executed", "failed")
            if ran or event.kind in ("start", "log") or (event.kind == "note" and not self.acts):
                progress(event)

        record = self.engine.build(options, shown)
        if name.endswith("-first") and record.failure is None and any(step.status == "cached" for step in record.steps if _installs(step)):
            # Only a daemon's cache outlives the demo; a first build is one that runs.
            self.say("   Docker's cache has this build from an earlier time; it is built again without the cache.")
            record = self.engine.build(msgspec.structs.replace(options, no_cache=True), shown)
        self.acts.append(Act(act=name, record=record))
        if record.failure is not None:
            failure = record.failure
            raise LayerlabError(f"{name}: {failure.message}", file=failure.file, line=failure.line, remedy=failure.remedy)
        self.say(steps_table(record.steps) if self.quiet else build_summary(record))
        return record

    def _history(self) -> None:
        rows = self.engine.history(self.tag)
        self.say("")
        self.say(f"$ layerlab history {self.tag}")
        self.say(history_table(rows, self.engine.image_row(self.tag).config, full=False))

    def _edit(self) -> None:
        self._edits += 1
        file = self.work / "src" / "index.ts"
        text = file.read_text(encoding="utf-8")
        self._greeting = f"Hello from edit {self._edits}, made at {time.strftime('%H:%M:%S')}!"
        edited, count = _GREETING.subn(lambda match: match[1] + self._greeting + match[3], text)
        if count != 1:
            raise UsageError(f'{file} has no line const GREETING = "…";', remedy="The demo edits that line; put it back.")
        file.write_text(edited, encoding="utf-8")

    def _serve(self) -> Served:
        self.say("")
        self.say("7. The image runs, and answers with the edited greeting")
        port = _free_port()
        log: list[bytes] = []
        with self.engine.container(self.tag, environment={"PORT": str(port)}) as running:
            reader = threading.Thread(target=_drain, args=(running, log), daemon=True)
            reader.start()
            greeting = _get(f"http://127.0.0.1:{port}/", reader, log)
            first = _get(f"http://127.0.0.1:{port}/visits", reader, log)
            visits = _get(f"http://127.0.0.1:{port}/visits", reader, log)
        reader.join(timeout=5)
        self.say(f"   GET /        {greeting.strip()}")
        self.say(f"   GET /visits  {first.strip()}")
        self.say(f"   GET /visits  {visits.strip()}")
        if greeting.strip() != self._greeting:
            raise LayerlabError(f"the app answered {greeting.strip()!r}, not the edited greeting {self._greeting!r}")
        return Served(expected=self._greeting, greeting=greeting.strip(), visits=visits.strip())


def _installs(step: StepRecord) -> bool:
    return step.keyword == "RUN"


def _drain(running: Container, log: list[bytes]) -> None:
    with contextlib.suppress(OSError, ValueError):
        running.wait(log.append)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _get(url: str, reader: threading.Thread, log: list[bytes]) -> str:
    deadline = time.monotonic() + _ANSWER_SECONDS
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    while True:
        try:
            with opener.open(url, timeout=5) as answer:
                text: str = answer.read().decode("utf-8", "replace")
                return text
        except (urllib.error.URLError, ConnectionError, TimeoutError) as error:
            if not reader.is_alive() or time.monotonic() > deadline:
                output = b"".join(log).decode("utf-8", "replace")[-2000:]
                raise LayerlabError(f"the app did not answer on {url}: {error}\n{output}") from error
            time.sleep(0.1)
