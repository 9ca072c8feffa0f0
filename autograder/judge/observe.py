"""Grading's eyes: builds one answer, edits the app, and writes down what the engine's records say. No points are given here."""

from __future__ import annotations

import contextlib
import fnmatch
import hashlib
import json
from collections.abc import Iterator
from typing import Final

import msgspec

from autograder.exercise.assignment import Assignment
from autograder.exercise.edits import LOCK, MANIFEST, Edit, Edits
from autograder.exercise.workspace import Workspace
from autograder.judge.compiled_code import Runner
from autograder.judge.image_contents import Contents, Vain, contents_of, deleted_in_vain, needless, said_in_vain
from autograder.judge.loaded_modules import Loaded, package_of
from autograder.judge.network import advice, advice_before
from autograder.judge.probing import Picture, Probes, folder_of_place, imported, make_probes, picture_of, write_probe
from autograder.judge.step_roles import ImageReader, LayerReader, Role, Sought, StepRoles, is_command
from autograder.sandbox.evidence import Evidence
from autograder.sandbox.faults import is_students
from autograder.sandbox.sandbox import Sandbox
from autograder.sandbox.serving import Answer, ask
from autograder.sandbox.timing import Clock, TooSlow
from layerlab.engines.api import BuildOptions
from layerlab.engines.embedded.builds.steps import DISK_FULL
from layerlab.engines.embedded.engine import EmbeddedEngine
from layerlab.engines.embedded.images import local_images as images
from layerlab.engines.embedded.rootfs.messages import Who
from layerlab.errors import LayerlabError, OutOfSpaceError, StepBusyError
from layerlab.model import BuildRecord, Failure, ImageView, StepRecord

# Which checks look at what happens after which edit. In a build with stages an edit may cost a whole build, so no other is tried,
# and where a check looks at the steps of one role alone, the plan need not decide the others.
_LOOKS_AT: Final = {
    "readme": ("edit-unrelated",),
    "modules": ("edit-unrelated",),
    "dependency": ("edit-dependency",),
    "schema": ("edit-schema",),
}
_LOOKS_FOR: Final[dict[str, Role]] = {"dependency": "install", "schema": "generate"}
_LOOK_INSIDE: Final = frozenset({"small", "lean", "unprivileged"})

_REPLAYED: Final = frozenset({"edit-source"})
# Files that a message names.
_LARGEST: Final = 3

_KILLED: Final = 137


class InfrastructureError(Exception):
    """The grader could not do its work; the answer is not to blame. The message says what happened."""


class Built(msgspec.Struct, frozen=True, kw_only=True):
    """One build. ``steps``: as in its record; ``problem``: why there is no image, empty where there is one; ``log``: of the failed step.

    ``ended``  a limit ended it, which it would meet again.
    """

    steps: tuple[StepRecord, ...] = ()
    roles: tuple[StepRoles, ...] = ()
    image: str = ""
    problem: str = ""
    log: str = ""
    stand_in: tuple[str, ...] = ()
    ended: bool = False


class Serving(msgspec.Struct, frozen=True, kw_only=True):
    """What the image served, and where that came from (``probing``).

    ``answer``    what it said, with the marker of the edited source.
    ``follows``   the answer followed changes of the compiled code in the image. ``code``: paths of that code.
    ``loads``     by package, the folder that the server was seen to load it from; ``unloaded``: packages that it was not seen to load.
    ``lacking``   files of packages that the app loads and that do not stand in the image as they are in their packages. ``held``: how
                  many do.
    """

    answer: Answer = msgspec.field(default_factory=Answer)
    follows: bool = False
    code: tuple[str, ...] = ()
    loads: tuple[tuple[str, str], ...] = ()
    unloaded: tuple[str, ...] = ()
    lacking: tuple[str, ...] = ()
    held: int = 0


