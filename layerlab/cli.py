"""The command line: finds the verb, runs it, and turns errors into messages and exit statuses."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable

from layerlab import __version__
from layerlab.commands import building, containers, images, lesson, serving, transfer
from layerlab.commands.common import print_json
from layerlab.errors import BuildInterruptedError, LayerlabError
from layerlab.interrupt import interruptible


def main(argv: list[str] | None = None) -> int:
    """Run one command. Returns the exit status: 0 done, 1 build failed, 2 bad usage or bad Dockerfile, 130 stopped."""
    parser = make_parser()
    arguments = parser.parse_args(argv)
    if arguments.verb is None:
        parser.print_help()
        return 2
    try:
        with interruptible():
            run: Callable[[argparse.Namespace], int] = arguments.run
            return run(arguments)
    except LayerlabError as error:
        return _report(error, as_json=arguments.json)
    except KeyboardInterrupt:
        return _report(BuildInterruptedError("stopped"), as_json=arguments.json)
    except BrokenPipeError:
        # Whoever read our output has gone; say nothing more, not even at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def make_parser() -> argparse.ArgumentParser:
    """The parser of all verbs."""
    parser = argparse.ArgumentParser(
        prog="layerlab",
        description="Build images and see which layers were reused, which were rebuilt, and exactly why.",
        epilog="Run `layerlab VERB --help` for the flags of a verb.",
    )
    parser.add_argument("--version", action="version", version=f"layerlab {__version__}")
    verbs = parser.add_subparsers(dest="verb", metavar="VERB")
    for group in (building, images, transfer, serving, containers, lesson):
        group.add(verbs)
    return parser


def _report(error: LayerlabError, *, as_json: bool) -> int:
    from layerlab.render import error_text

    if as_json:
        found = {
            "kind": error.kind,
            "message": error.message,
            "file": error.file,
            "line": error.line,
            "column": error.column,
            "remedy": error.remedy,
        }
        print_json({"schema": 1, "error": found})
    print(error_text(error), file=sys.stderr)
    return error.exit_code
