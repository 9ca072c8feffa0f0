"""What holds for containers on every engine. The engines' own tests run this table; each promise gets an engine that has ``base:1``."""

from __future__ import annotations

import contextlib
import secrets
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest

from layerlab.errors import StepFailedError, UsageError
from layerlab.model import PublishedPort

if TYPE_CHECKING:
    from layerlab.engines.api import Engine

IMAGE = "base:1"
CHANGES = (
    "mkdir -p /a/b; touch /a/b/c /zz; rm -r /etc/group /usr/local; mkdir -p /usr/local/new; touch /root/x; chmod 700 /var; "
    "echo more >> /etc/hostname2; rm /bin/sh.none 2>/dev/null; echo other > /etc/passwd; : ready"
)


def shell(text: str) -> tuple[str, ...]:
    """A command line for the image's shell."""
    return ("/bin/sh", "-c", text)


@contextlib.contextmanager
def detached(engine: Engine, text: str, **more: Any) -> Iterator[str]:
    """The name of a container that runs by itself, removed at the end."""
    name = f"layerlab-test-{secrets.token_hex(4)}"
    more.setdefault("network", False)
    engine.run_detached(IMAGE, command=shell(text), name=name, **more)
    try:
        yield name
    finally:
        with contextlib.suppress(UsageError):
            engine.remove_container(name, force=True)


def row_of(engine: Engine, name: str) -> Any:
    """The row of ``ps -a`` with this name, or ``None``."""
    return next((row for row in engine.containers(stopped=True) if row.name == name), None)


def ended(engine: Engine, name: str) -> Any:
    """The row of a container once it has ended."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        row = row_of(engine, name)
        if row is not None and row.state == "exited":
            return row
        time.sleep(0.05)
    raise AssertionError(f"{name} did not end: {row_of(engine, name)}")


def moment(text: str) -> tuple[str, str]:
    """A time to compare. Docker leaves out zeros at the end of the nanoseconds, so its text does not sort."""
    seconds, _, fraction = text.removesuffix("Z").partition(".")
    return seconds, fraction.ljust(9, "0")


def log_of(engine: Engine, name: str) -> bytes:
    """All that a container has written so far."""
    blocks: list[bytes] = []
    engine.container_logs(name, blocks.append)
    return b"".join(blocks)


def wait_for_log(engine: Engine, name: str, text: bytes) -> None:
    """Wait until a container has written something."""
    deadline = time.monotonic() + 30
    while text not in log_of(engine, name):
        assert time.monotonic() < deadline, log_of(engine, name)
        time.sleep(0.05)


def free_port() -> int:
    """A port of this machine that nobody has."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        number: int = probe.getsockname()[1]
    return number


# --- the promises -----------------------------------------------------------------------------------------------------


def it_runs_by_itself_and_stays_when_it_has_ended(engine: Engine) -> None:
    with detached(engine, "echo $WHO; while [ ! -e /end ]; do sleep 0.1; done; exit 3", environment={"WHO": "me"}) as name:
        row = row_of(engine, name)
        assert (row.state, row.exit_status, row.image, row.command[-1][:9]) == ("running", None, IMAGE, "echo $WHO")
        assert row.image_id == engine.image_row(IMAGE).config
        assert len(row.id) == 64
        assert name in [running.name for running in engine.containers()]
    with detached(engine, "echo out; echo err >&2; exit 3") as name:
        row = ended(engine, name)
        assert (row.state, row.exit_status) == ("exited", 3)
        assert moment(row.created) <= min(moment(row.started), moment(row.finished))
        # A busy Docker notes the start of so short a command after its end: 11 times out of 40, tried on 26.1.5.
        assert engine.name == "docker" or moment(row.started) <= moment(row.finished)
        assert name not in [running.name for running in engine.containers()]
        assert sorted(log_of(engine, name).split()) == [b"err", b"out"]


def a_container_is_known_by_name_id_and_the_start_of_its_id(engine: Engine) -> None:
    with detached(engine, "echo hello") as name:
        identity = ended(engine, name).id
        for known in (name, identity, identity[:12]):
            assert log_of(engine, known) == b"hello\n"
    for gone in (name, identity, identity[:12]):
        with pytest.raises(UsageError, match="No such container"):
            engine.container_diff(gone)


def a_name_is_given_once(engine: Engine) -> None:
    with detached(engine, "true") as name:
        with pytest.raises(UsageError, match=f'Conflict. The container name "/{name}" is already in use by container'):
            engine.run_detached(IMAGE, command=("true",), name=name, network=False)
        with pytest.raises(UsageError, match="Invalid container name"):
            engine.run_detached(IMAGE, command=("true",), name="no spaces", network=False)
    with contextlib.ExitStack() as stack:
        rows = []
        for _ in range(2):
            identity = engine.run_detached(IMAGE, command=("true",), network=False)
            stack.callback(engine.remove_container, identity, force=True)
            rows.append(next(row for row in engine.containers(stopped=True) if row.id == identity))
        assert rows[0].name != rows[1].name
        assert "_" in rows[0].name


def a_running_container_is_not_removed_unless_it_must_be(engine: Engine) -> None:
    with detached(engine, "sleep 60") as name:
        with pytest.raises(UsageError, match="container is running: stop the container before removing or force remove"):
            engine.remove_container(name)
        engine.remove_container(name, force=True)
        assert row_of(engine, name) is None


