"""Why a step missed the cache: in data and in one sentence.

A build leaves a trace: the operation, key and content of every step. A miss is explained by comparing a step with its counterpart in the
trace of the last build. Counterparts are found by aligning the two files, so an inserted line is an inserted line and not a
change of everything below it. A step that differs in nothing of its own names the step where the difference began.
"""

from __future__ import annotations

import stat
from typing import Final

from layerlab.context import Selected
from layerlab.context.tree import Row
from layerlab.model import MAX_PATHS, Cause, CauseKind
from layerlab.records import Record, replace
from layerlab.solver.graph import Graph, Step
from layerlab.solver.keys import base_key, content_sources, operation
from layerlab.solver.ops import CopyOp, MkdirOp, Op, RunOp, variables
from layerlab.solver.plan import Decided, Solution, counts

# More lines than a person writes; letters of an instruction that tell which it was; candidates that are looked at.
_MANY: Final = 500
_ALIKE: Final = 300
_NEAR: Final = 20
# What a step may differ in only because its base image has another configuration.
_INHERITED: Final = frozenset({"environment", "user", "workdir"})


class ContentTrace(Record, frozen=True, array_like=True):
    """What one source of a step read: its digest and every path below it."""

    digest: str
    rows: list[Row]


class StepTrace(Record, frozen=True, kw_only=True):
    """One step of a build, as far as an explanation needs it."""

    number: int
    stage: str
    keyword: str
    instruction: str
    line: int
    op: Op | None = None
    key: str | None = None
    contents: list[ContentTrace | None] = []
    failed: bool = False


class BuildTrace(Record, frozen=True, kw_only=True):
    """A build to compare with. ``bases``: key of each stage's base by stage label."""

    dockerfile: str
    steps: list[StepTrace]
    bases: dict[str, str]

    def keys(self) -> list[str | None]:
        """Keys of all steps, to see whether two builds were the same."""
        return [step.key for step in self.steps]


def trace_of(graph: Graph, solution: Solution, dockerfile: str, *, failed: int | None = None) -> BuildTrace:
    """The trace of a build that ended as ``solution``; ``failed`` is the number of a step that failed."""
    steps = []
    for decided in solution.steps:
        step = decided.step
        contents = [None if content is None else ContentTrace(content.digest, content.rows()) for content in decided.contents]
        steps.append(
            StepTrace(
                number=step.number,
                stage=graph.stage(step.stage).label,
                keyword=step.keyword,
                instruction=step.instruction,
                line=step.line,
                op=step.op,
                key=decided.key,
                contents=contents,
                failed=step.number == failed,
            )
        )
    return BuildTrace(dockerfile=dockerfile, steps=steps, bases=_bases(graph))


def _bases(graph: Graph) -> dict[str, str]:
    return {stage.label: base_key(stage.base_image.diff_ids) for stage in graph.stages if stage.base_image is not None}


