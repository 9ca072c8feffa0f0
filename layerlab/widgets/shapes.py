"""What widgets and their pages send each other: the one place where these shapes are written down.

A ``…State`` has the traits of a widget as its page reads them, ``…Message`` is what that page says. ``widgets/js/shapes.py`` makes the
types of the front end from them; ``./lab build-assets`` runs it. How a verdict becomes a word is in ``words.py``, not here.
"""

from __future__ import annotations

from typing import Any, Final, Literal, TypeAlias, TypeVar

import msgspec

from layerlab.records import Record

Verdict = Literal["base", "cached", "executed", "runs", "failed", "skipped", "metadata", "undecided", "running", "waiting", "stopped"]
# The number of a layer in the merged tree, a sign in the tree of one layer; 0 and "" stand for none.
Sign = Literal["", "+", "~", "-"]
Mark: TypeAlias = int | Sign
# How a build ended.
Ending = Literal["built", "predicted", "failed", "stopped"]


class Cell(Record, frozen=True, kw_only=True):
    """A verdict in a table, and what it comes from."""

    verdict: Verdict
    word: str
    sign: str
    why: str


class Step(Cell, frozen=True, kw_only=True):
    """A slab of the stack: one step of a build. ``layer`` says whether it makes one, ``height`` is what its size is on the picture's scale.

    ``said``: the last line that a running step wrote. ``key``: its cache key, or empty. ``origin``: it runs for a reason of its own.
    """

    number: int
    instruction: str
    stage: str
    line: int
    end_line: int
    layer: bool
    height: int
    size: str
    seconds: str
    said: str
    key: str
    origin: bool


class PastCell(Cell, frozen=True, kw_only=True):
    """What a step did in an earlier build."""

    seconds: str


class PastColumn(Record, frozen=True, kw_only=True):
    """An earlier build; ``ran`` counts its steps that ran."""

    number: int
    dockerfile: str
    seconds: str
    outcome: Ending
    ran: int


class PastRow(Record, frozen=True, kw_only=True):
    """An instruction in each of the earlier builds; ``None`` where a build has no such step."""

    instruction: str
    cells: list[PastCell | None]


class Past(Record, frozen=True, kw_only=True):
    """Builds side by side."""

    columns: list[PastColumn]
    rows: list[PastRow]


class EditColumn(Record, frozen=True, kw_only=True):
    """A step of the what-if matrix. ``stage`` is empty where there is one only."""

    number: int
    instruction: str
    line: int
    stage: str


class EditRow(Record, frozen=True, kw_only=True):
    """An edit of the what-if matrix. ``new``: the file is not there yet; ``runs`` counts the steps that would run again.

    ``cost``: the seconds of a whole build and those of a build after this edit, going by the last time; empty where nothing is known.
    """

    edit: str
    new: bool
    cells: list[Cell]
    runs: int
    cost: str


class Matrix(Record, frozen=True, kw_only=True):
    """Edits × steps."""

    columns: list[EditColumn]
    rows: list[EditRow]
    note: str


class KeyFact(Record, frozen=True, kw_only=True):
    """A part of a cache key: a name, what it is of, and its digest."""

    name: str
    text: str
    digest: str


class KeyLink(Record, frozen=True, kw_only=True):
    """A step of the chain of keys. ``key`` is empty where there is none (yet); ``changed``: it is not that of the last build.

    ``parts``: what it is made of.
    """

    number: int
    instruction: str
    stage: str
    layer: bool
    key: str
    changed: bool
    parts: list[KeyFact]


class LineVerdict(Record, frozen=True, kw_only=True):
    """The verdict of the next build on some lines of a Dockerfile."""

    line: int
    end_line: int
    verdict: Verdict


class Problem(Record, frozen=True, kw_only=True):
    """An error. An empty object says that there is none, so a page may count on no field."""

    kind: str = ""
    file: str = ""
    line: int = 0
    column: int = 0
    message: str = ""
    remedy: str = ""
    log: str = ""


class About(Record, frozen=True, kw_only=True):
    """What builds, and what is built. ``executor`` is empty until it is known."""

    engine: str
    executor: str
    tag: str
    directory: str


