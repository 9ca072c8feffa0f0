"""What all widgets share: the bundled front end, and text for where no widget can be shown."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Final

import anywidget
import traitlets

STATIC: Final = Path(__file__).parent / "static"


class LabWidget(anywidget.AnyWidget):
    """A widget that can also be read as text: ``text`` for terminals, ``html`` for exported notebooks."""

    # Two bundles, because each widget carries its own copy to the browser and the editor is most of the weight.
    _esm = STATIC / "views.js"
    _css = STATIC / "widgets.css"
    kind = traitlets.Unicode("").tag(sync=True)

    def __init__(self, **traits: Any) -> None:
        super().__init__(**traits)
        self.on_msg(self._on_message)

    def text(self) -> str:
        """The state in plain text."""
        raise NotImplementedError

    def html(self) -> str:
        """The state in HTML that needs no script."""
        raise NotImplementedError

    def receive(self, message: dict[str, Any]) -> None:
        """A message of the front end. It may come in any thread, beside others."""

    def _on_message(self, _widget: object, content: object, _buffers: object) -> None:
        if isinstance(content, dict):
            self.receive(content)

    def _repr_mimebundle_(self, **options: Any) -> Any:
        answer = super()._repr_mimebundle_(**options)
        if answer is None:
            return None
        data, metadata = answer
        # Whose process it is says later whether a page can still find this widget (``layerlab.notebook.reopened``).
        mark = {"layerlab": {"process": os.getpid()}}
        return {**data, "text/plain": self.text(), "text/html": self.html()}, {**metadata, **mark}

    def __repr__(self) -> str:
        return self.text()
