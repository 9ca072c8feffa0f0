"""``run``: an image's command, in a container that goes when the command ends."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from layerlab.commands.common import add_engine, engine_of, pair


def add(verbs: Any) -> None:
    """Declare the verb."""
    run = verbs.add_parser("run", help="run an image's command; the container is removed when it ends")
    run.add_argument("-e", "--env", action="append", default=[], metavar="NAME=VALUE", help="set a variable")
    run.add_argument("--rm", action="store_true", help="accepted for docker's sake: containers are always removed")
    run.add_argument("--network", choices=("host", "none"), default="host", help="ports are this machine's (host), or loopback only (none)")
    run.add_argument("image", metavar="IMAGE")
    run.add_argument("command", nargs=argparse.REMAINDER, metavar="COMMAND", help="instead of the image's CMD")
    add_engine(run)
    run.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    def output(block: bytes) -> None:
        sys.stdout.buffer.write(block)
        sys.stdout.buffer.flush()

    with (
        engine_of(arguments) as engine,
        engine.container(
            arguments.image,
            command=tuple(arguments.command),
            environment=dict(pair(item, "-e") for item in arguments.env),
            network=arguments.network == "host",
        ) as running,
    ):
        return running.wait(output)
