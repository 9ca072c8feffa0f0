"""``registry``: a registry on this machine."""

from __future__ import annotations

import argparse
import os
import threading
from typing import Any, Final

from layerlab.commands.common import note, print_json

_PORT: Final = 5000


def add(verbs: Any) -> None:
    """Declare the verb."""
    registry = verbs.add_parser(
        "registry",
        help="a small registry on this machine to push to and pull from, until Ctrl-C",
        description="Serve a registry on 127.0.0.1 until Ctrl-C. It answers nobody but this machine, and asks for no login.",
    )
    registry.add_argument("--port", type=int, default=_PORT, metavar="PORT", help=f"0 takes one that is free (default: {_PORT})")
    registry.add_argument("--data", metavar="DIR", help="where images are kept (default: a directory registry in the store)")
    registry.add_argument("-q", "--quiet", action="store_true", help="do not list requests")
    registry.add_argument(
        "--store", metavar="DIR", help="where images and records are kept (default: $LAYERLAB_STORE, else your data directory)"
    )
    registry.add_argument("--json", action="store_true", help="print address and directory as JSON")
    registry.set_defaults(run=_registry)


def _registry(arguments: argparse.Namespace) -> int:
    from layerlab.engines.data_directory import default_store
    from layerlab.registry_server import LocalRegistry

    directory = arguments.data or os.path.join(arguments.store or default_store(), "registry")
    with LocalRegistry(directory, arguments.port, None if arguments.quiet else note) as registry:
        address = registry.address
        if arguments.json:
            print_json({"schema": 1, "address": address, "data": registry.directory})
        else:
            print(
                f"Registry at {address}, its images in {registry.directory}. Ctrl-C ends it.\n\n"
                f"  layerlab tag IMAGE {address}/NAME\n  layerlab push {address}/NAME\n  layerlab pull {address}/NAME\n",
                flush=True,
            )
        try:
            threading.Event().wait()
        except KeyboardInterrupt:
            note("The registry has ended; its images stay.")
    return 0
