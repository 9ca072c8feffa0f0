"""A build that failed for want of a network says so in plain words."""

from __future__ import annotations

import pytest

from autograder.judge.network import NO_NETWORK, advice, advice_before, wants_network
from layerlab.errors import BaseImageError, DockerfileError, GitSourceError, LayerlabError, RemoteFileError, UnsupportedError
from layerlab.model import Failure

# The ends of outputs, as the programs write them.
WANTED = (
    "npm error code ENOTCACHED\nnpm error request to … failed: cache mode is 'only-if-cached' but no cached response is available.",
    "npm error code EAI_AGAIN",
    "[cause]: Error: getaddrinfo ENOTFOUND example.org",
    "curl: (6) Could not resolve host: example.org",
    "wget: bad address 'example.org'",
    "wget: unable to resolve host address 'example.org'",
    "fatal: unable to access: Network is unreachable",
    "WARNING: fetching index: temporary error (try again later)",
    "E: Unable to fetch some archives",
    "apk: this is layerlab's stand-in for node:alpine, which has no apk",
    "/bin/sh: 1: curl: not found",
    "bash: wget: command not found",
)
OTHER = (
    "src/index.ts(3,7): error TS2322: Type 'string' is not assignable to type 'number'.",
    "npm error code EUSAGE\nnpm error `npm ci` can only install packages when your package.json and package-lock.json are in sync.",
    "/bin/sh: 1: tsc: not found",
    "",
)


def failure(kind: str = "step-failed") -> Failure:
    """A failure for which the engine has words of its own."""
    return Failure(kind=kind, message="boom", remedy="Do this.")


@pytest.mark.parametrize("log", WANTED)
def test_a_step_that_wanted_the_network(log: str) -> None:
    """The engine's own words, on proxies and connections, would lead astray."""
    assert wants_network(log)
    assert advice(failure(), "x\n" * 9000 + log) == NO_NETWORK


@pytest.mark.parametrize("log", OTHER)
def test_another_failure_keeps_the_words_of_the_engine(log: str) -> None:
    """It is about something else."""
    assert not wants_network(log)
    assert advice(failure(), log) == "Do this."


@pytest.mark.parametrize(
    ("error", "told"),
    [(BaseImageError, True), (RemoteFileError, True), (GitSourceError, True), (UnsupportedError, False), (DockerfileError, False)],
)
def test_what_fails_before_any_step(error: type[LayerlabError], told: bool) -> None:
    """A base image that is not here, and ADD of a URL or from a repository."""
    assert advice_before(error("boom")) == (NO_NETWORK if told else "")
