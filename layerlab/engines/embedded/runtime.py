"""What an embedded engine works with that whoever opens it may bring: the process that handles files, what runs commands, known runs."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Protocol

from layerlab.engines.embedded.host import Host
from layerlab.engines.embedded.store import Store
from layerlab.engines.embedded.workers import WorkerProcess

if TYPE_CHECKING:
    from layerlab.engines.embedded.builds.loop import Executions
    from layerlab.engines.embedded.executors.base import Executor


class Runtime(Protocol):
    """Made for one engine and its clones; each asks for its parts when it first needs them."""

    @property
    def patience(self) -> float:
        """Seconds that a build waits for a step that another build runs."""
        ...

    def make_worker(self, host: Host, store: Store) -> WorkerProcess:
        """The process that handles files. The engine ends it."""
        ...

    def make_executor(self, host: Host, worker: WorkerProcess) -> Executor:
        """What runs commands. Raises ``ExecutorError`` where nothing does."""
        ...

    def known_runs(self, store: Store) -> Executions | None:
        """What answers for a command beyond the cache. Asked for before each step."""
        ...


class HostRuntime:
    """What the host allows, and nothing beyond the cache: a step runs here unless a record answers for it."""

    patience = math.inf

    def make_worker(self, host: Host, store: Store) -> WorkerProcess:
        """See ``Runtime.make_worker``."""
        return WorkerProcess(store.path, host.worker, host.snapshotter)

    def make_executor(self, host: Host, worker: WorkerProcess) -> Executor:
        """See ``Runtime.make_executor``."""
        return host.make_executor(worker)

    def known_runs(self, store: Store) -> Executions | None:  # noqa: ARG002
        """See ``Runtime.known_runs``."""
        return None
