"""The least that any order of a level's lines costs, proven: every set of lines that can come first is looked at.

What a line costs after an edit is decided by the keys of what stands above it, so two beginnings of a stage that hold the same lines,
leave the same files and are rebuilt after the same edits have the same ends; of such, the cheapest is kept. Nothing else is left out.
``scoring``, which plays builds by the solver, must find the same for the winner.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

import msgspec

from layerlab.context import select
from layerlab.errors import ContextError, LayerlabError, UsageError
from layerlab.golf.level import Level, Line
from layerlab.golf.scoring import Course, same
from layerlab.golf.simulation import Broken, Context, Tree, copied, graph_of, homes, ran, source_tree
from layerlab.solver.graph import Graph
from layerlab.solver.keys import content_sources
from layerlab.solver.ops import CopyOp, MkdirOp, Op, RunOp, Source
from layerlab.solver.plan import counts, selection_of

# Lines that the steps below them are made of, so their order counts beyond what they make themselves.
_CONFIGURING: Final = frozenset({"ARG", "ENV", "USER", "WORKDIR"})
# A minute of looking.
_MOST: Final = 30_000


class Par(NamedTuple):
    """``seconds``: the least. ``lines``: an order that costs it. ``looked``: how many beginnings were looked at."""

    seconds: float
    lines: tuple[str, ...]
    looked: int


class _Stage(NamedTuple):
    """A stage that is laid, once without an edit and once after each: ``trees`` and ``changed`` are of these builds.

    ``order``: of the lines that configure. ``reads``: the stages that it stands on or reads from.
    """

    order: tuple[str, ...]
    trees: tuple[int, ...]
    changed: tuple[bool, ...]
    reads: frozenset[int]


class _Beginning(NamedTuple):
    """A stage as far as it is laid, and those before it. ``placed``: its lines."""

    placed: frozenset[str]
    stage: _Stage
    done: tuple[_Stage, ...]


class _Way(NamedTuple):
    """The cheapest way to a beginning: seconds of each stage, and the lines."""

    costs: tuple[float, ...]
    lines: tuple[str, ...]


def prove(level: Level) -> Par:
    """Find par. Raises ``UsageError`` for a level whose own lines do not build, with more lines than can be gone through, or of a kind that
    nothing can be proven of."""
    return _Search(level).run()


def proven(level: Level) -> Level:
    """The level with its par. Raises what ``prove`` raises, and ``UsageError`` for a level that says another par than it has."""
    found = prove(level).seconds
    if level.par is not None and not same(found, level.par):
        raise UsageError(
            f"the level {level.title!r} says that its par is {level.par:g}; it is {found:g}", remedy="Correct it, or leave it out."
        )
    return msgspec.structs.replace(level, par=found)


class _Search:
    def __init__(self, level: Level) -> None:
        self._level = level
        self._course = Course(level)
        self._homes = homes(level)
        self._contexts = [Context(level), *(Context(level, edit) for edit in level.edits)]
        self._weights = [edit.weight for edit in level.edits]
        self._trees: list[Tree] = []
        self._numbers: dict[frozenset[tuple[str, str]], int] = {}
        self._ops: dict[tuple[object, ...], tuple[Op | None, Graph] | None] = {}
        self._steps: dict[tuple[object, ...], tuple[tuple[str, ...], int] | None] = {}
        # The operations of each line, to see whether two stages have one and the same.
        self._meant: dict[Op, set[str]] = {}
        count = max(level.stages.values()) + 1
        self._stages = [[line for text, line in level.by_text.items() if level.stages[text] == number] for number in range(count)]

    def run(self) -> Par:
        nothing = _Stage((), tuple(self._number(Tree({})) for _ in self._contexts), tuple(False for _ in self._contexts), frozenset())
        states = {_Beginning(frozenset(), nothing, ()): _Way((), ())}
        looked = 0
        for number in range(len(self._stages)):
            layer: dict[_Beginning, _Way] = {}
            for state, way in states.items():
                begun = self._begin(number, state, nothing)
                _keep(layer, begun, _Way((*way.costs, 0.0), (*way.lines, self._stages[number][0].text)))
            states = {}
            while layer:
                looked += len(layer)
                if looked > _MOST:
                    raise self._unproven(f"it has too many orders: more than {_MOST} beginnings", "Give it fewer lines in a stage.")
                layer = self._further(number, layer, states)
        return self._best(states, looked)

    def _further(self, number: int, layer: dict[_Beginning, _Way], ended: dict[_Beginning, _Way]) -> dict[_Beginning, _Way]:
        """All beginnings with one line more; those that are whole are ends, too."""
        further: dict[_Beginning, _Way] = {}
        for state, (costs, lines) in layer.items():
            if self._is_whole(number, state):
                settled = (line.text for line in self._stages[number] if line.is_settled)
                _keep(ended, state, _Way(costs, (*lines, *settled)))
            for line, after, more in self._moves(number, state):
                _keep(further, after, _Way((*costs[:-1], costs[-1] + more), (*lines, line.text)))
        return further

    def _best(self, ends: dict[_Beginning, _Way], looked: int) -> Par:
        """The cheapest end that builds what the level wants. Only stages that the last one needs are built."""
        found = sorted((sum(way.costs[number] for number in _needed(state)), way.lines) for state, way in ends.items())
        if any(len({self._level.stages[text] for text in texts}) > 1 for texts in self._meant.values()):
            raise self._unproven(
                "two of its stages can have the same step, which a build runs once", "Say it in another way in one of them."
            )
        for cost, lines in found:
            score = self._course.rate(lines)
            if score.total is None:
                continue
            if not same(score.total, cost):
                raise self._unproven(f"its builds take {score.total:g} s where {cost:g} s were expected", "Please report it.")
            return Par(score.total, lines, looked)
        raise self._unproven("no order of its lines builds what it needs", "Look at what they read and make.")

    def _unproven(self, why: str, remedy: str) -> UsageError:
        return UsageError(f"the par of the level {self._level.title!r} cannot be found: {why}", remedy=remedy)

    def _begin(self, number: int, state: _Beginning, nothing: _Stage) -> _Beginning:
        """The next stage, before its first line."""
        done = state.done if number == 0 else (*state.done, state.stage)
        graph = self._graph(number, (), done, 0)
        base = graph.stage(graph.target).base_stage
        stage = nothing if base is None else _Stage((), done[base].trees, done[base].changed, frozenset({base}))
        return _Beginning(frozenset(), stage, done)

    def _is_whole(self, number: int, state: _Beginning) -> bool:
        things = {line.does for line in self._stages[number] if line.does and line.text in state.placed}
        movable = (line for line in self._stages[number] if not line.is_settled and line.keyword != "FROM")
        return all(line.spare or line.text in state.placed or (line.does and line.does in things) for line in movable)

    def _moves(self, number: int, state: _Beginning) -> Iterator[tuple[Line, _Beginning, float]]:
        for line in self._stages[number]:
            if line.is_settled or line.keyword == "FROM" or line.text in state.placed:
                continue
            laid = self._laid(number, line, state)
            if laid is not None:
                stage, cost = laid
                yield line, _Beginning(state.placed | {line.text}, stage, state.done), cost

    def _laid(self, number: int, line: Line, state: _Beginning) -> tuple[_Stage, float] | None:
        """The stage with one line more, and what that costs; ``None`` where it fails."""
        trees, changed, cost, reads = [], [], 0.0, state.stage.reads
        first: tuple[Op, tuple[str, ...]] | None = None
        for build, context in enumerate(self._contexts):
            found = self._op(number, line, state, build)
            if found is None:
                return None
            op, graph = found
            if op is None:
                trees.append(state.stage.trees[build])
                changed.append(state.stage.changed[build])
                continue
            stepped = self._step(line, op, graph, state, build, context)
            if stepped is None:
                return None
            digests, tree = stepped
            first = first or (op, digests)
            own = first != (op, digests)
            if build and (own or state.stage.changed[build]):
                cost += self._weights[build - 1] * line.seconds
            trees.append(tree)
            changed.append(own or state.stage.changed[build])
            reads |= {source.stage for source in content_sources(op) if source.kind == "stage"}
        order = (*state.stage.order, line.text) if line.keyword in _CONFIGURING or "$" in line.text else state.stage.order
        return _Stage(order, tuple(trees), tuple(changed), reads), cost

    def _op(self, number: int, line: Line, state: _Beginning, build: int) -> tuple[Op | None, Graph] | None:
        """What a line does there, with the graph that says so; ``None`` where it is an error."""
        key = (number, line.text, state.stage.order, tuple(stage.order for stage in state.done), *sorted(self._contexts[build].arguments))
        if key not in self._ops:
            try:
                graph = self._graph(number, (*state.stage.order, line.text), state.done, build)
            except LayerlabError:
                self._ops[key] = None
            else:
                op = graph.stage(graph.target).steps[-1].op
                if isinstance(op, RunOp) and op.mounts_parent:
                    raise self._unproven(f"{line.text} mounts what it stands on", "Mount from another stage.")
                if op is not None:
                    self._meant.setdefault(op, set()).add(line.text)
                self._ops[key] = op, graph
        return self._ops[key]

    def _graph(self, number: int, lines: tuple[str, ...], done: tuple[_Stage, ...], build: int) -> Graph:
        """The stage with these lines alone, on stages with the lines that configure them."""
        text: list[str] = []
        for stage, laid in zip(self._stages, done, strict=False):
            text += [stage[0].text, *laid.order]
        return graph_of([*text, self._stages[number][0].text, *lines], self._contexts[build].arguments)

    def _step(
        self, line: Line, op: Op, graph: Graph, state: _Beginning, build: int, context: Context
    ) -> tuple[tuple[str, ...], int] | None:
        """The digests of what a step reads, and the tree that it leaves; ``None`` where it fails."""
        # The trees that it can read from.
        trees = tuple(stage.trees[build] for stage in state.done)
        key = (line.text, op, state.stage.trees[build], trees, build)
        if key not in self._steps:
            self._steps[key] = self._stepped(line, op, graph, self._trees[state.stage.trees[build]], trees, context)
        return self._steps[key]

    def _stepped(
        self, line: Line, op: Op, graph: Graph, tree: Tree, trees: tuple[int, ...], context: Context
    ) -> tuple[tuple[str, ...], int] | None:
        def place(source: Source) -> Tree:
            return source_tree(source, context, lambda stage: self._trees[trees[stage]])

        try:
            digests = []
            for source in content_sources(op):
                found = select(place(source).rows(), selection_of(source, op, graph.like))
                if counts(source, op):
                    digests.append(found.digest)
            if isinstance(op, MkdirOp):
                after = tree.with_folder(op.path)
            elif isinstance(op, CopyOp):
                after = copied(op, tree, place, graph.like)
            else:
                after = ran(line, op, tree, place, graph.like, self._homes.get(line.text))
        except (ContextError, Broken):
            return None
        return tuple(digests), self._number(after)

    def _number(self, tree: Tree) -> int:
        known = frozenset(tree.names.items())
        if known not in self._numbers:
            self._numbers[known] = len(self._trees)
            self._trees.append(tree)
        return self._numbers[known]


def _keep(ways: dict[_Beginning, _Way], state: _Beginning, way: _Way) -> None:
    """Keep the cheaper way. Of the stages before, the cost is one and the same: their own beginnings are part of the state."""
    if state not in ways or sum(ways[state].costs) > sum(way.costs):
        ways[state] = way


def _needed(state: _Beginning) -> frozenset[int]:
    """The numbers of the stages that the last one needs, itself among them."""
    stages = (*state.done, state.stage)
    found, pending = set(), [len(stages) - 1]
    while pending:
        number = pending.pop()
        if number not in found:
            found.add(number)
            pending += stages[number].reads
    return frozenset(found)
