"""What the cells of one notebook share: the engine, the working copy, and the last build."""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from layerlab.engines.api import BuildOptions
from layerlab.engines.connect import choose, connect
from layerlab.errors import UsageError
from layerlab.lesson.workcopy import working_copy
from layerlab.model import BuildRecord

if TYPE_CHECKING:
    from layerlab.engines.api import Engine
    from layerlab.registry_server import LocalRegistry
    from layerlab.widgets import Prediction


class Pending(NamedTuple):
    """A prediction that waits for its build. ``name``: the id or the text of its question; ``happened`` is told when it is answered."""

    name: str
    prediction: Prediction
    happened: str


class Session:
    """One notebook's state. The engine is connected when it is first needed and stays the same from then on."""

    def __init__(self) -> None:
        self.app: Path = working_copy()
        self.record: BuildRecord | None = None
        # Whether the last build came to no record: its Dockerfile was refused, or it was stopped.
        self.broke_off = False
        # Whether this notebook was told what a stand-in is: once is enough.
        self.told_stand_in = False
        # The last prediction of each Dockerfile, by its path.
        self._pending: dict[str, Pending] = {}
        self._engine: Engine | None = None
        self._name: str | None = None
        self._open = contextlib.ExitStack()
        self._registry: LocalRegistry | None = None

    @property
    def engine_name(self) -> str:
        """``docker`` or ``embedded``. Raises ``UsageError`` for a bad ``LAYERLAB_ENGINE``."""
        if self._name is None:
            self._name = choose("auto")
        return self._name

    @property
    def engine(self) -> Engine:
        """The engine of this notebook. Raises what ``connect`` raises."""
        if self._engine is None:
            self._engine = connect(self.engine_name)
        return self._engine

    def options(self, file: str = "Dockerfile", context: str | None = None) -> BuildOptions:
        """Options of a build of the working copy, or of another directory."""
        place = os.path.abspath(context) if context is not None else str(self.app)
        return BuildOptions(context=place, file=os.path.join(place, file))

    def predict(self, options: BuildOptions, pending: Pending) -> None:
        """Keep a prediction for the next build of this Dockerfile."""
        self._pending[_file(options)] = pending

    def answered(self, options: BuildOptions, record: BuildRecord) -> Pending | None:
        """The prediction that a build has answered, once: one that failed, or was not really run, answers none."""
        if record.failure is not None or record.predicted:
            return None
        return self._pending.pop(_file(options), None)

    def last_build(self) -> BuildRecord:
        """The record of the last build. Raises ``UsageError`` before the first, and after one that came to no end."""
        if self.broke_off:
            raise UsageError("the last build did not come to an end", remedy="Its message says why; fix that, and build again.")
        if self.record is None:
            raise UsageError("nothing has been built in this notebook yet", remedy="Run the cell with %docker build first.")
        return self.record

    def registry(self) -> str:
        """Address of this notebook's own registry, started when it is first asked for. Raises ``UsageError``."""
        if self._registry is None:
            from layerlab.registry_server import LocalRegistry

            self._registry = self._open.enter_context(LocalRegistry(self._open.enter_context(tempfile.TemporaryDirectory())))
        return self._registry.address

    def close(self) -> None:
        """End the engine's processes and the registry."""
        self._registry = None
        self._open.close()
        if self._engine is not None:
            self._engine.close()
            self._engine = None


def _file(options: BuildOptions) -> str:
    return os.path.realpath(options.file or os.path.join(options.context, "Dockerfile"))