class Explainer:
    """Explains the misses of one build against the trace of an earlier one (``None`` when there is none)."""

    def __init__(self, graph: Graph, before: BuildTrace | None, dockerfile: str) -> None:
        self.graph = graph
        self.before = before
        self.dockerfile = dockerfile
        self._partners, self._moved = _align(graph, before) if before is not None else ({}, {})
        self._origins: dict[int, int] = {}
        self._why: dict[int, str] = {}

    def cause(self, decided: Decided, solution: Solution) -> Cause:
        """The cause of a miss. Call it in the order of the steps."""
        step = decided.step
        if decided.ignored_cache:
            return self._own(decided, "no-cache", "the cache was switched off for this step")
        if self.before is None:
            return self._own(decided, "no-record", "this step has not been built here before")
        partner = self._partners.get(step.number)
        if partner is None:
            return self._own(decided, "instruction", f"line {step.line} is new: the last build had no such instruction here")
        difference = self._difference(decided, partner)
        if difference is not None and not (difference[0] in _INHERITED and self._base_changed(step)):
            kind, paths, text = difference
            return self._own(decided, kind, text, paths)
        if step.number in self._moved:
            return self._own(decided, "instruction", f"the instruction moved: it now follows {self._moved[step.number]!r}")
        return self._inherited(decided, partner, solution)

    def _own(self, decided: Decided, kind: CauseKind, text: str, paths: tuple[str, ...] = ()) -> Cause:
        number = decided.step.number
        self._origins[number] = number
        self._why[number] = text
        return Cause(kind=kind, origin=number, paths=paths[:MAX_PATHS], text=_sentence(text, paths))

    def _inherited(self, decided: Decided, partner: StepTrace, solution: Solution) -> Cause:
        origin = self._origin(decided, solution)
        step = decided.step
        if origin is not None:
            self._origins[step.number] = origin
            first = next(d for d in solution.steps if d.step.number == origin)
            if first.step.keyword == "FROM":
                text = f"{first.step.instruction} stands for other layers than in the last build"
                self._why[origin] = text
                kind: CauseKind = "base" if decided.parent == origin else "parent"
                return Cause(kind=kind, origin=origin, text=_sentence(text if kind == "base" else f"step {origin} changed: {text}"))
            why = self._why.get(origin) or self._reason_of_hit(first)
            text = f"nothing of its own changed; it builds on step {origin} ({first.step.instruction}), where {why}"
            return Cause(kind="parent", origin=origin, text=_sentence(text))
        if partner.failed:
            return self._own(decided, "failed-before", "it failed in the last build, and a failed step leaves nothing to reuse")
        if partner.key == decided.key and partner.key is not None:
            return self._own(decided, "pruned", "nothing changed, but its cached result was removed from the store")
        return self._own(decided, "no-record", "this combination of steps has not been built here before")

    def _base_changed(self, step: Step) -> bool:
        """Whether a step's stage stands on other base layers than in the last build: what its configuration brings is then no cause."""
        label = self.graph.stage(step.stage).label
        mine, theirs = _bases(self.graph).get(label), self.before.bases.get(label) if self.before is not None else None
        return mine is not None and theirs is not None and mine != theirs

    def _origin(self, decided: Decided, solution: Solution) -> int | None:
        """Number of the first step above ``decided`` that ran, or rather of its origin; where none ran, of the first that differs from
        the last build: its result came from an earlier one."""
        by_number = {d.step.number: d for d in solution.steps}
        chain: list[Decided] = []
        current = by_number.get(decided.parent) if decided.parent is not None else None
        while current is not None:
            chain.append(current)
            current = by_number.get(current.parent) if current.parent is not None else None
        different: int | None = None
        for above in reversed(chain):
            number = above.step.number
            if number in self._origins:
                return self._origins[number]
            if different is not None:
                continue
            if above.step.keyword == "FROM":
                label = self.graph.stage(above.step.stage).label
                assert self.before is not None
                mine = _bases(self.graph).get(label)
                theirs = self.before.bases.get(label)
                if mine is not None and theirs is not None and mine != theirs:
                    different = number
                continue
            partner = self._partners.get(number)
            if partner is None or partner.key != above.key:
                different = number
        return different

    def _reason_of_hit(self, decided: Decided) -> str:
        partner = self._partners.get(decided.step.number)
        difference = self._difference(decided, partner) if partner is not None else None
        if difference is not None:
            return difference[2] + " (its result came from an earlier build)"
        return "the result comes from an earlier build than the last one"

    # --- what differs -----------------------------------------------------------------------------------------------

    def _difference(self, decided: Decided, partner: StepTrace) -> tuple[CauseKind, tuple[str, ...], str] | None:
        op, old = decided.step.op, partner.op
        assert op is not None
        if old is not None and operation(op) != operation(old):
            found = _operation_difference(op, old, decided.step.instruction, partner)
            if found is not None:
                return found
        return _content_difference(op, decided.contents, partner.contents, self.graph)


def _operation_difference(op: Op, old: Op, instruction: str, partner: StepTrace) -> tuple[CauseKind, tuple[str, ...], str] | None:
    changed = f"the instruction changed from {partner.instruction!r}"
    if isinstance(op, RunOp) and isinstance(old, RunOp):
        if op.argv != old.argv or op.shebang != old.shebang:
            return "instruction", (), changed if partner.instruction != instruction else "the command or the SHELL before it changed"
        if [replace(m, source=None) for m in op.mounts] != [replace(m, source=None) for m in old.mounts]:
            return "instruction", (), changed
        if op.env != old.env:
            return _environment_difference(op, old)
        if op.user != old.user:
            return "user", (), f"USER is {op.user or 'root'!r} and was {old.user or 'root'!r}"
        if op.cwd != old.cwd:
            return "workdir", (), f"the working directory is {op.cwd!r} and was {old.cwd!r}"
        return "instruction", (), f"its network is {op.network!r} and was {old.network!r}" if op.network != old.network else changed
    if isinstance(op, MkdirOp) and isinstance(old, MkdirOp) and op.path == old.path:
        return "user", (), f"USER is {op.owner or 'root'!r} and was {old.owner or 'root'!r}, who owns the directory"
    if isinstance(op, CopyOp) and isinstance(old, CopyOp) and partner.instruction == instruction:
        if op.dest != old.dest:
            return "workdir", (), f"the working directory makes {op.dest!r} of the destination, which was {old.dest!r}"
        return "argument", (), "a variable in it has another value"
    return "instruction", (), changed


