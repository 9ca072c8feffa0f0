"""Records as text for a terminal. Nothing is decided here: a view shows what a record says."""

from __future__ import annotations

import datetime
import os
import shutil
import sys
from collections.abc import Sequence
from typing import IO, Final

from layerlab.control_characters import without_controls
from layerlab.errors import LayerlabError
from layerlab.model import (
    BuildRecord,
    CheckWarning,
    ContainerSummary,
    HistoryEntry,
    ImageSummary,
    ImageView,
    PlanRecord,
    PublishedPort,
    Push,
    StepRecord,
)

# So many files, in so many letters, are named one by one.
_NAMED: Final = 3
_LETTERS: Final = 60
_WORDS = {
    "base": "base",
    "cached": "cached",
    "executed": "ran",
    "failed": "FAILED",
    "skipped": "not run",
    "metadata": "metadata",
    "undecided": "undecided",
}
_COLORS = {"cached": "32", "executed": "33", "failed": "31", "undecided": "35", "metadata": "2", "base": "2", "skipped": "2"}
_COMMAND_ROOM = 20
# So many warnings of build checks are listed after a build.
_OBJECTIONS: Final = 20


class Painter:
    """Colours, where the stream is a terminal and the user has not asked for none (``NO_COLOR``)."""

    def __init__(self, stream: IO[str]) -> None:
        self.on = stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"

    def paint(self, text: str, status: str) -> str:
        """``text`` in the colour of a status."""
        code = _COLORS.get(status)
        return f"\x1b[{code}m{text}\x1b[0m" if self.on and code else text


def width(stream: IO[str] | None = None) -> int:
    """Columns to write to: the terminal's, between 60 and 120; 100 where there is none."""
    if stream is not None and not stream.isatty():
        return 100
    return max(60, min(120, shutil.get_terminal_size((100, 24)).columns))


def size(number: int) -> str:
    """Bytes as docker prints them: three digits and a decimal unit."""
    value = float(number)
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if value < 1000 or unit == "TB":
            return f"{value:.3g}{unit}"
        value /= 1000
    raise AssertionError


def of_steps(some: int, all_: int) -> str:
    """So many of all steps, in words."""
    return f"{some} of {all_} {'step' if all_ == 1 else 'steps'}"


def steps_table(steps: tuple[StepRecord, ...], *, planned: bool = False, stream: IO[str] | None = None) -> str:
    """One row per step: index, instruction, verdict, cost; the cause of a miss on a line of its own below it."""
    painter = Painter(stream or sys.stdout)
    columns = width(stream)
    shown = [step for step in steps if step.status != "metadata"]
    stages = {step.stage for step in steps}
    labels = [_label(step, several=len(stages) > 1) for step in shown]
    left = max((len(label) for label in labels), default=0)
    # Two spaces thrice, the verdict, the seconds, two spaces and the size.
    room = max(16, columns - left - 6 - 9 - 8 - 2 - 7)
    lines = []
    for step, label in zip(shown, labels, strict=True):
        text = _one_line(step.instruction, room)
        word = "runs" if planned and step.status == "executed" else _WORDS[step.status]
        tail = ""
        if step.status in ("executed", "failed") and not planned:
            tail = f"{step.seconds:6.1f} s"
        if step.size and step.status in ("executed", "cached", "base"):
            tail = f"{tail or '        '}  {size(step.size):>7}"
        lines.append(f"  {label:<{left}}  {text:<{room}}  {painter.paint(f'{word:<9}', step.status)}{tail}".rstrip())
        note = step.cause.text if step.cause is not None else ""
        if step.waits_for is not None:
            note = f"Its verdict depends on step {step.waits_for}, which must run first."
        elif step.status == "undecided":
            note = f"Its verdict depends on {step.open_question}."
        if note:
            pad = " " * (left + 4)
            import textwrap

            lines.extend(textwrap.wrap(note, columns, initial_indent=pad + "└ ", subsequent_indent=pad + "  ", break_on_hyphens=False))
    return "\n".join(lines)


def _label(step: StepRecord, *, several: bool) -> str:
    text = f"{step.number}."
    if step.index:
        text += f" [{step.stage + ' ' if several else ''}{step.index}]"
    return text


def _one_line(text: str, room: int) -> str:
    text = " ".join(printable(text).split())
    return text if len(text) <= room else text[: room - 1] + "…"


