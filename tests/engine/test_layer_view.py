"""What a layer adds, changes, removes and wastes."""

from __future__ import annotations

import time

import pytest

from layerlab.model import HiddenFile, ImageView
from layerlab.oci.layer_view import view_of
from layerlab.oci.tar_entries import LayerEntry


def _of(*layers: list[LayerEntry]) -> ImageView:
    diff_ids = [f"sha256:{number}" for number in range(len(layers))]
    sizes = [sum(entry.size for entry in layer) for layer in layers]
    return view_of("sha256:1", {"rootfs": {"diff_ids": diff_ids}}, sizes, layers)


def _entry(path: str, kind: str = "file", size: int = 0, target: str = "") -> LayerEntry:
    return LayerEntry(path=path, type=kind, mode=0o755, size=size, target=target)


_FOLDER = [_entry("d", "dir"), _entry("d/e", "dir"), _entry("d/e/f", size=60), _entry("d/g", size=1)]
_TWINS = [_entry("a", size=60), _entry("b", "hardlink", target="a")]

# Layers, the bytes that are wasted, and what the last layer adds, changes and removes.
ROWS = {
    "a file is replaced": ([[_entry("f", size=60)], [_entry("f", size=1)]], 60, ((), ("f",), ())),
    "a file is removed": ([[_entry("f", size=60)], [_entry("f", "whiteout")]], 60, ((), (), ("f",))),
    "a folder is removed": ([_FOLDER, [_entry("d", "whiteout")]], 61, ((), (), ("d",))),
    "a folder becomes a file": ([_FOLDER, [_entry("d", size=1)]], 61, ((), ("d",), ("d/e", "d/e/f", "d/g"))),
    "a folder becomes a link": ([_FOLDER, [_entry("d", "symlink", target="/tmp")]], 61, ((), ("d",), ("d/e", "d/e/f", "d/g"))),
    "a file becomes a folder": ([[_entry("f", size=60)], [_entry("f", "dir"), _entry("f/g", size=1)]], 60, (("f/g",), ("f",), ())),
    "a folder is made anew": (
        [_FOLDER, [_entry("d", "dir"), _entry("d", "opaque"), _entry("d/g", size=1)]],
        61,
        (("d/g",), (), ("d/e", "d/e/f", "d/g")),
    ),
    "a folder is made anew, said after what is in it": (
        [_FOLDER, [_entry("d", "dir"), _entry("d/g", size=1), _entry("d", "opaque")]],
        61,
        (("d/g",), (), ("d/e", "d/e/f", "d/g")),
    ),
    "a folder is repeated": ([_FOLDER, [_entry("d", "dir"), _entry("d/h", size=1)]], 0, (("d/h",), (), ())),
    "one of two names is removed": ([_TWINS, [_entry("a", "whiteout")]], 0, ((), (), ("a",))),
    "both names are removed": ([_TWINS, [_entry("a", "whiteout"), _entry("b", "whiteout")]], 60, ((), (), ("a", "b"))),
    "what was never there is removed": ([_FOLDER, [_entry("x", "whiteout")]], 0, ((), (), ("x",))),
    "a name that begins alike stays": ([[_entry("d", "dir"), _entry("d2", size=60)], [_entry("d", "whiteout")]], 0, ((), (), ("d",))),
    "twice": ([[_entry("f", size=60)], [_entry("f", size=5)], [_entry("f", "whiteout")]], 65, ((), (), ("f",))),
}


@pytest.mark.parametrize(("layers", "wasted", "changes"), ROWS.values(), ids=ROWS.keys())
def test_what_a_layer_does(layers: list[list[LayerEntry]], wasted: int, changes: tuple[tuple[str, ...], ...]) -> None:
    view = _of(*layers)
    last = view.layers[-1]
    assert (view.wasted, (last.added, last.changed, last.removed)) == (wasted, changes)
    assert [layer.wasted for layer in view.layers] == [sum(file.size for file in layer.hidden) for layer in view.layers]


def test_each_hidden_file_says_who_hides_it_the_largest_first() -> None:
    """The last layer that takes a name of it; empty files are nothing to save."""
    first = [_entry("small", size=1), _entry("large", size=60), _entry("empty"), _entry("a", size=9), _entry("b", "hardlink", target="a")]
    view = _of(
        first,
        [_entry("small", size=1), _entry("a", "whiteout")],
        [_entry("large", "whiteout"), _entry("b", "whiteout"), _entry("empty", "whiteout")],
    )
    assert view.layers[0].hidden == (HiddenFile("large", 60, 3), HiddenFile("a", 9, 3), HiddenFile("small", 1, 2))
    assert view.layers[1].hidden == ()


def test_many_folders_that_are_removed_take_no_time() -> None:
    below = [entry for number in range(20_000) for entry in (_entry(f"d{number}", "dir"), _entry(f"d{number}/f", size=1))]
    started = time.process_time()
    assert _of(below, [_entry(f"d{number}", "whiteout") for number in range(20_000)]).wasted == 20_000
    assert time.process_time() - started < 5
