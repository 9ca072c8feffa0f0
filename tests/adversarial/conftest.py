"""The small world of the engine's tests, for attacks on it."""

from __future__ import annotations

import pytest

from tests.engine.conftest import Lab, MakeLab, layouts, make_lab, template_stores

__all__ = ["layouts", "make_lab", "template_stores"]


@pytest.fixture(params=["default", "copy"])
def walled_lab(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, make_lab: MakeLab) -> Lab:
    """On both snapshotters; skips where nothing isolates a build."""
    if request.param == "copy":
        monkeypatch.setenv("LAYERLAB_SNAPSHOTTER", "copy")
    lab = make_lab()
    if not lab.engine.host.isolates:
        pytest.skip("nothing isolates a build here")
    return lab
