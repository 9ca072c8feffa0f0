"""File trees in a compact form: nested lists, so that a path's directories are sent once and not with each file.

A node is ``[name, mark]`` for a file and ``[name, mark, children]`` for a directory; children are sorted, directories first. The mark is
the number of a layer in the merged tree, and ``+``, ``~`` or ``-`` in the tree of one layer; ``0`` or ``""`` where a path has none of
its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from layerlab.model import ImageView, LayerView
from layerlab.widgets.shapes import Mark, Sign


def nested(marks: Mapping[str, Mark], none: Mark) -> list[Any]:
    """The children of the root for paths and their marks."""
    root: dict[str, Any] = {}
    for path in marks:
        here = root
        for part in path.strip("/").split("/"):
            here = here.setdefault(part, {})
    return _children(root, marks, "", none)


def _children(names: Mapping[str, Any], marks: Mapping[str, Mark], prefix: str, none: Mark) -> list[Any]:
    directories, files = [], []
    for name in sorted(names):
        path = prefix + name
        mark = marks.get(path, none)
        if names[name]:
            directories.append([name, mark, _children(names[name], marks, path + "/", none)])
        else:
            files.append([name, mark])
    return directories + files


def merged_tree(view: ImageView) -> list[Any]:
    """What the image holds, with the layer that each path comes from."""
    return nested(view.origin, 0)


def layer_tree(layer: LayerView) -> list[Any]:
    """What one layer adds (``+``), changes (``~``) and removes (``-``)."""
    marks: dict[str, Mark] = {}
    for sign, paths in _signed(layer):
        marks.update(dict.fromkeys((path.strip("/") for path in paths), sign))
    return nested(marks, "")


def _signed(layer: LayerView) -> Iterable[tuple[Sign, tuple[str, ...]]]:
    return (("+", layer.added), ("~", layer.changed), ("-", layer.removed))
