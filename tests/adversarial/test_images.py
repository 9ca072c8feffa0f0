"""Images whose configuration is odd: they are refused in a sentence, or work as well as they can; never a crash, never a wait."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import pytest

from layerlab.engines.api import BuildOptions
from layerlab.engines.embedded.rootfs.messages import Remove
from layerlab.errors import LayerlabError
from layerlab.model import HistoryEntry
from layerlab.render import history_table
from tests.conformance import bases
from tests.engine.conftest import Lab, MakeLab

# What the configuration has beside PATH and a shell, and whether the image is taken at all.
ODD: dict[str, tuple[dict[str, Any], bool]] = {
    "a variable without a value": ({"Env": ["PATH=/bin", "NOTHING"]}, True),
    "a variable without a name": ({"Env": ["PATH=/bin", "=x"]}, True),
    "a signal that is a digit of another kind": ({"StopSignal": "²"}, True),
    "a signal that is far too large": ({"StopSignal": "99999"}, True),
    "a zero byte in the working directory": ({"WorkingDir": "/a\0b"}, False),
    "a working directory longer than a path": ({"WorkingDir": "/a" * 3000}, False),
    "a working directory as long as a path": ({"WorkingDir": "/a" * 1500}, True),
    "a working directory outside": ({"WorkingDir": "../../../../proc/1/root"}, True),
    "a user who is nobody": ({"User": "²"}, True),
}


@pytest.mark.timeout(60)
@pytest.mark.parametrize(("config", "taken"), ODD.values(), ids=ODD.keys())
def test_an_odd_image(config: dict[str, Any], taken: bool, make_lab: MakeLab, tmp_path: Path) -> None:
    lab = make_lab()
    base = next(base for base in bases.bases() if base.name == "base:1")
    bases.write_layout(base._replace(config={**base.config, **config}), tmp_path / "odd")
    try:
        lab.engine.import_layout(str(tmp_path / "odd"), "odd:1")
    except LayerlabError:
        assert not taken
        return
    assert taken
    _works_or_says_why(lab)
    # Nested too deep for whoever tidies up after tests.
    lab.engine.worker.ask(Remove(paths=["s"]))


def _works_or_says_why(lab: Lab) -> None:
    # A message of our own is as good an answer.
    with contextlib.suppress(LayerlabError), lab.engine.container("odd:1", command=("true",), network=False) as running:
        running.wait(lambda _: None)
    file = lab.directory / "odd"
    file.write_text("FROM odd:1\nRUN true\n", encoding="utf-8")
    record = lab.engine.build(BuildOptions(context=str(lab.context), file=str(file), network="none", offline=True))
    assert record.failure is None or record.failure.kind in ("dockerfile", "step-failed", "context"), record.failure


def test_what_an_image_says_of_itself_moves_no_cursor() -> None:
    row = HistoryEntry(created_by="\x1b[2J", size=0, empty_layer=True, created="\x1b]0;x\x07", comment="\x1b[31m", diff_id=None)
    text = history_table((row,), "sha256:" + "0" * 64, full=True)
    assert "\x1b" not in text
    assert "\x07" not in text