def _environment_difference(op: RunOp, old: RunOp) -> tuple[CauseKind, tuple[str, ...], str]:
    now = variables(op.env)
    then = variables(old.env)
    names = [name for name in (*now, *(name for name in then if name not in now)) if now.get(name) != then.get(name)]
    arguments = set(op.arguments) | set(old.arguments)
    if not names:
        return "environment", (), "the environment variables stand in another order, which counts"
    told = []
    for name in names:
        if name not in then:
            told.append(f"{name} is new")
        elif name not in now:
            told.append(f"{name} is gone")
        else:
            told.append(f"{name} is {_short(now[name])} and was {_short(then[name])}")
    if all(name in arguments for name in names):
        what = "build argument" + ("s" if len(names) > 1 else "")
        return "argument", (), f"{what}: {', '.join(told)} (a declared ARG counts for every RUN after it, used or not)"
    return "environment", (), f"environment: {', '.join(told)}"


def _content_difference(
    op: Op, contents: tuple[Selected | None, ...], before: list[ContentTrace | None], graph: Graph
) -> tuple[CauseKind, tuple[str, ...], str] | None:
    sources = content_sources(op)
    for position, (source, content) in enumerate(zip(sources, contents, strict=False)):
        old = before[position] if position < len(before) else None
        if content is None or not counts(source, op):
            continue
        if old is not None and old.digest == content.digest:
            continue
        rows = {row[0]: row for row in content.rows()}
        then = {row[0]: row for row in old.rows} if old is not None else {}
        added = [path for path in rows if path not in then]
        removed = [path for path in then if path not in rows]
        changed = [path for path, row in rows.items() if path in then and row[1:] != then[path][1:]]
        modes = [path for path in changed if rows[path][4:] == then[path][4:] and stat.S_IFMT(rows[path][1]) == stat.S_IFMT(then[path][1])]
        paths = _leaves(sorted({*added, *removed, *changed}), rows, then)
        text = _list(_leaves(sorted(added), rows, then), "new", "are new")
        parts = [text] if text else []
        if removed:
            parts.append(_list(_leaves(sorted(removed), rows, then), "gone", "are gone"))
        plain = [path for path in changed if path not in modes]
        if plain:
            parts.append(_list(sorted(plain), "changed", "changed"))
        if modes:
            parts.append("the mode or owner of " + _names(sorted(modes)) + " changed")
        told = "; ".join(parts) or "what it reads changed"
        if source.kind == "stage":
            label = graph.stage(source.stage).label
            return "source-stage", tuple(paths), f"stage {label} now gives other content: {told}"
        if source.kind == "image":
            return "source-stage", tuple(paths), f"the image {source.image} now gives other content: {told}"
        if changed and set(changed) == set(modes) and not added and not removed:
            return "mode", tuple(paths), told
        return "file", tuple(paths), told
    return None


def _leaves(paths: list[str], now: dict[str, Row], then: dict[str, Row]) -> list[str]:
    """Leave out a directory that only appears because something below it does."""
    kept = []
    for path in paths:
        row = now.get(path) or then[path]
        one_sided = (path in now) != (path in then)
        if stat.S_ISDIR(row[1]) and one_sided and any(other.startswith(path + "/") for other in paths):
            continue
        kept.append(path)
    return kept


def _names(paths: list[str]) -> str:
    shown = ", ".join(paths[:3])
    return f"{shown} and {len(paths) - 3} more" if len(paths) > 3 else shown


def _list(paths: list[str], one: str, many: str) -> str:
    if not paths:
        return ""
    if len(paths) == 1:
        return f"{paths[0]} {'is ' if one in ('new', 'gone') else ''}{one}"
    return f"{_names(paths)} {many}"


def _short(value: str) -> str:
    return repr(value if len(value) <= 40 else value[:37] + "...")


def _sentence(text: str, paths: tuple[str, ...] = ()) -> str:
    # A sentence may begin with the name of a file, which must stay as it is.
    named = any(text.startswith((f"{path} ", f"{path},")) for path in paths)
    return (text if named else text[:1].upper() + text[1:]) + "."


