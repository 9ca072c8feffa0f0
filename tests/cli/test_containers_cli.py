"""Containers on the command line: docker's flags and docker's look."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator

import pytest

from .conftest import Cli


@pytest.fixture
def named(cli: Cli) -> Iterator[str]:
    """A running container that has changed something."""
    done = cli(
        "run", "-d", "--name", "web", "--network", "none", "base:1", "/bin/sh", "-c", "touch /new; rm /etc/group; echo up; sleep 300"
    )
    assert done.status == 0, done.err
    assert re.fullmatch(r"[0-9a-f]{64}\n", done.out)
    deadline = time.monotonic() + 30
    while cli("logs", "web").out != "up\n":
        assert time.monotonic() < deadline
    yield done.out.strip()
    cli("rm", "-f", "web")


def test_a_life(cli: Cli, named: str) -> None:
    head, row = cli("ps").out.splitlines()
    assert head.split() == ["CONTAINER", "ID", "IMAGE", "COMMAND", "CREATED", "STATUS", "PORTS", "NAMES"]
    assert re.fullmatch(rf'{named[:12]}   base:1   "/bin/sh -c \'touch /…"   .+ ago   Up .+ +web', row)
    assert cli("ps", "-q").out == named[:12] + "\n"
    assert cli("logs", "web").out == "up\n"
    assert cli("diff", named[:12]).out == "C /etc\nD /etc/group\nA /new\n"
    assert cli("diff", "--json", "web").json()["changes"][-1] == {"kind": "A", "path": "/new"}

    refused = cli("rm", "web", "--json")
    assert refused.status == 2
    assert refused.json()["error"]["kind"] == "usage"
    assert "layerlab stop web" in refused.err

    assert cli("stop", "-t", "5", "web").out == "web\n"
    assert cli("ps").out.count("\n") == 1
    assert re.search(r"Exited \(143\) .+ ago", cli("ps", "-a").out)
    (record,) = cli("ps", "-a", "--json").json()["containers"]
    assert (record["id"], record["state"], record["exit_status"]) == (named, "exited", 143)
    assert cli("rm", "web").out == "web\n"
    assert cli("ps", "-aq").out == ""


def test_one_that_is_not_there_does_not_keep_the_others_from_it(cli: Cli, named: str) -> None:
    done = cli("rm", "-f", "nobody", "web", "noone")
    assert (done.status, done.out) == (2, "web\n")
    assert "No such container: nobody" in done.err
    assert "No such container: noone" in done.err


def test_in_the_foreground_it_stays_without_rm(cli: Cli) -> None:
    for rm, left in (((), 1), (("--rm",), 0)):
        done = cli("run", *rm, "--network", "none", "-e", "N=3", "base:1", "/bin/sh", "-c", "echo out; exit $N")
        assert (done.status, done.out) == (3, "out\n")
        identities = cli("ps", "-aq").out.split()
        assert len(identities) == left
        if identities:
            assert cli("rm", *identities).status == 0
    assert cli("run", "--json", "base:1", "true").json()["error"]["message"].startswith("run --json needs -d")


def test_a_variable_is_given_or_passed_on(cli: Cli) -> None:
    flags = ("-e", "MINE", "-e", "NOBODYS", "-e", "EMPTY=")
    script = 'echo "$MINE ${NOBODYS-unset} [$EMPTY]"'
    done = cli("run", "--rm", "--network", "none", *flags, "base:1", "/bin/sh", "-c", script, environment={"MINE": "from here"})
    assert done.out == "from here unset []\n"


@pytest.mark.parametrize("flags", [("-it",), ("-i",), ("-t",), ("-d", "-i")])
def test_there_is_no_terminal_and_it_says_so(cli: Cli, flags: tuple[str, ...]) -> None:
    done = cli("run", *flags, "base:1", "/bin/sh")
    assert done.status == 2
    assert "neither a terminal nor input" in done.err


@pytest.mark.parametrize("verb", ["run", "ps", "diff", "logs", "stop", "rm", "registry"])
def test_every_verb_explains_itself(cli: Cli, verb: str) -> None:
    done = cli(verb, "--help")
    assert done.status == 0
    assert "--json" in done.out
