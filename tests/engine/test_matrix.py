"""The what-if matrix: for each edit exactly the plan of that edit, of saved and of typed Dockerfiles."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from layerlab.errors import BaseImageError, DockerfileError, UsageError
from layerlab.model import Forecast
from layerlab.render import group_names

from .conftest import verdicts

if TYPE_CHECKING:
    from .conftest import Lab

ONE_STAGE = "FROM base:1\nWORKDIR /app\nCOPY package.json .\nRUN echo install\nCOPY . .\nRUN echo build\nCMD true\n"
TWO_STAGES = (
    "FROM base:1 AS a\nCOPY src /src\nRUN cat /src/* > /out\nFROM base:1\nCOPY package.json /\nCOPY --from=a /out /out\nRUN cat /out\n"
)
EDITS = ("src/index.ts", "src/new.ts", "package.json", "README.md", "src")


@pytest.fixture
def app(lab: Lab) -> Lab:
    """A lab with a few files, one of them ignored."""
    for path in ("src/index.ts", "package.json", "README.md"):
        lab.file(path, path)
    lab.file(".dockerignore", "*.md\n")
    return lab


@pytest.mark.parametrize("dockerfile", [ONE_STAGE, TWO_STAGES])
@pytest.mark.parametrize("built", [False, True])
def test_it_equals_the_single_plans(app: Lab, dockerfile: str, built: bool) -> None:
    options = app.options(dockerfile)
    if built:
        app.build(dockerfile)
    rows = app.engine.matrix(options, EDITS)
    assert app.engine.forecast(options, EDITS) == Forecast(plan=app.engine.plan(options), matrix=rows)
    assert [edit for edit, _ in rows] == list(EDITS)
    for edit, plan in rows:
        assert plan == app.engine.plan(options, (edit,))
    if built:
        assert set(verdicts(dict(rows)["README.md"])) == {"cached"}


GROUPED = {
    "one stage": (ONE_STAGE, [["d/a.txt", "d/b.md", "link", "src/index.ts"], ["package.json"]]),
    "a pattern": (
        "FROM base:1\nCOPY d/*.txt /t/\nCOPY d /d\nCOPY src/ /src/\n",
        [["d/a.txt"], ["d/b.md"], ["link", "package.json"], ["src/index.ts"]],
    ),
    "a link": ("FROM base:1\nCOPY link /l\n", [["d/a.txt"], ["d/b.md", "link", "package.json", "src/index.ts"]]),
    "without some": (
        "FROM base:1\nCOPY --exclude=*.md d /d\nRUN --mount=source=src,target=/s true\n",
        [["d/a.txt"], ["d/b.md", "link", "package.json"], ["src/index.ts"]],
    ),
    "a stage": ("FROM base:1 AS a\nCOPY src /src\nFROM base:1\nCOPY --from=a /src /x\nCOPY d /d\n", None),
    "a source that is not there": ("FROM base:1\nCOPY d /d\n", None),
}


@pytest.mark.parametrize(("dockerfile", "groups"), GROUPED.values(), ids=GROUPED.keys())
def test_files_are_one_row_where_their_edits_do_the_same(lab: Lab, dockerfile: str, groups: list[list[str]] | None) -> None:
    for path in ("src/index.ts", "package.json", "d/a.txt", "d/b.md"):
        lab.file(path, path)
    (lab.context / "link").symlink_to("d/a.txt")
    lab.build(dockerfile)
    options = lab.options(dockerfile)
    found = lab.engine.file_groups(options)
    assert groups is None or [list(group) for group in found] == groups
    files = [file for group in found for file in group]
    assert sorted(files) == ["d/a.txt", "d/b.md", "link", "package.json", "src/index.ts"]
    for group in found:
        plans = {tuple(verdicts(lab.engine.plan(options, (file,)))) for file in group if file != "link"}
        assert len(plans) <= 1, group


def test_groups_are_called_by_few_names_or_a_folder() -> None:
    many = tuple(f"src/{number}.ts" for number in range(1200))
    assert group_names([("a", "b"), many]) == ["a, b", "src/** (1,200)"]
    assert group_names([("src/x.ts",), many]) == ["src/x.ts", "src/** (other files, 1,200)"]
    assert group_names([("README.md",), ("a", "b", "c", "d")]) == ["README.md", "** (other files, 4)"]
    assert group_names([("a", "b", "c", "d")]) == ["** (4)"]


def test_what_is_typed_counts(app: Lab) -> None:
    app.build("FROM base:1\nCOPY . .\nRUN echo install\n")
    typed = app.options(None, dockerfile_text=ONE_STAGE)
    assert verdicts(app.engine.matrix(typed, ("src/index.ts",))[0][1]) == ["cached", "cached", "cached", "executed", "executed"]
    assert [step.instruction for step in app.engine.plan(typed).steps][1] == "WORKDIR /app"


def test_errors_of_what_is_typed_have_a_place(app: Lab) -> None:
    app.build(ONE_STAGE)
    with pytest.raises(DockerfileError) as caught:
        app.engine.matrix(app.options(None, dockerfile_text="FROM base:1\nRUNN x\n"), EDITS)
    assert caught.value.line == 2


def test_half_a_name_is_not_fetched(app: Lab) -> None:
    """While a FROM is typed, its beginnings are names of images, too."""
    typed = app.options(None, dockerfile_text="FROM base:1 AS a\nFROM other:2\n", fetch=False)
    with pytest.raises(BaseImageError, match="other:2 is not here yet") as caught:
        app.engine.plan(typed)
    assert caught.value.remedy == "A build fetches it."
    app.build(ONE_STAGE)
    assert app.engine.plan(app.options(None, dockerfile_text=ONE_STAGE, fetch=False)).steps


def test_a_build_wants_a_file(app: Lab) -> None:
    with pytest.raises(UsageError, match="plans"):
        app.engine.build(app.options(ONE_STAGE, dockerfile_text=ONE_STAGE))


def test_no_edits_no_rows(app: Lab) -> None:
    assert app.engine.matrix(app.options(ONE_STAGE), ()) == ()
