"""What each layer of an image adds, changes, removes and wastes: from the members of its layers, wherever they were read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from layerlab.model import HiddenFile, ImageView, LayerView
from layerlab.oci.tar_entries import LayerEntry

_NO_FILES: Final = ("dir", "whiteout", "opaque")


def view_of(image: str, config: Mapping[str, Any], sizes: Sequence[int], entries: Sequence[list[LayerEntry]]) -> ImageView:
    """See an image as its layers. ``image``: its ID; ``config``: its OCI configuration.

    ``sizes`` and ``entries`` are the bytes of regular files and the members of each layer, lowest first.
    """
    diff_ids = config["rootfs"]["diff_ids"]
    makers = [item.get("created_by", "") for item in config.get("history", []) if not item.get("empty_layer")]
    makers += [""] * (len(diff_ids) - len(makers))
    seen = _Visible(len(diff_ids))
    changes = [seen.add(number, members) for number, members in enumerate(entries, start=1)]
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
                wasted=sum(file.size for file in seen.hidden[number - 1]),
                hidden=tuple(sorted(seen.hidden[number - 1], key=lambda file: (-file.size, file.path))),
            )
        )
    return ImageView(
        image=image,
        layers=tuple(layers),
        origin=seen.owner,
        size=sum(layer.size for layer in layers),
        wasted=sum(layer.wasted for layer in layers),
    )


class _Visible:
    """What of the layers so far can be seen. ``owner``: the layer, from 1, of each path; ``hidden``: by layer, files that nobody sees."""

    def __init__(self, layers: int) -> None:
        self.owner: dict[str, int] = {}
        self.hidden: list[list[HiddenFile]] = [[] for _ in range(layers)]
        self._folders: set[str] = set()
        # The first path of the file that each path is a name of, and of each first path in its layer the bytes and how many names are seen.
        self._first: dict[str, str] = {}
        self._files: dict[tuple[int, str], tuple[int, int]] = {}

    def add(self, number: int, members: list[LayerEntry]) -> tuple[list[str], list[str], list[str]]:
        """Lay a layer on top: what it adds, changes and removes."""
        added: list[str] = []
        changed: list[str] = []
        # Nothing that is in this layer is hidden by it, in whatever order an archive has them.
        gone = [entry.path for entry in members if entry.type == "whiteout"]
        emptied = {entry.path for entry in members if entry.type == "opaque"}
        emptied |= {entry.path for entry in members if entry.type not in _NO_FILES and entry.path in self._folders}
        removed = [*gone, *self._below(emptied)]
        for path in {*removed, *self._below(set(gone))} & self.owner.keys():
            self._drop(path, number)
        for entry in members:
            if entry.type in ("whiteout", "opaque"):
                continue
            if entry.type == "dir" and entry.path in self._folders:
                # Layers repeat the directories above what they change; that alone changes nothing.
                continue
            if entry.path in self.owner:
                changed.append(entry.path)
                self._drop(entry.path, number)
            else:
                added.append(entry.path)
            self.owner[entry.path] = number
            if entry.type == "dir":
                self._folders.add(entry.path)
            first = self._first[entry.path] = entry.target if entry.type == "hardlink" else entry.path
            size, names = self._files.get((number, first), (0, 0))
            self._files[number, first] = (size + entry.size, names + 1)
        return added, changed, removed

    def _below(self, above: set[str]) -> list[str]:
        """Paths that are seen below these, in one walk over all: a layer may hide ten thousand directories."""
        if not above:
            return []
        known: dict[str, bool] = {"": "" in above}

        def hidden(folder: str) -> bool:
            missing = []
            while folder not in known:
                missing.append(folder)
                folder = folder.rpartition("/")[0]
            found = known[folder]
            for name in reversed(missing):
                found = known[name] = found or name in above
            return found

        return [path for path in self.owner if path and hidden(path.rpartition("/")[0])]

    def _drop(self, path: str, by: int) -> None:
        number, first = self.owner.pop(path), self._first.pop(path)
        self._folders.discard(path)
        size, names = self._files[number, first]
        self._files[number, first] = (size, names - 1)
        if names == 1 and size:
            self.hidden[number - 1].append(HiddenFile(first, size, by))
