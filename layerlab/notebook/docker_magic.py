"""``%docker``: docker's commands in a notebook, on whichever engine this machine has.

The verbs, flags and output are those of the command line (``layerlab.cli``); a build is shown as ``docker build`` shows it and is
remembered by the session. An error is a message, not a traceback, and does not stop the notebook, as with ``!docker``.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import shlex
import sys
import time
from typing import TYPE_CHECKING, Any, Final

from layerlab.errors import BuildInterruptedError, LayerlabError, UsageError
from layerlab.lesson.tally import count
from layerlab.notebook.clock import ticking
from layerlab.notebook.docker_output import BuildLook
from layerlab.notebook.estimate import estimate
from layerlab.notebook.session import Session
from layerlab.render import error_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from layerlab.engines.api import BuildOptions, Event
    from layerlab.model import PlanRecord
    from layerlab.widgets import BuildCard

VERBS: Final = (
    *("build", "history", "images", "inspect", "tag", "rmi", "run", "ps", "diff", "logs", "stop", "rm"),
    *("push", "pull", "save", "load", "layers", "plan", "explain", "verify", "prune"),
)
# docker's older, longer spelling of the same verbs.
_GROUPS: Final[dict[str, dict[str, str]]] = {
    "image": {"ls": "images", "list": "images", "rm": "rmi", "remove": "rmi"}
    | {verb: verb for verb in ("build", "history", "inspect", "tag", "push", "pull", "save", "load", "prune")},
    "container": {"ls": "ps", "list": "ps", "ps": "ps"} | {verb: verb for verb in ("run", "diff", "logs", "stop", "rm")},
    "buildx": {"build": "build"},
    "builder": {"build": "build", "prune": "prune"},
}
_INTERVAL: Final = 0.25


def docker(session: Session, line: str) -> None:
    """Run one ``%docker`` line."""
    try:
        words = shlex.split(line)
    except ValueError as error:
        print(f"%docker: {error}: a quotation mark has no partner", file=sys.stderr)
        return
    if len(words) > 1 and words[0] in _GROUPS and words[1] in _GROUPS[words[0]]:
        words = [_GROUPS[words[0]][words[1]], *words[2:]]
    if not words or words[0] in ("-h", "--help", "help"):
        print(f"%docker {{{' | '.join(VERBS)}}} …\n%docker VERB --help shows the flags of a verb.")
        return
    if words[0] not in VERBS:
        print(
            f"%docker: '{words[0]}' is not one of the commands that layerlab knows: {', '.join(VERBS)}.\n"
            "  In a terminal, on a machine with Docker, `docker` itself has more.",
            file=sys.stderr,
        )
        return
    try:
        words[1:1] = ["--engine", session.engine_name]
        if words[0] == "build":
            _build(session, words)
        else:
            _command(words)
    except LayerlabError as error:
        print(error_text(error), file=sys.stderr)
    except FileNotFoundError as error:
        if os.path.isdir(_here()):
            raise
        print(
            f"error: the folder that this notebook works in is gone ({error})\n  lab.reset() makes the working copy again.", file=sys.stderr
        )
    except SystemExit:
        # argparse has said what is wrong, or printed the help that was asked for.
        return


def _here() -> str:
    try:
        return os.getcwd()
    except FileNotFoundError:
        return ""


def _command(words: list[str]) -> None:
    from layerlab.cli import main, make_parser

    if words[0] == "save" and make_parser().parse_args(words).output is None:
        raise UsageError("an archive is nothing to show in a notebook", remedy="Name a file for it: -o FILE.")
    with contextlib.redirect_stdout(_Bytes(sys.stdout)):
        main(words)


def _build(session: Session, words: list[str]) -> None:
    from layerlab.cli import make_parser
    from layerlab.commands.building import write_image_id
    from layerlab.commands.common import options_of
    from layerlab.widgets import BuildCard

    before, session.broke_off = session.broke_off, True
    try:
        arguments: argparse.Namespace = make_parser().parse_args(words)
    except SystemExit as end:
        # The help is no build.
        session.broke_off = bool(end.code) or before
        raise
    options = options_of(arguments)
    plan = _planned(session, options)
    look = BuildLook(session.engine_name, estimate(plan))
    card = BuildCard(options.tag or "", plan)

    def take(event: Event) -> None:
        look.take(event)
        card.take(event)

    with _live(card, look):
        try:
            record = session.record = session.engine.build(options, take)
        except KeyboardInterrupt:
            card.end("Stopped. Steps that had finished stay cached.")
            raise BuildInterruptedError("stopped; finished steps stay in the cache") from None
        session.broke_off = False
        look.finish(record, stand_in=not session.told_stand_in)
        pending = session.answered(options, record)
        notes = (*(() if session.told_stand_in else record.stand_in), *record.warnings)
        if pending is None:
            card.finish(record, notes=notes)
        else:
            compared = pending.prediction.reveal(record)
            card.finish(record, compared, count(pending.name, compared.right, len(compared.guesses)), notes)
        session.told_stand_in = session.told_stand_in or bool(record.stand_in)
    write_image_id(arguments.iidfile, record.image)
    if pending is not None and pending.happened:
        tell(pending.happened)


def _planned(session: Session, options: BuildOptions) -> PlanRecord | None:
    """All steps before the first has run; what is wrong with them, the build itself says."""
    try:
        return session.engine.plan(options)
    except LayerlabError:
        return None


def tell(markdown: str) -> None:
    """Show Markdown in a notebook, and itself where only text is shown."""
    from IPython.display import display as untyped_display

    display: Any = untyped_display
    display({"text/markdown": markdown, "text/plain": markdown}, raw=True)


@contextlib.contextmanager
def progress() -> Iterator[Callable[[str], None]]:
    """A line of a notebook that says how far something is, in place; it goes when the block ends."""
    from IPython.display import display as untyped_display

    display: Any = untyped_display
    handle = display({"text/plain": ""}, raw=True, display_id=True)
    last = 0.0

    def report(text: str) -> None:
        nonlocal last
        if time.monotonic() - last >= _INTERVAL:
            last = time.monotonic()
            handle.update({"text/plain": text}, raw=True)

    try:
        yield report
    finally:
        handle.update({"text/plain": ""}, raw=True)


@contextlib.contextmanager
def _live(card: BuildCard, look: BuildLook) -> Iterator[None]:
    """For the length of the block the build is shown as it is now, in place, a few times a second.

    By a clock and not by events: a step that says nothing for a minute runs all the same. At its end the output becomes what is kept in
    the notebook: the card, and a still and a text of it for where no card can be shown.
    """
    from IPython.display import display as untyped_display

    display: Any = untyped_display
    card.show(look.text())
    handle = display(card, display_id=True)
    try:
        with ticking(lambda: card.show(look.text()), _INTERVAL):
            yield
    finally:
        if card.busy:
            card.end("Not built: see the error.")
        card.show(look.text())
        handle.update(card)


class _Bytes(io.TextIOBase):
    """A notebook's output stream, which takes text only, with the ``buffer`` that programs write bytes to."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self.buffer: Any = self

    def write(self, data: str | bytes) -> int:
        text = data.decode("utf-8", "replace") if isinstance(data, bytes) else data
        self._stream.write(text)
        return len(data)

    def flush(self) -> None:
        self._stream.flush()
