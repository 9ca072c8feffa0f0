"""Containers on Docker: the promises that hold on every engine, and ports of a container's own network."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from layerlab.engines.docker.engine import DockerEngine
from layerlab.model import PublishedPort
from tests.container_promises import PROMISES, detached, free_port, row_of

if TYPE_CHECKING:
    from layerlab.engines.api import Engine

pytestmark = pytest.mark.docker


@pytest.mark.parametrize("promise", PROMISES.values(), ids=PROMISES.keys())
def test_on_docker(docker_engine: DockerEngine, promise: Callable[[Engine], None]) -> None:
    promise(docker_engine)


def test_a_published_port_is_dockers_own(docker_engine: DockerEngine) -> None:
    port = PublishedPort(host=free_port(), container=8080, ip="127.0.0.1")
    with detached(docker_engine, "sleep 60", network=True, ports=(port,)) as name:
        assert row_of(docker_engine, name).ports == (port,)
        bindings = docker_engine.api.inspect_container(name)["NetworkSettings"]["Ports"]
        assert bindings == {"8080/tcp": [{"HostIp": "127.0.0.1", "HostPort": str(port.host)}]}
    with detached(docker_engine, "sleep 60", network=True) as name:
        assert docker_engine.api.inspect_container(name)["HostConfig"]["NetworkMode"] == "host"