class Replay(msgspec.Struct, frozen=True, kw_only=True):
    """What the commands do that an edit of a source runs again: when they ran once more, and whenever they were seen before, since a
    command may find out which time it is.

    ``again``   their numbers.
    ``taken``   packages that they opened in the npm cache, by the names of their archives.
    ``problem`` why they failed, which they had not done before; empty where they did not.
    ``sizes``   bytes in the layer of each command, by step number, where they came to most. ``largest``: of the files in them, (step,
                path, bytes).
    ``peak``    bytes that one of the commands had written at one time, whether it removed them or not.
    """

    again: frozenset[int] = frozenset()
    taken: tuple[str, ...] = ()
    problem: str = ""
    sizes: tuple[tuple[int, int], ...] = ()
    largest: tuple[tuple[int, str, int], ...] = ()
    peak: int = 0

    @property
    def made(self) -> int:
        """Bytes that commands made anew."""
        return sum(size for _, size in self.sizes)


class Observation(msgspec.Struct, frozen=True, kw_only=True):
    """All that was seen of one answer.

    ``first``    the build of the app as it is. The others are what a build does after it: ``again`` without a change, ``touched``
                 with other times, ``readme``, ``modules``, ``dependency`` and ``schema`` with that edit alone (in the last two, steps
                 that install or generate nothing may be undecided).
                 ``edited`` is the same for the source edit. What no check of the assignment asks for is empty.
    ``source``   the build with the source edit; ``serving`` is what its image says, ``expected`` what it should.
    ``replay``   the source edit, closely watched; ``allowed``: the most bytes that its commands may make.
    ``base``     the name of the base image of the final stage; empty where the image does not stand on one. ``wasted`` in bytes.
    ``vain``: what its steps hide of one another. ``contents`` of the first build's image.
    """

    first: Built
    again: tuple[StepRecord, ...] = ()
    touched: tuple[StepRecord, ...] = ()
    readme: tuple[StepRecord, ...] = ()
    modules: tuple[StepRecord, ...] = ()
    dependency: tuple[StepRecord, ...] = ()
    schema: tuple[StepRecord, ...] = ()
    edited: tuple[StepRecord, ...] = ()
    source: Built = msgspec.field(default_factory=Built)
    serving: Serving = msgspec.field(default_factory=Serving)
    replay: Replay = msgspec.field(default_factory=Replay)
    allowed: int = 0
    expected: str = ""
    base: str = ""
    wasted: int = 0
    vain: tuple[Vain, ...] = ()
    contents: Contents = msgspec.field(default_factory=Contents)

    def role(self, role: Role) -> tuple[int, ...]:
        """Numbers of the steps with this role, sorted. What is made of the edited source is in the build with it alone."""
        return tuple(sorted({item.number for item in (*self.first.roles, *self.source.roles) if role in item.roles}))


