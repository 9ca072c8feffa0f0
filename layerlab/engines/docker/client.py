"""Finding the Docker daemon and its command line client, and turning what goes wrong with them into our errors.

Only the standard library at the top: ``probe`` is asked on every run with ``--engine auto``, and docker-py is slow to import.
"""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import importlib.util
import json
import os
import re
import shutil
import socket
import subprocess
import urllib.parse
from collections.abc import Iterator
from typing import Any, ClassVar

import msgspec

from layerlab.errors import LayerlabError

PROBE_SECONDS = 1.0
_RAWJSON_SINCE = (0, 13)
_BUILDX_ONLY_SINCE = 23
_BUILDKIT_SINCE = (18, 9)
_GET_BUILDX = (
    "Install the buildx plugin (Debian, Ubuntu: apt-get install docker-buildx or docker-buildx-plugin; elsewhere "
    "https://github.com/docker/buildx/releases), or use --engine embedded, which needs no daemon."
)


class DockerError(LayerlabError):
    """Docker said no, or said something that makes no sense."""

    kind: ClassVar[str] = "docker"


class NoDockerClientError(DockerError):
    """The ``docker`` command is not installed."""

    kind = "no-docker-client"


class NoDaemonError(DockerError):
    """No Docker daemon answers."""

    kind = "no-daemon"


class DaemonPermissionError(DockerError):
    """There is a daemon, and this user may not talk to it."""

    kind = "daemon-permission"


class DaemonLostError(DockerError):
    """The daemon went away while it worked for us."""

    kind = "daemon-lost"


class DockerDiskFullError(DockerError):
    """The daemon's disk is full."""

    kind = "disk-full"


class DockerTooOldError(DockerError):
    """A Docker that cannot build with BuildKit."""

    kind = "docker-too-old"


# --- where the daemon is --------------------------------------------------------------------------------------------


def config_directory() -> str:
    """Docker's own configuration directory."""
    return os.environ.get("DOCKER_CONFIG") or os.path.join(os.path.expanduser("~"), ".docker")


def context_name() -> str:
    """The docker context in use, as the command line decides it."""
    if os.environ.get("DOCKER_HOST"):
        return "default"
    if os.environ.get("DOCKER_CONTEXT"):
        return os.environ["DOCKER_CONTEXT"]
    with contextlib.suppress(OSError, ValueError), open(os.path.join(config_directory(), "config.json"), encoding="utf-8") as stream:
        return str(json.load(stream).get("currentContext") or "default")
    return "default"


