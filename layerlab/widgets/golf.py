"""Cache golf on a page: lines to move, what each edit then rebuilds, and the score against par. Nothing is built."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

import traitlets

from layerlab.errors import UsageError
from layerlab.golf.hints import hints, seconds, times
from layerlab.golf.level import Level, even, load, shipped
from layerlab.golf.par import proven
from layerlab.golf.scoring import Course, EditCost, Score, instructions
from layerlab.widgets.base import LabWidget
from layerlab.widgets.fallback import html_table, paragraph, text_table
from layerlab.widgets.shapes import (
    ChooseLevel,
    GolfCost,
    GolfEdit,
    GolfLevel,
    GolfLine,
    GolfMessage,
    GolfScore,
    GolfSpare,
    Play,
    Turn,
    Typed,
    heard,
    plain,
)

# A page may send what it likes.
_MOST_LINES: Final = 200
_REMEMBERED: Final = 200


class Golf(LabWidget):
    """A round of cache golf: the order of lines that rebuilds least.

    ``level``  the name of a level, or how its name begins (``"03"``), or the path of a level of one's own (a JSON file); the first one
               without it. Raises ``UsageError`` where there is none such, or the file is no level that can be played.
    """

    levels: traitlets.List[Any] = traitlets.List().tag(sync=True)
    level = traitlets.Unicode().tag(sync=True)
    title = traitlets.Unicode().tag(sync=True)
    task = traitlets.Unicode().tag(sync=True)
    files: traitlets.List[Any] = traitlets.List().tag(sync=True)
    lines: traitlets.List[Any] = traitlets.List().tag(sync=True)
    tray: traitlets.List[Any] = traitlets.List().tag(sync=True)
    edits: traitlets.List[Any] = traitlets.List().tag(sync=True)
    score: traitlets.Dict[str, Any] = traitlets.Dict().tag(sync=True)
    hints: traitlets.List[Any] = traitlets.List().tag(sync=True)
    can_undo = traitlets.Bool(False).tag(sync=True)

    def __init__(self, level: str | Path | None = None) -> None:
        self._shipped = shipped()
        self._known = dict(self._shipped)
        self._at_par: set[str] = set()
        # How each level was left, to go on there.
        self._left: dict[str, tuple[str, ...]] = {}
        self._past: list[tuple[str, ...]] = []
        self._lines: tuple[str, ...] = ()
        # Messages come in any thread.
        self._turns = threading.RLock()
        name = self._named(level)
        super().__init__(kind="golf")
        self._open(name)

    @property
    def rated(self) -> Score:
        """The score of the lines as they are."""
        return self._rated

    @property
    def dockerfile(self) -> str:
        """The lines as they are."""
        return "\n".join(self._lines) + "\n"

    def play(self, lines: Iterable[str]) -> Score:
        """Lay the lines in another order; returns the score."""
        with self._turns:
            known = self._course.level.by_text
            laid = tuple(known[even(line)].text if even(line) in known else line for line in tuple(lines)[:_MOST_LINES])
            if laid != self._lines:
                past = [*self._past, self._lines][-_REMEMBERED:]
                self._lay(laid, past)
            return self._rated

    def undo(self) -> None:
        """Take the last move back; nothing before the first."""
        with self._turns:
            if self._past:
                *past, laid = self._past
                self._lay(laid, past)

    def restart(self) -> None:
        """The level's own lines again. This, too, can be taken back."""
        self.play(self._course.level.start)

    def hint(self) -> str:
        """One more cause of what the round costs; the last one again where there is no other."""
        with self._turns:
            said = hints(self._course.level, self._lines, self._rated)
            self.hints = list(said[: len(self.hints) + 1])
            return str(self.hints[-1])

    def choose(self, level: str | Path) -> None:
        """Play another level. Raises ``UsageError``."""
        with self._turns:
            self._open(self._named(level))

    def receive(self, message: dict[str, Any]) -> None:
        """A message of the page: a move, a text, a button."""
        shape: Any = GolfMessage
        match heard(message, shape):
            case Play(lines=lines):
                self.play(lines)
            case Typed(text=text):
                self.play(instructions(text))
            case Turn(what="hint"):
                self.hint()
            case Turn(what="undo"):
                self.undo()
            case Turn(what="restart"):
                self.restart()
            case ChooseLevel(level=level) if level in self._known:
                # By its name: where a level of one's own was read, a page does not say.
                with self._turns:
                    self._open(level)

    def _named(self, level: str | Path | None) -> str:
        """The name of a level; one of one's own is read and known from then on."""
        if level is None:
            return next(iter(self._known))
        text = str(level)
        for name in self._shipped:
            if text == name or (text and name.startswith(text)):
                return name
        path = Path(text)
        if path.suffix != ".json":
            names = ", ".join(self._shipped)
            raise UsageError(f"there is no level {text!r}", remedy=f"There are {names}; or name a file of your own, which ends in .json.")
        # Read anew each time: whoever names it may have changed it.
        self._known[path.name] = proven(load(path))
        self._left.pop(path.name, None)
        return path.name

    def _open(self, name: str) -> None:
        level = self._known[name]
        if self.level:
            self._left[self.level] = self._lines
        self._course = Course(level)
        self.level, self.title, self.task = name, level.title, level.text
        self.files = sorted(level.files)
        self._lay(self._left.get(name, level.start), [])

    def _lay(self, lines: tuple[str, ...], past: list[tuple[str, ...]]) -> None:
        level = self._course.level
        score = self._course.rate(lines)
        self._lines, self._past, self._rated = lines, past, score
        if score.at_par:
            self._at_par.add(self.level)
        laid = {even(line) for line in lines}
        with self.hold_sync():
            self.lines = [plain(_line(level, number, line, score)) for number, line in enumerate(lines, 1)]
            self.tray = [plain(spare) for spare in _spares(level, laid)]
            self.edits = [plain(edit) for edit in _edits(level, score)]
            self.score = plain(_score(level, score))
            self.hints = []
            self.can_undo = bool(past)
            self.levels = [plain(GolfLevel(name=key, title=one.title, at_par=key in self._at_par)) for key, one in self._known.items()]

    def _rows(self) -> list[list[str]]:
        marks = [["runs" if cost["rebuilt"] else "cached" for cost in line["costs"]] for line in self.lines]
        return [[line["text"], line["seconds"], *row] for line, row in zip(self.lines, marks, strict=True)]

    def _said(self) -> str:
        return str(self.score["broken"]) or f"{self.score['total']}; par is {self.score['par']}."

    def text(self) -> str:
        """The lines, what each edit does to them, and the score."""
        head = ["Line", "Takes", *(edit["title"] for edit in self.edits)]
        return f"{self.title}. {self.task}\n\n{text_table(head, self._rows())}\n\n{self._said()}"

    def html(self) -> str:
        """The same as a table."""
        head = ["Line", "Takes", *(f"{edit['title']} ({edit['times']})" for edit in self.edits)]
        return paragraph(self.task) + html_table(self.title, head, self._rows()) + paragraph(self._said())


