"""The whole course in a container that allows what Binder allows: no namespaces, no capabilities, user id 1000, one CPU, 2 GB at most.

The real Binder cannot be reached from a test; ``image.py`` says what is the same here and what is not.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.course.running import NOTEBOOKS
from tests.drawing import one_in

from .container import Container, decoded, docker, facts, running, table
from .image import HOME, ROOT, MissingError, build

pytestmark = [pytest.mark.docker, pytest.mark.slow, pytest.mark.network, pytest.mark.timeout(2700)]

_IMAGE = "layerlab-binder:test"


class _Binder(NamedTuple):
    """``learner`` has 2 GB. ``demos``: the demo in a container with 1 GB, and then the same on this machine's own executor."""

    learner: Container
    small: Container
    demos: Future[tuple[Any, Any]]


@pytest.fixture(scope="module")
def binder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[_Binder]:
    """Two containers. Each has one CPU and the tests' machine most often two, so the demos run beside the notebooks."""
    if not os.environ.get("LAYERLAB_PRIVATE_DAEMON"):
        # It leaves images of a gigabyte and more behind.
        pytest.skip("no Docker daemon of the tests' own: run ./lab test --docker")
    try:
        build(_IMAGE)
    except MissingError as error:
        pytest.skip(str(error))
    with running(_IMAGE, "2g") as learner, running(_IMAGE, "1g") as small, ThreadPoolExecutor(1) as pool:
        yield _Binder(learner, small, pool.submit(_demos, small, tmp_path_factory.mktemp("demo")))


