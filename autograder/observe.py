"""Grading's eyes: builds one answer, edits the app, and writes down what the engine's records say. No points are given here."""

from __future__ import annotations

import contextlib
import fnmatch
import hashlib
import json
from collections.abc import Iterator
from typing import Final

import msgspec

from autograder.assignment import Assignment
from autograder.confine.sandbox import GradingEngine
from autograder.confine.serving import Answer, ask
from autograder.confine.timing import Clock, TooSlow
from autograder.contents import Contents, contents_of, needless
from autograder.edits import LOCK, MANIFEST, Edit, Edits
from autograder.network import advice, advice_before
from autograder.roles import LayerReader, Role, StepRoles, runtime_dependencies
from autograder.workspace import Workspace
from layerlab.engines.base import BuildOptions
from layerlab.engines.embedded.references import INVALID_REFERENCE
from layerlab.engines.embedded.steps import DISK_FULL
from layerlab.errors import LayerlabError, StepBusyError
from layerlab.model import BuildRecord, ImageView, StepRecord

# What a student's Dockerfile can bring about. All else is the grader's own trouble.
STUDENTS_FAULTS = frozenset({"dockerfile", "context", "missing-source", "step-failed", "unsupported", "base-image"})


# Which checks look at what happens after which edit. In a build with stages an edit may cost a whole build, so no other is tried,
# and where a check looks at the steps of one role alone, the plan need not decide the others.
_LOOKS_AT: Final = {
    "edited": ("edit-source",),
    "readme": ("edit-unrelated",),
    "modules": ("edit-unrelated",),
    "dependency": ("edit-dependency",),
    "schema": ("edit-schema",),
}
_LOOKS_FOR: Final[dict[str, Role]] = {"dependency": "install", "schema": "generate"}
_LOOK_INSIDE: Final = frozenset({"small", "lean", "unprivileged"})

_KILLED: Final = "exit code: 137"


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