def stop_asks_first_and_kills_then(engine: Engine) -> None:
    with detached(engine, "trap 'echo asked; exit 5' TERM; echo ready; while :; do sleep 0.1; done") as name:
        wait_for_log(engine, name, b"ready")
        engine.stop_container(name, 10)
        assert ended(engine, name).exit_status == 5
        assert log_of(engine, name) == b"ready\nasked\n"
        # Once more is no mistake.
        engine.stop_container(name, 10)
    with detached(engine, "trap '' TERM; echo ready; while :; do sleep 0.1; done") as name:
        wait_for_log(engine, name, b"ready")
        began = time.monotonic()
        engine.stop_container(name, 1)
        assert 0.9 < time.monotonic() - began < 8
        assert ended(engine, name).exit_status == 137


def diff_tells_what_was_added_changed_and_deleted(engine: Engine) -> None:
    with detached(engine, CHANGES) as name:
        ended(engine, name)
        found = [f"{change.kind} {change.path}" for change in engine.container_diff(name)]
    assert found == [
        *("A /a", "A /a/b", "A /a/b/c", "C /etc", "D /etc/group", "A /etc/hostname2", "C /etc/passwd", "C /root", "A /root/x"),
        *("C /usr", "C /usr/local", "D /usr/local/bin", "A /usr/local/new", "C /var", "A /zz"),
    ]


def diff_of_what_changed_nothing_is_empty(engine: Engine) -> None:
    with detached(engine, "cat /etc/passwd > /dev/null; echo x > /dev/shm/x") as name:
        ended(engine, name)
        assert engine.container_diff(name) == ()


def logs_can_be_followed_to_the_end(engine: Engine) -> None:
    with detached(engine, "for n in 1 2 3; do echo line $n; sleep 0.3; done") as name:
        came: list[tuple[float, bytes]] = []
        engine.container_logs(name, lambda block: came.append((time.monotonic(), block)), follow=True)
        assert b"".join(block for _, block in came) == b"line 1\nline 2\nline 3\n"
        assert came[-1][0] - came[0][0] > 0.3


def with_rm_it_goes_when_it_ends(engine: Engine) -> None:
    with detached(engine, "sleep 0.5", remove=True) as name:
        assert row_of(engine, name).state == "running"
        deadline = time.monotonic() + 30
        while row_of(engine, name) is not None:
            assert time.monotonic() < deadline
            time.sleep(0.05)


def in_the_foreground_it_is_kept_or_not(engine: Engine) -> None:
    for keep in (False, True):
        name = f"layerlab-test-{secrets.token_hex(4)}"
        output: list[bytes] = []
        with engine.container(IMAGE, command=shell("echo hi; touch /f; exit 4"), network=False, name=name, remove=not keep) as running:
            assert running.wait(output.append) == 4
        assert b"".join(output) == b"hi\n"
        row = row_of(engine, name)
        assert (row is not None) == keep
        if keep:
            assert row.exit_status == 4
            assert [change.path for change in engine.container_diff(name)] == ["/f"]
            assert log_of(engine, name) == b"hi\n"
            engine.remove_container(name)


def what_does_not_start_does_not_stay(engine: Engine) -> None:
    before = {row.id for row in engine.containers(stopped=True)}
    with pytest.raises(StepFailedError, match="executable file not found"):
        engine.run_detached(IMAGE, command=("nothing-like-it",), network=False)
    with pytest.raises(UsageError, match="No such image"):
        engine.run_detached("no-such-image:1", command=("true",), network=False)
    with pytest.raises(UsageError, match="no ports to publish"):
        engine.run_detached(IMAGE, command=("true",), network=False, ports=(PublishedPort(host=1, container=2),))
    assert {row.id for row in engine.containers(stopped=True)} == before


def a_port_that_is_taken_is_refused(engine: Engine) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        number = taken.getsockname()[1]
        port = PublishedPort(host=number, container=8080, ip="127.0.0.1")
        with pytest.raises(UsageError, match=r"already allocated|already in use"):
            engine.run_detached(IMAGE, command=shell("sleep 60"), ports=(port,))


def several_at_once(engine: Engine) -> None:
    outcomes: list[bytes] = []

    def one(number: int) -> None:
        with detached(engine, f"echo {number}") as name:
            ended(engine, name)
            outcomes.append(log_of(engine, name))

    threads = [threading.Thread(target=one, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == [b"0\n", b"1\n", b"2\n", b"3\n"]


PROMISES: dict[str, Callable[[Engine], None]] = {
    promise.__name__.replace("_", " "): promise
    for promise in (
        it_runs_by_itself_and_stays_when_it_has_ended,
        a_container_is_known_by_name_id_and_the_start_of_its_id,
        a_name_is_given_once,
        a_running_container_is_not_removed_unless_it_must_be,
        stop_asks_first_and_kills_then,
        diff_tells_what_was_added_changed_and_deleted,
        diff_of_what_changed_nothing_is_empty,
        logs_can_be_followed_to_the_end,
        with_rm_it_goes_when_it_ends,
        in_the_foreground_it_is_kept_or_not,
        what_does_not_start_does_not_stay,
        a_port_that_is_taken_is_refused,
        several_at_once,
    )
}
