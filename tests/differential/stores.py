"""What Docker's image stores agree on: a store decides what a layer repeats and how it tells of what went, not what is there in the end.

``docs/differences.md`` has the rules under "Where the image store decides". Of an image of the classic store the tree that all layers make
together is compared with the base image's, and the texts of its history; where versions part, of some only the keyword.
"""

from __future__ import annotations

import functools
from typing import Any, Final

import msgspec

from tests.conformance import bases
from tests.conformance.cases import Image
from tests.conformance.layers import members

# What the versions write in another way (docs/differences.md).
_REWORDED: Final = ("ARG", "EXPOSE", "RUN")

Tree = dict[str, dict[str, Any]]


def in_the_end(image: Image, *, words: bool) -> Image:
    """The image with one layer that holds what is not as in its base, and no sizes in its history. The image must have ``top``.

    ``words``: whether the history's texts are compared whole; else not those of instructions that the versions write in another way, nor
    the modes of directories.
    """
    assert image.top is not None
    base: Tree = {}
    for diff_id in image.top["base"]:
        base |= _tree(diff_id)
    tree = dict(base)
    for layer in image.layers:
        _apply(layer, tree)
    changed = [member for path, member in sorted(tree.items()) if member != base.get(path)]
    if not words:
        # What mode a directory gets that COPY makes on the way is another one, too.
        changed = [{**member, "mode": ""} if member["type"] == "dir" else member for member in changed]
    gone = [{"path": path, "type": "whiteout"} for path in sorted(base.keys() - tree.keys())]
    history = [{key: value for key, value in row.items() if key != "size"} for row in image.history]
    for row in history if not words else ():
        keyword = row["created_by"].partition(" ")[0]
        if keyword in _REWORDED:
            row["created_by"] = keyword
    top = {key: image.top.get(key) for key in ("architecture", "author", "base")}
    return msgspec.structs.replace(image, layers=[changed + gone], history=history, top=top)


@functools.cache
def _tree(diff_id: str) -> Tree:
    """What a base image's layer has."""
    (layer,) = {base.layer for base in bases.bases() if base.diff_id == diff_id}
    return {member["path"]: member for member in members(layer, whole=True)}


def _apply(layer: list[dict[str, Any]], tree: Tree) -> None:
    """A layer onto a tree (image-spec ``layer.md``): what it hides goes first, names of a file that it has come last."""
    for member in layer:
        if member["type"] in ("whiteout", "opaque"):
            _remove(tree, member["path"], itself=member["type"] == "whiteout")
    for member in sorted(layer, key=lambda member: bool(member["type"] == "hardlink")):
        path, kind = member["path"], member["type"]
        if kind in ("whiteout", "opaque"):
            continue
        if kind != "dir":
            _remove(tree, path, itself=True)
        if kind == "hardlink":
            # Whether two names are one file is told by neither store for files of layers below.
            linked = tree.get(member["target"], {})
            member = {**linked, **{key: value for key, value in member.items() if key not in ("type", "target")}, "type": "file"}
        tree[path] = member


def _remove(tree: Tree, path: str, *, itself: bool) -> None:
    for known in [name for name in tree if name.startswith(f"{path}/") or (itself and name == path)]:
        del tree[known]
