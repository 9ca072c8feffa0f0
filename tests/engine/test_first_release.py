"""A store that the first release made: it opens, and what it remembers is told. ``first-release-store.tar.gz`` is one, of commit dfdfd2e.

Two builds of the Dockerfile below were made in it, ``app:1`` and, with another greeting, ``app:2``.
"""

from __future__ import annotations

import shutil
import tarfile
from pathlib import Path

import pytest

from layerlab.engines.api import BuildOptions
from layerlab.engines.embedded.engine import EmbeddedEngine

STORE = Path(__file__).parent / "first-release-store.tar.gz"
DOCKERFILE = """\
FROM scratch AS one
COPY greeting /etc/greeting
WORKDIR /srv
COPY src src

FROM scratch
LABEL course=layers
ENV NAME=value
COPY --from=one /srv /srv
COPY greeting /
CMD ["/greeting"]
"""


@pytest.fixture
def app(tmp_path: Path) -> BuildOptions:
    """The context as it was at the second build."""
    context = tmp_path / "app"
    (context / "src").mkdir(parents=True)
    (context / "greeting").write_text("changed\n")
    (context / "src" / "a").write_text("one\n")
    (context / "Dockerfile").write_text(DOCKERFILE)
    return BuildOptions(context=str(context), tag="app:3")


@pytest.fixture
def engine(tmp_path: Path, app: BuildOptions) -> EmbeddedEngine:
    # What is remembered of a build lies under a name made of paths, which are others here: a build of today says which.
    with EmbeddedEngine(str(tmp_path / "store")) as engine:
        engine.build(app)
        place, remembered = engine.store.path, Path(engine.store.context_directory(app.context))
    (today,) = remembered.glob("*.trace")
    shutil.rmtree(place)
    with tarfile.open(STORE) as archive:
        archive.extractall(place, filter="data")
    (old,) = (Path(place) / "contexts").iterdir()
    old.rename(remembered)
    (trace,) = remembered.glob("*.trace")
    for file in remembered.glob(f"{trace.stem}.*"):
        file.rename(file.with_name(file.name.replace(trace.stem, today.stem)))
    return EmbeddedEngine(str(tmp_path / "store"))


def test_its_images_and_their_layers_are_there(engine: EmbeddedEngine) -> None:
    with engine:
        assert [image.name for image in engine.images()] == ["app:2", "app:1"]
        assert [row.created_by for row in engine.history("app:1")] == [
            'CMD ["/greeting"]',
            "COPY greeting / # buildkit",
            "COPY /srv /srv # buildkit",
            "ENV NAME=value",
            "LABEL course=layers",
        ]
        assert [layer.added for layer in engine.view("app:2").layers] == [("srv", "srv/src", "srv/src/a"), ("greeting",)]
        assert engine.verify(lambda _text: None).damaged == ()


def test_the_last_build_is_explained(engine: EmbeddedEngine, app: BuildOptions) -> None:
    with engine:
        record = engine.explain(app)
        assert record is not None
        assert [(step.status, step.cause.text) for step in record.steps if step.cause and step.cause.origin == step.number] == [
            ("executed", "Greeting changed."),
            ("executed", "Greeting changed."),
        ]


def test_the_next_build_goes_on_from_there(engine: EmbeddedEngine, app: BuildOptions) -> None:
    """Keys have changed since, so that steps run once more; what they find changed is told by what the old build left."""
    Path(app.context, "greeting").write_text("changed again\n")
    with engine:
        record = engine.build(app)
        assert record.failure is None
        causes = [step.cause for step in record.steps if step.cause is not None and step.cause.kind == "file"]
        assert causes[0].paths == ("greeting",)
        assert [image.name for image in engine.images()] == ["app:3", "app:2", "app:1"]
        assert engine.verify(lambda _text: None).damaged == ()
        assert {step.status for step in engine.build(app).steps} == {"base", "metadata", "cached"}
