"""The other widgets without a browser."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import msgspec
import pytest

from layerlab.engines.api import BuildOptions, Event
from layerlab.engines.embedded.engine import EmbeddedEngine
from layerlab.errors import UsageError
from layerlab.golf.level import shipped
from layerlab.model import ImageView, LayerView
from layerlab.widgets import BuildCard, Golf, LayerExplorer, Prediction, Question, WhatIf, Workbench
from layerlab.widgets.history import PastBuild, side_by_side
from layerlab.widgets.live import cleaned
from layerlab.widgets.scale import THOUSANDFOLD, height
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
    asked = Prediction(lab.build().steps, question="And now?")
    assert asked.answers == {}
    with pytest.raises(UsageError, match="step 1 gets no verdict"):
        asked.commit([1])
    asked.receive({"type": "commit", "runs": "5"})
    assert asked.answers == {}
    # FROM and CMD are not asked, and there is no step 99.
    asked.receive({"type": "commit", "runs": [1, 6, 7, 99]})
    assert asked.answers == {2: "cached", 3: "cached", 4: "cached", 5: "cached", 6: "runs"}
    with pytest.raises(UsageError, match="already"):
        asked.commit([2])
    lab.edit("src/index.ts", "// other\n")
    compared = asked.reveal(lab.build())
    assert compared.score == "4 of 5 right"
    assert {number for number, guess in compared.guesses.items() if not guess.right} == {5}
    assert asked.text().endswith("Your prediction: 4 of 5 right.")
    assert "4 of 5 right" in asked.html()
    with pytest.raises(UsageError, match="already"):
        asked.commit([2])


def test_what_is_predicted_is_found_again_by_its_instruction(lab: Workbench) -> None:
    """A line more above it, and a step that is no longer there: neither is anybody's mistake."""
    asked = Prediction(lab.build().steps)
    asked.commit([5, 6])
    text = lab.files["Dockerfile"].replace("RUN echo install", "RUN true").replace("WORKDIR /app", "ENV A=b\nWORKDIR /app")
    lab.edit("Dockerfile", text)
    compared = asked.compare(lab.build())
    assert sorted(compared.guesses) == [3, 4, 6, 7]
    assert compared.score == "4 of 4 right"


def test_a_prediction_that_nobody_committed_has_no_score(lab: Workbench) -> None:
    asked = Prediction(lab.build().steps)
    assert asked.reveal(lab.build()).score == ""
    assert "The build has answered it." in asked.text()
    asked.receive({"type": "commit", "runs": []})
    assert not asked.committed


def test_the_card_of_a_build(app: Path, engine: EmbeddedEngine) -> None:
    """Its steps are there before they run; then it follows the build, and in the end it holds all that is to be said of it."""
    options = BuildOptions(context=str(app), tag="app", offline=True)
    card = BuildCard("app", engine.plan(options))
    assert [step["verdict"] for step in card.steps] == ["base", *["waiting"] * 5, "metadata"]
    seen = []

    def take(event: Event) -> None:
        card.take(event)
        card.show("printed")
        seen.append([step["verdict"] for step in card.steps])

    record = engine.build(options, take)
    assert ["base", "executed", "executed", "running", "waiting", "waiting", "metadata"] in seen
    card.finish(record)
    assert not card.busy
    assert card.status.startswith("Built app in")
    assert all(len(step["key"]) == 64 for step in card.steps if step["layer"])
    page = card.html()
    # Newest on top.
    assert page.index("RUN echo build") < page.index("COPY . .") < page.index("FROM base:1")
    assert "↻ ran" in page
    assert card.text() == "printed"


def test_a_card_quotes_what_a_dockerfile_says(app: Path, engine: EmbeddedEngine) -> None:
    text = "FROM base:1\nRUN echo '<script>alert(1)</script>'\n"
    card = BuildCard("<b>app</b>", engine.plan(BuildOptions(context=str(app), dockerfile_text=text, offline=True)))
    card.show("<i>printed</i>")
    page = card.html()
    assert "&lt;script&gt;alert(1)" in page
    assert "&lt;i&gt;" in page
    assert not re.search("<(script|b>app|i>)", page)


def test_a_build_that_was_stopped_says_so(app: Path, engine: EmbeddedEngine) -> None:
    plan = engine.plan(BuildOptions(context=str(app), offline=True))
    card = BuildCard("app", plan)
    card.take(Event(kind="start", step=plan.steps[1]))
    card.take(Event(kind="log", text="10%\r90%\r"))
    card.show("")
    assert (card.steps[1]["verdict"], card.steps[1]["said"], card.status) == ("running", "90%", "Step 2 runs: WORKDIR /app")
    card.end("Stopped.")
    assert [step["verdict"] for step in card.steps] == ["base", "stopped", *["skipped"] * 4, "metadata"]
    card.show("later")
    assert card.status == "Stopped."


@pytest.mark.parametrize(("small", "large", "times"), [(0, 1000, 0), (10**3, 10**6, 1), (10**6, 10**9, 1), (1, 10**9, 2)])
def test_a_thousand_times_the_bytes_are_always_as_much_higher(small: int, large: int, times: int) -> None:
    assert height(large) - height(small) == times * THOUSANDFOLD


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
        height=42,
        said="",
        key="",
        origin=False,
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
