"""What each layer of an image adds, changes, removes and wastes: from the members of its layers, wherever they were read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from layerlab.engines.embedded.rootfs.layer_tar import LayerEntry
from layerlab.model import ImageView, LayerView


def view_of(image: str, config: Mapping[str, Any], sizes: Sequence[int], entries: Sequence[list[LayerEntry]]) -> ImageView:
    """See an image as its layers. ``image``: its ID; ``config``: its OCI configuration.

    ``sizes`` and ``entries`` are the bytes of regular files and the members of each layer, lowest first.
    """
    diff_ids = config["rootfs"]["diff_ids"]
    makers = [item.get("created_by", "") for item in config.get("history", []) if not item.get("empty_layer")]
    makers += [""] * (len(diff_ids) - len(makers))
    owner: dict[str, int] = {}
    size_of: dict[str, int] = {}
    wasted = [0] * len(diff_ids)
    changes: list[tuple[list[str], list[str], list[str]]] = []

    def drop(path: str) -> None:
        wasted[owner.pop(path) - 1] += size_of.pop(path, 0)

    def drop_below(path: str) -> list[str]:
        below = [other for other in owner if other.startswith(path + "/")]
        for other in below:
            drop(other)
        return below

    for number, members in enumerate(entries, start=1):
        added: list[str] = []
        changed: list[str] = []
        removed: list[str] = []
        for entry in members:
            if entry.type == "whiteout":
                removed.append(entry.path)
                drop_below(entry.path)
                if entry.path in owner:
                    drop(entry.path)
                continue
            if entry.type == "opaque":
                removed.extend(drop_below(entry.path))
                continue
            known = entry.path in owner
            if entry.type == "dir" and known:
                # Layers repeat the directories above what they change; that alone changes nothing.
                owner[entry.path] = owner[entry.path]
                continue
            (changed if known else added).append(entry.path)
            if known:
                drop(entry.path)
            owner[entry.path] = number
            size_of[entry.path] = entry.size
        changes.append((added, changed, removed))
    layers = []
    for number, (diff_id, made, (added, changed, removed)) in enumerate(zip(diff_ids, makers, changes, strict=True), start=1):
        layers.append(
            LayerView(
                number=number,
                diff_id=diff_id,
                created_by=made,
                size=sizes[number - 1],
                added=tuple(added),
                changed=tuple(changed),
                removed=tuple(removed),
                wasted=wasted[number - 1],
            )
        )
    return ImageView(image=image, layers=tuple(layers), origin=owner, size=sum(layer.size for layer in layers), wasted=sum(wasted))
