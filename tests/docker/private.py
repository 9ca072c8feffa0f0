"""Whose Docker daemon it is: what empties build caches and takes over tags does so on a daemon of our own, or where it was told to."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator, Sequence
from typing import Final

PRIVATE: Final = "LAYERLAB_PRIVATE_DAEMON"
FLAG: Final = "--wipe-docker-build-cache"
FLAG_HELP: Final = (
    "let this empty the whole build cache of the Docker daemon that answers, and take over tags such as node:alpine there until it ends; "
    "needed where the daemon is not one that this repository started for itself"
)


class SharedDaemonError(Exception):
    """A daemon that may be somebody's; the message says what would happen to it and what to do instead."""


def check_private(*, told: bool, without: str = "") -> None:
    """Refuse a daemon that is not ours. ``told``: ``FLAG`` was given; ``without``: a flag that leaves Docker out.

    ``./lab test --docker`` and ``tests/docker/daemon.sh`` say of the daemon that they start that it is. Raises ``SharedDaemonError``.
    """
    if told or os.environ.get(PRIVATE):
        return
    instead = f"give {without}, or " if without else ""
    raise SharedDaemonError(
        "this empties the whole build cache of the Docker daemon and replaces its node:alpine, and the daemon that answers "
        f"({os.environ.get('DOCKER_HOST') or 'the usual one of this machine'}) is not one of the tests' own.\n"
        f"  What to do: {instead}start one of its own (tests/docker/daemon.sh start DIR, and export what its last line says; needs root), "
        f"or, if nobody needs that build cache: {FLAG}"
    )


@contextlib.contextmanager
def borrowed(docker: str, names: Sequence[str]) -> Iterator[set[str]]:
    """Tags of a daemon that the block may give to images of its own; afterwards they are whose they were.

    The set is for names and IDs of other images that the block makes: they go, and the build cache is emptied.
    """
    before = {name: _identity(docker, name) for name in names}
    made: set[str] = set()
    try:
        yield made
    finally:
        # What was there before is never removed, whoever built the same again.
        for name in made - set(before.values()) - {""}:
            subprocess.run([docker, "rmi", "-f", name], capture_output=True, check=False)
        for name, identity in before.items():
            if _identity(docker, name) == identity:
                continue
            subprocess.run([docker, "rmi", "-f", name], capture_output=True, check=False)
            if identity:
                subprocess.run([docker, "tag", identity, name], capture_output=True, check=False)
        empty_cache(docker, check=False)


def empty_cache(docker: str, *, check: bool = True) -> None:
    """Empty the build cache. Raises ``subprocess.CalledProcessError``."""
    subprocess.run([docker, "builder", "prune", "-af"], capture_output=True, check=check)


def _identity(docker: str, name: str) -> str:
    done = subprocess.run([docker, "image", "inspect", "--format", "{{.Id}}", name], capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else ""
