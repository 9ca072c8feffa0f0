"""The command line: finds the verb, runs it, and turns errors into messages and exit statuses."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from importlib import import_module
from typing import Any, Final

from layerlab.commands.common import lacking, report_error
from layerlab.errors import BuildInterruptedError, LayerlabError
from layerlab.interrupt import interruptible
from layerlab.version import __version__

# The modules of layerlab.commands and their verbs: whose verb is asked for is loaded, and no other.
_VERBS: Final = {
    "building": ("build", "plan", "explain"),
    "images": ("images", "inspect", "tag", "rmi", "history", "layers", "verify", "prune"),
    "transfer": ("pull", "push", "save", "load"),
    "registry": ("registry",),
    "containers": ("run", "ps", "diff", "logs", "stop", "rm"),
    "lesson": ("demo", "doctor", "fetch", "reset"),
}


def main(argv: list[str] | None = None) -> int:
    """Run one command. Returns the exit status: 0 done, 1 build failed, 2 bad usage or bad Dockerfile, 130 stopped.

    A verb's ``stopped`` is what Ctrl-C makes it say.
    """
    words = sys.argv[1:] if argv is None else argv
    own = next((module for module, verbs in _VERBS.items() if words and words[0] in verbs), None)
    parser = make_parser(words[:1]) if own is None else _parser((own,))[0]
    arguments = parser.parse_args(words)
    if arguments.verb is None:
        parser.print_help()
        return 2
    try:
        with interruptible():
            run: Callable[[argparse.Namespace], int] = arguments.run
            return run(arguments)
    except LayerlabError as error:
        return report_error(error, as_json=arguments.json)
    except ModuleNotFoundError as error:
        return report_error(lacking(error), as_json=arguments.json)
    except KeyboardInterrupt:
        return report_error(BuildInterruptedError(getattr(arguments, "stopped", "stopped")), as_json=arguments.json)
    except BrokenPipeError:
        # Whoever read our output has gone; say nothing more, not even at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def make_parser(asked: list[str] | None = None) -> argparse.ArgumentParser:
    """The parser of all verbs, those of installed packages too (entry points ``layerlab.verbs``; the autograder has some).

    ``asked``: the verb that was asked for; where there is none such, this ends the program and names the nearest.
    """
    from importlib.metadata import entry_points

    from layerlab.dockerfile.suggest import did_you_mean

    parser, verbs = _parser(tuple(_VERBS))
    for point in entry_points(group="layerlab.verbs"):
        point.load()(verbs)
    for word in asked or ():
        if not word.startswith("-") and word not in verbs.choices:
            parser.error(f"there is no verb {word!r}{did_you_mean(word, verbs.choices)}; `layerlab --help` lists them")
    return parser


def _parser(modules: tuple[str, ...]) -> tuple[argparse.ArgumentParser, Any]:
    parser = argparse.ArgumentParser(
        prog="layerlab",
        description="Build images and see which layers were reused, which were rebuilt, and exactly why.",
        epilog="Run `layerlab VERB --help` for the flags of a verb.",
    )
    parser.add_argument("--version", action="version", version=f"layerlab {__version__}")
    verbs = parser.add_subparsers(dest="verb", metavar="VERB")
    for module in modules:
        import_module(f"layerlab.commands.{module}").add(verbs)
    return parser, verbs
