"""Grading's eyes: builds one answer, edits the app, and writes down what the engine's records say. No points are given here."""

from __future__ import annotations

import contextlib
import fnmatch
import hashlib
import json
from collections.abc import Iterator
from typing import Literal

import msgspec

from autograder.assignment import Assignment
from autograder.edits import MANIFEST, Edit, Edits
from autograder.roles import LayerReader, Role, StepRoles, runtime_dependencies
from autograder.sandbox import GradingEngine
from autograder.serving import Answer, ask
from autograder.timing import Clock, TooSlow
from autograder.workspace import Workspace
from layerlab.engines.base import BuildOptions
from layerlab.errors import LayerlabError
from layerlab.model import BuildRecord, StepRecord

# What a student's Dockerfile can bring about. All else is the grader's own trouble.
STUDENTS_FAULTS = frozenset({"dockerfile", "context", "missing-source", "step-failed", "unsupported", "base-image"})


class InfrastructureError(Exception):
    """The grader could not do its work; the answer is not to blame. The message says what happened."""


class Built(msgspec.Struct, frozen=True, kw_only=True):
    """One build. ``steps``: as in its record; ``problem``: why there is no image, empty where there is one; ``log``: of the failed step."""

    steps: tuple[StepRecord, ...] = ()
    roles: tuple[StepRoles, ...] = ()
    image: str = ""
    problem: str = ""
    log: str = ""
    stand_in: tuple[str, ...] = ()


class Observation(msgspec.Struct, frozen=True, kw_only=True):
    """All that was seen of one answer.

    ``first``    the build of the app as it is. The others are what a build does after it: ``again`` without a change, ``touched``
                 with other times, ``readme``, ``modules``, ``dependency`` and ``schema`` with that edit alone.
                 ``edited`` is the same for the source edit.
    ``source``   the build with the source edit; ``answer`` is what its image says, ``expected`` what it should.
    ``base``     the name of the base image of the final stage; empty where the image does not stand on one. ``wasted`` in bytes.
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
    expected: str = ""
    base: str = ""
    wasted: int = 0

    def role(self, role: Role) -> tuple[int, ...]:
        """Numbers of the steps with this role in the first build."""
        return tuple(item.number for item in self.first.roles if role in item.roles)


class Observer:
    """Looks at one answer. ``workspace``: the app with the answer in it. ``edits`` and ``fresh``: the same edits, without and with a nonce.

    Submissions share layers, so what is cached says nothing by itself: another student may have built the very same. Verdicts are
    therefore of edits that nobody has built before. What is built to be run may come from others.
    """

    def __init__(
        self, engine: GradingEngine, assignment: Assignment, workspace: Workspace, edits: Edits, fresh: Edits, clock: Clock
    ) -> None:
        self._engine = engine
        self._fresh = fresh
        self._assignment = assignment
        self._workspace = workspace
        self._edits = edits
        self._clock = clock
        directory = workspace.directory
        self._options = BuildOptions(context=str(directory), tag=f"grading:{_label(str(directory))}", offline=True)
        manifest = json.loads((directory / MANIFEST).read_text(encoding="utf-8"))
        self._reader = LayerReader(engine, runtime_dependencies(manifest))

    def observe(self) -> Observation:
        """Look. Raises ``InfrastructureError`` and what the engine raises for trouble of its own."""
        try:
            # A base that an answer names and nobody can have is its own fault, unless the prepared one has gone, too.
            self._engine.bases.resolve(self._assignment.base, offline=True)
            return self._observe()
        finally:
            # The layers stay cached for others; the name is nobody's any more.
            with contextlib.suppress(LayerlabError):
                self._engine.untag(self._options.tag or "", force=True)

    def _observe(self) -> Observation:
        first = self._build()
        if not first.image:
            return Observation(first=first)
        edits = self._edits
        wasted = self._engine.view(self._options.tag or "").wasted
        base = self._base(first)
        again = self._verdicts()
        self._workspace.touch()
        touched = self._verdicts()
        seen = {name: self._after(edit) for name, edit in _planned(self._fresh).items()}
        with self._workspace.edited(edits.source):
            source = self._build()
            answer = self._serve() if source.image else Answer(problem="the build with the edited source failed")
        return Observation(
            first=first,
            again=again,
            touched=touched,
            **seen,
            source=source,
            answer=answer,
            expected=edits.answer,
            base=base,
            wasted=wasted,
        )

    def _build(self) -> Built:
        try:
            record = self._clock.build(self._engine, self._options)
        except TooSlow as slow:
            what = slow.instruction or "the build"
            return Built(problem=f"{what} was stopped: it took more than the {slow.seconds:g} s that are allowed")
        except LayerlabError as error:
            return Built(problem=self._fault(error.kind, error.message, error.line))
        if record.failure is not None:
            failure = record.failure
            problem = self._fault(failure.kind, failure.message, failure.line)
            problem += f" {failure.remedy}" if failure.remedy else ""
            log = next((step.log for step in record.steps if step.status == "failed"), "")
            return Built(steps=record.steps, problem=problem, log=log)
        return self._built(record)

    def _built(self, record: BuildRecord) -> Built:
        assert record.image is not None
        return Built(steps=record.steps, roles=self._reader.roles(record), image=record.image, stand_in=record.stand_in)

    def _fault(self, kind: str, message: str, line: int | None) -> str:
        if kind not in STUDENTS_FAULTS:
            raise InfrastructureError(f"{kind}: {message}")
        return f"Dockerfile line {line}: {message}" if line else message

    def _after(self, edit: Edit) -> tuple[StepRecord, ...]:
        with self._workspace.edited(edit):
            return self._verdicts()

    def _verdicts(self) -> tuple[StepRecord, ...]:
        """What a build would do now. Only where a plan cannot tell without running a step is it built."""
        try:
            steps = self._engine.plan(self._options).steps
        except LayerlabError as error:
            self._fault(error.kind, error.message, error.line)
            return ()
        if any(step.status == "undecided" for step in steps):
            return self._build().steps
        return steps

    def _serve(self) -> Answer:
        seconds = min(self._assignment.limits.answer_seconds, self._clock.left())
        return ask(self._engine, self._options.tag or "", port=self._edits.port, path="/", seconds=seconds)

    def _base(self, built: Built) -> str:
        """The allowed base whose layers the image begins with."""
        config = self._engine.image_config(self._options.tag or "")
        layers = tuple(config["rootfs"]["diff_ids"])
        for name in _bases_of(built.steps):
            short = name.removeprefix("docker.io/").removeprefix("library/")
            if not any(fnmatch.fnmatchcase(short, pattern) for pattern in self._assignment.bases):
                continue
            with contextlib.suppress(LayerlabError):
                below = self._engine.bases.resolve(name, offline=True).diff_ids
                if layers[: len(below)] == below:
                    return name
        return ""


def _label(path: str) -> str:
    return hashlib.sha256(path.encode()).hexdigest()[:16]


def _planned(edits: Edits) -> dict[Literal["readme", "modules", "dependency", "schema", "edited"], Edit]:
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