class Hidden(Record, frozen=True, kw_only=True):
    """A file that a later layer hides; ``by`` is the number of that layer."""

    path: str
    size: str
    by: int


class Layer(Record, frozen=True, kw_only=True):
    """A layer of an image, with numbers of paths. ``wasted`` is empty where later layers hide nothing of it.

    ``hidden``: the largest of the files that are wasted; ``more`` counts the others. ``saved``: what to do about it, in a sentence.
    """

    number: int
    instruction: str
    height: int
    size: str
    wasted: str
    added: int
    changed: int
    removed: int
    hidden: list[Hidden]
    more: int
    saved: str


class Total(Record, frozen=True, kw_only=True):
    """An image as a whole."""

    size: str
    wasted: str
    paths: int


class TreeNode(Record, frozen=True, array_like=True):
    """A file, or a directory with what is in it. An image has tens of thousands: ``trees.py`` writes them as lists, not by this record."""

    name: str
    mark: Mark
    children: list[TreeNode] = []


class AskedStep(Cell, frozen=True, kw_only=True):
    """A step of a build that is to be predicted, as it is drawn before anybody has. Not ``asked`` are FROM and what only sets metadata."""

    number: int
    instruction: str
    stage: str
    asked: bool


class Guess(Record, frozen=True, kw_only=True):
    """What somebody said of a step, and whether it was right."""

    said: str
    right: bool


class Revealed(Record, frozen=True, kw_only=True):
    """The answer to a question; an empty object until it is shown."""

    answer: str = ""
    why: str = ""
    right: bool = False
    answered: bool = False


class GolfCost(Record, frozen=True, kw_only=True):
    """What an edit does to a line of a round: whether it runs again, and whether it then makes what it made before."""

    edit: str
    rebuilt: bool
    in_vain: bool


class GolfLine(Record, frozen=True, kw_only=True):
    """A line of a round. FROM is not ``movable``. ``seconds`` is empty where it takes none; ``share``: of the whole score, 0 to 1."""

    text: str
    movable: bool
    spare: bool
    seconds: str
    share: float
    costs: list[GolfCost]


class GolfSpare(Record, frozen=True, kw_only=True):
    """A line beside the Dockerfile. ``after``: the first line of the stage that it belongs to."""

    text: str
    after: str


class GolfEdit(Record, frozen=True, kw_only=True):
    """An edit of a level: how often it is made, what a rebuild after it takes, and what all of them take."""

    title: str
    times: str
    seconds: str
    total: str


class GolfScore(Record, frozen=True, kw_only=True):
    """A round. ``total`` is empty where ``broken`` says why nothing counts; ``line``: where, from 1, or 0."""

    total: str
    par: str
    at_par: bool
    broken: str
    line: int


class GolfLevel(Record, frozen=True, kw_only=True):
    """A level that can be chosen. ``at_par``: it was played at par in this notebook."""

    name: str
    title: str
    at_par: bool


# --- the traits of each widget ----------------------------------------------------------------------------------------


class WorkbenchState(Record, frozen=True, kw_only=True):
    kind: Literal["workbench"]
    about: About
    files: dict[str, str]
    dockerfile: str
    dockerfiles: list[str]
    busy: bool
    status: str
    steps: list[Step]
    notes: list[str]
    log: str
    past: Past
    what_if: Matrix
    forecast: list[LineVerdict]
    chain: list[KeyLink]
    problem: Problem
    plan_problem: Problem


class WhatIfState(Record, frozen=True, kw_only=True):
    kind: Literal["whatif"]
    dockerfile: str
    dockerfile_text: str
    editable: bool
    what_if: Matrix
    plan_problem: Problem


class ExplorerState(Record, frozen=True, kw_only=True):
    kind: Literal["explorer"]
    image: str
    layers: list[Layer]
    total: Total
    chosen: int
    tree: list[TreeNode]


class PredictionState(Record, frozen=True, kw_only=True):
    """``turned``: how a step is drawn that was said to run. ``closed``: the build has answered."""

    kind: Literal["prediction"]
    question: str
    steps: list[AskedStep]
    turned: Cell
    given: dict[str, str]
    committed: bool
    closed: bool
    score: str


