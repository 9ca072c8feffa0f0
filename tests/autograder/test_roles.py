"""What a step is for is told by the content of its files."""

from __future__ import annotations

import hashlib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from autograder.judge.loaded_modules import GeneratedFile, Loaded, LoadedFile
from autograder.judge.step_roles import LayerReader, Sought, folder_of, looks_compiled, roles_of
from layerlab.engines.embedded.rootfs.messages import Entries, ListEntries
from layerlab.oci.tar_entries import LayerEntry

MARKER, TYPE = "amber0123456789abcdef", "Birch01234567"
COMPILED = f'const a = {{ dune: "{MARKER}" }};\n'
SOURCE = f'interface {TYPE} {{ dune: string }}\nconst a: {TYPE} = {{ dune: "{MARKER}" }};\n'
TEXTS = {f"express/lib/{number}.js": f"module {number}\n" for number in range(8)} | {
    "@prisma/client/default.js": "x\n",
    "a/index.js": "y\n",
}
CLIENT = "\n".join(f"line {number}" for number in range(10))
LOADED = Loaded(
    files=tuple(LoadedFile(tail=tail, size=len(text), digest=hashlib.sha256(text.encode()).hexdigest()) for tail, text in TEXTS.items()),
    generated=(GeneratedFile(tail=".prisma/client/index.js", lines=frozenset(CLIENT.split("\n"))),),
    packages=frozenset({"express", "@prisma/client", "a"}),
    made=1000,
)


class Worker:
    """As the engine's: says what is in a layer."""

    def __init__(self, place: Path) -> None:
        self.place = place

    def ask(self, request: ListEntries) -> Entries:
        """Members of a layer."""
        root = self.place / request.layer
        files = [path for path in sorted(root.rglob("*")) if path.is_file()]
        return Entries(
            entries=[LayerEntry(path=str(path.relative_to(root)), type="file", mode=0o644, size=path.stat().st_size) for path in files]
        )


def reader(place: Path, files: dict[str, str], *, runs: bool = True) -> LayerReader:
    """A reader of a store with one layer, in which these files are. ``runs``: what looks like compiled code comes to what it should."""
    for path, text in files.items():
        (place / "layer" / path).parent.mkdir(parents=True, exist_ok=True)
        (place / "layer" / path).write_text(text, encoding="utf-8")
    (place / "layer").mkdir(exist_ok=True)
    engine: Any = SimpleNamespace(store=SimpleNamespace(path=str(place), layer_path=lambda _diff_id: "layer"), worker=Worker(place))
    return LayerReader(engine, Sought(loaded=LOADED, marker=MARKER, erased=(TYPE,), proof=lambda contents: [runs] * len(contents)))


def installed(folder: str, **others: str) -> dict[str, str]:
    """Packages in a folder, some with another content."""
    return {f"{folder}/{tail}": text for tail, text in {**TEXTS, **others}.items()}


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        pytest.param(installed("srv/node_modules"), {"install"}, id="packages"),
        pytest.param(installed("srv/node_modules/.store/x/node_modules"), {"install"}, id="linked"),
        pytest.param(installed("opt/packages"), {"install"}, id="in any folder"),
        pytest.param(dict.fromkeys(installed("srv/node_modules"), ""), set(), id="names alone"),
        pytest.param({path: "z" * len(text) for path, text in installed("srv/node_modules").items()}, set(), id="names and sizes alone"),
        pytest.param({"srv/lib/0.js": "module 0\n"}, set(), id="a file of the same name"),
        pytest.param({"n/.prisma/client/index.js": CLIENT.replace("line 3", "line drei")}, {"generate"}, id="a client for another folder"),
        pytest.param({"n/.prisma/client/index.js": "line 0\nline 1\n", "n/.prisma/client/schema.prisma": "x"}, set(), id="a client's name"),
        pytest.param({"srv/out/main.js": COMPILED}, {"build"}, id="compiled"),
        pytest.param({"srv/out/bundle": COMPILED}, {"build"}, id="compiled, under any name"),
        pytest.param({"srv/node_modules/my-app/index.js": COMPILED}, {"build"}, id="compiled, as a package of its own"),
        pytest.param({"srv/src/index.ts": SOURCE}, set(), id="sources"),
        pytest.param({"srv/all.js": SOURCE}, set(), id="sources by another name"),
        pytest.param({"srv/server.js": f"const all = {SOURCE!r};"}, set(), id="sources in a string"),
        pytest.param({"srv/src/index.ts": COMPILED}, set(), id="a name that is not executed"),
        pytest.param({"srv/out/index.js": "const a = 1;\n"}, set(), id="code without the edit"),
        pytest.param({}, set(), id="nothing"),
    ],
)
def test_roles(tmp_path: Path, files: dict[str, str], expected: set[str]) -> None:
    """By what is in the files, in whatever folder."""
    assert roles_of(reader(tmp_path, files).found("sha256:1"), LOADED) == expected


def test_what_only_looks_compiled_is_no_code(tmp_path: Path) -> None:
    """It must come to what the source comes to."""
    assert roles_of(reader(tmp_path, {"srv/out/main.js": COMPILED}, runs=False).found("sha256:1"), LOADED) == set()


def test_where_packages_stand_is_told_by_the_outermost_folder(tmp_path: Path) -> None:
    """For the words of a verdict."""
    found = reader(tmp_path, {**installed("srv/node_modules"), **installed("srv/node_modules/b/node_modules")}).found("sha256:1")
    assert folder_of(found) == "/srv/node_modules"


@pytest.mark.parametrize(("content", "expected"), [(COMPILED, True), (SOURCE, False), ("", False), (f"{COMPILED}// {TYPE}", False)])
def test_what_looks_compiled_has_the_words_and_not_the_types(content: str, expected: bool) -> None:
    """Which a compiler leaves out."""
    assert looks_compiled(content.encode(), MARKER, (TYPE,)) == expected