def endpoint() -> str:
    """Address of the daemon, as the command line finds it: ``DOCKER_HOST``, the docker context in use, the usual socket."""
    host = os.environ.get("DOCKER_HOST")
    if host:
        return host
    name = context_name()
    if name != "default":
        path = os.path.join(config_directory(), "contexts", "meta", hashlib.sha256(name.encode()).hexdigest(), "meta.json")
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError), open(path, encoding="utf-8") as stream:
            return str(json.load(stream)["Endpoints"]["docker"]["Host"])
    return "unix:///var/run/docker.sock"


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str, timeout: float) -> None:
        super().__init__("docker", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def probe(timeout: float = PROBE_SECONDS) -> DockerError | None:
    """Ask the daemon whether it is there. Returns what is wrong, or ``None``."""
    address = endpoint()
    url = urllib.parse.urlsplit(address)
    connection: http.client.HTTPConnection
    if url.scheme == "unix":
        connection = _UnixConnection(url.path, timeout)
    elif url.scheme in ("tcp", "http") and not os.environ.get("DOCKER_TLS_VERIFY"):
        connection = http.client.HTTPConnection(url.hostname or "localhost", url.port or 2375, timeout=timeout)
    else:
        # TLS and ssh: the client itself finds out.
        return None
    try:
        connection.request("GET", "/_ping")
        status = connection.getresponse().status
    except PermissionError:
        return DaemonPermissionError(
            f"permission denied on the Docker socket {url.path}",
            remedy="Add yourself to the group docker (sudo usermod -aG docker $USER, then log in again), or use --engine embedded, "
            "which needs no rights.",
        )
    except (OSError, http.client.HTTPException) as error:
        return NoDaemonError(
            f"no Docker daemon answers at {address}: {getattr(error, 'strerror', None) or error}",
            remedy="Start Docker (Docker Desktop, or sudo systemctl start docker), check DOCKER_HOST, or use --engine embedded, "
            "which needs no daemon.",
        )
    finally:
        connection.close()
    if status != http.client.OK:
        return NoDaemonError(f"what answers at {address} is no Docker daemon (HTTP {status})", remedy="Check DOCKER_HOST.")
    return None


# --- the command line client ----------------------------------------------------------------------------------------


class Builder(msgspec.Struct, frozen=True, kw_only=True):
    """How to build: the command up to its flags, and the form of its progress."""

    command: tuple[str, ...]
    rawjson: bool
    buildx: bool
    environment: dict[str, str]


def find_client() -> str:
    """The docker command, whatever it can build with. Raises ``NoDockerClientError``."""
    docker = shutil.which("docker")
    if docker is None:
        raise NoDockerClientError(
            "the docker command is not installed, and only it can build with BuildKit, save and load",
            remedy="Install Docker's client (Debian, Ubuntu: apt-get install docker-cli docker-buildx), or use --engine embedded.",
        )
    return docker


def find_builder() -> Builder:
    """What builds with BuildKit here. Raises ``NoDockerClientError``, ``DockerTooOldError``."""
    docker = find_client()
    found = _version(_ask(docker, "buildx", "version"))
    if found is not None:
        command = [docker, "buildx", "build", "--load"]
        if not os.environ.get("BUILDX_BUILDER"):
            # The builder of the daemon itself; another one has other images and another cache.
            command.append(f"--builder={context_name()}")
        # An attestation would make an index of every image, with another ID.
        return Builder(
            command=tuple(command), rawjson=found >= _RAWJSON_SINCE, buildx=True, environment={"BUILDX_NO_DEFAULT_ATTESTATIONS": "1"}
        )
    version = _version(_ask(docker, "--version"))
    if version is not None and version >= _BUILDKIT_SINCE and version[0] < _BUILDX_ONLY_SINCE:
        return Builder(command=(docker, "build"), rawjson=False, buildx=False, environment={"DOCKER_BUILDKIT": "1"})
    if version is not None and version < _BUILDKIT_SINCE:
        raise DockerTooOldError(
            f"docker {version[0]}.{version[1]} is too old: its builder is not BuildKit, and has another cache",
            remedy="Update Docker to 23 or later with the buildx plugin, or use --engine embedded.",
        )
    raise DockerTooOldError("docker has no buildx here, and cannot build with BuildKit without it", remedy=_GET_BUILDX)


def _ask(*command: str) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False, stdin=subprocess.DEVNULL)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout if done.returncode == 0 else ""


def _version(text: str) -> tuple[int, int] | None:
    match = re.search(r"\bv?(\d+)\.(\d+)", text)
    return (int(match[1]), int(match[2])) if match else None


# --- docker-py ------------------------------------------------------------------------------------------------------


def check_package() -> DockerError | None:
    """What to do where docker-py is not installed: it comes with an extra."""
    spec = importlib.util.find_spec("docker")
    # Any folder of that name can be imported; it has no origin.
    if spec is not None and spec.origin is not None:
        return None
    return DockerError("the Docker engine needs the Python package docker", remedy="Install it with `python -m pip install docker`.")


def connect_api() -> Any:
    """A docker-py API client of the daemon. Raises ``DockerError`` saying why there is none."""
    problem = check_package() or probe()
    if problem is not None:
        raise problem
    import docker

    with translated():
        if os.environ.get("DOCKER_HOST"):
            return docker.from_env(timeout=600).api
        return docker.DockerClient(base_url=endpoint(), version="auto", timeout=600).api


@contextlib.contextmanager
def translated() -> Iterator[None]:
    """Turn docker-py's errors into ours. Raises ``DockerError``."""
    import docker.errors
    import requests.exceptions
    import urllib3.exceptions

    try:
        yield
    except docker.errors.APIError as error:
        raise said(str(error.explanation or error)) from error
    except (docker.errors.DockerException, requests.exceptions.RequestException, urllib3.exceptions.HTTPError) as error:
        # urllib3's own errors come out of a stream that breaks off.
        raise probe() or lost(str(error)) from error


def lost(detail: str) -> DaemonLostError:
    """The daemon went away."""
    return DaemonLostError(
        f"the connection to the Docker daemon was lost: {detail}",
        remedy="Look into its log (journalctl -u docker), start it again, and repeat the command: finished steps are still cached.",
    )


def said(message: str, *, remedy: str | None = None) -> DockerError:
    """An error message of the daemon as an error of ours."""
    if re.search(r"no space left on device|disk quota exceeded", message, re.IGNORECASE):
        return DockerDiskFullError(
            f"the Docker daemon's disk is full: {message}",
            remedy="docker system df shows what takes the space; docker builder prune and docker image prune free it.",
        )
    return DockerError(message, remedy=remedy)
