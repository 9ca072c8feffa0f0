"""What an image holds is told by its layers; what that is worth, by the second assignment."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest

from autograder.contents import Contents, Needless, contents_of, needless
from autograder.rubric import judge
from layerlab.engines.embedded.rootfs.layer_tar import LayerEntry
from tests.autograder.material import APP, observation, ps2

UNWANTED = Needless(
    packages=frozenset({"@types/express"}),
    compilers=frozenset({"typescript"}),
    sources=frozenset({"index.ts"}),
    files={9_000_000: {"the compiler": "typescript"}, 700: {"the source": "index.ts", "the types": "@types/express"}},
)
# What stands at a path whose size is one of those.
DIGESTS = {"opt/tsc": "the compiler", "opt/s": "the source", "opt/t": "the types"}
MIB = 1 << 20


def file(path: str, size: int = 1) -> LayerEntry:
    """A file of a layer."""
    return LayerEntry(path=path, type="file", mode=0o644, size=size)


def hidden(path: str) -> LayerEntry:
    """A whiteout."""
    return LayerEntry(path=path, type="whiteout", mode=0)


def digest(_layer: int, path: str, _size: int) -> str:
    """The digest of a file."""
    return DIGESTS.get(path, "another")


def seen(*layers: list[LayerEntry]) -> Contents:
    """Layers above a base of one layer, in which everything is that is not wanted."""
    base = [file("node_modules/typescript/package.json", 1000), file("index.ts", 1000)]
    origin: dict[str, int] = {}
    for number, members in enumerate([base, *layers], start=1):
        for entry in members:
            origin.update({entry.path: number} if entry.type == "file" else {})
            if entry.type == "whiteout":
                origin = {path: at for path, at in origin.items() if not f"{path}/".startswith(f"{entry.path}/")}
    return contents_of([base, *layers], origin, 1, UNWANTED, digest, user="node")


def test_what_an_image_does_not_need_is_read_from_the_lock_file() -> None:
    """On the real app. The types of Node are needed by a package that the app runs with, so they may stay."""
    manifest, lock = (json.loads((APP / name).read_text(encoding="utf-8")) for name in ("package.json", "package-lock.json"))
    found = needless(manifest, lock, {"src/index.ts": b"x"}, [("typescript", 9, "a"), ("express", 8, "b"), ("@types/express", 9, "c")])
    assert found.compilers == {"typescript"}
    assert "@types/express" in found.packages
    assert not found.packages & {"express", "@types/node", "typescript", "prisma"}
    assert found.sources == {"index.ts"}
    source = {hashlib.sha256(b"x").hexdigest(): "index.ts"}
    assert found.files == {9: {"a": "typescript", "c": "@types/express"}, 1: source}


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
    ],
)
def test_what_is_found_under_another_name(path: str, size: int, expected: dict[str, Any]) -> None:
    """A file is what is in it."""
    found = seen([file(path, size)])
    assert {name: getattr(found, name) for name in ("packages", "compilers", "sources") if getattr(found, name)} == expected


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
