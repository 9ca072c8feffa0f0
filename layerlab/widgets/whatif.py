"""The what-if matrix alone: edits × steps of a Dockerfile, following the text as it is typed. Nothing is built or saved."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import traitlets

from layerlab.engines.api import BuildOptions
from layerlab.errors import LayerlabError, UsageError
from layerlab.model import PlanRecord
from layerlab.render import matrix as matrix_text
from layerlab.widgets import matrix as what_if
from layerlab.widgets.base import STATIC, LabWidget
from layerlab.widgets.coalescing import CoalescingWorker
from layerlab.widgets.engines import engine_for
from layerlab.widgets.fallback import paragraph
from layerlab.widgets.problems import problem_of
from layerlab.widgets.shapes import Typed, heard, plain
from layerlab.widgets.words import whole
from layerlab.widgets.workcopy import WorkCopy

if TYPE_CHECKING:
    from layerlab.engines.api import Engine


class WhatIf(LabWidget):
    """Which steps each edit would run again.

    ``dockerfile``  name of a Dockerfile in ``directory``; its text can be changed on the page, or with ``dockerfile_text``.
    ``edits``       paths that are assumed to change, one row each (default: the files that the lesson talks about).
    ``editable``    false leaves the editor out.
    ``options``     further fields of ``BuildOptions``.

    Raises ``UsageError`` for a directory or Dockerfile that is not there.
    """

    _esm = STATIC / "workbench.js"

    dockerfile = traitlets.Unicode().tag(sync=True)
    dockerfile_text = traitlets.Unicode().tag(sync=True)
    editable = traitlets.Bool(True).tag(sync=True)
    what_if: traitlets.Dict[str, Any] = traitlets.Dict(plain(what_if.EMPTY)).tag(sync=True)
    plan_problem: traitlets.Dict[str, Any] = traitlets.Dict().tag(sync=True)

    def __init__(
        self,
        directory: str,
        dockerfile: str = "Dockerfile",
        edits: Iterable[str] | None = None,
        engine: Engine | str | None = None,
        *,
        editable: bool = True,
        **options: Any,
    ) -> None:
        copy = WorkCopy(directory)
        texts = copy.read()
        if dockerfile not in texts:
            raise UsageError(f"there is no {dockerfile} in {directory}", remedy="Name a Dockerfile of that directory.")
        self._directory = copy.directory
        self._options = options
        self._typed = False
        self._edits = tuple(edits or ()) or what_if.default_edits(copy.directory, texts)
        self._planner = engine_for(engine).clone()
        self._planner_lock = threading.Lock()
        self._refresher = CoalescingWorker(self._refresh)
        super().__init__(kind="whatif", dockerfile=dockerfile, dockerfile_text=texts[dockerfile], editable=editable)
        self.observe(lambda _change: self._refresher.request(), "dockerfile_text")
        self._refresher.request()

    def matrix(self) -> tuple[tuple[str, PlanRecord], ...]:
        """For each edit the plan of the build after it. Raises what is wrong with the Dockerfile."""
        options = BuildOptions(
            context=self._directory,
            file=os.path.join(self._directory, self.dockerfile),
            dockerfile_text=whole(self.dockerfile_text),
            # The beginning of a name that is being typed may be that of another image.
            fetch=not self._typed,
            **self._options,
        )
        with self._planner_lock:
            return self._planner.matrix(options, self._edits)

    def receive(self, message: dict[str, Any]) -> None:
        """A message of the page: the text as it is now."""
        said = heard(message, Typed)
        if said is not None and said.text != self.dockerfile_text:
            # No echo to the page, which has the text already and may have more of it by now.
            self._trait_values["dockerfile_text"] = said.text
            self._typed = True
            self._refresher.request()

    def close(self) -> None:
        """End the engine's processes."""
        # Python calls this for a matrix that was refused, too.
        if "_refresher" in self.__dict__:
            self._refresher.join(10)
            self._planner.close()
        super().close()

    def _refresh(self) -> None:
        try:
            data = what_if.matrix_data(self.matrix(), self._directory)
        except LayerlabError as error:
            self.plan_problem = plain(problem_of(error))
            return
        self.plan_problem = {}
        self.what_if = plain(data)

    def text(self) -> str:
        """The matrix."""
        try:
            return matrix_text(list(self.matrix()))
        except LayerlabError as error:
            return error.describe()

    def html(self) -> str:
        """The matrix as a table."""
        try:
            data = what_if.matrix_data(self.matrix(), self._directory)
        except LayerlabError as error:
            return paragraph(error.describe())
        return what_if.matrix_html(data, self.dockerfile)
