"""A small world for tests of the embedded engine: a store with one tiny base image, and a build context to fill.

The store is made once and copied for each test, so every test starts with an empty cache and pays almost nothing for it.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from layerlab.engines.api import BuildOptions, Event
from layerlab.engines.embedded.engine import EmbeddedEngine
from layerlab.model import BuildRecord, PlanRecord, StepRecord
from layerlab.oci.tar_entries import LayerEntry

BASE = "base:1"


def _bases() -> ModuleType:
    """The images of the conformance cases: a static BusyBox, or tools of this host."""
    name = "layerlab_test_bases"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, Path(__file__).parents[1] / "conformance" / "bases.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)
    return sys.modules[name]


class Lab:
    """One engine with its own store, and one build context."""

    def __init__(self, directory: Path, engine: EmbeddedEngine) -> None:
        self.directory = directory
        self.engine = engine
        self.context = directory / "context"
        self.context.mkdir()
        self.output = ""

    @property
    def ids(self) -> str:
        """``full`` as root, ``single`` as an ordinary user."""
        return self.engine.host.ids

    def file(self, path: str, content: str | bytes = "", mode: int = 0o644) -> Path:
        """Write a file of the context."""
        target = self.context / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content.encode() if isinstance(content, str) else content)
        target.chmod(mode)
        return target

    def options(self, dockerfile: str | None = None, **options: Any) -> BuildOptions:
        """Options for this context. The Dockerfile is kept beside the context, so that ``COPY . .`` does not see it."""
        file = self.directory / "Dockerfile"
        if dockerfile is not None:
            file.write_text(dockerfile)
        options.setdefault("network", "none")
        options.setdefault("file", str(file))
        return BuildOptions(context=str(options.pop("context", self.context)), **{"offline": True, **options})

    def try_build(self, dockerfile: str | None = None, **options: Any) -> BuildRecord:
        """Build, whatever comes of it."""
        shown: list[str] = []

        def watch(event: Event) -> None:
            if event.kind == "log":
                shown.append(event.text)

        record = self.engine.build(self.options(dockerfile, **options), watch)
        self.output = "".join(shown)
        return record

    def build(self, dockerfile: str | None = None, **options: Any) -> BuildRecord:
        """Build an image."""
        record = self.try_build(dockerfile, **options)
        assert record.failure is None, (record.failure, self.output)
        return record

    def plan(self, dockerfile: str | None = None, edits: tuple[str, ...] = (), **options: Any) -> PlanRecord:
        """Plan a build."""
        return self.engine.plan(self.options(dockerfile, **options), edits)

    def layers(self, record: BuildRecord) -> list[dict[str, LayerEntry]]:
        """The layers above the base by path; a whiteout stands under the path that it hides, an opaque marker is ``PATH/*``."""
        assert record.image is not None
        found = self.engine.layer_entries(record.image)
        own = len([step for step in record.steps if step.makes_layer and step.status in ("executed", "cached")])
        return [
            {entry.path + ("/*" if entry.type == "opaque" else ""): entry for entry in layer} for layer in (found[-own:] if own else [])
        ]

    def leftovers(self) -> list[str]:
        """What this process's builds have left of their work. Mount points stay for the next one, as long as the engine is open."""
        store = self.engine.store
        return [name for name in os.listdir(os.path.join(store.path, store.scratch())) if not name.startswith("stubs-")]

    def config(self, record: BuildRecord) -> dict[str, Any]:
        """The configuration of the image."""
        assert record.image is not None
        return self.engine.image_config(record.image)


def verdicts(record: BuildRecord | PlanRecord) -> list[str]:
    """Verdicts of the steps that have one."""
    return [step.status for step in record.steps if step.status not in ("base", "metadata")]


def missed(record: BuildRecord | PlanRecord) -> list[StepRecord]:
    """The steps that have a cause."""
    return [step for step in record.steps if step.cause is not None]


MakeLab = Callable[..., Lab]


@pytest.fixture(scope="session")
def layouts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """OCI layouts of the base images by name."""
    directory = tmp_path_factory.mktemp("layouts")
    found = {}
    for number, base in enumerate(_bases().bases()):
        _bases().write_layout(base, directory / str(number))
        found[base.name] = directory / str(number)
    return found


@pytest.fixture(scope="session")
def template_stores(tmp_path_factory: pytest.TempPathFactory, layouts: Mapping[str, Path]) -> Callable[[], Path]:
    """A store with the base image for the snapshotter that ``LAYERLAB_SNAPSHOTTER`` names, made on first use."""
    made: dict[str, Path] = {}

    def get() -> Path:
        kind = os.environ.get("LAYERLAB_SNAPSHOTTER", "")
        if kind not in made:
            store = tmp_path_factory.mktemp("template") / "store"
            with EmbeddedEngine(str(store)) as engine:
                if not engine.host.executor:
                    pytest.skip("nothing on this machine can run a build step: " + "; ".join(engine.host.notes))
                engine.import_layout(str(layouts[BASE]), BASE)
            made[kind] = store
        return made[kind]

    return get


@pytest.fixture
def make_lab(tmp_path: Path, template_stores: Callable[[], Path]) -> Iterator[MakeLab]:
    """Makes labs, each with a store of its own; ``store`` may be a directory that is there already."""
    labs: list[Lab] = []

    def make(store: Path | None = None) -> Lab:
        directory = tmp_path / f"lab{len(labs)}"
        directory.mkdir()
        store = store or directory / "store"
        subprocess.run(["cp", "-a", f"{template_stores()}/.", str(store)], check=True)
        lab = Lab(directory, EmbeddedEngine(str(store)))
        labs.append(lab)
        return lab

    yield make
    for lab in labs:
        lab.engine.close()


@pytest.fixture
def lab(make_lab: MakeLab) -> Lab:
    """A lab on the snapshotter that this machine gets."""
    return make_lab()


@pytest.fixture(params=["default", "copy"])
def each_lab(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, make_lab: MakeLab) -> Lab:
    """The same on both snapshotters: what a promise says must not depend on how a layer is caught."""
    if request.param == "copy":
        monkeypatch.setenv("LAYERLAB_SNAPSHOTTER", "copy")
    return make_lab()
