"""What an image holds is told by its layers; what that is worth, by the second assignment."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest

from autograder.judge.image_contents import Contents, Needless, contents_of, needless
from autograder.judge.points import judge
from layerlab.oci.tar_entries import LayerEntry
from tests.autograder.material import APP, observation, ps2

UNWANTED = Needless(
    packages=frozenset({"@types/express"}),
    compilers=frozenset({"typescript"}),
    sources={"index.ts": frozenset({"letone:Kind=1;", "functiontwo(a:Kind):Kind{"})},
    names=frozenset({"opt", "a", "e", "b", "first", "link", "gone", "known"}),
    places=dict.fromkeys(("opt/a", "opt/e", "opt/first", "opt/link", "opt/gone", "opt/known", "b"), 1),
    files={9_000_000: {"the compiler": "typescript"}, 700: {"the source": "index.ts", "the types": "@types/express", "express": ""}},
)
# What stands at a path whose size is one of those.
DIGESTS = {"opt/tsc": "the compiler", "opt/s": "the source", "opt/t": "the types", "opt/e": "express"}
SOURCE = "let one: Kind = 1;\nconst three = 3;\nfunction two(a: Kind): Kind {\n  return a;\n}\n"
MAP = {"version": 3, "sources": ["../src/index.ts"], "names": [], "mappings": "AAAA", "sourcesContent": [SOURCE]}
# What the start of a file is, where it matters.
TEXTS = {
    "opt/blank": SOURCE + "\n",
    "opt/one-line": SOURCE.replace("\n", " \t "),
    "opt/commented": SOURCE.replace("\n", " // so\n"),
    "opt/all.tar": f"index.ts\0\0\0{SOURCE}\0\0",
    "opt/compiled.js": "let one = 1;\nconst three = 3;\nfunction two(a) {\n  return a;\n}\n",
    "opt/stripped.js": "let one       = 1;\nconst three = 3;\nfunction two(a      )       {\n  return a;\n}\n",
    "opt/compiled.js.map": json.dumps(MAP),
    "opt/no.map": json.dumps({**MAP, "more": SOURCE}),
}
MIB = 1 << 20


def file(path: str, size: int = 1) -> LayerEntry:
    """A file of a layer."""
    return LayerEntry(path=path, type="file", mode=0o644, size=size)


def hidden(path: str) -> LayerEntry:
    """A whiteout."""
    return LayerEntry(path=path, type="whiteout", mode=0)


class Files:
    """Files by the tables above."""

    def digest(self, _layer: int, path: str, _size: int) -> str:
        """See ``Reader``."""
        return DIGESTS.get(path, "another")

    def content(self, _layer: int, path: str) -> bytes:
        """See ``Reader``."""
        return TEXTS.get(path, "").encode()


def seen(*layers: list[LayerEntry]) -> Contents:
    """Layers above a base of one layer, in which everything is that is not wanted."""
    base = [file("node_modules/typescript/package.json", 1000), file("index.ts", 1000)]
    origin: dict[str, int] = {}
    for number, members in enumerate([base, *layers], start=1):
        for entry in members:
            origin.update({entry.path: number} if entry.type in ("file", "hardlink", "symlink", "dir") else {})
            if entry.type == "whiteout":
                origin = {path: at for path, at in origin.items() if not f"{path}/".startswith(f"{entry.path}/")}
    return contents_of([base, *layers], origin, 1, UNWANTED, Files(), user="node")


def test_what_an_image_does_not_need_is_read_from_the_lock_file() -> None:
    """On the real app. The types of Node are needed by a package that the app runs with, so they may stay."""
    manifest, lock = (json.loads((APP / name).read_text(encoding="utf-8")) for name in ("package.json", "package-lock.json"))
    source = b"interface Kind {}\n  let a: Kind = b;\n\n}\nlet three = 3;"
    brought = [
        ("typescript", 900, "a"),
        ("typescript", 900, "b"),
        ("typescript", 9, "c"),
        ("express", 900, "b"),
        ("@types/express", 900, "d"),
    ]
    found = needless(manifest, lock, {"src/index.ts": source}, [b"x"], brought, {"letthree=3;"}, ["src/index.ts", "README.md"])
    assert found.names == {"src", "index.ts", "README.md"}
    assert found.places == {"src": 1, "src/index.ts": 1, "README.md": 1}
    # With the program of each platform.
    assert {"typescript", "@typescript/typescript-linux-x64"} <= found.compilers
    assert all("typescript" in name for name in found.compilers)
    assert "@types/express" in found.packages
    assert not found.packages & {"express", "@types/node", "typescript", "prisma"}
    assert found.sources == {"index.ts": {"interfaceKind{}", "leta:Kind=b;"}}
    # What two packages have tells nothing, nor does what is small.
    packages = {"a": "typescript", "b": "", "d": "@types/express"}
    ours = {len(text): {hashlib.sha256(text).hexdigest(): name} for text, name in ((source, "index.ts"), (b"x", ""))}
    assert found.files == {900: packages, 9: {"c": ""}, **ours}


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("srv/node_modules/@types/express/package.json", {"packages": ("@types/express",)}),
        ("srv/node_modules/a/node_modules/typescript/package.json", {"compilers": ("typescript",)}),
        ("srv/lib/index.ts", {"sources": ("srv/lib/index.ts",)}),
        ("srv/node_modules/a/index.ts", {}),
        ("srv/typescript/package.json", {}),
        ("srv/node_modules/typescript/lib/package.json", {}),
        ("srv/dist/index.js", {}),
    ],
)
def test_what_is_found(path: str, expected: dict[str, Any]) -> None:
    """By the folder that a package stands in. What the base has is not the answer's."""
    found = seen([file(path)])
    assert {name: getattr(found, name) for name in ("packages", "compilers", "sources") if getattr(found, name)} == expected


