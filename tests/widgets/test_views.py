"""The other widgets without a browser."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from layerlab.engines.embedded.engine import EmbeddedEngine
from layerlab.errors import UsageError
from layerlab.golf.level import shipped
from layerlab.model import ImageView, LayerView
from layerlab.widgets import Golf, LayerExplorer, Prediction, Question, WhatIf, Workbench
from layerlab.widgets.history import PastBuild, side_by_side
from layerlab.widgets.live import cleaned
from layerlab.widgets.shapes import Step, Verdict
from layerlab.widgets.trees import layer_tree, merged_tree

from .conftest import until


def test_what_if(app: Path, engine: EmbeddedEngine) -> None:
    matrix = WhatIf(str(app), edits=("src/index.ts", "README.md"), engine=engine, offline=True)
    until(lambda: [row["runs"] for row in matrix.what_if["rows"]] == [2, 0])
    assert matrix.what_if["note"].startswith("Not everything has been built yet")
    matrix.receive({"type": "typed", "text": "FROM base:1\nCOPY . .\nRUN true\n"})
    until(lambda: len(matrix.what_if["columns"]) == 2)
    matrix.dockerfile_text = "FROM base:1\nOOPS\n"
    until(lambda: matrix.plan_problem.get("line") == 2)
    assert "OOPS" in matrix.text()
    assert "<p>" in matrix.html()
    matrix.close()


def test_explorer(lab: Workbench, engine: EmbeddedEngine) -> None:
    lab.build()
    explorer = LayerExplorer("app", engine)
    assert [layer["instruction"] for layer in explorer.layers][1:] == [
        "WORKDIR /app",
        "COPY package.json .",
        "RUN echo install",
        "COPY . .",
        "RUN echo build",
    ]
    explorer.receive({"type": "choose", "layer": 5})
    assert explorer.chosen == 5
    assert [node[0] for node in explorer.tree] == ["app"]
    explorer.receive({"type": "choose", "layer": 99})
    assert explorer.chosen == 5
    with pytest.raises(UsageError, match="no layer 99"):
        explorer.choose(99)
    assert "COPY . ." in explorer.html()
    with pytest.raises(UsageError):
        LayerExplorer("none", engine)


def test_trees_say_each_name_once() -> None:
    layer = LayerView(number=2, diff_id="", created_by="", size=1, added=("a/b/c", "a/d"), changed=("e",), removed=("a/b/f",), wasted=0)
    view = ImageView(image="i", layers=(layer,), origin={"a": 1, "a/b": 1, "a/b/c": 2, "e": 2}, size=1, wasted=0)
    assert merged_tree(view) == [["a", 1, [["b", 1, [["c", 2]]]]], ["e", 2]]
    assert layer_tree(layer) == [["a", "", [["b", "", [["c", "+"], ["f", "-"]]], ["d", "+"]]], ["e", "~"]]


def test_prediction(lab: Workbench) -> None:
    steps = [step.instruction for step in lab.build().steps]
    asked = Prediction(steps, question="And now?")
    assert asked.answers == {}
    asked.receive({"type": "commit", "answers": ["runs"]})
    asked.receive(
        {
            "type": "commit",
            "answers": {
                "1": "no verdict",
                "2": "cached",
                "5": "cached",
                "6": "runs",
                "7": "made up",
                "x": "runs",
                "99": "runs",
                "²": "runs",
            },
        }
    )
    assert asked.answers == {1: "no verdict", 2: "cached", 5: "cached", 6: "runs"}
    with pytest.raises(UsageError, match="already"):
        asked.commit({1: "runs"})
    lab.edit("src/index.ts", "// other\n")
    asked.reveal(lab.build())
    assert asked.score == "3 of 4 right"
    assert "src/index.ts" in asked.text()
    assert "src/index.ts" in asked.html()


def test_a_prediction_without_answers_shows_what_happened(lab: Workbench) -> None:
    record = lab.build()
    asked = Prediction(["COPY . .", "RUN something else", "RUN echo build"])
    with pytest.raises(UsageError, match="no answer"):
        asked.commit(["maybe"])
    asked.reveal(record)
    assert asked.score == ""
    assert [row["word"] for row in asked.results] == ["ran", "not in this build", "ran"]


def test_question() -> None:
    one = Question("How many?", ["none", "two"])
    answers = []
    for answer in ("three", "two"):
        one.receive({"type": "commit", "answer": answer})
        answers.append(one.answer)
    assert answers == [None, "two"]
    one.reveal("none", "Because.")
    assert one.text().endswith("Not quite. It is none. Because.")
    number = Question("How large?", unit="MB")
    with pytest.raises(UsageError, match="no number"):
        number.commit("large")
    number.commit("12,5")
    number.reveal(12, tolerance=1)
    assert number.result == {"answer": "12 MB", "why": "", "right": True, "answered": True}
    unanswered = Question("How large?")
    with pytest.raises(UsageError, match="no number"):
        unanswered.reveal("")
    unanswered.reveal(3)
    assert unanswered.text().endswith("It is 3.")


LOCK_FIRST = (
    "FROM node:alpine",
    "WORKDIR /app",
    "COPY package.json package-lock.json ./",
    "RUN npm ci",
    "COPY . .",
    "RUN node tools/build.js",
    'CMD ["node", "dist/app.js"]',
)


def test_a_round_of_golf() -> None:
    golf = Golf("02")
    assert golf.score["total"] == "1,001 s a week"
    assert golf.tray == [{"text": "COPY package.json package-lock.json ./", "after": "FROM node:alpine"}]
    assert [cost["rebuilt"] for cost in golf.lines[3]["costs"]] == [True, True, True]
    golf.receive({"type": "turn", "what": "hint"})
    assert "RUN npm ci, runs again for nothing" in golf.hints[0]
    golf.receive({"type": "play", "lines": list(LOCK_FIRST)})
    assert golf.score["at_par"]
    assert golf.tray == []
    assert golf.hints == []
    assert [level["name"] for level in golf.levels if level["at_par"]] == ["02-lock-first"]
    assert golf.text().endswith("251.5 s a week; par is 251.5 s a week.")
    golf.receive({"type": "turn", "what": "undo"})
    assert not golf.score["at_par"]
    assert not golf.can_undo


def test_what_is_typed_in_golf_counts_as_if_it_were_moved() -> None:
    golf = Golf("02-lock-first")
    golf.receive({"type": "typed", "text": "# mine\n" + "\n".join(LOCK_FIRST).replace("npm ci", "npm \\\n  ci")})
    assert golf.rated.at_par
    golf.receive({"type": "typed", "text": "FROM node:alpine\nRUN something else\n"})
    assert golf.score["broken"] == "RUN something else is not one of this level's lines"
    assert golf.score["line"] == 2
    golf.receive({"type": "turn", "what": "restart"})
    assert golf.score["total"] == "1,001 s a week"


def test_levels_of_golf_are_chosen_by_name_or_file(tmp_path: Path) -> None:
    golf = Golf()
    assert golf.level == "01-two-lines"
    golf.receive({"type": "level", "level": "12-the-whole-house"})
    assert golf.level == "12-the-whole-house"
    # A page names levels that are known, and no files.
    golf.receive({"type": "level", "level": str(tmp_path / "mine.json")})
    assert golf.level == "12-the-whole-house"
    with pytest.raises(UsageError, match="there is no level 'thirteen'"):
        golf.choose("thirteen")
    own = msgspec.json.encode(msgspec.structs.replace(shipped()["01-two-lines"], title="Mine"))
    (tmp_path / "mine.json").write_bytes(own)
    golf.choose(tmp_path / "mine.json")
    assert (golf.title, golf.level) == ("Mine", "mine.json")
    # The page goes to and fro between it and the others, wherever its file is.
    golf.receive({"type": "level", "level": "02-lock-first"})
    golf.receive({"type": "level", "level": "mine.json"})
    assert golf.title == "Mine"
    # What its author has changed since counts.
    (tmp_path / "mine.json").write_bytes(own.replace(b"Mine", b"Ours"))
    golf.choose(tmp_path / "mine.json")
    assert golf.title == "Ours"
    with pytest.raises(UsageError, match="cannot be read"):
        golf.choose("\0.json")


def test_a_level_is_found_as_it_was_left() -> None:
    golf = Golf("02")
    golf.play(LOCK_FIRST)
    golf.receive({"type": "level", "level": "01-two-lines"})
    golf.receive({"type": "level", "level": "02-lock-first"})
    assert golf.rated.at_par


@pytest.mark.parametrize("message", [{"type": "play"}, {"type": "play", "lines": [1]}, {"type": "turn", "what": "answer"}, {}])
def test_golf_hears_nothing_else(message: dict[str, Any]) -> None:
    golf = Golf("02")
    golf.receive(message)
    assert (golf.score["total"], golf.hints) == ("1,001 s a week", [])


def test_a_round_of_any_length_is_answered() -> None:
    golf = Golf("02")
    golf.receive({"type": "play", "lines": ["FROM node:alpine"] * 5000})
    assert golf.score["broken"] == "FROM node:alpine is out of place"


def step(instruction: str, verdict: Verdict = "cached") -> Step:
    return Step(
        number=1,
        instruction=instruction,
        stage="0",
        line=1,
        end_line=1,
        verdict=verdict,
        word=verdict,
        sign="",
        layer=True,
        bytes=0,
        size="",
        seconds="",
        why="",
    )


def test_builds_are_aligned_by_instruction() -> None:
    first = PastBuild(1, "Dockerfile", 1, "built", [step("FROM a", "base"), step("COPY . .", "executed"), step("CMD x", "metadata")])
    second = PastBuild(2, "Dockerfile", 1, "built", [step("FROM a", "base"), step("COPY p ."), step("COPY . .")])
    table = side_by_side([first, second])
    assert [row.instruction for row in table.rows] == ["FROM a", "COPY p .", "COPY . ."]
    assert [[cell and cell.verdict for cell in row.cells] for row in table.rows] == [
        ["base", "base"],
        [None, "cached"],
        ["executed", "cached"],
    ]


def test_logs_lose_colours_and_redrawn_lines() -> None:
    assert cleaned("\x1b[32mgreen\x1b[0m\r\n10%\r50%\r100%\ndone\x07") == "green\n100%\ndone"


def test_half_a_character_is_planned_as_another_one(app: Path, engine: EmbeddedEngine) -> None:
    shown = WhatIf(str(app), engine=engine, offline=True)
    try:
        shown.receive({"type": "typed", "text": "FROM base:1\nRUNN \ud83d\n"})
        until(lambda: "RUNN" in shown.plan_problem.get("message", ""))
    finally:
        shown.close()