def printable(text: str) -> str:
    """Control characters of a Dockerfile or a log never reach the terminal as such."""
    return without_controls(text, keep="\n\t", instead=lambda character: f"\\x{ord(character):02x}")


def build_summary(record: BuildRecord, stream: IO[str] | None = None) -> str:
    """What a build did: its table, its result, and how it was run."""
    ran = [step for step in record.steps if step.status in ("executed", "failed")]
    counted = [step for step in record.steps if step.status in ("executed", "cached", "failed", "skipped")]
    if record.predicted:
        return f"{steps_table(record.predicted, planned=True, stream=stream)}\n\n{prediction(record)}"
    lines = [steps_table(record.steps, stream=stream), ""]
    if record.failure is None:
        reused = sum(1 for step in counted if step.status == "cached")
        what = "Nothing had to run" if not ran else f"{of_steps(len(ran), len(counted))} ran"
        lines.append(f"{what}, {reused} came from the cache, in {record.seconds:.1f} s.")
        lines.append(f"Image {(record.image or '')[7:19]}{' ' + record.tag if record.tag else ''}, built by the {how(record)}.")
    else:
        lines.append(f"No image: step {next((s.number for s in ran if s.status == 'failed'), '?')} failed after {record.seconds:.1f} s.")
    if record.checks:
        lines += ["", *_objections(record.checks)]
    return "\n".join(lines)


def _objections(checks: tuple[CheckWarning, ...]) -> list[str]:
    number = len(checks)
    listed = [f" - {warning.rule}: {printable(warning.detail)} (line {warning.line})" for warning in checks[:_OBJECTIONS]]
    rest = [f" - and {number - _OBJECTIONS} more"] if number > _OBJECTIONS else []
    return [f"{number} warning{'s' if number > 1 else ''} found (layerlab build --check shows the lines):", *listed, *rest]


def prediction(record: BuildRecord) -> str:
    """One sentence on a build that could only be predicted."""
    runs = sum(1 for step in record.predicted if step.status == "executed")
    counted = sum(1 for step in record.predicted if step.status in ("executed", "cached", "undecided"))
    cached = sum(1 for step in record.predicted if step.status == "cached")
    return f"Predicted, not run: {of_steps(runs, counted)} would run, {cached} would come from the cache. There is no image."


def how(record: BuildRecord) -> str:
    """Engine, executor and id mode in words."""
    return f"{record.engine} engine ({record.executor}, {record.snapshotter} snapshotter, {record.ids} ids)"


def plan_summary(record: PlanRecord, stream: IO[str] | None = None) -> str:
    """What the next build would do."""
    edits = ", ".join(record.edits)
    head = (
        f"If {edits} changed, the next build of {record.dockerfile} on the {record.engine} engine would do this:"
        if edits
        else f"The next build of {record.dockerfile} on the {record.engine} engine would do this:"
    )
    runs = sum(1 for step in record.steps if step.status == "executed")
    open_ = sum(1 for step in record.steps if step.status == "undecided")
    counted = sum(1 for step in record.steps if step.status in ("executed", "cached", "undecided"))
    tail = (
        f"{of_steps(runs, counted)} would run"
        + (f", {open_} cannot be decided before then" if open_ else "")
        + ". Nothing was run to find out."
    )
    notes = [f"Note: {text}." for text in (*record.stand_in, *record.warnings)]
    return "\n".join([head, "", steps_table(record.steps, planned=True, stream=stream), "", tail, *notes])


def group_names(groups: Sequence[Sequence[str]]) -> list[str]:
    """What groups of files are called: by their names where they are few, else by the folder that all of them are in."""
    everything = [file for group in groups for file in group]
    names = []
    for group in groups:
        if len(group) <= _NAMED and sum(map(len, group)) < _LETTERS:
            names.append(", ".join(group))
            continue
        folder = os.path.commonpath([os.path.dirname(file) for file in group])
        prefix = f"{folder}/" if folder else ""
        rest = "" if sum(file.startswith(prefix) for file in everything) == len(group) else "other files, "
        names.append(f"{prefix}** ({rest}{len(group):,})")
    return names