class Observation(msgspec.Struct, frozen=True, kw_only=True):
    """All that was seen of one answer.

    ``first``    the build of the app as it is. The others are what a build does after it: ``again`` without a change, ``touched``
                 with other times, ``readme``, ``modules``, ``dependency`` and ``schema`` with that edit alone (in the last two, steps
                 that install or generate nothing may be undecided).
                 ``edited`` is the same for the source edit. What no check of the assignment asks for is empty.
    ``source``   the build with the source edit; ``answer`` is what its image says, ``expected`` what it should.
    ``compiled`` whether the edited source is in what its build compiled, whatever the image then says.
    ``base``     the name of the base image of the final stage; empty where the image does not stand on one. ``wasted`` in bytes.
    ``contents`` of the first build's image.
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
    answer: Answer = msgspec.field(default_factory=Answer)
    compiled: bool = False
    expected: str = ""
    base: str = ""
    wasted: int = 0
    contents: Contents = msgspec.field(default_factory=Contents)

    def role(self, role: Role) -> tuple[int, ...]:
        """Numbers of the steps with this role in the first build."""
        return tuple(item.number for item in self.first.roles if role in item.roles)


class Observer:
    """Looks at one answer. ``workspace``: the app with the answer in it. ``edits`` and ``fresh``: the same edits, without and with a nonce.

    ``once``  the answer's build depends on nothing but its files. Then an image with what an edited source says was made of it, and
    there is no need to build the app as it was before: the edited one is as good a start for all other edits.

    Submissions share layers, so what is cached says nothing by itself: another student may have built the very same. Verdicts are
    therefore of edits that nobody has built before. What is built to be run may come from others.
    """

    def __init__(
        self, engine: GradingEngine, assignment: Assignment, workspace: Workspace, edits: Edits, fresh: Edits, clock: Clock, *, once: bool
    ) -> None:
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
        self._reader = LayerReader(engine, runtime_dependencies(manifest))
        lock = json.loads((directory / LOCK).read_text(encoding="utf-8"))
        self._needless = needless(manifest, lock, [path.name for path in directory.glob("src/*.ts")])
        self._checks = {check.id for check in assignment.checks}

    def observe(self) -> Observation:
        """Look. Raises ``InfrastructureError`` and what the engine raises for trouble of its own."""
        try:
            # A base that an answer names and nobody can have is its own fault, unless the prepared one has gone, too.
            with self._engine.store.in_use():
                self._engine.bases.resolve(self._assignment.base, offline=True)
            return self._observe()
        finally:
            # The layers stay cached for others; the name is nobody's any more.
            with contextlib.suppress(LayerlabError):
                self._engine.untag(self._options.tag or "", force=True)

    def _observe(self) -> Observation:
        edits = self._edits
        source, answer = Built(), Answer()
        if self._once:
            with self._workspace.edited(edits.source):
                source, answer = self._source()
                compiled = self._reader.compiled_with(edits.words, source.steps, source.roles)
                if compiled or answer.says(edits.answer):
                    return self._after_first(source, source, answer, compiled=compiled)
        if source.ended:
            return Observation(first=source)
        first = self._build()
        if not first.image:
            return Observation(first=first)
        seen = self._after_first(first, source, answer, compiled=False)
        if self._once:
            return seen
        with self._workspace.edited(edits.source):
            source, answer = self._source()
        return msgspec.structs.replace(seen, source=source, answer=answer)

    def _source(self) -> tuple[Built, Answer]:
        source = self._build()
        return source, self._serve() if source.image else Answer(problem="the build with the edited source failed")

    def _after_first(self, first: Built, source: Built, answer: Answer, *, compiled: bool) -> Observation:
        """What is seen of the first build's image, and what builds do after it."""
        view = self._engine.view(self._options.tag or "")
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
        return Observation(
            first=first,
            again=again,
            touched=touched,
            **seen,
            source=source,
            answer=answer,
            compiled=compiled,
            expected=self._edits.answer,
            base=base,
            wasted=view.wasted,
            contents=contents,
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
            what_to_do = advice_before(error.kind, error.message)
            problem = self._fault(error.kind, error.message, error.line)
            return Built(problem=f"{problem}. {what_to_do}" if what_to_do else problem)
        if record.failure is not None:
            failure = record.failure
            log = next((step.log for step in record.steps if step.status == "failed"), "")
            problem = f"{self._fault(failure.kind, failure.message, failure.line)}. {advice(failure, log)}".rstrip()
            return Built(steps=record.steps, problem=problem, log=log, ended=_KILLED in failure.message)
        return self._built(record)

    def _built(self, record: BuildRecord) -> Built:
        assert record.image is not None
        return Built(steps=record.steps, roles=self._reader.roles(record), image=record.image, stand_in=record.stand_in)

    def _fault(self, kind: str, message: str, line: int | None) -> str:
        if kind == "store" and message.startswith(DISK_FULL) and self._engine.has_room:
            # The engine goes by the words of the command, which anybody can print to have no score instead of a bad one.
            message = f"it says that there is no room, but the disk was not full: {message.removeprefix(DISK_FULL)}"
        # Of the names of images in a build, only those in the Dockerfile are not ours.
        elif kind not in STUDENTS_FAULTS and not (kind == "usage" and message.startswith(INVALID_REFERENCE)):
            raise InfrastructureError(f"{kind}: {message}")
        return f"Dockerfile line {line}: {message}" if line else message

    def _after(self, edit: Edit, matter: frozenset[int] | None) -> tuple[StepRecord, ...]:
        with self._workspace.edited(edit):
            return self._verdicts(matter)

    def _verdicts(self, matter: frozenset[int] | None = None) -> tuple[StepRecord, ...]:
        """What a build would do now. Only where a plan cannot tell without running a step is it built. ``matter``: the steps that it
        must tell of; without it, all."""
        try:
            steps = self._engine.plan(self._options).steps
        except LayerlabError as error:
            self._fault(error.kind, error.message, error.line)
            return ()
        if any(step.status == "undecided" and (matter is None or step.number in matter) for step in steps):
            return self._build().steps
        return steps

    def _serve(self) -> Answer:
        seconds = min(self._assignment.limits.answer_seconds, self._clock.left())
        return ask(self._engine, self._options.tag or "", port=self._edits.port, path="/", seconds=seconds)

    def _contents(self, view: ImageView, below: int) -> Contents:
        tag = self._options.tag or ""
        user = self._engine.image_config(tag)["config"].get("User", "")
        return contents_of(self._engine.layer_entries(tag), view.origin, below, user, self._needless)

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


def _label(path: str) -> str:
    return hashlib.sha256(path.encode()).hexdigest()[:16]


def _planned(edits: Edits) -> dict[str, Edit]:
    return {
        "edited": edits.source,
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
