"""Pictures that need no widget: HTML without script or style sheet, and the same as text. Each is of something that was measured."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from typing import Any, Final

from layerlab.model import BuildRecord, ImageView, LayerView, Push, StepRecord
from layerlab.oci.created_by import instruction_of
from layerlab.render import of_steps, printable, pushed, size
from layerlab.widgets.fallback import text_table

# Half transparent, so that they can be read in a light and in a dark page.
_FILLS: Final = {"executed": "rgba(245,124,0,.45)", "failed": "rgba(211,47,47,.5)", "cached": "rgba(56,142,60,.6)"}
_BESIDE: Final = "rgba(158,158,158,.3)"
_LINE: Final = "rgba(128,128,128,.6)"
# A segment of the timeline has its name in it from so many percent of the width on.
_NAMED_PERCENT: Final = 9


class Picture:
    """Something to look at in a notebook, with the same in words."""

    def __init__(self, text: str, page: str) -> None:
        self._text = text
        self._page = page

    def _repr_mimebundle_(self, **_: Any) -> dict[str, str]:
        return {"text/plain": self._text, "text/html": self._page}

    def __repr__(self) -> str:
        return self._text


def timelines(builds: Mapping[str, BuildRecord]) -> Picture:
    """Builds below one another, on one clock: what took how long, as it was measured."""
    longest = max((build.seconds for build in builds.values()), default=0) or 1
    parts, lines = [], []
    for name, build in builds.items():
        steps = [step for step in build.steps if step.status in ("executed", "failed", "cached")]
        segments = "".join(_segment(step, longest) for step in steps)
        beside = max(0.0, build.seconds - sum(step.seconds for step in steps))
        segments += _bar(100 * beside / longest, _BESIDE, f"beside the steps, {beside:.1f} s", "")
        cached = sum(step.status == "cached" for step in steps)
        head = f"{name}: {build.seconds:.1f} s, {of_steps(len(steps) - cached, len(steps))} ran"
        parts.append(
            f'<p style="margin:8px 0 2px">{_quoted(head)}</p><div style="display:flex;height:34px" aria-hidden="true">{segments}</div>'
        )
        lines.append(head)
        lines += [f"  {step.seconds:>7.1f} s  {_short(step)}" for step in steps if step.status != "cached"]
    saved = _saved([build.seconds for build in builds.values()])
    table = "\n".join(lines)
    ends = f"<span>0 s</span><span>{longest:.1f} s</span>"
    axis = f'<div style="display:flex;justify-content:space-between;border-top:1px solid {_LINE}">{ends}</div>'
    details = f"<details><summary>In numbers</summary><pre>{_quoted(table)}</pre></details>"
    return Picture("\n".join(filter(None, [table, saved])), f"<div>{''.join(parts)}{axis}<p><b>{_quoted(saved)}</b></p>{details}</div>")


def _saved(seconds: Sequence[float]) -> str:
    if len(seconds) < 2:
        return ""
    return f"{seconds[0]:.1f} s before, {seconds[-1]:.1f} s now: {seconds[0] - seconds[-1]:.1f} s saved with each such edit."


def _segment(step: StepRecord, longest: float) -> str:
    name = _short(step)
    if step.status == "cached":
        return f'<div title="{_quoted(name)}: cached" style="flex:0 0 3px;background:{_FILLS["cached"]};margin-right:1px"></div>'
    return _bar(100 * step.seconds / longest, _FILLS[step.status], f"{name}, {step.seconds:.1f} s", name)


def _bar(percent: float, fill: str, title: str, name: str) -> str:
    label = _quoted(name) if percent >= _NAMED_PERCENT else ""
    style = f"flex:0 1 {percent:.2f}%;background:{fill};border-right:1px solid {_LINE};overflow:hidden;white-space:nowrap;padding:8px 4px"
    return f'<div title="{_quoted(title)}" style="{style}"><code>{label}</code></div>'


def union(view: ImageView, paths: Sequence[str]) -> Picture:
    """Layers over one another, and above them what a container sees: each path in the layer that has it, and where a whiteout hides it."""
    asked = [path.strip("/") for path in paths]
    rows = [["a container sees", *(_seen(view, path) for path in asked)]]
    rows += [
        [f"{layer.number}. {instruction_of(layer.created_by)}", *(_done(layer, path) for path in asked)]
        for layer in reversed(view.layers)
        if any(_done(layer, path) for path in asked) or layer.number == len(view.layers)
    ]
    head = ["layer, the newest on top", *(f"/{path}" for path in asked)]
    cells = "".join(
        "<tr>" + f'<th scope="row" style="text-align:left"><code>{_quoted(row[0])}</code></th>' + "".join(map(_cell, row[1:])) + "</tr>"
        for row in rows
    )
    columns = "".join(f'<th scope="col"><code>{_quoted(name)}</code></th>' for name in head[1:])
    page = (
        f'<table><caption>What each layer has of them</caption><thead><tr><th scope="col" style="text-align:left">{head[0]}</th>{columns}'
        f"</tr></thead><tbody>{cells}</tbody></table>"
    )
    return Picture(text_table(head, rows), page)


_FILE: Final = "file"
_WHITEOUT: Final = "whiteout ✕"


def _seen(view: ImageView, path: str) -> str:
    number = view.origin.get(path)
    return f"that of layer {number}" if number else "nothing"


def _done(layer: LayerView, path: str) -> str:
    if path in layer.added or path in layer.changed:
        hidden = next((file for file in layer.hidden if file.path == path), None)
        return f"{_FILE}, {size(hidden.size)}, hidden" if hidden is not None else _FILE
    return _WHITEOUT if path in layer.removed else ""


def _cell(text: str) -> str:
    if not text:
        return "<td></td>"
    fill = _FILLS["failed"] if text == _WHITEOUT else _BESIDE if text.endswith("hidden") or text == "nothing" else _FILLS["cached"]
    return f'<td style="background:{fill};border:1px solid {_LINE};text-align:center">{_quoted(text)}</td>'


def travelled(push: Push, makers: Mapping[str | None, str]) -> Picture:
    """Which layers went to a registry and which it had, the newest on top. ``makers``: the instruction of each layer, by diff ID."""
    rows = [
        (f"{number}. {instruction_of(makers.get(layer.diff_id, ''))}", layer.sent, size(layer.size), layer.digest[7:19])
        for number, layer in reversed(list(enumerate(push.layers, 1)))
    ]
    line = pushed(push)
    slabs = "".join(
        f'<li style="margin:2px 0;padding:4px 10px;border:1px solid {_LINE};{_travel_style(gone)}"><code>{_quoted(name)}</code> — '
        f"{'sent →' if gone else 'already there'} · {_quoted(bytes_)} · <code>{digest}</code></li>"
        for name, gone, bytes_, digest in rows
    )
    text = text_table(
        ["layer", "", "size", "digest"],
        [[name, "sent" if gone else "already there", bytes_, digest] for name, gone, bytes_, digest in rows],
    )
    return Picture(f"{text}\n{line}", f'<p>{_quoted(line)}</p><ol style="list-style:none;margin:0;padding:0">{slabs}</ol>')


def _travel_style(gone: bool) -> str:
    return f"margin-left:60px;background:{_FILLS['executed']}" if gone else f"background:{_BESIDE}"


def _short(step: StepRecord) -> str:
    return " ".join(printable(step.instruction).split())


def _quoted(text: str) -> str:
    return html.escape(text, quote=True)
