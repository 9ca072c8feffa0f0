"""What a machine has once for all: who takes it while it runs out is ended, and nobody else is."""

from __future__ import annotations

from pathlib import Path

import pytest

from autograder.sandbox.allowances import exhausted

MEMORY = {"meminfo": "MemTotal:       4194304 kB\nMemFree: 1 kB\n"}
LARGE = {"sys/net/ipv4/tcp_mem": "300000 400000 600000\n"}
ORPHANS = {"sys/net/ipv4/tcp_max_orphans": "16384\n"}
LIMITS = {"sys/net/ipv4/tcp_mem": "48000\t64000\t96000\n", "sys/net/ipv4/udp_mem": "96000 128000 192000\n"}


@pytest.fixture(autouse=True)
def pages(monkeypatch: pytest.MonkeyPatch) -> None:
    """Some machines have larger ones."""
    monkeypatch.setattr("autograder.sandbox.allowances._PAGE", 4096)


def machine(place: Path, files: dict[str, str], processes: dict[int, tuple[str, dict[str, str], int]]) -> Path:
    """A made ``/proc``: its files, and of each process the network, the files there, and how many it has open."""
    for number, (space, inside, opened) in processes.items():
        (place / str(number) / "ns").mkdir(parents=True)
        (place / str(number) / "ns" / "net").symlink_to(f"net:[{space}]")
        (place / str(number) / "fd").mkdir()
        for file in range(opened):
            (place / str(number) / "fd" / str(file)).touch()
        files = {**files, **{f"{number}/{name}": text for name, text in inside.items()}}
    for name, text in files.items():
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_text(text, encoding="ascii")
    return place


def taken(pages: int, protocol: str = "TCP") -> dict[str, str]:
    """What all networks hold."""
    other = "UDP" if protocol == "TCP" else "TCP"
    return {"net/sockstat": f"sockets: used 9\n{protocol}: inuse 1 orphan 0 tw 0 alloc 1 mem {pages}\n{other}: inuse 3 mem 2\n"}


def abandoned(orphans: int) -> dict[str, str]:
    """Connections that were closed with something on its way."""
    return {"net/sockstat": f"TCP: inuse 1 orphan {orphans} tw 0 alloc 1 mem 2\n"}


def holds(sockets: int, sockets_6: int = 0, protocol: str = "TCP") -> dict[str, str]:
    """What one network holds."""
    return {"net/sockstat": f"{protocol}: inuse {sockets} mem 9\n", "net/sockstat6": f"{protocol}6: inuse {sockets_6}\n"}


@pytest.mark.parametrize(
    ("files", "processes", "said"),
    [
        pytest.param({**LIMITS, **taken(24_000)}, {7: ("1", holds(900), 3)}, "", id="half is left"),
        pytest.param({**LIMITS, **taken(24_001)}, {7: ("1", holds(900), 3)}, "had 900 TCP sockets", id="less than half is left"),
        pytest.param({**LIMITS, **taken(24_001)}, {7: ("1", holds(10, 7), 3)}, "had 17 TCP sockets", id="of both kinds"),
        pytest.param({**LIMITS, **taken(90_000)}, {7: ("1", holds(16), 3)}, "", id="a neighbour's doing"),
        pytest.param({**LIMITS, **taken(90_000)}, {7: ("1", holds(16), 3), 8: ("1", holds(16), 3)}, "", id="two in one network"),
        pytest.param({**LIMITS, **taken(90_000)}, {7: ("1", holds(9), 3), 8: ("2", holds(9), 3)}, "had 18 TCP", id="two networks"),
        pytest.param({**LARGE, **taken(150_001)}, {7: ("1", holds(58), 3)}, "", id="what few could hold on a large machine"),
        pytest.param({**LARGE, **taken(150_001)}, {7: ("1", holds(59), 3)}, "had 59 TCP sockets", id="what they could not"),
        pytest.param({**LIMITS, **taken(48_001, "UDP")}, {7: ("1", holds(375, 0, "UDP"), 3)}, "", id="a few of UDP"),
        pytest.param({**LIMITS, **taken(48_001, "UDP")}, {7: ("1", holds(375, 1, "UDP"), 3)}, "had 376 UDP sockets", id="UDP"),
        pytest.param({**MEMORY, **taken(24_576)}, {7: ("1", holds(99), 3)}, "", id="4 GiB, and no limits to be read"),
        pytest.param({**MEMORY, **taken(24_577)}, {7: ("1", holds(99), 3)}, "had 99 TCP sockets", id="the same, and less than half left"),
        pytest.param({**LIMITS, **ORPHANS, **abandoned(8192)}, {7: ("1", holds(9000), 3)}, "", id="orphans, and half is left"),
        pytest.param({**LIMITS, **ORPHANS, **abandoned(8193)}, {7: ("1", holds(9000), 3)}, "had 9000 TCP", id="more orphans than half"),
        pytest.param({**LIMITS, **ORPHANS, **abandoned(9000)}, {7: ("1", holds(4096), 3)}, "", id="orphans of others"),
        pytest.param(taken(90_000), {7: ("1", holds(99), 3)}, "", id="nothing to be read"),
        pytest.param({"net/sockstat": "TCP: inuse x mem\nTCP:\n\n"}, {7: ("1", {}, 3)}, "", id="nothing that makes sense"),
        pytest.param({"sys/fs/file-nr": "20001\t0\t40000\n"}, {7: ("1", {}, 300)}, "", id="files of others"),
    ],
)
def test_who_takes_what_all_share(
    tmp_path: Path, files: dict[str, str], processes: dict[int, tuple[str, dict[str, str], int]], said: str
) -> None:
    found = exhausted(processes, machine(tmp_path, files, processes))
    assert found.startswith(said)
    assert bool(found) == bool(said)


def test_most_files_of_a_machine(tmp_path: Path) -> None:
    """They are counted as soon as half of them are open, by whomever."""
    few = machine(tmp_path / "few", {"sys/fs/file-nr": "20000\t0\t40000\n"}, {7: ("1", {}, 17_000)})
    assert not exhausted([7], few)
    (few / "sys" / "fs" / "file-nr").write_text("20001\t0\t40000\n", encoding="ascii")
    assert exhausted([7], few).startswith("had ")
    assert exhausted([7], few).endswith("files open, which are most of those that this machine can open")
