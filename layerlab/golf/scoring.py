"""What an order of lines costs: the seconds that a level's edits make it rebuild."""

from __future__ import annotations

import math
from collections import Counter
from typing import Final

import msgspec

from layerlab.dockerfile.lines import LineReader
from layerlab.errors import DockerfileError, LayerlabError, UsageError
from layerlab.golf.level import Edit, Level, Line, even
from layerlab.golf.simulation import Cache, Context, Outcome, homes, play
from layerlab.model import Cause
from layerlab.solver.explain import Explainer, trace_of
from layerlab.solver.graph import Step
from layerlab.solver.ops import CopyOp

_FILE: Final = "Dockerfile"


class Rebuilt(msgspec.Struct, frozen=True, kw_only=True):
    """A step that an edit makes run again.

    ``line``: counted from 1. ``seconds``: what it takes once. ``in_vain``: it leaves what it left before the edit.
    """

    line: int
    seconds: float
    cause: Cause
    in_vain: bool


class EditCost(msgspec.Struct, frozen=True, kw_only=True):
    """One edit of a level. ``seconds``: of one rebuild after it."""

    title: str
    weight: int
    seconds: float
    rebuilt: tuple[Rebuilt, ...]


class Score(msgspec.Struct, frozen=True, kw_only=True):
    """A round.

    ``par``     the level's, if it says one. ``total``: in seconds; ``None`` where ``broken`` says why nothing counts.
    ``line``    where, counted from 1, if anywhere.
    """

    par: float | None
    total: float | None = None
    edits: tuple[EditCost, ...] = ()
    broken: str = ""
    line: int | None = None

    @property
    def at_par(self) -> bool:
        """Whether no order costs less."""
        return self.total is not None and self.par is not None and same(self.total, min(self.total, self.par))


