"""The Workbench: the files of an app and its Dockerfile in editors, and what building them does, layer by layer.

State lives in traits, so that a page that is opened again shows it. What the page says comes as messages, never as traits: an edit
travels inside the message that asks for a build, so a build cannot overtake it.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final

import msgspec
import traitlets

from layerlab.engines.api import BuildOptions
from layerlab.engines.inputs import shown_path
from layerlab.errors import LayerlabError, UsageError
from layerlab.model import BuildRecord, PlanRecord
from layerlab.render import build_summary
from layerlab.widgets import matrix as what_if
from layerlab.widgets.base import STATIC, LabWidget
from layerlab.widgets.coalescing import CoalescingWorker
from layerlab.widgets.engines import described, engine_for
from layerlab.widgets.fallback import paragraph, verbatim
from layerlab.widgets.history import KEPT, NO_BUILDS, PastBuild, side_by_side
from layerlab.widgets.key_chain import key_links, keys_of
from layerlab.widgets.live import LiveBuild, finished
from layerlab.widgets.problems import problem_of
from layerlab.widgets.runner import Outcome, Runner, was_stopped
from layerlab.widgets.shapes import (
    About,
    Build,
    Choose,
    Edit,
    Ending,
    LineVerdict,
    Look,
    Matrix,
    Step,
    Stop,
    WorkbenchMessage,
    heard,
    plain,
)
from layerlab.widgets.stills import still
from layerlab.widgets.words import whole
from layerlab.widgets.workcopy import WorkCopy, is_dockerfile

if TYPE_CHECKING:
    from layerlab.engines.api import Engine

# A page cannot take in more than some updates a second, and the server drops what is far above that.
_SECONDS_BETWEEN_UPDATES: Final = 0.1
_MATRIX_WAIT: Final = 0.3


class Workbench(LabWidget):
    """Edit an app, build it, and see which layers were reused and why the others were not.

    ``directory``   the app; edits are written there. ``files``: which of its files to show (default: all text files).
    ``engine``      an engine, ``"docker"``, ``"embedded"``, or ``None`` for the one that this machine has.
    ``edits``       the rows of the what-if matrix (default: the files that the lesson talks about).
    ``options``     further fields of ``BuildOptions``, for example ``offline=True``.

    Raises ``UsageError`` for a directory without a Dockerfile, ``DockerError`` where Docker was asked for and cannot be had.
    """

    _esm = STATIC / "workbench.js"

    about: traitlets.Dict[str, Any] = traitlets.Dict().tag(sync=True)
    files: traitlets.Dict[str, Any] = traitlets.Dict().tag(sync=True)
    dockerfile = traitlets.Unicode().tag(sync=True)
    dockerfiles: traitlets.List[Any] = traitlets.List().tag(sync=True)
    busy = traitlets.Bool(False).tag(sync=True)
    status = traitlets.Unicode("Not built yet. Press Build.").tag(sync=True)
    steps: traitlets.List[Any] = traitlets.List().tag(sync=True)
    notes: traitlets.List[Any] = traitlets.List().tag(sync=True)
    log = traitlets.Unicode("").tag(sync=True)
    past: traitlets.Dict[str, Any] = traitlets.Dict(plain(NO_BUILDS)).tag(sync=True)
    what_if: traitlets.Dict[str, Any] = traitlets.Dict(plain(what_if.EMPTY)).tag(sync=True)
    forecast: traitlets.List[Any] = traitlets.List().tag(sync=True)
    chain: traitlets.List[Any] = traitlets.List().tag(sync=True)
    problem: traitlets.Dict[str, Any] = traitlets.Dict().tag(sync=True)
    plan_problem: traitlets.Dict[str, Any] = traitlets.Dict().tag(sync=True)

    def __init__(
        self,
        directory: str,
        tag: str = "100x-node",
        engine: Engine | str | None = None,
        files: Iterable[str] | None = None,
        *,
        dockerfile: str = "Dockerfile",
        edits: Iterable[str] | None = None,
        **options: Any,
    ) -> None:
        self._copy = WorkCopy(directory, files)
        texts = self._copy.read()
        names = sorted(name for name in texts if is_dockerfile(name))
        if dockerfile not in texts:
            raise UsageError(f"there is no {dockerfile} in {directory}", remedy="Put one there, or name another with dockerfile=.")
        self._tag = tag
        self._options = options
        self._edits = tuple(edits or ()) or what_if.default_edits(self._copy.directory, texts)
        self._runner = Runner(engine_for(engine))
        self._planner = self._runner.engine.clone()
        self._planner_lock = threading.Lock()
        # One lock for what the page, the builder and cells change beside one another. Never held while something is built or planned.
        self._lock = threading.RLock()
        self._unsaved: dict[str, str] = {}
        # Whether the Dockerfile was typed into since the last build: its FROM may then be half a name.
        self._typed = False
        self._builds: list[PastBuild] = []
        self._count = 0
        self._record: BuildRecord | None = None
        # The keys of the last build, or of the first plan, which what is typed is compared with.
        self._keys: dict[str, str] = {}
        self._refresher = CoalescingWorker(self._refresh)
        about = About(engine=f"{self._runner.engine.name} engine", executor="", tag=tag, directory=shown_path(self._copy.directory))
        super().__init__(kind="workbench", files=texts, dockerfiles=names, dockerfile=dockerfile, about=plain(about))
        self._refresher.request()

    # --- what cells call --------------------------------------------------------------------------------------------

    @property
    def record(self) -> BuildRecord | None:
        """The record of the last build that came to an end."""
        return self._record

    def build(self) -> BuildRecord:
        """Build and wait for it. Raises what keeps it from being a build, for example ``DockerfileError``."""
        return self.start().join()

    def start(self) -> Workbench:
        """Begin a build and return at once. Raises ``UsageError`` when one runs already."""
        if not self._begin():
            raise UsageError("a build runs already", remedy="Wait for it with join(), or stop() it.")
        return self

    def join(self, timeout: float | None = None) -> BuildRecord:
        """Wait for the build that runs. Raises ``BuildInterruptedError`` when it was stopped, ``TimeoutError``."""
        return self._runner.join(timeout)

    def stop(self) -> None:
        """Stop the build that runs. Steps that have finished stay cached."""
        if self.busy:
            self.status = "Stopping …"
        self._runner.stop()

    def edit(self, path: str, text: str) -> None:
        """Give a file of the app another content; a new file is made. Raises ``UsageError``."""
        self._copy.write(path, text, replace=True)
        with self._lock:
            self.files = {**self.files, path: text}
            self.dockerfiles = sorted(name for name in self.files if is_dockerfile(name))
        self._refresher.request()

    def choose(self, dockerfile: str) -> None:
        """Build with another Dockerfile of the app. Raises ``UsageError``."""
        if dockerfile not in self.dockerfiles:
            raise UsageError(f"there is no {dockerfile} in {self._copy.directory}", remedy=f"There are {', '.join(self.dockerfiles)}.")
        self._build_with(dockerfile)

    def matrix(self) -> tuple[tuple[str, PlanRecord], ...]:
        """The what-if matrix: for each edit the plan of the build after it. Raises what is wrong with the Dockerfile."""
        with self._planner_lock:
            return self._planner.matrix(self._plan_options(), self._edits)

    def reload(self) -> None:
        """Read the files again, for what was changed beside the Workbench."""
        texts = self._copy.read()
        with self._lock:
            texts.update(self._unsaved)
            if texts != self.files:
                self.files = texts
                self.dockerfiles = sorted(name for name in texts if is_dockerfile(name))
        self._refresher.request()

    def close(self) -> None:
        """Stop what runs and end the engine's processes."""
        # Python calls this for a Workbench that was refused, too.
        if "_refresher" in self.__dict__:
            self._runner.stop()
            self._refresher.join(10)
            self._planner.close()
        super().close()

    # --- what the page says -----------------------------------------------------------------------------------------

    def receive(self, message: dict[str, Any]) -> None:
        """A message of the page: ``edit``, ``choose``, ``build`` or ``stop``; ``look`` when somebody comes to it."""
        # A union of types is no type to mypy.
        shape: Any = WorkbenchMessage
        try:
            match heard(message, shape):
                case Stop():
                    self.stop()
                case Look():
                    self.reload()
                case Build(files=files, dockerfile=dockerfile):
                    self._take(files, dockerfile)
                    self._begin()
                case Edit(files=files, dockerfile=dockerfile) | Choose(files=files, dockerfile=dockerfile):
                    self._take(files, dockerfile)
                    self._refresher.request()
        except LayerlabError as error:
            self.problem = plain(problem_of(error))

    def _take(self, files: dict[str, str], dockerfile: str) -> None:
        """Keep and write what was edited. During a build it waits: a build reads its files when it needs them."""
        with self._lock:
            for name, text in files.items():
                if name in self.files and self._copy.holds(name):
                    # In place: the page has the text already, and an echo would run into what is typed meanwhile.
                    self._typed = self._typed or (name == self.dockerfile and text != self.files[name])
                    self.files[name] = text
                    self._unsaved[name] = text
            if dockerfile in self.dockerfiles:
                self._build_with(dockerfile)
            if not self._runner.busy:
                self._save()

    def _build_with(self, dockerfile: str) -> None:
        with self._lock:
            if dockerfile != self.dockerfile:
                # First, so that the page never paints the verdicts of one Dockerfile beside the lines of another.
                self.forecast = []
                self.chain = []
                self._keys = {}
                self.what_if = plain(what_if.EMPTY)
                self.dockerfile = dockerfile
                # Here already: an edit that cannot be saved keeps the caller from it.
                self._refresher.request()

    def _save(self) -> None:
        with self._lock:
            failure: LayerlabError | None = None
            for name, text in list(self._unsaved.items()):
                try:
                    self._copy.write(name, text)
                except LayerlabError as error:
                    # One file that cannot be written must not cost a person the others, nor what was typed into it.
                    failure = error
                else:
                    del self._unsaved[name]
            if failure is not None:
                raise failure

    # --- plans ------------------------------------------------------------------------------------------------------

    def _plan_options(self) -> BuildOptions:
        with self._lock:
            text = self.files.get(self.dockerfile)
            if text is None:
                # Deleted or renamed beside the Workbench, or no text any more.
                raise UsageError(
                    f"there is no {self.dockerfile} to read in {self._copy.directory}", remedy="Put it there, or choose another."
                )
            return msgspec.structs.replace(self._build_options(), dockerfile_text=whole(text), fetch=not self._typed)

    def _build_options(self) -> BuildOptions:
        file = os.path.join(self._copy.directory, self.dockerfile)
        return BuildOptions(context=self._copy.directory, file=file, tag=self._tag, **self._options)

    def _refresh(self) -> None:
        """Everything that follows the typing."""
        try:
            if not self.about.get("executor"):
                self.about = {**self.about, **described(self._planner)}
            options = self._plan_options()
            with self._planner_lock:
                forecast = self._planner.forecast(options, self._edits)
        except LayerlabError as error:
            self.plan_problem = plain(problem_of(error))
            self.forecast = []
            self.chain = []
            return
        matrix = what_if.matrix_data(forecast.matrix, self._copy.directory)
        with self._lock:
            if options.file != self._build_options().file:
                # Another Dockerfile was chosen meanwhile, and a run for that one was asked for.
                return
            self.plan_problem = {}
            self._keys = self._keys or keys_of(forecast.plan)
            self.chain = plain(key_links(forecast.plan, self._keys))
            self.what_if = plain(matrix)
            self.forecast = plain(
                [
                    LineVerdict(line=step.line, end_line=step.end_line, verdict="runs" if step.status == "executed" else step.status)
                    for step in forecast.plan.steps
                ]
            )

    # --- builds -----------------------------------------------------------------------------------------------------

    def _begin(self) -> bool:
        # Whoever saw ``busy`` end gets the lock only when the turn is over, too.
        with self._lock:
            if not self._runner.claim():
                return False
        try:
            self._save()
            self.reload()
            self._typed = False
            options = self._build_options()
            live = LiveBuild(self._skeleton())
        except BaseException:
            self._runner.release()
            raise
        self.busy = True
        self.problem = {}
        self.status = live.status
        self.steps = plain(live.steps())
        self.notes = []
        self.log = ""
        over = threading.Event()
        ticker = threading.Thread(target=self._follow, args=(live, over), name="layerlab-ticker", daemon=True)
        ticker.start()
        started = time.monotonic()

        def ended(outcome: Outcome) -> None:
            over.set()
            ticker.join()
            self._end(live, outcome, options, time.monotonic() - started)

        self._runner.start(options, live.take, ended)
        return True

    def _skeleton(self) -> PlanRecord | None:
        """All steps before the first has run; what is wrong with them, the build itself says."""
        with self._planner_lock, contextlib.suppress(LayerlabError):
            return self._planner.plan(self._plan_options())
        return None

    def _follow(self, live: LiveBuild, over: threading.Event) -> None:
        while not over.wait(_SECONDS_BETWEEN_UPDATES):
            if self.status != "Stopping …":
                self.status = live.status
            self.steps = plain(live.steps())
            self.log = live.log

    def _end(self, live: LiveBuild, outcome: Outcome, options: BuildOptions, seconds: float) -> None:
        log = live.log
        notes: list[str] = []
        word: Ending | None = None
        if isinstance(outcome, BuildRecord):
            self._record = outcome
            steps, status = finished(outcome)
            notes = [*outcome.stand_in, *outcome.warnings]
            seconds = outcome.seconds
            word = "predicted" if outcome.predicted else "failed" if outcome.failure is not None else "built"
            if outcome.failure is not None:
                failed = next((step for step in outcome.steps if step.status == "failed"), None)
                self.problem = plain(problem_of(outcome.failure, failed.log if failed is not None else ""))
        elif was_stopped(outcome):
            steps, status, word = live.stopped(), "Stopped. Steps that had finished stay cached.", "stopped"
        else:
            self.problem = plain(problem_of(outcome))
            steps, status = [], "Not built: see the error."
        self.steps = plain(steps)
        self.log = log
        self.notes = notes
        if word is not None:
            self._count += 1
            name = os.path.relpath(options.file or "Dockerfile", self._copy.directory)
            self._builds = [*self._builds, PastBuild(self._count, name, seconds, word, steps)][-KEPT:]
            self.past = plain(side_by_side(self._builds))
        if word == "built" and isinstance(outcome, BuildRecord):
            # What was built is what is compared with from now on, whatever was typed meanwhile.
            self._keys = keys_of(outcome)
        # In one go: an edit of the page comes before this and is saved here, or finds the turn over and is saved at once.
        with self._lock:
            with contextlib.suppress(LayerlabError):
                self._save()
            with self.hold_sync():
                self.status = status
                self.busy = False
            self._refresher.request()
            self._runner.release()

    # --- text -------------------------------------------------------------------------------------------------------

    def text(self) -> str:
        """The last build."""
        if self._record is None:
            return f"Workbench of {self._copy.directory}: not built yet."
        return build_summary(self._record)

    def html(self) -> str:
        """A still of the last build; before the first one, the Dockerfile and what edits would do to its build."""
        if self._record is None:
            return self._unbuilt_html()
        title = f"Last build of {self._record.tag or self._copy.directory}: {self.status}"
        return paragraph(title) + still(msgspec.convert(self.steps, list[Step]))

    def _unbuilt_html(self) -> str:
        # The first matrix is nearly there when the cell shows the Workbench; a page must not wait for it longer than a person would.
        ready = self._refresher.join(_MATRIX_WAIT)
        parts = [
            paragraph(f"Workbench of {self.about['directory']}; nothing had been built in it when this cell ran."),
            paragraph(f"{self.dockerfile}:") + verbatim(self.files.get(self.dockerfile, "")),
        ]
        problem = self.problem or self.plan_problem
        if problem:
            parts.append(paragraph(problem["message"]) + paragraph(problem["remedy"]))
        elif ready and self.what_if["rows"]:
            parts.append(what_if.matrix_html(msgspec.convert(self.what_if, Matrix), self.dockerfile))
        return "".join(parts)