# --- alignment ------------------------------------------------------------------------------------------------------


def _align(graph: Graph, before: BuildTrace) -> tuple[dict[int, StepTrace], dict[int, str]]:
    """Counterparts by step number, found stage by stage; and for those that moved, the instruction that they now follow."""
    partners: dict[int, StepTrace] = {}
    moved: dict[int, str] = {}
    by_stage: dict[str, list[StepTrace]] = {}
    for trace in before.steps:
        if trace.op is not None:
            by_stage.setdefault(trace.stage, []).append(trace)
    labels = [stage.label for stage in graph.stages]
    orphans = [label for label in by_stage if label not in labels]
    for stage in graph.stages:
        old = by_stage.get(stage.label)
        if old is None:
            # A stage that was renamed, or the only one of a file that got a second: the next one nobody else claims.
            if not orphans:
                continue
            old = by_stage[orphans.pop(0)]
        steps = [step for step in stage.steps if step.op is not None]
        _align_stage(steps, old, partners, moved)
    return partners, moved


def _align_stage(steps: list[Step], old: list[StepTrace], partners: dict[int, StepTrace], moved: dict[int, str]) -> None:
    blocks = edits_between([trace.instruction for trace in old], [step.instruction for step in steps])
    left_old = {place for tag, low, high, _, _ in blocks if tag != "equal" for place in range(low, high)}
    left_new = {place for tag, _, _, start, end in blocks if tag != "equal" for place in range(start, end)}
    for tag, low, high, start, _ in blocks:
        if tag == "equal":
            for offset in range(high - low):
                partners[steps[start + offset].number] = old[low + offset]
    # The same text elsewhere is a line that moved, and must not be taken for the changed form of another line.
    twins: dict[str, list[int]] = {}
    for other in sorted(left_old, reverse=True):
        twins.setdefault(old[other].instruction, []).append(other)
    for place in sorted(left_new):
        if twins.get(steps[place].instruction):
            twin = twins[steps[place].instruction].pop()
            left_old.discard(twin)
            left_new.discard(place)
            partners[steps[place].number] = old[twin]
            moved[steps[place].number] = steps[place - 1].instruction if place else "FROM"
    for tag, low, high, start, end in blocks:
        if tag == "replace":
            candidates = [old[place] for place in range(low, high) if place in left_old]
            _pair(candidates, [steps[place] for place in range(start, end) if place in left_new], partners)


def edits_between(old: list[str], new: list[str]) -> list[tuple[str, int, int, int, int]]:
    """What was kept and what was replaced, as ``difflib.SequenceMatcher.get_opcodes`` has it, in time that grows with the length."""
    same = 0
    while same < min(len(old), len(new)) and old[same] == new[same]:
        same += 1
    end = 0
    while end < min(len(old), len(new)) - same and old[-1 - end] == new[-1 - end]:
        end += 1
    left, right = old[same : len(old) - end], new[same : len(new) - end]
    moved = []
    if left or right:
        # Most builds are of a Dockerfile that has not changed.
        from difflib import SequenceMatcher

        # What occurs often says little, and costs a square.
        matcher = SequenceMatcher(None, left, right, autojunk=len(right) > _MANY)
        moved = [(tag, low + same, high + same, start + same, stop + same) for tag, low, high, start, stop in matcher.get_opcodes()]
    head = [("equal", 0, same, 0, same)] if same else []
    tail = [("equal", len(old) - end, len(old), len(new) - end, len(new))] if end else []
    return [*head, *moved, *tail]


def likeness(one: str, other: str) -> float:
    """From 0 to 1. Of long texts the beginnings count."""
    from difflib import SequenceMatcher

    return SequenceMatcher(None, one[:_ALIKE], other[:_ALIKE], autojunk=False).ratio()


def _pair(old: list[StepTrace], steps: list[Step], partners: dict[int, StepTrace]) -> None:
    """Within a replaced block, an instruction is the changed form of the likeliest old one with the same keyword, in order."""
    next_old = 0
    for step in steps:
        best: tuple[float, int] | None = None
        for candidate in range(next_old, min(len(old), next_old + _NEAR)):
            if old[candidate].keyword != step.keyword:
                continue
            ratio = likeness(old[candidate].instruction, step.instruction)
            if best is None or ratio > best[0]:
                best = (ratio, candidate)
        if best is not None and best[0] >= 0.5:
            partners[step.number] = old[best[1]]
            next_old = best[1] + 1
