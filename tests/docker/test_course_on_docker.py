"""The course's notebooks on Docker: the same texts, the same answers, but for what Docker itself does otherwise."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.course.running import NOTEBOOKS, check, run, surroundings

pytestmark = [pytest.mark.docker, pytest.mark.slow, pytest.mark.network]


@pytest.fixture(scope="module")
def place(node_alpine: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """One home and working copy for all of them."""
    place = tmp_path_factory.mktemp("course")
    with surroundings(place, "docker"):
        yield place


@pytest.mark.many
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_on_docker_and_shows_what_it_says(path: Path, place: Path) -> None:
    check(path.stem, run(path))