@pytest.mark.parametrize(
    ("path", "size", "expected"),
    [
        ("opt/tsc", 9_000_000, {"compilers": ("typescript",)}),
        ("opt/s", 700, {"sources": ("opt/s",)}),
        ("opt/t", 700, {"packages": ("@types/express",)}),
        ("opt/else", 9_000_000, {}),
        ("opt/tsc", 700, {}),
        ("opt/blank", 80, {"sources": ("opt/blank",)}),
        ("opt/one-line", 80, {"sources": ("opt/one-line",)}),
        ("opt/commented", 80, {"sources": ("opt/commented",)}),
        ("opt/all.tar", 80, {"sources": ("opt/all.tar",)}),
        ("opt/no.map", 80, {"sources": ("opt/no.map",)}),
        ("opt/compiled.js.map", 80, {}),
        ("opt/compiled.js", 80, {}),
        ("opt/stripped.js", 80, {}),
    ],
)
def test_what_is_found_under_another_name(path: str, size: int, expected: dict[str, Any]) -> None:
    """A file is what is in it."""
    found = seen([file(path, size)])
    assert {name: getattr(found, name) for name in ("packages", "compilers", "sources") if getattr(found, name)} == expected


def test_what_nobody_can_account_for_is_weighed() -> None:
    """Not what the base has, nor what is deleted. A hard link has the weight of its first name, once that is gone."""
    link = LayerEntry(path="opt/link", type="hardlink", mode=0o644, target="opt/first")
    found = seen(
        [file("opt/e", 700), file("opt/a", 700), file("opt/gone", 9)], [hidden("opt/gone"), file("opt/first", 40), link, file("b", 0)]
    )
    assert (found.unknown, found.strange) == (740, (("opt/a", 700), ("opt/first", 40)))
    assert seen([file("opt/first", 40), link], [hidden("opt/first")]).strange == (("opt/link", 40),)