class BuildState(Record, frozen=True, kw_only=True):
    """``guesses``: by the number of the step. ``printed``: the build as ``docker build`` prints it; ``unfolded``: whether that is shown."""

    kind: Literal["build"]
    title: str
    busy: bool
    status: str
    steps: list[Step]
    guesses: dict[str, Guess]
    score: str
    notes: list[str]
    problem: Problem
    printed: str
    unfolded: bool


class QuestionState(Record, frozen=True, kw_only=True):
    kind: Literal["question"]
    question: str
    choices: list[str]
    unit: str
    given: str
    committed: bool
    result: Revealed


class GolfState(Record, frozen=True, kw_only=True):
    kind: Literal["golf"]
    levels: list[GolfLevel]
    level: str
    title: str
    task: str
    files: list[str]
    lines: list[GolfLine]
    tray: list[GolfSpare]
    edits: list[GolfEdit]
    score: GolfScore
    hints: list[str]
    can_undo: bool


# --- what pages say ---------------------------------------------------------------------------------------------------


class _Files(Record, frozen=True, kw_only=True, tag_field="type"):
    """Files that were edited since the last message, by name, and the Dockerfile that is open."""

    files: dict[str, str]
    dockerfile: str = ""


class Edit(_Files, frozen=True, kw_only=True, tag="edit"):
    pass


class Choose(_Files, frozen=True, kw_only=True, tag="choose"):
    """``dockerfile`` is to be built with from now on."""


class Build(_Files, frozen=True, kw_only=True, tag="build"):
    pass


class Stop(Record, frozen=True, kw_only=True, tag_field="type", tag="stop"):
    pass


class Look(Record, frozen=True, kw_only=True, tag_field="type", tag="look"):
    """Somebody came to the Workbench."""


class Typed(Record, frozen=True, kw_only=True, tag_field="type", tag="typed"):
    text: str


class ChooseLayer(Record, frozen=True, kw_only=True, tag_field="type", tag="choose"):
    layer: int


class Nothing(Record, frozen=True, kw_only=True, tag_field="type", tag="nothing"):
    """What a page says that only shows."""


class CommitPrediction(Record, frozen=True, kw_only=True, tag_field="type", tag="commit"):
    """The numbers of the steps that will run; all others will be cached."""

    runs: list[int]


class CommitAnswer(Record, frozen=True, kw_only=True, tag_field="type", tag="commit"):
    answer: str


class Play(Record, frozen=True, kw_only=True, tag_field="type", tag="play"):
    """The lines of a round in their new order."""

    lines: list[str]


class Turn(Record, frozen=True, kw_only=True, tag_field="type", tag="turn"):
    """A button of golf."""

    what: Literal["hint", "undo", "restart"]


class ChooseLevel(Record, frozen=True, kw_only=True, tag_field="type", tag="level"):
    level: str


GolfMessage: TypeAlias = Play | Typed | Turn | ChooseLevel
WorkbenchMessage: TypeAlias = Edit | Choose | Build | Stop | Look

# What the front end calls by name; the other shapes are found in these.
WORDS: Final[dict[str, Any]] = {"Verdict": Verdict, "Sign": Sign, "Ending": Ending}
STATES: Final = (WorkbenchState, WhatIfState, ExplorerState, BuildState, PredictionState, QuestionState, GolfState)
MESSAGES: Final[dict[str, Any]] = {
    "WorkbenchMessage": WorkbenchMessage,
    "WhatIfMessage": Typed,
    "ExplorerMessage": ChooseLayer,
    "BuildMessage": Nothing,
    "PredictionMessage": CommitPrediction,
    "QuestionMessage": CommitAnswer,
    "GolfMessage": GolfMessage,
}

T = TypeVar("T")


def plain(value: object) -> Any:
    """Records as what a trait holds: dictionaries and lists."""
    return msgspec.to_builtins(value)


def heard(message: dict[str, Any], shape: type[T]) -> T | None:
    """A message of a page, or nothing where it has another shape: it may be of another version, or made by hand."""
    try:
        return msgspec.convert(message, shape)
    except msgspec.ValidationError:
        return None
