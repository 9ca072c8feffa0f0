"""What ``check`` shows in a notebook beside its sentence: all checks of the assignment with their points, and how far a build is."""

from __future__ import annotations

import contextlib
import html
import os
import re
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final

from autograder.exercise.assignment import Assignment, CheckSpec
from autograder.submission.record import CheckResult
from layerlab.notebook.clock import ticking

_SIGNS: Final = {"passed": "✓ passed", "partial": "◐ partly", "failed": "✕ not yet", "not-run": "– not run"}
_PART: Final = re.compile(r"\b\d\d-[a-z-]+\.ipynb\b")
_INTERVAL: Final = 0.5


class Scorecard:
    """The points of an answer, as far as they are known. ``course``: the folder of the course's notebooks, where there is one."""

    def __init__(self, assignment: Assignment, course: Path | None) -> None:
        self._assignment = assignment
        self._course = course
        self._known: dict[str, CheckResult] = {}

    def take(self, results: Iterable[CheckResult]) -> None:
        """Results of the answer as it is now."""
        self._known |= {result.id: result for result in results}

    def forget(self, *names: str) -> None:
        """Another answer: what was known of these checks, or of all, is not known of it."""
        for name in names or tuple(self._known):
            self._known.pop(name, None)

    def text(self) -> str:
        """In one line."""
        points = sum(result.points for result in self._known.values())
        rest = len(self._assignment.checks) - len(self._known)
        more = f"; {rest} not checked yet" if rest else ""
        return f"{points:g} of {self._assignment.max_score:g} points{more}."

    def html(self, current: str) -> str:
        """A table; ``current`` is the check that was asked for. Nothing in it is a student's."""
        rows = "".join(self._row(spec, bold=spec.id == current) for spec in self._assignment.checks)
        head = "".join(f'<th scope="col" style="text-align:left">{name}</th>' for name in ("check", "points", "", "read"))
        return f"<table><caption>{html.escape(self.text())}</caption><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"

    def _row(self, spec: CheckSpec, *, bold: bool) -> str:
        result = self._known.get(spec.id)
        points = f"{result.points:g} of {spec.points:g}" if result is not None else f"… of {spec.points:g}"
        status = _SIGNS[result.status] if result is not None else ""
        name = f"<b>{html.escape(spec.id)}</b>" if bold else html.escape(spec.id)
        read = self._linked(spec.read) if result is None or result.status != "passed" else ""
        cells = "".join(f'<td style="text-align:left">{cell}</td>' for cell in (points, status, read))
        return f'<tr><th scope="row" style="text-align:left">{name}</th>{cells}</tr>'

    def _linked(self, read: str) -> str:
        """Where the matter is taught, as a link where the notebook can be found from here."""
        text = html.escape(read.removesuffix("."))
        found = _PART.search(text)
        if found is None or self._course is None or not (self._course / found[0]).is_file():
            return text
        target = html.escape(os.path.relpath(self._course / found[0]), quote=True)
        return text.replace(found[0], f'<a href="{target}">{found[0]}</a>')


@contextlib.contextmanager
def shown(card: Scorecard, name: str, doing: str, *, whole: bool) -> Iterator[None]:
    """For the length of the block a line says what goes on and for how long; then the card stands there, ``whole`` or in one line.

    Outside of IPython nothing is shown.
    """
    display = notebook_display()
    if display is None:
        yield
        return
    handle = display({"text/plain": f"{doing} …"}, raw=True, display_id=True)
    began = time.monotonic()
    try:
        with ticking(lambda: handle.update({"text/plain": f"{doing} … {time.monotonic() - began:.0f} s"}, raw=True), _INTERVAL):
            yield
    finally:
        page = {"text/html": card.html(name)} if whole else {}
        handle.update({"text/plain": card.text(), **page}, raw=True)


def notebook_display() -> Any:
    """IPython's ``display``, or ``None`` outside of IPython."""
    try:
        from IPython.core.getipython import get_ipython
        from IPython.display import display
    except ImportError:
        return None
    untyped: Any = get_ipython
    return display if untyped() is not None else None