def matrix(rows: list[tuple[str, PlanRecord]], stream: IO[str] | None = None) -> str:
    """Edits × steps: which step each edit would run again."""
    painter = Painter(stream or sys.stdout)
    if not rows:
        return "The build context has no file to edit."
    steps = [step for step in rows[0][1].steps if step.status not in ("metadata", "base")]
    left = max(len(edit) for edit, _ in rows)
    lines = [f"  {step.number:>3}  {_one_line(step.instruction, 70)}" for step in steps]
    lines += ["", "  " + " " * left + "  " + " ".join(f"{step.number:>3}" for step in steps)]
    for edit, plan in rows:
        cells = []
        for step in plan.steps:
            if step.status in ("metadata", "base"):
                continue
            mark = {"executed": "run", "cached": "·", "undecided": "?"}.get(step.status, " ")
            cells.append(painter.paint(f"{mark:>3}", step.status))
        lines.append(f"  {edit:<{left}}  " + " ".join(cells))
    lines += [
        "",
        f"  {rows[0][1].engine} engine   run: the step runs again   ·: from the cache   ?: depends on a stage that must run first",
    ]
    return "\n".join(lines)


def explanation(record: BuildRecord, stream: IO[str] | None = None) -> str:
    """Why the misses of a build were misses."""
    missed = [step for step in record.steps if step.status in ("executed", "failed")]
    counted = [step for step in record.steps if step.status in ("executed", "cached", "failed", "skipped")]
    last = f"The last build of {record.dockerfile} on the {record.engine} engine"
    if not missed:
        return f"{last} ran nothing: all {len(counted)} steps came from the cache."
    lines = [f"{last} in which something ran: {len(missed)} of {len(counted)} steps missed the cache.", ""]
    lines.append(steps_table(record.steps, stream=stream))
    roots = sorted({step.cause.origin for step in missed if step.cause is not None})
    if roots:
        lines.append("")
        lines.append(f"The misses began at step {', '.join(map(str, roots))}.")
    return "\n".join(lines)


def history_table(rows: tuple[HistoryEntry, ...], image: str, *, full: bool, stream: IO[str] | None = None) -> str:
    """``docker history``'s table, newest row first."""
    room = max(30, width(stream) - 52)
    lines = [f"{'IMAGE':<14} {'CREATED':<16} {'CREATED BY':<{room}} {'SIZE':<9} COMMENT"]
    for number, row in enumerate(rows):
        name = image[7:19] if number == 0 else "<missing>"
        text = row.created_by if full else _one_line(row.created_by, room)
        lines.append(f"{name:<14} {_ago(row.created):<16} {printable(text):<{room}} {size(row.size):<9} {printable(row.comment)}".rstrip())
    return "\n".join(lines)


def images_table(rows: tuple[ImageSummary, ...], *, full: bool) -> str:
    """``docker images``'s table."""
    left = max([len(row.name.rpartition(":")[0]) for row in rows] + [len("REPOSITORY")])
    tags = max([len(row.name.rpartition(":")[2]) for row in rows] + [len("TAG")])
    lines = [f"{'REPOSITORY':<{left}}  {'TAG':<{tags}}  {'IMAGE ID':<{71 if full else 12}}  {'CREATED':<16}  SIZE"]
    for row in rows:
        name, _, tag = row.name.rpartition(":") if ":" in row.name else (row.name, "", "<none>")
        lines.append(
            f"{name:<{left}}  {tag:<{tags}}  {row.id if full else row.id[7:19]:<{71 if full else 12}}"
            f"  {_ago(row.created):<16}  {size(row.size)}" + ("  (stand-in)" if row.stand_in else "")
        )
    return "\n".join(lines)


def layers_table(view: ImageView, *, paths: bool, wasted: bool = False, stream: IO[str] | None = None) -> str:
    """What each layer of an image does, lowest first. ``paths``: with what it changes; ``wasted``: with the files that are hidden."""
    room = max(30, width(stream) - 56)
    lines = [f"{'LAYER':<5}  {'CREATED BY':<{room}}  {'SIZE':>7}  {'ADDED':>6} {'CHANGED':>7} {'REMOVED':>7}  {'WASTED':>7}"]
    for layer in view.layers:
        lines.append(
            f"{layer.number:<5}  {_one_line(layer.created_by, room):<{room}}  {size(layer.size):>7}  {len(layer.added):>6} "
            f"{len(layer.changed):>7} {len(layer.removed):>7}  {size(layer.wasted):>7}"
        )
        if paths:
            for sign, names in (("+", layer.added), ("~", layer.changed), ("-", layer.removed)):
                lines.extend(f"         {sign} /{printable(name)}" for name in names)
        if wasted:
            lines.extend(f"         {size(file.size):>7}  /{printable(file.path)}, hidden by layer {file.by}" for file in layer.hidden)
    lines.append("")
    lines.append(
        f"{size(view.size)} in {len(view.layers)} layers, of which {size(view.wasted)} are hidden by later layers and still shipped."
    )
    return "\n".join(lines)