class Course:
    """One level, ready to be played: what its image must be like is known.

    Raises ``UsageError`` where the level's own lines do not build, or do not make what it needs.
    """

    def __init__(self, level: Level) -> None:
        self.level = level
        self._contexts = [Context(level), *(Context(level, edit) for edit in level.edits)]
        try:
            self._homes = homes(level)
            self._wanted = self._outcomes(level.start)[0]
        except LayerlabError as error:
            raise _unplayable(level, error.describe()) from error
        for path in level.needs:
            if not self._wanted[0].tree.below(path):
                raise _unplayable(level, f"its own lines do not make {path}, which it needs")

    def rate(self, lines: tuple[str, ...]) -> Score:
        """The score of a Dockerfile, an instruction for each item. Comments and empty lines are left out before."""
        level = self.level
        problem = self._misplaced(lines)
        # As the level has them: what is written between words is no other line.
        lines = tuple(level.by_text[even(line)].text if even(line) in level.by_text else line for line in lines)
        if problem is not None:
            return Score(par=level.par, broken=problem[0], line=problem[1])
        try:
            outcomes, causes = self._outcomes(lines)
        except LayerlabError as error:
            return Score(par=level.par, broken=error.describe() if error.line is None else error.message, line=error.line)
        for wanted, found in zip(self._wanted, outcomes, strict=True):
            lacking = _difference(level, wanted, found)
            if lacking:
                return Score(par=level.par, broken=lacking)
        costs = [
            self._cost(edit, outcomes[0], outcome, lines, why) for edit, outcome, why in zip(level.edits, outcomes[1:], causes, strict=True)
        ]
        return Score(par=level.par, total=sum(cost.weight * cost.seconds for cost in costs), edits=tuple(costs))

    def _outcomes(self, lines: tuple[str, ...]) -> tuple[list[Outcome], list[dict[int, Cause]]]:
        """The first build, and that after each edit, each from what the first left."""
        cache = Cache()
        first = play(self.level, lines, self._contexts[0], cache, self._homes)
        trace = trace_of(first.graph, first.solution, _FILE)
        outcomes, causes = [first], []
        for context in self._contexts[1:]:
            after = play(self.level, lines, context, cache.copy(), self._homes)
            explainer = Explainer(after.graph, trace, _FILE)
            # The last solution has all steps as cached; what ran is known.
            ran = [decided for decided in after.solution.steps if decided.step.number in after.executed]
            causes.append({decided.step.number: explainer.cause(decided, after.solution) for decided in ran})
            outcomes.append(after)
        return outcomes, causes

    @staticmethod
    def _left(outcome: Outcome, step: Step, line: Line) -> list[object]:
        """What a step itself left: what a command makes, what was copied."""
        if isinstance(step.op, CopyOp):
            decided = outcome.solution.steps[step.number - 1]
            return [None if content is None else content.digest for content in decided.contents]
        tree = outcome.trees[step.number]
        return [tree.below(path) for path in line.makes]

    def _cost(self, edit: Edit, first: Outcome, outcome: Outcome, lines: tuple[str, ...], causes: dict[int, Cause]) -> EditCost:
        rebuilt = []
        for step in outcome.graph.steps:
            if step.number in outcome.executed:
                written = self.level.by_text[even(lines[step.line - 1])]
                left = self._left(outcome, step, written)
                in_vain = bool(left) and self._left(first, step, written) == left
                rebuilt.append(Rebuilt(line=step.line, seconds=written.seconds, cause=causes[step.number], in_vain=in_vain))
        return EditCost(title=edit.title, weight=edit.weight, seconds=sum(one.seconds for one in rebuilt), rebuilt=tuple(rebuilt))

    def _misplaced(self, lines: tuple[str, ...]) -> tuple[str, int | None] | None:
        """What is wrong with the lines as lines: a message, and which."""
        known = self.level.by_text
        stage = -1
        for number, line in enumerate(lines, 1):
            if even(line) not in known:
                return f"{line} is not one of this level's lines", number
            stage += known[even(line)].keyword == "FROM"
            if stage != self.level.stages[even(line)]:
                return f"{line} belongs to another stage" if known[even(line)].keyword != "FROM" else f"{line} is out of place", number
        counts = Counter(map(even, lines))
        for text, one in known.items():
            if counts[text] > 1:
                return f"{one.text} appears twice", max(index for index, other in enumerate(lines, 1) if even(other) == text)
            alternatives = [other for other in known.values() if one.does and other.does == one.does]
            if not counts[text] and not one.spare and not any(counts[even(other.text)] for other in alternatives):
                return f"{one.text} is missing", None
        return None


def same(one: float, other: float) -> bool:
    """Whether two sums of seconds are one and the same, but for the order in which they were added."""
    return math.isclose(one, other, rel_tol=1e-9, abs_tol=1e-9)


def instructions(text: str) -> tuple[str, ...]:
    """The instructions of a typed Dockerfile, as Docker joins their lines; what cannot be read so, line by line."""
    reader, found = LineReader(text, _FILE), []
    try:
        while (line := reader.next()) is not None:
            found.append(even(line.text))
    except DockerfileError:
        return tuple(even(line) for line in text.split("\n") if line.strip())
    return tuple(found)


def _unplayable(level: Level, why: str) -> UsageError:
    return UsageError(f"the level {level.title!r} cannot be played: {why}", remedy="docs/golf.md says what a level has.")


def _difference(level: Level, wanted: Outcome, found: Outcome) -> str:
    """What the image lacks of what the level's own Dockerfile makes, in a sentence; empty where nothing."""
    for path in level.needs:
        want, have = wanted.tree.below(path), found.tree.below(path)
        if want == have:
            continue
        if not have:
            return f"the image lacks {path}"
        missing = sorted(set(want) - set(have))
        return f"the image lacks {path}/{missing[0]}" if missing else f"{path} is built from other files than by the level's own Dockerfile"
    old, new = wanted.graph.stage(wanted.graph.target).config, found.graph.stage(found.graph.target).config
    if old != new:
        return "the image is configured in another way: WORKDIR, USER, ENV or CMD are not as they were"
    return ""
