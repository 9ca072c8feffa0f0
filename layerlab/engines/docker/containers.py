"""Running an image with Docker, behind the interface of a running command."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from layerlab.engines.docker.client import DockerError, translated
from layerlab.errors import StepFailedError, UsageError

Output = Callable[[bytes], None]


class DockerContainer:
    """A started container. Leaving the context kills and removes it."""

    def __init__(self, api: Any, identity: str, stream: Any) -> None:
        self._api = api
        self._identity = identity
        self._stream = stream

    def __enter__(self) -> DockerContainer:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def wait(self, output: Output) -> int:
        """Pass on what it writes until it ends. Returns the exit status (128 + signal when killed)."""
        with translated():
            for block in self._stream:
                output(block)
            status: int = self._api.wait(self._identity)["StatusCode"]
        return status

    def kill(self) -> None:
        """End it now; harmless when it has ended."""
        with contextlib.suppress(DockerError), translated():
            self._api.kill(self._identity)


@contextlib.contextmanager
def create(
    api: Any,
    image: str,
    settings: Mapping[str, Any],
    command: tuple[str, ...],
    environment: Mapping[str, str],
    *,
    network: bool,
    desktop: bool,
) -> Iterator[DockerContainer]:
    """Start a container; on exit it is killed and removed.

    With ``network`` its ports are this machine's. Docker Desktop runs containers in a virtual machine, so there the image's ports
    (and the one that ``PORT`` names) are published instead. Raises ``UsageError``, ``StepFailedError``.
    """
    if not (settings.get("Entrypoint") or settings.get("Cmd") or command):
        raise UsageError("the image has no command", remedy="Give one after the image name.")
    ports = [port.partition("/")[0] for port in settings.get("ExposedPorts") or {}]
    ports += [environment["PORT"]] if environment.get("PORT", "").isdigit() else []
    published = network and desktop
    mode = "bridge" if published else "host" if network else "none"
    with translated():
        host = api.create_host_config(
            network_mode=mode, port_bindings={int(port): ("127.0.0.1", int(port)) for port in ports} if published else None
        )
        made = api.create_container(
            image,
            command=list(command) or None,
            environment=dict(environment),
            host_config=host,
            ports=[int(port) for port in ports] if published else None,
        )["Id"]
    try:
        with translated():
            # Attached before it starts, so that no output is missed.
            stream = api.attach(made, stdout=True, stderr=True, stream=True, logs=True)
        try:
            with translated():
                api.start(made)
        except DockerError as error:
            if "executable file not found" in error.message or "no such file or directory" in error.message:
                raise StepFailedError(error.message, exit_status=127) from error
            raise
        with DockerContainer(api, made, stream) as running:
            yield running
    finally:
        with contextlib.suppress(DockerError), translated():
            api.remove_container(made, force=True, v=True)
