"""The least that any order of a level's lines costs, proven: every set of lines that can come first is looked at.

What a line costs after an edit is decided by the keys of what stands above it, so two beginnings of a Dockerfile that hold the same lines,
leave the same files and are rebuilt after the same edits have the same ends; of such, the cheapest is kept. Nothing else is left out.
``scoring``, which plays builds by the solver, must find the same for the winner, or ``prove`` raises.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

import msgspec

from layerlab.context import select
from layerlab.errors import ContextError, DockerfileError, UsageError
from layerlab.golf.level import SETTLED, Level, Line
from layerlab.golf.scoring import Course, stages_of
from layerlab.golf.simulation import Broken, Context, Tree, copied, graph_of, ran
from layerlab.solver.graph import Graph
from layerlab.solver.keys import content_sources
from layerlab.solver.ops import CopyOp, MkdirOp, Op, RunOp, Source
from layerlab.solver.plan import counts, selection_of

# Lines that the steps behind them are made of, so their order counts beyond what they make themselves.
_CONFIGURING: Final = frozenset({"ARG", "ENV", "USER", "WORKDIR"})

# A minute of looking.
_MOST: Final = 30_000


class Par(NamedTuple):
    """``seconds``: the least. ``lines``: an order that costs it. ``looked``: how many beginnings were looked at."""

    seconds: float
    lines: tuple[str, ...]
    looked: int


class _Beginning(NamedTuple):
    """A stage as far as it is laid, and the stages before it, once without an edit and once after each.

    ``placed``: lines of this stage. ``order``: of those that configure. ``trees`` and ``changed``: of this stage, for each build;
    ``done``: the same and ``order``, of the stages before.
    """

    placed: frozenset[str]
    order: tuple[str, ...]
    trees: tuple[int, ...]
    changed: tuple[bool, ...]
    done: tuple[tuple[tuple[str, ...], tuple[int, ...], tuple[bool, ...]], ...]


def prove(level: Level) -> Par:
    """Find par.

    Raises ``AssertionError`` where the two ways of playing differ, ``Broken`` where the level's own lines do not build, and ``UsageError``
    for more lines in a stage than can be gone through.
    """
    return _Search(level).run()


def with_par(level: Level) -> Level:
    """The level, with its par found where it says none. Raises what ``prove`` raises."""
    return level if level.par is not None else msgspec.structs.replace(level, par=prove(level).seconds)


class _Search:
    def __init__(self, level: Level) -> None:
        self._level = level
        self._course = Course(level)
        self._contexts = [Context(level), *(Context(level, edit) for edit in level.edits)]
        self._weights = [edit.weight for edit in level.edits]
        self._trees: list[Tree] = []
        self._numbers: dict[frozenset[tuple[str, str]], int] = {}
        self._ops: dict[tuple[object, ...], tuple[Op | None, Graph] | None] = {}
        self._steps: dict[tuple[object, ...], tuple[tuple[str, ...], int] | None] = {}
        stages = stages_of(level)
        count = max(stages.values()) + 1
        self._stages = [[line for text, line in level.by_text.items() if stages[text] == number] for number in range(count)]

    def run(self) -> Par:
        empty = tuple(self._number(Tree({})) for _ in self._contexts)
        none = tuple(False for _ in self._contexts)
        states: dict[_Beginning, tuple[float, tuple[str, ...]]] = {_Beginning(frozenset(), (), empty, none, ()): (0.0, ())}
        looked = 0
        for number in range(len(self._stages)):
            begun: dict[_Beginning, tuple[float, tuple[str, ...]]] = {}
            for state, (cost, lines) in states.items():
                fresh = self._begin(number, state)
                if fresh not in begun or begun[fresh][0] > cost:
                    begun[fresh] = (cost, (*lines, self._stages[number][0].text))
            ended: dict[_Beginning, tuple[float, tuple[str, ...]]] = {}
            layer = begun
            while layer:
                looked += len(layer)
                if looked > _MOST:
                    raise UsageError(
                        f"the level {self._level.title!r} has too many orders to find its par: more than {_MOST} beginnings",
                        remedy="Give it fewer lines in a stage, or say its par.",
                    )
                further: dict[_Beginning, tuple[float, tuple[str, ...]]] = {}
                for state, (cost, lines) in layer.items():
                    if self._is_whole(number, state) and (state not in ended or ended[state][0] > cost):
                        ended[state] = (cost, (*lines, *(line.text for line in self._stages[number] if line.keyword in SETTLED)))
                    for line, after, more in self._moves(number, state):
                        if after not in further or further[after][0] > cost + more:
                            further[after] = (cost + more, (*lines, line.text))
                layer = further
            states = ended
        for cost, lines in sorted(states.values()):
            score = self._course.rate(lines)
            if score.broken:
                continue
            assert score.total is not None
            assert abs(score.total - cost) < 1e-6, (score.total, cost, lines)
            return Par(cost, lines, looked)
        raise Broken("no order of these lines builds what the level wants")

    def _begin(self, number: int, state: _Beginning) -> _Beginning:
        """The next stage, before its first line."""
        done = state.done if number == 0 else (*state.done, (state.order, state.trees, state.changed))
        graph = self._graph(number, (), done, 0)
        base = graph.stage(graph.target).base_stage
        if base is not None:
            return _Beginning(frozenset(), (), done[base][1], done[base][2], done)
        empty = tuple(self._number(Tree({})) for _ in self._contexts)
        return _Beginning(frozenset(), (), empty, tuple(False for _ in self._contexts), done)

    def _is_whole(self, number: int, state: _Beginning) -> bool:
        things = {line.does for line in self._stages[number] if line.does and line.text in state.placed}
        movable = (line for line in self._stages[number] if line.keyword not in SETTLED | {"FROM"})
        return all(line.spare or line.text in state.placed or (line.does and line.does in things) for line in movable)

    def _moves(self, number: int, state: _Beginning) -> Iterator[tuple[Line, _Beginning, float]]:
        for line in self._stages[number]:
            if line.keyword in SETTLED | {"FROM"} or line.text in state.placed:
                continue
            order = (*state.order, line.text) if line.keyword in _CONFIGURING else state.order
            placed, trees, changed, cost = state.placed | {line.text}, [], [], 0.0
            first: tuple[Op | None, tuple[str, ...]] | None = None
            for build, context in enumerate(self._contexts):
                found = self._op(number, line, state, build)
                if found is None:
                    break
                op, graph = found
                if op is None:
                    trees.append(state.trees[build])
                    changed.append(state.changed[build])
                    continue
                stepped = self._step(line, op, graph, state, build, context)
                if stepped is None:
                    break
                digests, tree = stepped
                if first is None:
                    first = (op, digests)
                own = first != (op, digests)
                runs = own if isinstance(op, CopyOp) and op.link else own or state.changed[build]
                if build and runs:
                    cost += self._weights[build - 1] * line.seconds
                trees.append(tree)
                changed.append(own or state.changed[build])
            if len(trees) == len(self._contexts):
                yield line, _Beginning(placed, order, tuple(trees), tuple(changed), state.done), cost

    def _op(self, number: int, line: Line, state: _Beginning, build: int) -> tuple[Op | None, Graph] | None:
        """What a line does there, with the graph that says so; ``None`` where it is an error."""
        orders = tuple(order for order, _, _ in state.done)
        key = (number, line.text, state.order, orders, tuple(sorted(self._contexts[build].arguments)))
        if key not in self._ops:
            try:
                graph = self._graph(number, (*state.order, line.text), state.done, build)
            except DockerfileError:
                self._ops[key] = None
            else:
                op = graph.stage(graph.target).steps[-1].op
                if isinstance(op, RunOp) and op.mounts_parent:
                    raise Broken(f"{line.text}: par cannot be proven where a command mounts what it stands on")
                self._ops[key] = op, graph
        return self._ops[key]

    def _graph(
        self, number: int, lines: tuple[str, ...], done: tuple[tuple[tuple[str, ...], tuple[int, ...], tuple[bool, ...]], ...], build: int
    ) -> Graph:
        """The stage with these lines alone, on stages with the lines that configure them."""
        text: list[str] = []
        for stage, (order, _, _) in zip(self._stages, done, strict=False):
            text += [stage[0].text, *order]
        return graph_of([*text, self._stages[number][0].text, *lines], self._contexts[build].arguments)

    def _step(
        self, line: Line, op: Op, graph: Graph, state: _Beginning, build: int, context: Context
    ) -> tuple[tuple[str, ...], int] | None:
        """The digests of what a step reads, and the tree that it leaves; ``None`` where it fails."""
        # The trees that it can read from.
        trees = tuple(found[build] for _, found, _ in state.done)
        key = (line.text, op, state.trees[build], trees, build)
        if key not in self._steps:
            self._steps[key] = self._stepped(line, op, graph, self._trees[state.trees[build]], trees, context)
        return self._steps[key]

    def _stepped(
        self, line: Line, op: Op, graph: Graph, tree: Tree, trees: tuple[int, ...], context: Context
    ) -> tuple[tuple[str, ...], int] | None:
        def place(source: Source) -> Tree:
            return context.tree if source.kind == "context" else self._trees[trees[source.stage]]

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
                after = ran(line, op, tree, place, graph.like)
        except (ContextError, Broken):
            return None
        return tuple(digests), self._number(after)

    def _number(self, tree: Tree) -> int:
        known = frozenset(tree.names.items())
        if known not in self._numbers:
            self._numbers[known] = len(self._trees)
            self._trees.append(tree)
        return self._numbers[known]