@pytest.mark.parametrize(
    ("entry", "weight", "own"),
    [
        pytest.param(LayerEntry(path="opt/link", type="symlink", mode=0o777, target="x" * 4000), 4000, 4000, id="where a link leads"),
        pytest.param(LayerEntry(path="opt/a", type="dir", mode=0o755, xattrs={"user.a": b"x" * 94}), 100, 100, id="an attribute"),
        pytest.param(LayerEntry(path="opt/" + "x" * 255, type="file", mode=0o644), 271, 0, id="a name"),
        pytest.param(LayerEntry(path="opt/" + "ü" * 100, type="dir", mode=0o755), 216, 0, id="a folder's name, in bytes"),
        pytest.param(LayerEntry(path="opt/known", type="dir", mode=0o755), 0, 0, id="where the app has one"),
        pytest.param(LayerEntry(path="srv/opt/known", type="file", mode=0o644), 0, 0, id="in whatever folder"),
        pytest.param(LayerEntry(path="known/opt", type="file", mode=0o644), 16, 0, id="where it has none, under a name of its"),
        pytest.param(LayerEntry(path="opt/e", type="file", mode=0o644, size=700), 0, 700, id="a file that a package has"),
    ],
)
def test_what_is_in_no_file_is_weighed_too(entry: LayerEntry, weight: int, own: int) -> None:
    """Whatever can hold a compiler."""
    found = seen([entry])
    assert (found.unknown, found.own) == (weight, own)
    assert found.strange == (((entry.path, weight),) if weight else ())


def test_many_small_files_are_told_as_their_folder() -> None:
    """Whoever reads the message looks for what is large, not for one of a thousand files."""
    found = seen([file(f"tmp/cache/v1/{number}", 10) for number in range(9)] + [file("opt/one", 40)])
    assert [path for path, _ in found.strange] == ["tmp/cache", "opt/one"]


def test_a_place_is_taken_once() -> None:
    """Owners and times of a hundred thousand empty files with the names of packages' could hold a compiler."""
    found = seen([LayerEntry(path=f"{number}/opt/known", type="file", mode=0o644, mtime=number) for number in range(1000)])
    assert found.unknown == 999 * 16


def test_what_is_deleted_is_gone_and_still_counts() -> None:
    """Not to be seen, and carried along."""
    found = seen([file("app/node_modules/typescript/package.json", 5), file("app/a", 2)], [hidden("app/node_modules")])
    assert (found.compilers, found.own) == ((), 7)
    assert found.largest == (("app/node_modules/typescript", 5), ("app/a", 2))


def lost(**changes: Any) -> dict[str, float]:
    """What a perfect answer loses with other contents, by check."""
    contents = Contents(**{"own": 100 * MIB, "user": "node", "uid": 1000, **changes})
    return {check.id: check.max_points - check.points for check in judge(observation(contents=contents), ps2()) if check.status != "passed"}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, {}),
        ({"own": 160 * MIB}, {}),
        ({"own": 160 * MIB + 1}, {"small": 10}),
        ({"own": 200 * MIB + 1}, {"small": 25}),
        ({"packages": ("@types/express",)}, {"lean": 6}),
        ({"compilers": ("typescript",)}, {"lean": 8}),
        ({"sources": ("app/src/index.ts",)}, {"lean": 6}),
        ({"unknown": 256 << 10}, {}),
        ({"unknown": (256 << 10) + 1}, {"lean": 20}),
        ({"packages": ("a",), "compilers": ("b",), "sources": ("c",)}, {"lean": 20}),
        ({"user": ""}, {"unprivileged": 10}),
        ({"user": "root"}, {"unprivileged": 10}),
        ({"user": "root:node"}, {"unprivileged": 10}),
        ({"user": "00:1000"}, {"unprivileged": 10}),
        ({"user": "1000:0"}, {}),
        ({"uid": 0}, {"unprivileged": 10}),
        ({"uid": -1}, {"unprivileged": 10}),
    ],
)
def test_what_costs_what(changes: dict[str, Any], expected: dict[str, float]) -> None:
    """One mistake, one check."""
    assert lost(**changes) == expected


def test_the_message_names_what_is_large_and_what_should_go() -> None:
    """With the next limit, and without what a terminal would obey."""
    contents = Contents(own=225 * MIB, largest=(("app/\x1b[2J", 70 * MIB),), packages=("a", "b", "c", "d"), user="node")
    small, lean, *_ = judge(observation(contents=contents), ps2())
    assert "225.0 MiB. The next limit is 200 MiB. The largest folders: /app/ [2J 70.0 MiB" in small.message
    assert "a, b, c and 1 more" in lean.message
    contents = Contents(unknown=21 * MIB, strange=(("app/all\x1b[2J.bin", 20 * MIB),), user="node")
    assert "21,504 KiB in files" in (told := judge(observation(contents=contents), ps2())[1].message)
    assert "/app/all [2J.bin 20,480 KiB" in told
