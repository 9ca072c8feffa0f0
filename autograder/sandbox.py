"""The engine that grades: the embedded one, with every command cut off from the network and given a prepared npm cache instead.

``Filling`` is the one exception: it runs the trusted app's own install, with the network, to fill that cache.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from typing import Any, Final, Literal, Self

import msgspec

from autograder.watch import Watch
from layerlab.engines.embedded.engine import EmbeddedEngine
from layerlab.engines.embedded.executors.base import BindMount, Executor, Output, Process, Root, Running

# Below /dev, which is made anew for every command, so nothing of it can end in a layer.
NPM_CACHE: Final = "/dev/.npm-cache"
_PACKAGES: Final = "/dev/.npm-packages"
_INDEX: Final = "index-v5"
_CONTENT: Final = "content-v2"
_OFFLINE: Final = {"npm_config_offline": "true", "npm_config_logs_max": "0", "npm_config_audit": "false", "npm_config_fund": "false"}


class _Confined:
    """An executor whose commands see the npm cache and, unless it is being filled, no network but their own loopback."""

    def __init__(self, inner: Executor, cache: str, watch: Watch | None, *, filling: bool) -> None:
        self._inner = inner
        self._cache = cache
        self._watch = watch
        self._filling = filling
        self.name = inner.name
        self.ids: Literal["full", "single"] = inner.ids

    def run(self, root: Root, process: Process, output: Output) -> int:
        """See ``Executor.run``."""
        with self.start(root, process) as running:
            return running.wait(output)

    def start(self, root: Root, process: Process) -> Running:
        """See ``Executor.start``."""
        environment = {"npm_config_cache": NPM_CACHE, **({} if self._filling else _OFFLINE)}
        with contextlib.ExitStack() as stack:
            if self._watch is not None:
                self._watch.disk.opened(root)
                stack.callback(self._watch.disk.closed, root)
            binds = [BindMount(source=self._cache, target=NPM_CACHE, readonly=False)] if self._filling else self._lent(stack)
            running = self._inner.start(
                root,
                msgspec.structs.replace(
                    process,
                    network=self._filling and process.network,
                    environment={**environment, **process.environment},
                    binds=(*process.binds, *binds),
                ),
            )
            return _Owning(running, stack.pop_all(), self._watch)

    def _lent(self, stack: contextlib.ExitStack) -> list[BindMount]:
        """The cache for one command. What one command leaves in it would be another student's packages, so none sees another's.

        npm rewrites the index even when it only reads, so the index is a copy; the packages themselves are the cache's, read-only. They
        are reached by links, so that ``npm cache clean``, which many write behind their install, can remove what it sees.
        A step may have another user than root, so anybody may write to the copy.
        """
        place = stack.enter_context(tempfile.TemporaryDirectory(prefix="autograder-npm-", ignore_cleanup_errors=True))
        index = os.path.join(place, "_cacache", _INDEX)
        shutil.copytree(os.path.join(self._cache, "_cacache", _INDEX), index)
        for name in ("tmp", _CONTENT):
            os.mkdir(os.path.join(place, "_cacache", name))
        for folder, _, files in os.walk(place):
            os.chmod(folder, 0o777)
            for name in files:
                os.chmod(os.path.join(folder, name), 0o666)
        packages = os.path.join(self._cache, "_cacache", _CONTENT)
        for name in os.listdir(packages):
            os.symlink(f"{_PACKAGES}/{name}", os.path.join(place, "_cacache", _CONTENT, name))
        return [
            BindMount(source=place, target=NPM_CACHE, readonly=False),
            BindMount(source=packages, target=_PACKAGES, readonly=True),
        ]


class _Owning(contextlib.AbstractContextManager["Running"]):
    """A started command with what was made for it alone, which goes when it has ended, and with a limit on its output."""

    def __init__(self, running: Running, stack: contextlib.ExitStack, watch: Watch | None) -> None:
        self._running = running
        self._stack = stack
        self._watch = watch

    def __enter__(self) -> Running:
        return self

    def __exit__(self, *details: Any) -> None:
        with self._stack:
            self._running.__exit__(*details)

    def wait(self, output: Output) -> int:
        """See ``Running.wait``. A command that writes without end is ended; what comes after the limit is not passed on."""
        watch, written = self._watch, 0

        def limited(block: bytes) -> None:
            nonlocal written
            if watch is None or written <= watch.log_bytes:
                output(block)
                written += len(block)
                if watch is not None and written > watch.log_bytes:
                    watch.too_much_output()
                    self._running.stop()

        return self._running.wait(limited)

    def stop(self) -> None:
        """See ``Running.stop``."""
        self._running.stop()

    def signal(self, number: int) -> None:
        """See ``Running.signal``."""
        self._running.signal(number)

    def kill(self) -> None:
        """See ``Running.kill``."""
        self._running.kill()


class GradingEngine(EmbeddedEngine):
    """The embedded engine for untrusted builds. ``cache``: directory of the prepared npm cache. ``watch``: sees what its commands use."""

    filling = False

    def __init__(self, store: str, cache: str, watch: Watch | None = None) -> None:
        super().__init__(store)
        self._cache = os.path.abspath(cache)
        self._watch = watch

    def __enter__(self) -> Self:
        return self

    def make_executor(self) -> Executor:
        """The executor of this host, confined. Raises ``ExecutorError`` where none isolates."""
        return _Confined(super().make_executor(), self._cache, self._watch, filling=self.filling)


class Filling(GradingEngine):
    """The engine that fills the npm cache: for builds of the trusted app with the trusted solution only."""

    filling = True
