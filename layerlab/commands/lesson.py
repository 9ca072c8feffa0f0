"""``demo``, ``doctor``, ``fetch`` and ``reset``."""

from __future__ import annotations

import argparse
from typing import Any

import msgspec

from layerlab.commands.common import add_engine, note, print_json


def add(verbs: Any) -> None:
    """Declare the verbs."""
    demo = verbs.add_parser("demo", help="the whole lesson on the real app, measured as it happens")
    demo.add_argument("--app", metavar="DIR", help="another app than the course's node-app")
    demo.add_argument("--offline", action="store_true", help="ask no registry for base images")
    add_engine(demo)
    demo.set_defaults(run=_demo)
    doctor = verbs.add_parser("doctor", help="which engine and executor this machine gets, and why")
    add_engine(doctor)
    doctor.set_defaults(run=_doctor)
    fetch = verbs.add_parser("fetch", help="store what the course needs from a network in one folder, for machines without one")
    fetch.add_argument(
        "--to",
        default="offline",
        metavar="DIR",
        help="the folder (default: offline; with ./lab, beside it)",
    )
    fetch.add_argument("--app", metavar="DIR", help="another app than the course's node-app")
    fetch.add_argument("--json", action="store_true", help="print what was fetched as JSON")
    fetch.set_defaults(run=_fetch)
    reset = verbs.add_parser("reset", help="restore the course's working copy of the app; what was in it goes into an archive")
    reset.add_argument("--json", action="store_true", help="print where it is, and the archive, as JSON")
    reset.set_defaults(run=_reset)


def _demo(arguments: argparse.Namespace) -> int:
    from layerlab.lesson.demo import run_demo

    result = run_demo(store=arguments.store, app=arguments.app, offline=arguments.offline, quiet=arguments.json, engine=arguments.engine)
    if arguments.json:
        print_json(result)
    return 0


def _doctor(arguments: argparse.Namespace) -> int:
    from layerlab.doctor import examine, report
    from layerlab.engines.embedded.engine import EmbeddedEngine

    with EmbeddedEngine(arguments.store) as engine:
        found = examine(engine, arguments.engine)
    if arguments.json:
        print_json(found)
    else:
        print(report(found))
    return 0 if found.works else 1


def _fetch(arguments: argparse.Namespace) -> int:
    from pathlib import Path

    from layerlab.lesson.fetching import fetch

    directory = Path(arguments.to)
    fetched = fetch(directory, note, app=arguments.app)
    if arguments.json:
        print_json({"folder": str(directory.resolve()), **msgspec.to_builtins(fetched)})
    else:
        print(f"{directory} has what the course needs from a network.")
    return 0


def _reset(arguments: argparse.Namespace) -> int:
    from layerlab.lesson.workcopy import reset

    copy, kept = reset()
    if arguments.json:
        print_json({"schema": 1, "working_copy": str(copy), "archive": str(kept) if kept is not None else None})
    else:
        print(f"{copy} is as it is at the start of the course." + (f"\nWhat was in it is kept in {kept}." if kept is not None else ""))
    return 0
