"""Containers of the embedded engine: the promises that hold on every engine, and what follows from there being no daemon."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from layerlab.engines.embedded.containers import log as container_log
from layerlab.engines.embedded.containers.log import LogWriter, follow_log, read_log
from layerlab.engines.embedded.containers.names import new_name
from layerlab.engines.embedded.containers.ports import Forwarder
from layerlab.engines.published_ports import parse_port
from layerlab.errors import UnsupportedError, UsageError
from layerlab.model import PublishedPort
from tests.container_promises import PROMISES, detached, ended, free_port, log_of, row_of, shell, wait_for_log

if TYPE_CHECKING:
    from layerlab.engines.api import Engine

    from .conftest import Lab


@pytest.mark.parametrize("promise", PROMISES.values(), ids=PROMISES.keys())
def test_on_the_embedded_engine(each_lab: Lab, promise: Callable[[Engine], None]) -> None:
    promise(each_lab.engine)
    assert each_lab.engine.containers(stopped=True) == ()
    assert _left(each_lab) == []


def _left(lab: Lab) -> list[str]:
    """What containers have left in the store, once shims have had time to tidy up."""
    place = Path(lab.engine.store.path)
    end = time.monotonic() + 30
    while True:
        found = [*place.glob("containers/*"), *place.glob("tmp/*-container-*")]
        if not found or time.monotonic() > end:
            return [str(path) for path in found]
        time.sleep(0.05)


# --- no daemon --------------------------------------------------------------------------------------------------------


def _processes(marker: str) -> dict[int, str]:
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except OSError:
                continue
            if marker in line:
                found[int(entry.name)] = line
    return found


def _gone(marker: str) -> bool:
    end = time.monotonic() + 30
    while _processes(marker):
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


def _shim(identity: str) -> int:
    (process,) = [number for number, line in _processes(identity).items() if "containers.shim" in line]
    return process


def test_the_caller_may_go_and_the_container_stays(lab: Lab) -> None:
    program = (
        "import sys\nfrom layerlab.engines.embedded.engine import EmbeddedEngine\nwith EmbeddedEngine(sys.argv[1]) as engine:\n"
        "    print(engine.run_detached('base:1', command=('/bin/sh', '-c', 'sleep 0.5; echo later; sleep 60'), network=False))\n"
    )
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, "-c", program, lab.engine.store_path]
    identity = subprocess.run(command, env=env, capture_output=True, text=True, check=True, start_new_session=True).stdout.strip()
    wait_for_log(lab.engine, identity, b"later\n")
    shim = _shim(identity)
    # It is in a session of its own: closing the caller's terminal does not reach it.
    assert os.getsid(shim) not in (os.getsid(0), os.getppid())
    lab.engine.remove_container(identity, force=True)
    assert _gone(identity)


def test_a_shim_that_is_killed_takes_its_container_along(each_lab: Lab) -> None:
    engine = each_lab.engine
    marker = f"marker-{os.getpid()}-{id(each_lab)}"
    with detached(engine, f"echo up; (trap '' TERM; sleep 300; : {marker}) & sleep 300; : {marker}") as name:
        wait_for_log(engine, name, b"up")
        identity = row_of(engine, name).id
        assert len(_processes(marker)) >= 2
        os.kill(_shim(identity), signal.SIGKILL)
        row = ended(engine, name)
        assert (row.state, row.exit_status) == ("exited", 137)
        assert row.finished
        assert _gone(marker)
        assert _gone(identity)
        assert log_of(engine, name) == b"up\n"
        engine.remove_container(name)
        assert row_of(engine, name) is None
    assert _left(each_lab) == []


def test_of_a_killed_shim_with_rm_nothing_is_left_by_the_next_container(lab: Lab) -> None:
    with detached(lab.engine, "sleep 300", remove=True) as name:
        os.kill(_shim(row_of(lab.engine, name).id), signal.SIGKILL)
        assert ended(lab.engine, name).exit_status == 137
        with detached(lab.engine, "true"):
            assert row_of(lab.engine, name) is None


def test_a_shim_that_is_asked_to_end_ends_its_container_in_order(lab: Lab) -> None:
    with detached(lab.engine, "sleep 300") as name:
        identity = row_of(lab.engine, name).id
        os.kill(_shim(identity), signal.SIGTERM)
        assert ended(lab.engine, name).exit_status == 137
        assert _gone(identity)


def test_ids_may_be_taken_again_by_others(lab: Lab) -> None:
    """What is written down is never a process id, so a process of another user or program cannot be mistaken for a container."""
    with detached(lab.engine, "sleep 300") as name:
        place = Path(lab.engine.store.path) / "containers" / row_of(lab.engine, name).id[:12]
        written = (place / "config").read_text() + (place / "state").read_text()
        assert f'"{os.getpid()}"' not in written
        assert "pid" not in written


def test_prune_and_rmi_leave_a_container_what_it_needs(lab: Lab) -> None:
    record = lab.build("FROM base:1\nRUN echo kept > /kept\n", tag="used:1")
    name = "keeper"
    lab.engine.run_detached("used:1", command=shell("while [ ! -e /end ]; do sleep 0.1; done; cat /kept"), name=name, network=False)
    with pytest.raises(UsageError, match=r"conflict: unable to remove repository reference \"used:1\" \(must force\) - container"):
        lab.engine.untag("used:1")
    lab.engine.tag("used:1", "other:1")
    lab.engine.untag("used:1")
    lab.engine.untag("other:1", force=True)
    for row in lab.engine.images(unnamed=True):
        if row.id == record.image:
            lab.engine.untag(row.id, force=True)
    said: list[str] = []
    assert lab.engine.prune(0, said.append).layers == 0
    assert any("container keeper needs layers" in line for line in said)
    assert [change.path for change in lab.engine.container_diff(name)] == []
    lab.engine.remove_container(name, force=True)
    assert lab.engine.prune(0, said.append).layers == 1


def test_verify_and_builds_go_on_beside_a_container(lab: Lab) -> None:
    with detached(lab.engine, "sleep 300"):
        assert lab.engine.verify(lambda _text: None).damaged == ()
        lab.build("FROM base:1\nRUN echo beside it\n")


# --- ports ------------------------------------------------------------------------------------------------------------


def _closes(port: int) -> bool:
    """Whether the other side hangs up on us. It may do so before we have sent a byte: then the kernel answers for it."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        try:
            connection.sendall(b"nobody")
            return connection.recv(1) == b""
        except ConnectionError:
            return True


