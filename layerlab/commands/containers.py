"""The verbs about containers: ``run``, ``ps``, ``diff``, ``logs``, ``stop``, ``rm``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from layerlab.commands.common import add_engine, engine_of, environment, for_each, print_answer
from layerlab.errors import UnsupportedError, UsageError

if TYPE_CHECKING:
    from layerlab.engines.api import Engine

_SECONDS = 10


def add(verbs: Any) -> None:
    """Declare the verbs."""
    run = verbs.add_parser(
        "run",
        help="run an image's command in a new container",
        description="Run an image's command in a new container. Without --rm the container stays when the command ends, as in docker.",
        epilog="With the embedded engine, and without -p, a port that the command opens is a port of this machine. Publishing such a "
        "port as itself (-p 3000:3000) checks that it is free; another number (-p 8080:3000) is forwarded on 127.0.0.1, and the "
        "container's own is then open as well. With docker, -p gives the container a network of its own.",
    )
    run.add_argument("-d", "--detach", action="store_true", help="leave it running and print the container ID")
    run.add_argument("--name", metavar="NAME", help="name of the container (default: one is made up)")
    run.add_argument("-p", "--publish", action="append", default=[], metavar="[IP:]HOST:CONTAINER", help="publish a TCP port")
    run.add_argument(
        "-e", "--env", action="append", default=[], metavar="NAME[=VALUE]", help="set a variable; NAME alone passes on your own"
    )
    run.add_argument("--rm", action="store_true", help="remove the container when its command ends")
    run.add_argument("--network", choices=("host", "none"), default="host", help="ports are this machine's (host), or loopback only (none)")
    # What fingers type; better told than taken for a mistake.
    run.add_argument("-i", "--interactive", action="store_true", help=argparse.SUPPRESS)
    run.add_argument("-t", "--tty", action="store_true", help=argparse.SUPPRESS)
    add_engine(run)
    run.add_argument("image", metavar="IMAGE")
    run.add_argument("command", nargs=argparse.REMAINDER, metavar="COMMAND", help="instead of the image's CMD")
    run.set_defaults(run=_run)

    ps = verbs.add_parser("ps", help="the containers that run, with -a also those that have ended")
    ps.add_argument("-a", "--all", action="store_true", help="also those that have ended")
    ps.add_argument("-q", "--quiet", action="store_true", help="print IDs only")
    ps.add_argument("--no-trunc", action="store_true", help="print IDs and commands in full")
    add_engine(ps)
    ps.set_defaults(run=_ps)

    diff = verbs.add_parser("diff", help="the paths that a container added (A), changed (C) and deleted (D) in its image")
    diff.add_argument("container", metavar="CONTAINER")
    add_engine(diff)
    diff.set_defaults(run=_diff)

    logs = verbs.add_parser(
        "logs", help="what a container wrote", description="What a container wrote. The embedded engine keeps the last 5 to 10 MB."
    )
    logs.add_argument("-f", "--follow", action="store_true", help="go on until the container ends")
    logs.add_argument("container", metavar="CONTAINER")
    add_engine(logs)
    logs.set_defaults(run=_logs)

    stop = verbs.add_parser("stop", help="ask containers to end (SIGTERM), and kill those that do not")
    stop.add_argument("-t", "--time", type=int, default=_SECONDS, metavar="SECONDS", help=f"patience before the kill (default: {_SECONDS})")
    stop.add_argument("container", nargs="+", metavar="CONTAINER")
    add_engine(stop)
    stop.set_defaults(run=_stop)

    rm = verbs.add_parser("rm", help="remove containers and what they wrote")
    rm.add_argument("-f", "--force", action="store_true", help="also those that run")
    rm.add_argument("container", nargs="+", metavar="CONTAINER")
    add_engine(rm)
    rm.set_defaults(run=_rm)


def _write(block: bytes) -> None:
    sys.stdout.buffer.write(block)
    sys.stdout.buffer.flush()


def _run(arguments: argparse.Namespace) -> int:
    from layerlab.engines.published_ports import parse_port

    if arguments.interactive or arguments.tty:
        raise UnsupportedError(
            "run -i and -t are not supported: a container of layerlab has neither a terminal nor input",
            remedy="Leave them out, and give the command after the image: run IMAGE sh -c 'ls /'",
        )
    variables = environment(arguments.env)
    ports = tuple(parse_port(item) for item in arguments.publish)
    command = tuple(arguments.command)
    network = arguments.network == "host"
    with engine_of(arguments) as engine:
        if arguments.detach:
            made = engine.run_detached(
                arguments.image,
                command=command,
                environment=variables,
                network=network,
                name=arguments.name,
                ports=ports,
                remove=arguments.rm,
            )
            if arguments.json:
                print_answer(engine, {"id": made})
            else:
                print(made)
            return 0
        if arguments.json:
            raise UsageError("run --json needs -d: in the foreground, standard output is the container's", remedy="Add -d.")
        with engine.container(
            arguments.image,
            command=command,
            environment=variables,
            network=network,
            name=arguments.name,
            ports=ports,
            remove=arguments.rm,
        ) as running:
            return running.wait(_write)


def _ps(arguments: argparse.Namespace) -> int:
    from layerlab.render import containers_table

    with engine_of(arguments) as engine:
        rows = engine.containers(stopped=arguments.all)
    if arguments.json:
        print_answer(engine, {"containers": rows})
    elif arguments.quiet:
        for row in rows:
            print(row.id if arguments.no_trunc else row.id[:12])
    else:
        print(containers_table(rows, full=arguments.no_trunc))
    return 0


def _diff(arguments: argparse.Namespace) -> int:
    from layerlab.render import printable

    with engine_of(arguments) as engine:
        changes = engine.container_diff(arguments.container)
    if arguments.json:
        print_answer(engine, {"changes": changes})
    else:
        for change in changes:
            print(change.kind, printable(change.path))
    return 0


def _logs(arguments: argparse.Namespace) -> int:
    if arguments.json:
        blocks: list[bytes] = []
        with engine_of(arguments) as engine:
            engine.container_logs(arguments.container, blocks.append, follow=arguments.follow)
        print_answer(engine, {"log": b"".join(blocks).decode("utf-8", "replace")})
        return 0
    with engine_of(arguments) as engine:
        engine.container_logs(arguments.container, _write, follow=arguments.follow)
    return 0


def _stop(arguments: argparse.Namespace) -> int:
    with engine_of(arguments) as engine:
        return _each(engine, arguments, "stopped", lambda container: engine.stop_container(container, arguments.time))


def _rm(arguments: argparse.Namespace) -> int:
    with engine_of(arguments) as engine:
        return _each(engine, arguments, "removed", lambda container: engine.remove_container(container, force=arguments.force))


def _each(engine: Engine, arguments: argparse.Namespace, done: str, act: Callable[[str], None]) -> int:
    """Do it for every container, and print their names as given."""
    names: list[str] = []

    def one(container: str) -> None:
        act(container)
        names.append(container)
        if not arguments.json:
            print(container, flush=True)

    for_each(arguments.container, one)
    if arguments.json:
        print_answer(engine, {done: names})
    return 0