class Observer:
    """Looks at one answer. ``workspace``: the app with the answer in it. ``edits`` and ``fresh``: the same edits, without and with a nonce.
    ``loaded``: what the app loads when it runs.

    ``once``  the answer's build depends on nothing but its files. Then an image with what an edited source says was made of it, and
    there is no need to build the app as it was before: the edited one is as good a start for all other edits.

    Submissions share layers, so what is cached says nothing by itself: another student may have built the very same. Verdicts are
    therefore of edits that nobody has built before. What is built to be run may come from others.
    """

    def __init__(
        self,
        sandbox: Sandbox,
        engine: EmbeddedEngine,
        assignment: Assignment,
        workspace: Workspace,
        edits: Edits,
        fresh: Edits,
        clock: Clock,
        loaded: Loaded,
        *,
        once: bool,
    ) -> None:
        self._sandbox = sandbox
        self._engine = engine
        self._fresh = fresh
        self._assignment = assignment
        self._workspace = workspace
        self._edits = edits
        self._clock = clock
        self._once = once
        directory = workspace.directory
        self._options = BuildOptions(context=str(directory), tag=f"grading:{_label(str(directory))}", offline=True)
        manifest = json.loads((directory / MANIFEST).read_text(encoding="utf-8"))
        self._loaded = loaded
        runner = Runner(engine, clock, assignment.base, directory.parent / "compiled", edits.value, edits.environment)
        self._reader = LayerReader(engine, Sought(loaded=loaded, marker=edits.marker, erased=edits.erased, proof=runner))
        lock = json.loads((directory / LOCK).read_text(encoding="utf-8"))
        sources = {path.name: path.read_bytes() for path in directory.glob("src/*.ts")}
        brought = [(package_of(file.tail), file.size, file.digest) for file in loaded.brought]
        paths = [*workspace.paths(), *(file.tail for file in loaded.brought)]
        self._needless = needless(manifest, lock, sources, workspace.others(sources), brought, loaded.code, paths)
        self._packages = imported([content.decode("utf-8") for content in sources.values()], loaded)
        self._views: dict[str, ImageView] = {}
        self._checks = {check.id for check in assignment.checks}

    def observe(self) -> Observation:
        """Look. Raises ``InfrastructureError`` and what the engine raises for trouble of its own."""
        try:
            # A base that an answer names and nobody can have is its own fault, unless the prepared one has gone, too.
            with self._engine.store.in_use():
                self._engine.bases.resolve(self._assignment.base, offline=True)
            return self._observe()
        finally:
            # The layers stay cached for others; the names are nobody's any more.
            for kind in ("", "-bare", "-probed"):
                with contextlib.suppress(LayerlabError):
                    self._engine.untag(f"{self._options.tag}{kind}", force=True)

    def _observe(self) -> Observation:
        edits = self._edits
        source, serving = Built(), Serving()
        if self._once:
            with self._workspace.edited(edits.source):
                source, serving = self._source()
                if _has(source, "build") or serving.answer.says(edits.answer):
                    return self._after_first(source, source, serving)
        if source.ended:
            return Observation(first=source)
        first = self._build()
        if not first.image:
            return Observation(first=first)
        seen = self._after_first(first, source, serving)
        if self._once:
            return seen
        with self._workspace.edited(edits.source):
            source, serving = self._source()
        return msgspec.structs.replace(seen, source=source, serving=serving, replay=self._with(seen.replay, source))

    def _source(self) -> tuple[Built, Serving]:
        source = self._build()
        if source.image:
            return source, self._serve(source)
        return source, Serving(answer=Answer(problem="the build with the edited source failed"))

    def _after_first(self, first: Built, source: Built, serving: Serving) -> Observation:
        """What is seen of the first build's image, and what builds do after it."""
        view = self._view()
        base, below = self._base(first)
        contents = self._contents(view, below) if self._checks & _LOOK_INSIDE else Contents()
        again = self._verdicts()
        self._workspace.touch()
        touched = self._verdicts()
        seen = {
            name: self._after(edit, _numbers(first, _LOOKS_FOR.get(name)))
            for name, edit in _planned(self._fresh).items()
            if self._checks.intersection(_LOOKS_AT[name])
        }
        edited: tuple[StepRecord, ...] = ()
        replay = Replay()
        if self._checks & _REPLAYED:
            with self._workspace.edited(self._fresh.source):
                edited, replay = self._edited(first)
                # Where there are mounts, the first build fills them.
                for built in (first, source) if self._once else ():
                    replay = self._with(replay, built)
        return Observation(
            first=first,
            again=again,
            touched=touched,
            **seen,
            edited=edited,
            replay=replay,
            allowed=self._loaded.allowed,
            source=source,
            serving=serving,
            expected=self._edits.answer,
            base=base,
            wasted=view.wasted + said_in_vain(map(self._reader.entries, self._layers()), view.origin),
            vain=deleted_in_vain(view, below),
            contents=contents,
        )

    def _edited(self, first: Built) -> tuple[tuple[StepRecord, ...], Replay]:
        """What a build does after the source edit, and what its commands take and write."""
        try:
            planned = self._clock.plan(self._engine, self._options).steps
        except LayerlabError as error:
            self._fault(Failure.of(error))
            return (), Replay()
        decided = not any(step.status == "undecided" for step in planned)
        again = {step.number for step in planned if step.status == "executed"}
        if decided and all(again & (_numbers(first, role) or frozenset()) for role in ("install", "generate")):
            # There is nothing left that a replay could take.
            return planned, Replay()
        with self._sandbox.running_all():
            built = self._build()
        again |= {step.number for step in built.steps if step.status == "executed"}
        replay = self._with(Replay(again=frozenset(again), problem=built.problem), built)
        # What a build does after a step that failed only the plan tells.
        return planned if built.problem and decided else built.steps, replay

    def _with(self, replay: Replay, built: Built) -> Replay:
        """With what another build saw of the same commands."""
        ran = [step for step in built.steps if is_command(step) and step.number in replay.again]
        evidence = [Evidence.of(step.seen) for step in ran if step.seen is not msgspec.UNSET]
        replay = msgspec.structs.replace(
            replay,
            taken=tuple(sorted({*replay.taken, *(name for item in evidence for name in item.taken)})),
            peak=max([replay.peak, *(item.written for item in evidence)]),
        )
        if replay.sizes and sum(step.size for step in ran) <= replay.made:
            return replay
        files = [
            (step.number, entry.path, entry.size)
            for step in ran
            if step.diff_id is not None
            for entry in self._reader.entries(step.diff_id)
            if entry.size
        ]
        return msgspec.structs.replace(
            replay,
            sizes=tuple((step.number, step.size) for step in ran),
            largest=tuple(sorted(files, key=lambda row: (-row[2], row))[:_LARGEST]),
        )

    def _build(self) -> Built:
        try:
            record = self._clock.build(self._engine, self._options)
        except TooSlow as slow:
            what = slow.instruction or "the build"
            return Built(problem=f"{what} was stopped: it took more than the {slow.seconds:g} s that are allowed", ended=True)
        except StepBusyError:
            raise
        except LayerlabError as error:
            what_to_do = advice_before(error)
            problem = self._fault(Failure.of(error))
            return Built(problem=f"{problem}. {what_to_do}" if what_to_do else problem)
        if record.failure is not None:
            failure = record.failure
            log = next((step.log for step in record.steps if step.status == "failed"), "")
            problem = f"{self._fault(failure)}. {advice(failure, log)}".rstrip()
            return Built(steps=record.steps, problem=problem, log=log, ended=failure.exit_status == _KILLED)
        return self._built(record)

    def _built(self, record: BuildRecord) -> Built:
        assert record.image is not None
        return Built(steps=record.steps, roles=self._reader.roles(record), image=record.image, stand_in=record.stand_in)

    def _fault(self, failure: Failure) -> str:
        message = failure.message
        if failure.code == OutOfSpaceError.code and self._sandbox.has_room:
            # The engine goes by the words of the command, which anybody can print to have no score instead of a bad one.
            message = f"it says that there is no room, but the disk was not full: {message.removeprefix(DISK_FULL)}"
        elif not is_students(failure.kind, failure.code or ""):
            raise InfrastructureError(f"{failure.kind}: {message}")
        return f"Dockerfile line {failure.line}: {message}" if failure.line else message

    def _after(self, edit: Edit, matter: frozenset[int] | None) -> tuple[StepRecord, ...]:
        with self._workspace.edited(edit):
            return self._verdicts(matter)

    def _verdicts(self, matter: frozenset[int] | None = None) -> tuple[StepRecord, ...]:
        """What a build would do now. Only where a plan cannot tell without running a step is it built. ``matter``: the steps that it
        must tell of; without it, all."""
        try:
            steps = self._clock.plan(self._engine, self._options).steps
        except LayerlabError as error:
            self._fault(Failure.of(error))
            return ()
        if any(step.status == "undecided" and (matter is None or step.number in matter) for step in steps):
            return self._build().steps
        return steps

    def _serve(self, source: Built) -> Serving:
        """Start the image with probes in it, and ask it for a page."""
        edits = self._edits
        picture = self._picture(source)
        probes = make_probes(picture, self._packages, self._reader, edits.marker, edits.erased)
        seconds = min(self._assignment.limits.answer_seconds, self._clock.left())
        said = ask(self._engine, self._probed(probes), environment=edits.environment, port=edits.port, path="/", seconds=seconds)
        body = said.body
        seen = {package for package, header in probes.headers.items() if header in said.headers}
        where = {package: _where(picture, package) for package in seen}
        return Serving(
            answer=said if body is None else msgspec.structs.replace(said, body=body.replace(probes.marker, edits.marker)),
            follows=body is not None and probes.marker in body and probes.code in said.headers,
            code=tuple(f"/{place.path}" for place in picture.compiled),
            loads=tuple(sorted(where.items())),
            unloaded=tuple(package for package in self._packages if package not in seen),
            lacking=tuple(sorted(file.tail for file in self._loaded.files if file.tail not in picture.files)),
            held=len(picture.files),
        )

    def _probed(self, probes: Probes) -> str:
        """The name of the image that is started. Without probes, where they cannot be put into it: then nothing is seen of them."""
        tag = self._options.tag or ""
        config = self._engine.image_config(tag)
        origin = tag
        if config["config"].pop("OnBuild", None):
            # A trigger would run now, and is none of the image's.
            layers = [self._engine.store.layer(diff_id) for diff_id in config["rootfs"]["diff_ids"]]
            origin = f"{tag}-bare"
            self._engine.bases.put(origin, config, [row.length if row is not None else 0 for row in layers], source="build")
        directory = self._workspace.directory.parent / "probes"
        write_probe(directory, origin, probes)
        try:
            record = self._clock.build(self._engine, BuildOptions(context=str(directory), tag=f"{tag}-probed", offline=True))
        except TooSlow:
            return tag
        return tag if record.failure is not None else f"{tag}-probed"

    def _picture(self, built: Built) -> Picture:
        layers = self._layers()
        _, below = self._base(built)
        found = {diff_id: self._reader.found(diff_id) for diff_id in layers[below:]}
        return picture_of(layers, self._view().origin, found)

    def _layers(self) -> tuple[str, ...]:
        """Diff IDs of the image that the last build made, lowest first."""
        return tuple(self._engine.image_config(self._options.tag or "")["rootfs"]["diff_ids"])

    def _view(self) -> ImageView:
        """The image that the last build made, as its layers."""
        row = self._engine.image_row(self._options.tag or "")
        if row.config not in self._views:
            with self._engine.store.in_use():
                self._views[row.config] = images.view(self._engine.store, row, [self._reader.entries(item) for item in self._layers()])
        return self._views[row.config]

    def _contents(self, view: ImageView, below: int) -> Contents:
        tag = self._options.tag or ""
        user = self._engine.image_config(tag)["config"].get("User", "")
        layers = self._layers()
        members = [self._reader.entries(item) for item in layers]
        return contents_of(
            members, view.origin, below, self._needless, ImageReader(self._reader, layers), user=user, uid=self._uid(layers, user)
        )

    def _uid(self, layers: tuple[str, ...], user: str) -> int:
        """The number of a user in an image: whatever it is called there, 0 is root."""
        paths = [path for path in map(self._engine.store.layer_path, layers) if path]
        with contextlib.suppress(LayerlabError, OSError):
            return self._engine.worker.ask(Who(layers=paths, user=user)).uid
        return -1

    def _base(self, built: Built) -> tuple[str, int]:
        """The allowed base whose layers the image begins with, and how many these are; an empty name and 0 where there is none."""
        config = self._engine.image_config(self._options.tag or "")
        layers = tuple(config["rootfs"]["diff_ids"])
        for name in _bases_of(built.steps):
            short = name.removeprefix("docker.io/").removeprefix("library/")
            if not any(fnmatch.fnmatchcase(short, pattern) for pattern in self._assignment.bases):
                continue
            with contextlib.suppress(LayerlabError):
                below = self._engine.bases.resolve(name, offline=True).diff_ids
                if layers[: len(below)] == below:
                    return name, len(below)
        return "", 0


def _numbers(built: Built, role: Role | None) -> frozenset[int] | None:
    """Numbers of the steps with a role; ``None`` for no role in particular."""
    return None if role is None else frozenset(item.number for item in built.roles if role in item.roles)


def _has(built: Built, role: Role) -> bool:
    return any(role in item.roles for item in built.roles)


def _where(picture: Picture, package: str) -> str:
    """A folder in the image that a package stands in."""
    return min(folder_of_place(place, tail) for tail, places in picture.files.items() if package_of(tail) == package for place in places)


def _label(path: str) -> str:
    return hashlib.sha256(path.encode()).hexdigest()[:16]


def _planned(edits: Edits) -> dict[str, Edit]:
    return {
        "readme": edits.readme,
        "modules": edits.modules,
        "dependency": edits.dependency,
        "schema": edits.schema,
    }


def _bases_of(steps: tuple[StepRecord, ...]) -> Iterator[str]:
    for step in steps:
        if step.status == "base":
            words = [word for word in step.instruction.split()[1:] if not word.startswith("--")]
            if words:
                yield words[0]