def _demos(small: Container, place: Path) -> tuple[Any, Any]:
    inside = small.run("demo", "layerlab", "demo", "--json")
    variables = {**os.environ, "LAYERLAB_ENGINE": "embedded", "LAYERLAB_STORE": str(place), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-P", "-m", "layerlab", "demo", "--json"]
    outside = subprocess.run(command, capture_output=True, text=True, check=True, timeout=1800, env=variables).stdout
    return decoded(inside), decoded(outside)


def test_the_executor_is_proot_on_copied_trees(binder: _Binder) -> None:
    found = decoded(binder.learner.run("doctor", "layerlab", "doctor", "--json"))
    assert (found["executor"], found["snapshotter"], found["ids"]) == ("proot", "copy", "single")
    assert found["engine"] == "embedded"
    assert any(note.startswith("the mounts of a command cannot be laid here") for note in found["notes"]), found["notes"]


def test_a_learner_waits_for_no_registry(binder: _Binder) -> None:
    """The base image and npm's packages are in the image, whose build reached them or made the stand-in."""
    images = json.loads(binder.learner.run("images", "layerlab", "images", "--json"))
    assert "node:alpine" in json.dumps(images)
    address = binder.learner.run("npm mirror", "printenv", "npm_config_registry").strip()
    assert address.startswith("http://127.0.0.1:")
    kept = binder.learner.run("npm packages", "sh", "-c", "ls $HOME/.cache/layerlab-npm | wc -l")
    assert int(kept) > 100


def test_the_notebooks_hold_what_they_promise(binder: _Binder, request: pytest.FixtureRequest) -> None:
    """Each from top to bottom with its answers checked; all of them, or those that ``--many`` draws."""
    names = [path.stem for path in one_in(request.config, "notebooks in a container", NOTEBOOKS)]
    numbers = [name[:2] for name in names]
    seconds = decoded(binder.learner.run("notebooks", "python", "-m", "tests.binder.inside", "course", *numbers, seconds=2400))
    assert list(seconds) == names
    binder.learner.acts += [(f"  {name}", spent, 0) for name, spent in seconds.items()]


def test_the_first_notebook_in_a_browser(binder: _Binder) -> None:
    """Opened as the link of README opens it, in the Jupyter of the container, from a browser outside."""
    pytest.importorskip("playwright", reason="playwright is not installed: it is in requirements-test.txt")
    from playwright.sync_api import expect, sync_playwright

    from tests.browser.jupyter import Notebook, Server, find_chromium, launch
    from tests.browser.test_workbench import verdicts

    if find_chromium() is None:
        pytest.skip("there is no Chromium here: apt-get install chromium")
    learner = binder.learner
    address = learner.address()
    learner.run("restore the app", "layerlab", "reset")
    with learner.act("first notebook in a browser"), sync_playwright() as playwright:
        browser = launch(playwright)
        page = browser.new_context(viewport={"width": 1280, "height": 1000}, reduced_motion="reduce").new_page()
        notebook = Notebook(Server(address, Path(HOME), Path(os.devnull)), page)
        page.set_default_timeout(600_000)
        notebook.show("course/01-run-it-once.ipynb")
        notebook.run()
        expect(page.get_by_text("Hello from layer land!").first).to_be_attached()
        source = page.get_by_role("textbox", name="Contents of src/index.ts")
        source.press("Control+Home")
        source.press_sequentially("// my first edit\n")
        page.get_by_role("button", name="Build", exact=True).click()
        expect(page.get_by_role("status").filter(has_text="4 steps ran, 1 cached")).to_be_visible(timeout=720_000)
        assert verdicts(page).count("executed") == 4
        notebook.shut_down()
        browser.close()
    assert notebook.problems == []
    assert learner.run("the edit", "head", "-1", f"{HOME}/work/node-app/src/index.ts") == "// my first edit\n"


def test_only_validate_of_nbgraders_extensions_is_on(binder: _Binder) -> None:
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(binder.learner.address() + "lab", timeout=180) as answer:
        page = answer.read().decode()
    disabled = re.search(r'"disabledExtensions": (\[[^]]*\]|\{[^}]*\})', page)
    assert disabled is not None
    for name in ("assignment-list", "course-list", "create-assignment", "formgrader"):
        assert f"@jupyter/nbgrader:{name}" in disabled[1]
    assert "validate" not in disabled[1]


def test_the_assignments_are_there_without_their_solutions(binder: _Binder) -> None:
    names = binder.learner.run("assignments", "sh", "-c", f"cd {HOME}/exercises/release && ls */*.ipynb").split()
    assert names == [f"{path.name}/{path.name}.ipynb" for path in sorted((ROOT / "exercises" / "source").iterdir()) if path.is_dir()]
    text = binder.learner.run("an assignment", "cat", f"{HOME}/exercises/release/ps1/ps1.ipynb")
    assert "BEGIN SOLUTION" not in text


def test_the_demo_in_one_gigabyte_decides_as_on_this_machine(binder: _Binder) -> None:
    inside, outside = binder.demos.result(timeout=2400)
    assert {act["record"]["executor"] for act in inside["acts"]} == {"proot"}
    *builds, graded = outside["acts"]
    # In the container nothing isolates a build, so nobody is graded.
    assert graded["act"] == "grade"
    assert facts(inside["acts"]) == facts(builds)
    assert inside["served"]["greeting"] == inside["served"]["expected"]
    # The builds of the lesson, side by side: without namespaces they may take longer, but not change in kind.
    for here, there in zip(inside["acts"], builds, strict=True):
        binder.small.acts.append((f"  {here['act']} (here {there['record']['seconds']:.1f} s)", here["record"]["seconds"], 0))


def test_a_step_that_wants_too_much_memory_says_so_and_the_kernel_lives(binder: _Binder) -> None:
    with running(_IMAGE, "400m") as tight:
        said = decoded(tight.run("a step without enough memory", "python", "-m", "tests.binder.inside", "hungry"))
        assert tight.killed() > 0
    assert "memory ran out" in said["build"]
    assert "419 MB" in said["build"]
    assert said["after"].strip() == "the kernel lives"


def test_memory_stays_below_the_limit(binder: _Binder, capsys: pytest.CaptureFixture[str]) -> None:
    binder.demos.result(timeout=2400)
    with capsys.disabled():
        print("\n" + table((binder.learner, binder.small), "proot", int(docker("image", "inspect", "--format", "{{.Size}}", _IMAGE))))
    for container in (binder.learner, binder.small):
        assert container.killed() == 0
        assert max(peak for _, _, peak in container.acts) < container.limit
