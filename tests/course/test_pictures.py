"""Pictures of what was measured: to scale, newest on top, and quoting what files and registries say."""

from __future__ import annotations

import re

import pytest

from layerlab.model import BuildRecord, HiddenFile, ImageView, LayerView, Push, SentLayer, Status, StepRecord
from layerlab.notebook.pictures import timelines, travelled, union


def build(seconds: float, *steps: tuple[str, Status, float]) -> BuildRecord:
    return BuildRecord(
        engine="embedded",
        executor="bwrap",
        snapshotter="overlay",
        ids="subid",
        context="/app",
        dockerfile="Dockerfile",
        target=None,
        image="sha256:0",
        tag="x",
        seconds=seconds,
        steps=tuple(
            StepRecord(
                number=number, stage="0", instruction=text, line=number, end_line=number, status=status, makes_layer=True, seconds=took
            )
            for number, (text, status, took) in enumerate(steps, 1)
        ),
    )


NAIVE = build(20, ("COPY . .", "executed", 1.0), ("RUN npm install", "executed", 15.0), ("CMD x", "metadata", 0))
OPTIMISED = build(5, ("RUN npm install", "cached", 0), ("COPY . .", "executed", 4.0))


def test_builds_are_drawn_on_one_clock() -> None:
    page = timelines({"naive": NAIVE, "optimised": OPTIMISED})._repr_mimebundle_()["text/html"]
    widths = {title: float(width) for title, width in re.findall(r'title="([^"]*)" style="flex:0 1 ([\d.]+)%', page)}
    # In percent of the longest; what is beside the steps is drawn, too.
    assert widths == {
        "COPY . ., 1.0 s": pytest.approx(5),
        "RUN npm install, 15.0 s": pytest.approx(75),
        "beside the steps, 4.0 s": pytest.approx(20),
        "COPY . ., 4.0 s": pytest.approx(20),
        "beside the steps, 1.0 s": pytest.approx(5),
    }
    assert "20.0 s before, 5.0 s now: 15.0 s saved with each such edit." in page
    assert "RUN npm install: cached" in page


def test_one_build_alone_saves_nothing() -> None:
    text = repr(timelines({"only": NAIVE}))
    assert "saved" not in text
    assert re.search(r"15\.0 s  RUN npm install", text)
    assert repr(timelines({})) == ""


def layer(number: int, made: str, **more: object) -> LayerView:
    fields = {"added": (), "changed": (), "removed": (), "wasted": 0, **more}
    return LayerView(number=number, diff_id=f"sha256:{number}", created_by=made, size=0, **fields)  # type: ignore[arg-type]


def test_what_each_layer_has_of_a_path() -> None:
    view = ImageView(
        image="i",
        layers=(
            layer(1, "base", added=("etc/shells",)),
            layer(2, "RUN other", added=("else",)),
            layer(3, "RUN make # buildkit", added=("big",), hidden=(HiddenFile("big", 10**7, 4),)),
            layer(4, "RUN rm", removed=("big",)),
        ),
        origin={"etc/shells": 1, "else": 2},
        size=0,
        wasted=10**7,
    )
    lines = [" ".join(line.split()) for line in repr(union(view, ["/big", "etc/shells"])).splitlines()]
    # Layers that have none of them are left out.
    assert lines[1:] == [
        "a container sees nothing that of layer 1",
        "4. RUN rm whiteout ✕",
        "3. RUN make file, 10MB, hidden",
        "1. base file",
    ]


def test_which_layers_travel() -> None:
    sent = [SentLayer(diff_id=f"d{number}", digest=f"sha256:{number:064x}", size=1000, sent=number == 2) for number in (1, 2)]
    picture = travelled(Push(reference="r", digest="sha256:0", layers=tuple(sent), sent=1200), {"d2": "RUN echo <b>"})
    page = picture._repr_mimebundle_()["text/html"]
    assert page.index("2. RUN echo &lt;b&gt;") < page.index("1. ")
    assert "<b>" not in page
    assert "1 of 2 layers were sent, 1.2kB in all; the registry had the others." in repr(picture)


@pytest.mark.parametrize(
    ("sent", "words"), [((True, True), "in all."), ((False, False), "had all of them."), ((True, False), "the others.")]
)
def test_nothing_is_said_of_others_where_there_are_none(sent: tuple[bool, ...], words: str) -> None:
    layers = tuple(SentLayer(diff_id="d", digest="sha256:0", size=1, sent=each) for each in sent)
    assert repr(travelled(Push(reference="r", digest="sha256:0", layers=layers, sent=1), {})).endswith(words)
