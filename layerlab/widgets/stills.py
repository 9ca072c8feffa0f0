"""A still of a stack in HTML that needs no script and no style sheet: for exported notebooks."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Final

from layerlab.widgets.scale import MARKS
from layerlab.widgets.shapes import Guess, Layer, Step, Verdict

# Each has its word and its sign as well. Mixed with the page's own colour, they can be read in a light and in a dark one.
_COLOURS: Final[dict[Verdict, str]] = {
    "base": "#0097a7",
    "cached": "#388e3c",
    "executed": "#f57c00",
    "runs": "#f57c00",
    "failed": "#d32f2f",
    "stopped": "#d32f2f",
    "undecided": "#8e6bbf",
}
_GREY: Final = "#9e9e9e"


def still(steps: Sequence[Step], guesses: Mapping[int, Guess] | None = None, *, scaled: bool = True) -> str:
    """The stack of a build: a list for each stage, the last on top, and in each the newest layer on top, as high as it is large.

    ``scaled``: whether heights are sizes.
    """
    stages = [(stage, list(group)) for stage, group in groupby(steps, key=lambda step: step.stage)]
    parts = []
    for stage, group in reversed(stages):
        if len(stages) > 1:
            parts.append(f"<p>Stage {html.escape(stage)}</p>")
        parts.append(_listed([_slab(step, (guesses or {}).get(step.number)) for step in group]))
    return "".join(parts) + (_LEGEND if steps and scaled else "")


def still_of_layers(layers: Sequence[Layer]) -> str:
    """The stack of an image, the newest layer on top."""
    slabs = []
    for layer in layers:
        changes = [
            f"{count} {word}" for count, word in ((layer.added, "added"), (layer.changed, "changed"), (layer.removed, "removed")) if count
        ]
        facts = [layer.size, *changes, *([f"{layer.wasted} wasted"] if layer.wasted else [])]
        slabs.append(_box(layer.height, _COLOURS["base"], _head(layer.number, layer.instruction, facts)))
    return _listed(slabs) + _LEGEND


_LEGEND: Final = f"<p>The higher, the larger: {', '.join(f'{label} is {height} px' for label, height in MARKS.items())}.</p>"


def _listed(slabs: Sequence[str]) -> str:
    return f'<ol style="list-style:none;margin:0;padding:0">{"".join(reversed(slabs))}</ol>'


def _head(number: int, instruction: str, facts: Sequence[str]) -> str:
    return f"<b>{number}.</b> <code>{html.escape(instruction)}</code> — {html.escape(' · '.join(filter(None, facts)))}"


def _box(height: int, colour: str, content: str) -> str:
    box = f"box-sizing:border-box;min-height:{height}px;margin:2px 0;padding:2px 10px"
    return f'<li style="{box};border:1px solid {colour};border-left-width:6px">{content}</li>'


def _slab(step: Step, guess: Guess | None) -> str:
    colour = _COLOURS.get(step.verdict, _GREY)
    said = f"you: {guess.said} ({'right' if guess.right else 'wrong'})" if guess is not None else ""
    head = _head(step.number, step.instruction, [f"{step.sign} {step.word}", said, step.size, step.seconds])
    if not step.layer:
        return f'<li style="padding:0 10px;border-left:4px solid {colour}">{head}</li>'
    origin = " <b>changed here</b>" if step.origin else ""
    return _box(step.height, colour, head + origin + (f"<br>{html.escape(step.why)}" if step.why else ""))
