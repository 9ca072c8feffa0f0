"""Containers of Docker, behind the interface that the embedded engine has too."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, Literal, cast

from layerlab.engines.api import ContainerOptions
from layerlab.engines.docker.client import DockerError, translated
from layerlab.errors import StepFailedError, UsageError
from layerlab.model import ContainerSummary, PathChange, PublishedPort

Output = Callable[[bytes], None]

_KINDS: Final[tuple[Literal["C", "A", "D"], ...]] = ("C", "A", "D")
_NEVER: Final = "0001-01-01T00:00:00Z"


class DockerContainer:
    """A started container. Leaving the context kills it."""

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


class Wanted:
    """What a new container is to be.

    With ``network`` its ports are this machine's. Where ports are to be published, it gets a network of its own and these ports. Docker
    Desktop runs containers in a virtual machine, so there the image's ports (and the one that ``PORT`` names) are published instead.
    Raises ``UsageError`` for an image without a command, and for ports without a network.
    """

    def __init__(
        self,
        image: str,
        settings: Mapping[str, Any],
        options: ContainerOptions,
        *,
        desktop: bool,
    ) -> None:
        command, environment = options.get("command", ()), options.get("environment") or {}
        network, ports = options.get("network", True), options.get("ports", ())
        if not (settings.get("Entrypoint") or settings.get("Cmd") or command):
            raise UsageError("the image has no command", remedy="Give one after the image name.")
        if ports and not network:
            raise UsageError("a container without a network has no ports to publish", remedy="Leave out -p, or --network none.")
        if network and desktop and not ports:
            exposed = [port.partition("/")[0] for port in settings.get("ExposedPorts") or {}]
            exposed += [environment["PORT"]] if environment.get("PORT", "").isdigit() else []
            ports = tuple(PublishedPort(host=int(port), container=int(port), ip="127.0.0.1") for port in dict.fromkeys(exposed))
        bridge = bool(ports) or (network and desktop)
        self.image = image
        self.command = command
        self.environment = environment
        self.name = options.get("name")
        self.ports = ports
        self.mode = "bridge" if bridge else "host" if network else "none"

    def create(self, api: Any, *, remove: bool) -> str:
        """Make it; returns its ID. ``remove``: the daemon removes it when it ends. Raises ``UsageError``, ``DockerError``."""
        bindings: dict[str, list[Any]] = {}
        for port in self.ports:
            bindings.setdefault(f"{port.container}/tcp", []).append((port.ip, port.host) if port.ip else port.host)
        with _plain(), translated():
            host = api.create_host_config(network_mode=self.mode, port_bindings=bindings or None, auto_remove=remove)
            made: str = api.create_container(
                self.image,
                command=list(self.command) or None,
                environment=dict(self.environment),
                host_config=host,
                ports=[(port.container, "tcp") for port in self.ports] or None,
                name=self.name,
            )["Id"]
        return made


@contextlib.contextmanager
def _plain() -> Iterator[None]:
    """Tell apart what the user can mend by other arguments. Raises ``UsageError``, ``StepFailedError``."""
    try:
        yield
    except DockerError as error:
        text = error.message
        if "executable file not found" in text or "no such file or directory" in text:
            raise StepFailedError(text, exit_status=127) from error
        if "is already in use by container" in text:
            raise UsageError(text, remedy="Remove it (layerlab rm), or choose another name.") from error
        if "Invalid container name" in text:
            raise UsageError(text, remedy="Choose another --name.") from error
        if "port is already allocated" in text or "address already in use" in text:
            raise UsageError(text, remedy="Publish another port, or end what has this one: layerlab ps lists the containers.") from error
        raise


def _start(api: Any, made: str) -> None:
    with _plain(), translated():
        api.start(made)


def _discard(api: Any, made: str) -> None:
    with contextlib.suppress(DockerError), translated():
        api.remove_container(made, force=True, v=True)


@contextlib.contextmanager
def attached(api: Any, wanted: Wanted, *, remove: bool) -> Iterator[DockerContainer]:
    """Start a container; on exit it is killed, and removed with ``remove``. Raises ``UsageError``, ``StepFailedError``."""
    made = wanted.create(api, remove=False)
    running = False
    try:
        with translated():
            # Attached before it starts, so that no output is missed.
            stream = api.attach(made, stdout=True, stderr=True, stream=True, logs=True)
        _start(api, made)
        running = True
        with DockerContainer(api, made, stream) as started:
            yield started
    finally:
        if remove or not running:
            _discard(api, made)


def detached(api: Any, wanted: Wanted, *, remove: bool) -> str:
    """Start a container that runs by itself; returns its ID. One that does not start is not kept. Raises as ``attached``."""
    made = wanted.create(api, remove=remove)
    try:
        _start(api, made)
    except BaseException:
        _discard(api, made)
        raise
    return made


# --- containers that are there ----------------------------------------------------------------------------------------


def inspected(api: Any, container: str) -> dict[str, Any]:
    """All that Docker knows of a container. Raises ``UsageError``, ``DockerError``."""
    import docker.errors

    with translated():
        try:
            found: dict[str, Any] = api.inspect_container(container)
        except docker.errors.NotFound as error:
            raise UsageError(f"No such container: {container}", remedy="`layerlab ps -a` lists those that are here.") from error
    return found


def listed(api: Any, *, stopped: bool) -> tuple[ContainerSummary, ...]:
    """The running containers, with ``stopped`` all, newest first."""
    with translated():
        rows = api.containers(all=stopped)
    found = []
    for row in rows:
        # One may go while we look at them.
        with contextlib.suppress(UsageError):
            found.append(_summary(inspected(api, row["Id"]), row.get("Image") or ""))
    return tuple(found)


def _summary(found: Mapping[str, Any], image: str) -> ContainerSummary:
    state = found["State"]
    started, finished = (_moment(state.get(key)) for key in ("StartedAt", "FinishedAt"))
    name: Literal["created", "running", "exited"] = "running" if state.get("Running") else "exited" if started else "created"
    return ContainerSummary(
        id=found["Id"],
        name=str(found["Name"]).removeprefix("/"),
        image=image,
        image_id=found["Image"],
        command=(found["Path"], *(found.get("Args") or ())),
        created=_moment(found["Created"]),
        state=name,
        started=started,
        finished=finished if name == "exited" else "",
        exit_status=state.get("ExitCode") if name == "exited" else None,
        ports=_ports((found.get("HostConfig") or {}).get("PortBindings") or {}),
    )


def _moment(text: str | None) -> str:
    return "" if not text or text == _NEVER else text


def _ports(bindings: Mapping[str, Any]) -> tuple[PublishedPort, ...]:
    return tuple(
        PublishedPort(host=int(binding["HostPort"]), container=int(port.partition("/")[0]), ip=binding.get("HostIp") or "")
        for port, held in bindings.items()
        for binding in held or ()
        if str(binding.get("HostPort") or "").isdigit()
    )


def changes(api: Any, container: str) -> tuple[PathChange, ...]:
    """What a container changed in its image, sorted by path. Raises ``UsageError``."""
    identity = inspected(api, container)["Id"]
    with translated():
        found = api.diff(identity) or []
    rows = [PathChange(kind=_KINDS[row["Kind"]], path=row["Path"]) for row in found]
    return tuple(sorted(rows, key=lambda row: row.path.split("/")))


def logs(api: Any, container: str, output: Output, *, follow: bool) -> None:
    """Pass on what a container wrote, with ``follow`` until it ends. Raises ``UsageError``."""
    identity = inspected(api, container)["Id"]
    with translated():
        for block in api.logs(identity, stdout=True, stderr=True, stream=True, follow=follow):
            output(cast(bytes, block))


def stop(api: Any, container: str, seconds: float) -> None:
    """Ask a container to end, and make it end when it has not done so in time. Raises ``UsageError``."""
    identity = inspected(api, container)["Id"]
    with translated():
        api.stop(identity, timeout=int(seconds))


def remove(api: Any, container: str, *, force: bool) -> None:
    """Remove a container, with ``force`` even one that runs. Raises ``UsageError``."""
    found = inspected(api, container)
    try:
        with translated():
            api.remove_container(found["Id"], force=force, v=True)
    except DockerError as error:
        if not force and found["State"]["Running"]:
            name = str(found["Name"]).removeprefix("/")
            raise UsageError(error.message, remedy=f"layerlab stop {name}, or layerlab rm -f {name}") from error
        raise