def _ago(created: str | None) -> str:
    if not created:
        return "N/A"
    try:
        moment = datetime.datetime.fromisoformat(created.replace("Z", "+00:00"))
    except ValueError:
        return printable(created)
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=datetime.UTC)
    seconds = max(0, int((datetime.datetime.now(datetime.UTC) - moment).total_seconds()))
    for unit, length in (("year", 31_536_000), ("month", 2_592_000), ("week", 604_800), ("day", 86_400), ("hour", 3600), ("minute", 60)):
        count = seconds // length
        if count:
            return f"{count} {unit}{'s' if count > 1 else ''} ago"
    return f"{seconds} second{'s' if seconds != 1 else ''} ago"


def containers_table(rows: tuple[ContainerSummary, ...], *, full: bool) -> str:
    """``docker ps``'s table, newest first."""
    lines = [("CONTAINER ID", "IMAGE", "COMMAND", "CREATED", "STATUS", "PORTS", "NAMES")]
    for row in rows:
        command = printable(" ".join(f"'{word}'" if " " in word else word for word in row.command))
        if not full and len(command) > _COMMAND_ROOM:
            command = command[: _COMMAND_ROOM - 1] + "…"
        ports = ", ".join(_port(port) for port in row.ports) if row.state == "running" else ""
        identity = row.id if full else row.id[:12]
        lines.append((identity, row.image, f'"{command}"', f"{_lasting(row.created)} ago", container_status(row), ports, row.name))
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    return "\n".join("   ".join(cell.ljust(room) for cell, room in zip(line, widths, strict=True)).rstrip() for line in lines)


def container_status(row: ContainerSummary) -> str:
    """The STATUS of ``docker ps``: ``Up 5 minutes``, ``Exited (0) 2 hours ago``, ``Created``."""
    if row.state == "running":
        return f"Up {_lasting(row.started)}"
    return f"Exited ({row.exit_status}) {_lasting(row.finished)} ago" if row.state == "exited" else "Created"


def _port(port: PublishedPort) -> str:
    return f"{port.ip}:{port.host}->{port.container}/tcp" if port.ip else f"{port.host}->{port.container}/tcp"


def _lasting(since: str) -> str:
    """How long ago something was, in docker's words (``go-units`` ``HumanDuration``)."""
    try:
        moment = datetime.datetime.fromisoformat(since.replace("Z", "+00:00"))
    except ValueError:
        return "an unknown time"
    seconds = int((datetime.datetime.now(datetime.UTC) - moment).total_seconds())
    minutes, hours = seconds // 60, round(seconds / 3600)
    if seconds < 1:
        return "Less than a second"
    if seconds < 60:
        return f"{seconds} second{'s' if seconds > 1 else ''}"
    if minutes < 60:
        return "About a minute" if minutes == 1 else f"{minutes} minutes"
    if hours < 48:
        return "About an hour" if hours == 1 else f"{hours} hours"
    for unit, length, limit in (("days", 24, 14), ("weeks", 24 * 7, 60 / 7), ("months", 24 * 30, 24)):
        if hours < limit * length:
            return f"{hours // length} {unit}"
    return f"{hours // (24 * 365)} years"


def pushed(push: Push) -> str:
    """How much of an image went over the wire."""
    count, layers = sum(layer.sent for layer in push.layers), len(push.layers)
    had = "." if count == layers else f"; the registry had {'all of them' if not count else 'the others'}."
    return f"{count} of {layers} layers were sent, {size(push.sent)} in all{had}"


def error_text(error: LayerlabError, stream: IO[str] | None = None) -> str:
    """An error as a person reads it."""
    painter = Painter(stream or sys.stderr)
    where = error.where()
    head = painter.paint("error:", "failed")
    text = f"{head} {printable(error.message)}"
    if where:
        text = f"{printable(where)}: {text}"
    if error.remedy:
        import textwrap

        text += "\n" + textwrap.fill(printable(error.remedy), 100, initial_indent="  ", subsequent_indent="  ")
    return text
