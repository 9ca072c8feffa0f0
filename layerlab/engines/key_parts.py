"""What a cache key is made of, in words: for people who want to see why it changed."""

from __future__ import annotations

from layerlab.context import Selected
from layerlab.model import KeyPart
from layerlab.solver.keys import SCRATCH_KEY, content_sources, inline_digest, operation_digest
from layerlab.solver.ops import CopyOp, Op, RunOp, Source
from layerlab.solver.plan import Decided, Solution, counts


def key_parts(decided: Decided, solution: Solution) -> tuple[KeyPart, ...]:
    """The parts of a step's key, in the order in which ``solver.keys.step_key`` takes them; nothing where it has no key yet."""
    op = decided.step.op
    if op is None or decided.key is None:
        return ()
    parts = [_parent(decided, solution, op), KeyPart("instruction", decided.step.instruction, operation_digest(op))]
    contents = iter(decided.contents)
    for source in content_sources(op):
        content = next(contents, None)
        if counts(source, op):
            parts.append(_files(source, content))
    return tuple(parts)


def _parent(decided: Decided, solution: Solution, op: Op) -> KeyPart:
    if isinstance(op, CopyOp) and op.link:
        return KeyPart("parent", "nothing: a linked copy does not look at what is below it", SCRATCH_KEY)
    if isinstance(op, RunOp) and op.mounts_parent:
        return KeyPart("parent", "the files below it, whatever made them: it mounts what it builds on", "")
    below = next((each for each in solution.steps if each.step.number == decided.parent), None)
    if below is None or below.out_key is None:
        return KeyPart("parent", "nothing", SCRATCH_KEY)
    return KeyPart("parent", f"step {below.step.number}, {below.step.instruction}", below.out_key)


def _files(source: Source, content: Selected | None) -> KeyPart:
    if content is None:
        return KeyPart("files", source.path, inline_digest(source) if source.kind == "inline" else "")
    count = len(content.rows())
    return KeyPart("files", f"{source.path or '.'}, {count} {'path' if count == 1 else 'paths'}", content.digest)
