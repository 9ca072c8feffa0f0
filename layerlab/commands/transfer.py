"""The verbs that move images: ``pull``, ``push``, ``save``, ``load``."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from layerlab.commands.common import add_engine, engine_of, print_answer, reporter
from layerlab.errors import UsageError


def add(verbs: Any) -> None:
    """Declare the verbs."""
    pull = verbs.add_parser("pull", help="fetch an image from a registry")
    pull.add_argument("image", metavar="NAME[:TAG]")
    pull.add_argument("-q", "--quiet", action="store_true", help="no progress")
    add_engine(pull)
    pull.set_defaults(run=_pull)

    push = verbs.add_parser("push", help="send an image to a registry; layers that it has are not sent")
    push.add_argument("image", metavar="NAME[:TAG]")
    push.add_argument("-q", "--quiet", action="store_true", help="no progress")
    add_engine(push)
    push.set_defaults(run=_push)

    save = verbs.add_parser("save", help="write images to a tar archive (OCI layout, also for `docker load`)")
    save.add_argument("image", nargs="+", metavar="IMAGE")
    save.add_argument("-o", "--output", metavar="FILE", help="the archive (default: standard output)")
    add_engine(save)
    save.set_defaults(run=_save)

    load = verbs.add_parser("load", help="read images from an archive of `save` or `docker save`, or from an OCI layout")
    load.add_argument("-i", "--input", metavar="FILE", required=True, help="the archive, or the directory of a layout")
    add_engine(load)
    load.set_defaults(run=_load)


def _pull(arguments: argparse.Namespace) -> int:
    with engine_of(arguments) as engine:
        row = engine.pull(arguments.image, reporter(arguments))
    if arguments.json:
        print_answer(engine, {"name": row.name, "image": row.config})
    else:
        print(f"{row.name}: {row.config}")
    return 0


def _push(arguments: argparse.Namespace) -> int:
    from layerlab.render import pushed

    with engine_of(arguments) as engine:
        done = engine.push(arguments.image, reporter(arguments))
    if arguments.json:
        print_answer(engine, done)
    else:
        print(f"{done.reference}: digest: {done.digest}", pushed(done), sep="\n")
    return 0


def _save(arguments: argparse.Namespace) -> int:
    if arguments.output is None and sys.stdout.isatty():
        raise UsageError("cowardly refusing to save to a terminal", remedy="Use the -o flag or redirect.")
    with engine_of(arguments) as engine:
        engine.save(tuple(arguments.image), arguments.output)
    return 0


def _load(arguments: argparse.Namespace) -> int:
    with engine_of(arguments) as engine:
        names = engine.load(arguments.input)
    if arguments.json:
        print_answer(engine, {"loaded": names})
    else:
        for name in names:
            print(f"Loaded image: {name}")
    return 0