def _line(level: Level, number: int, text: str, score: Score) -> GolfLine:
    known = level.by_text.get(even(text))
    costs, spent = [], 0.0
    for edit in score.edits:
        rebuilt = next((one for one in edit.rebuilt if one.line == number), None)
        spent += rebuilt.seconds * edit.weight if rebuilt is not None else 0.0
        costs.append(
            GolfCost(
                edit=edit.title,
                rebuilt=rebuilt is not None,
                in_vain=rebuilt is not None and rebuilt.in_vain,
            )
        )
    return GolfLine(
        text=text,
        movable=known is None or known.keyword != "FROM",
        spare=known is not None and (known.spare or bool(known.does)),
        seconds=seconds(known.seconds) if known is not None and known.seconds else "",
        share=round(spent / score.total, 4) if score.total else 0.0,
        costs=costs,
    )


def _spares(level: Level, laid: set[str]) -> list[GolfSpare]:
    """The lines that are not laid, each with the FROM of its stage."""
    found, stage = [], ""
    for text, line in level.by_text.items():
        if line.keyword == "FROM":
            stage = line.text
        elif text not in laid:
            found.append(GolfSpare(text=line.text, after=stage))
    return found


def _edits(level: Level, score: Score) -> list[GolfEdit]:
    costs: list[EditCost | None] = list(score.edits) or [None] * len(level.edits)
    found = []
    for edit, cost in zip(level.edits, costs, strict=True):
        found.append(
            GolfEdit(
                title=edit.title,
                times=f"{times(edit.weight)} a {level.unit}",
                seconds=seconds(cost.seconds) if cost is not None else "",
                total=seconds(cost.seconds * edit.weight) if cost is not None else "",
            )
        )
    return found


def _score(level: Level, score: Score) -> GolfScore:
    return GolfScore(
        total=f"{seconds(score.total)} a {level.unit}" if score.total is not None else "",
        par=f"{seconds(score.par or 0)} a {level.unit}",
        at_par=score.at_par,
        broken=score.broken,
        line=score.line or 0,
    )
