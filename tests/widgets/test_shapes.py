"""What widgets send and hear has the shapes that their pages are told of."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from layerlab.engines.embedded.engine import EmbeddedEngine
from layerlab.widgets import BuildCard, Golf, LayerExplorer, Prediction, Question, WhatIf, Workbench
from layerlab.widgets.base import LabWidget
from layerlab.widgets.shapes import (
    BuildState,
    CommitAnswer,
    Edit,
    ExplorerState,
    GolfState,
    PredictionState,
    QuestionState,
    Stop,
    WhatIfState,
    WorkbenchMessage,
    WorkbenchState,
    heard,
)

from .conftest import DOCKERFILE, until


def state(widget: LabWidget, shape: type[msgspec.Struct]) -> Any:
    """The traits of a widget that its page reads, as the record that describes them."""
    names = [field.name for field in msgspec.structs.fields(shape)]
    own = {name for name in widget.keys if not name.startswith("_") and name not in ("layout", "tabbable", "tooltip")}
    assert own == set(names)
    return msgspec.convert(widget.get_state(names), shape)


def test_workbench(lab: Workbench) -> None:
    until(lambda: bool(lab.forecast and lab.what_if["rows"]))
    assert state(lab, WorkbenchState).past.rows == []
    lab.build()
    lab.edit("Dockerfile", DOCKERFILE.replace("RUN echo build", "RUN exit 3"))
    lab.build()
    until(lambda: bool(lab.forecast and lab.what_if["rows"]))
    built = state(lab, WorkbenchState)
    assert built.problem.line == 6
    assert [step.verdict for step in built.steps] == ["base", "cached", "cached", "cached", "cached", "failed", "metadata"]
    assert len(built.past.columns) == 2


def test_what_if(app: Path, engine: EmbeddedEngine) -> None:
    matrix = WhatIf(str(app), engine=engine, offline=True)
    until(lambda: bool(matrix.what_if["rows"]))
    assert state(matrix, WhatIfState).plan_problem.message == ""
    matrix.close()


def test_explorer(lab: Workbench, engine: EmbeddedEngine) -> None:
    lab.build()
    explorer = LayerExplorer("app", engine)
    assert [node.name for node in state(explorer, ExplorerState).tree][:1] == ["app"]
    explorer.choose(5)
    assert state(explorer, ExplorerState).tree[0].children[0].mark == "+"


def test_prediction(lab: Workbench) -> None:
    asked = Prediction(lab.build().steps)
    asked.commit([5])
    assert state(asked, PredictionState).given == {"2": "cached", "3": "cached", "4": "cached", "5": "runs", "6": "cached"}


def test_a_build(lab: Workbench) -> None:
    asked = Prediction(lab.build().steps)
    asked.commit([5])
    card = BuildCard("app")
    assert state(card, BuildState).busy
    record = lab.build()
    card.finish(record, asked.reveal(record), "So far: 9 of 10.", ("a note",))
    card.show("[+] Building")
    shown = state(card, BuildState)
    assert [step.verdict for step in shown.steps] == ["base", *["cached"] * 5, "metadata"]
    assert {number: guess.right for number, guess in shown.guesses.items()} == {"2": True, "3": True, "4": True, "5": False, "6": True}
    assert shown.score == "Your prediction: 4 of 5 right. So far: 9 of 10."
    assert shown.printed == "[+] Building"


def test_question() -> None:
    asked = Question("How large?", unit="MB")
    assert state(asked, QuestionState).result.answer == ""
    asked.reveal(3)
    assert state(asked, QuestionState).result.answer == "3 MB"


def test_golf() -> None:
    assert [line.movable for line in state(Golf("02"), GolfState).lines] == [False, *[True] * 5]


@pytest.mark.parametrize(
    ("message", "found"),
    [
        ({"type": "stop"}, Stop()),
        ({"type": "edit", "files": {"a": "half of a character: \ud83d"}}, Edit(files={"a": "half of a character: \ud83d"})),
        ({"type": "edit", "files": ["a"]}, None),
        ({"type": "nonsense"}, None),
        ({}, None),
    ],
)
def test_messages(message: dict[str, Any], found: object) -> None:
    shape: Any = WorkbenchMessage
    assert heard(message, shape) == found


def test_messages_of_one_shape_have_a_type_too() -> None:
    assert heard({"type": "commit", "answer": "2"}, CommitAnswer) == CommitAnswer(answer="2")
    assert heard({"type": "choose", "answer": "2"}, CommitAnswer) is None