def _ask(port: int, text: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(text)
        connection.shutdown(socket.SHUT_WR)
        answer = b""
        while block := connection.recv(1 << 16):
            answer += block
    return answer


def test_a_published_port_is_forwarded_and_its_holder_is_named(lab: Lab) -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        port = PublishedPort(host=free_port(), container=server.getsockname()[1])
        server.close()
        with detached(lab.engine, "sleep 300", network=True, ports=(port,)) as name:
            assert row_of(lab.engine, name).ports == (port,)
            # The container has this machine's network, so this test can stand in for the program that listens in it.
            with socket.create_server(("127.0.0.1", port.container)) as inside:
                outside = socket.create_connection(("127.0.0.1", port.host), timeout=10)
                accepted, _ = inside.accept()
                outside.sendall(b"ping")
                assert accepted.recv(10) == b"ping"
                accepted.sendall(b"pong")
                accepted.close()
                assert outside.recv(10) == b"pong"
                assert outside.recv(10) == b""
                outside.close()
            with pytest.raises(UsageError, match=f"Bind for 127.0.0.1:{port.host} failed: port is already allocated by container {name} "):
                lab.engine.run_detached("base:1", command=("true",), ports=(PublishedPort(host=port.host, container=free_port()),))
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port.host), timeout=5)


def test_a_port_published_as_itself_must_be_free(lab: Lab) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        number = taken.getsockname()[1]
        for port in (PublishedPort(host=number, container=number), PublishedPort(host=free_port(), container=number)):
            with pytest.raises(UsageError, match=f":{number} failed: port is already allocated"):
                lab.engine.run_detached("base:1", command=("true",), ports=(port,))
    assert lab.engine.containers(stopped=True) == ()


def test_a_forwarder_carries_much_in_both_directions_and_closes_what_nobody_answers() -> None:
    port = PublishedPort(host=free_port(), container=free_port())
    with Forwarder((port,)):
        assert _closes(port.host)
        with socket.create_server(("127.0.0.1", port.container)) as inside:
            outside = socket.create_connection(("127.0.0.1", port.host), timeout=10)
            accepted, _ = inside.accept()
            body = os.urandom(3_000_000)
            pid = os.fork()
            if pid == 0:
                outside.sendall(body)
                outside.shutdown(socket.SHUT_WR)
                os._exit(0)
            came = b""
            while block := accepted.recv(1 << 16):
                came += block
            os.waitpid(pid, 0)
            assert came == body
            accepted.sendall(b"end")
            accepted.close()
            assert outside.recv(10) == b"end"
            outside.close()


PORTS: dict[str, PublishedPort | type[Exception]] = {
    "8080:80": PublishedPort(host=8080, container=80),
    "127.0.0.1:8080:80": PublishedPort(host=8080, container=80, ip="127.0.0.1"),
    "[::1]:8080:80/tcp": PublishedPort(host=8080, container=80, ip="::1"),
    "8080:80/udp": UnsupportedError,
    "80": UsageError,
    ":80": UsageError,
    "8080:": UsageError,
    "0:80": UsageError,
    "8080:70000": UsageError,
    f"{'9' * 5000}:80": UsageError,
    f"{'0' * 5000}8080:80": PublishedPort(host=8080, container=80),
    "nowhere:8080:80": UsageError,
    "a:b": UsageError,
    "": UsageError,
}


@pytest.mark.parametrize(("text", "expected"), PORTS.items(), ids=[text[-20:] for text in PORTS])
def test_how_a_port_is_written(text: str, expected: PublishedPort | type[Exception]) -> None:
    if isinstance(expected, PublishedPort):
        assert parse_port(text) == expected
    else:
        with pytest.raises(expected):
            parse_port(text)


# --- logs and names ---------------------------------------------------------------------------------------------------


def test_a_log_keeps_its_end_within_bounds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(container_log, "PIECE", 1000)
    path = str(tmp_path / "log")
    lines = [f"{number:09d}\n".encode() for number in range(1000)]
    with LogWriter(path) as log:
        for line in lines:
            log.write(line)
    kept: list[bytes] = []
    read_log(path, kept.append)
    text = b"".join(kept)
    assert b"".join(lines).endswith(text)
    assert 1000 <= len(text) <= 2010
    assert sum(file.stat().st_size for file in tmp_path.iterdir()) == len(text)


def test_a_follower_misses_nothing_when_the_log_begins_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(container_log, "PIECE", 1000)
    path = str(tmp_path / "log")
    written: list[bytes] = []
    came: list[bytes] = []
    with LogWriter(path) as log:

        def running() -> bool:
            for _ in range(40):
                written.append(f"{len(written):09d}\n".encode())
                log.write(written[-1])
            return len(written) < 400

        follow_log(path, came.append, running)
    assert b"".join(came) == b"".join(written)


def test_names_are_new() -> None:
    taken: set[str] = set()
    for _ in range(3000):
        name = new_name(taken)
        assert name not in taken
        taken.add(name)
