"""Verdicts as words and signs, and steps as the front end draws them."""

from __future__ import annotations

from typing import Final

from layerlab.control_characters import without_controls
from layerlab.model import BuildRecord, PlanRecord, StepRecord
from layerlab.render import size
from layerlab.widgets.scale import height
from layerlab.widgets.shapes import Cell, Step, Verdict

# Word and sign: a verdict is never told by colour alone.
VERDICTS: Final[dict[Verdict, tuple[str, str]]] = {
    "base": ("base", "◆"),
    "cached": ("cached", "✓"),
    "executed": ("ran", "↻"),
    "runs": ("runs", "↻"),
    "failed": ("failed", "✕"),
    "skipped": ("not run", "–"),
    "metadata": ("no verdict", "·"),
    "undecided": ("undecided", "?"),
    "running": ("running", "▸"),
    "waiting": ("waiting", "○"),
    "stopped": ("stopped", "■"),
}


def word(verdict: Verdict) -> str:
    """The word for a verdict."""
    return VERDICTS[verdict][0]


def sign(verdict: Verdict) -> str:
    """The sign for a verdict."""
    return VERDICTS[verdict][1]


def face(verdict: Verdict) -> Cell:
    """A verdict as it is drawn, without a cause."""
    return Cell(verdict=verdict, word=word(verdict), sign=sign(verdict), why="")


def one_line(text: str) -> str:
    """Text without line breaks or control characters."""
    return " ".join(without_controls(text).split())


def whole(text: str) -> str:
    """Text that can be written. A page may send half of a character that is made of two."""
    return text.encode("utf-8", "replace").decode()


def spoken_seconds(seconds: float) -> str:
    """A duration for a person."""
    return f"{seconds:.1f} s" if seconds < 100 else f"{seconds / 60:.0f} min"


def shown(step: StepRecord, verdict: Verdict | None = None, *, seconds: float | None = None, said: str = "") -> Step:
    """One step as the front end draws it; ``verdict`` stands for the record's own where a build is not over.

    ``seconds``: how long a step has run so far; ``said``: the last line that it wrote.
    """
    verdict = verdict or step.status
    took = verdict in ("executed", "failed", "stopped")
    has_size = step.makes_layer and verdict in ("executed", "cached", "base")
    why = step.cause.text if step.cause is not None and verdict in ("executed", "failed", "running", "stopped", "runs") else ""
    if step.waits_for is not None:
        why = f"depends on step {step.waits_for}, which must run first"
    elif step.status == "undecided":
        why = f"depends on {step.open_question}"
    return Step(
        number=step.number,
        instruction=one_line(step.instruction),
        stage=step.stage,
        line=step.line,
        end_line=step.end_line,
        verdict=verdict,
        word=word(verdict),
        sign=sign(verdict),
        layer=step.makes_layer,
        height=height(step.size if has_size else 0),
        size=size(step.size) if has_size else "",
        seconds=spoken_seconds(seconds) if seconds is not None else spoken_seconds(step.seconds) if took else "",
        said=one_line(said),
        key=step.key or "",
        origin=bool(why) and step.cause is not None and step.cause.origin == step.number and step.cause.kind != "no-record",
        why=one_line(why),
    )


def counts(record: BuildRecord | PlanRecord) -> tuple[int, int]:
    """How many steps ran (or would), and how many came from the cache."""
    ran = sum(step.status in ("executed", "failed") for step in record.steps)
    return ran, sum(step.status == "cached" for step in record.steps)


def summary(record: BuildRecord) -> str:
    """One sentence on a finished build."""
    ran, cached = counts(record)
    if record.failure is not None:
        number = next((step.number for step in record.steps if step.status == "failed"), None)
        where = f"Step {number} failed" if number is not None else "The build failed"
        return f"{where} after {spoken_seconds(record.seconds)}. There is no new image."
    what = "nothing had to run" if not ran else f"{ran} {'step' if ran == 1 else 'steps'} ran"
    return f"Built {record.tag or 'an image'} in {spoken_seconds(record.seconds)}: {what}, {cached} cached."
