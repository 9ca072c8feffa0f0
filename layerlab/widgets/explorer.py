"""The layer explorer: what each layer of an image adds, changes and removes, and where each path of the image comes from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import traitlets

from layerlab.errors import LayerlabError, UsageError
from layerlab.model import ImageView, LayerView
from layerlab.oci.created_by import instruction_of
from layerlab.render import layers_table, size
from layerlab.widgets.base import LabWidget
from layerlab.widgets.engines import engine_for
from layerlab.widgets.fallback import paragraph
from layerlab.widgets.scale import height
from layerlab.widgets.shapes import ChooseLayer, Hidden, Layer, Total, heard, plain
from layerlab.widgets.stills import still_of_layers
from layerlab.widgets.trees import layer_tree, merged_tree

if TYPE_CHECKING:
    from layerlab.engines.api import Engine

_MERGED = 0
_MOST_HIDDEN = 100


class LayerExplorer(LabWidget):
    """The layers of an image and the files in them. Raises ``UsageError`` for an unknown image."""

    image = traitlets.Unicode().tag(sync=True)
    layers: traitlets.List[Any] = traitlets.List().tag(sync=True)
    total: traitlets.Dict[str, Any] = traitlets.Dict().tag(sync=True)
    chosen = traitlets.Int(_MERGED).tag(sync=True)
    tree: traitlets.List[Any] = traitlets.List().tag(sync=True)

    def __init__(self, image: str, engine: Engine | str | None = None) -> None:
        own = engine is None or isinstance(engine, str)
        used = engine_for(engine)
        try:
            self._view = used.view(image)
        finally:
            if own:
                used.close()
        layers = [
            Layer(
                number=layer.number,
                instruction=instruction_of(layer.created_by),
                height=height(layer.size),
                size=size(layer.size),
                wasted=size(layer.wasted) if layer.wasted else "",
                added=len(layer.added),
                changed=len(layer.changed),
                removed=len(layer.removed),
                hidden=[Hidden(path=file.path, size=size(file.size), by=file.by) for file in layer.hidden[:_MOST_HIDDEN]],
                more=max(0, len(layer.hidden) - _MOST_HIDDEN),
                saved=_saved(layer),
            )
            for layer in self._view.layers
        ]
        total = Total(size=size(self._view.size), wasted=size(self._view.wasted), paths=len(self._view.origin))
        super().__init__(kind="explorer", image=image, layers=plain(layers), total=plain(total), tree=merged_tree(self._view))

    @property
    def view(self) -> ImageView:
        """The record that is shown."""
        return self._view

    def choose(self, layer: int) -> None:
        """Show one layer, or the merged tree for 0. Raises ``UsageError``."""
        found = next((item for item in self._view.layers if item.number == layer), None)
        if layer != _MERGED and found is None:
            raise UsageError(f"{self.image} has no layer {layer}", remedy=f"It has {len(self._view.layers)} layers.")
        tree = layer_tree(found) if found is not None else merged_tree(self._view)
        with self.hold_sync():
            self.tree = tree
            self.chosen = layer

    def receive(self, message: dict[str, Any]) -> None:
        """A message of the page: the layer that was chosen."""
        said = heard(message, ChooseLayer)
        if said is not None:
            try:
                self.choose(said.layer)
            except LayerlabError:
                # A page of an older kernel; it gets the state that holds.
                self.send_state()

    def text(self) -> str:
        """The layers."""
        return layers_table(self._view, paths=False)

    def html(self) -> str:
        """A still of the layers."""
        text = f"{self.image}: {self.total['size']} in {len(self.layers)} layers, {self.total['wasted']} of it hidden by later layers."
        return paragraph(text) + still_of_layers(msgspec.convert(self.layers, list[Layer]))


def _saved(layer: LayerView) -> str:
    """What would keep the hidden bytes of a layer out of the image."""
    if not layer.hidden:
        return ""
    made = instruction_of(layer.created_by)
    if made.startswith("RUN"):
        how = "if this RUN removed these files itself: a later step can only hide them"
    elif made.startswith(("COPY", "ADD")):
        how = "if these files were not copied here (.dockerignore, or a narrower COPY), or copied once only, as they are in the end"
    else:
        how = "if these files came into the image once only"
    return f"The image would be {size(layer.wasted)} smaller {how}."
