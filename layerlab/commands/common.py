"""What several verbs share: flags, JSON, the engine, progress."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

import msgspec

from layerlab.errors import LayerlabError, UnsupportedError, UsageError
from layerlab.platform import PLATFORM, normal_platform
from layerlab.reports import Report, Transferred, silent

if TYPE_CHECKING:
    from layerlab.engines.api import BuildOptions, Engine


# Packages of the extras in pyproject.toml, and those that come with them.
_OF_EXTRAS: Final = ("IPython", "anywidget", "distributed", "docker", "ipywidgets", "jinja2", "nbformat", "nbgrader", "traitlets")
_NAMED_IN_REPORT: Final = ("build", "plan", "explain")
_SECRET_LIMIT: Final = 500 << 10


def print_json(value: Any) -> None:
    """One JSON document on standard output."""
    sys.stdout.write(msgspec.json.format(msgspec.json.encode(value), indent=2).decode() + "\n")
    sys.stdout.flush()


def print_answer(engine: Engine, value: Any) -> None:
    """A JSON document, with the name of the engine that it comes from. ``value``: a struct, or a dict with text as keys."""
    print_json({"schema": 1, "engine": engine.name, **msgspec.to_builtins(value)})


def note(text: str) -> None:
    """Progress of something that is not a build, on standard error."""
    print(text, file=sys.stderr, flush=True)


def reporter(arguments: argparse.Namespace) -> Report:
    """``note``, or nothing where the user wants quiet. How far a transfer is gets said once a second."""
    last = 0.0

    def report(text: str) -> None:
        nonlocal last
        if isinstance(text, Transferred):
            if time.monotonic() - last < 1:
                return
            last = time.monotonic()
        note(text)

    return silent if getattr(arguments, "quiet", False) else report


def add_engine(parser: argparse.ArgumentParser) -> None:
    """The flags that every verb has."""
    parser.add_argument(
        "--engine",
        choices=("auto", "docker", "embedded"),
        default="auto",
        help="who does it (default: $LAYERLAB_ENGINE, else docker where its daemon answers, else embedded)",
    )
    parser.add_argument(
        "--store", metavar="DIR", help="where images and records are kept (default: $LAYERLAB_STORE, else your data directory)"
    )
    parser.add_argument("--json", action="store_true", help="print the record as JSON")


def add_context(parser: argparse.ArgumentParser) -> None:
    """The flags of the verbs that take a build context."""
    parser.add_argument("context", metavar="CONTEXT", help="directory with the files to copy")
    parser.add_argument("-f", "--file", metavar="FILE", help="the Dockerfile (default: CONTEXT/Dockerfile)")
    parser.add_argument("--target", metavar="STAGE", help="build up to this stage")
    parser.add_argument("--build-arg", action="append", default=[], metavar="NAME[=VALUE]", help="set a build argument")
    parser.add_argument("--network", choices=("default", "none", "host"), default="default", help="network of RUN steps")
    parser.add_argument(
        "--as",
        dest="like",
        choices=("26", "28"),
        default="28",
        metavar="VERSION",
        help="whose verdicts count where those of Docker 26 and 28 part (default: 28); a daemon gives its own",
    )
    parser.add_argument("--offline", action="store_true", help="ask no registry for base images")
    add_engine(parser)


def engine_of(arguments: argparse.Namespace) -> Engine:
    """The engine that the flags ask for. Raises ``DockerError`` where Docker was asked for and cannot be had.

    Who reads along is told which one it is; a record and a report of layerlab's own name it themselves.
    """
    from layerlab.engines.connect import connect

    engine = connect(arguments.engine, arguments.store)
    if arguments.verb not in _NAMED_IN_REPORT and not arguments.json and sys.stderr.isatty():
        note(f"{engine.name} engine")
    return engine


def options_of(arguments: argparse.Namespace) -> BuildOptions:
    """The build options that the flags say. Raises ``UsageError``, ``UnsupportedError``."""
    from layerlab.engines.api import BuildOptions

    platform = getattr(arguments, "platform", None)
    try:
        wanted = normal_platform(platform) if platform else PLATFORM
    except ValueError as error:
        raise UsageError(f"--platform {error}", remedy=f"Write one like {PLATFORM}.") from error
    if wanted != PLATFORM:
        raise UnsupportedError(
            f"--platform {platform} is not supported: this machine is {PLATFORM}, and layerlab builds for it alone",
            remedy="Leave the flag out, or run docker build.",
        )
    return BuildOptions(
        context=arguments.context,
        file=arguments.file,
        target=arguments.target,
        tag=next(iter(getattr(arguments, "tag", None) or []), None),
        more_tags=tuple((getattr(arguments, "tag", None) or [])[1:]),
        build_args=_build_args(arguments.build_arg),
        labels=dict(pair(item, "--label") for item in getattr(arguments, "label", [])),
        secrets=dict(_secret(item) for item in getattr(arguments, "secret", [])),
        no_cache=getattr(arguments, "no_cache", False),
        no_cache_filter=tuple(name for item in getattr(arguments, "no_cache_filter", []) for name in item.split(",") if name),
        network=arguments.network,
        offline=arguments.offline,
        pull=getattr(arguments, "pull", False),
        like=arguments.like,
    )


def _build_args(items: list[str]) -> dict[str, str]:
    found = {}
    for item in items:
        name, given, value = item.partition("=")
        if not name:
            raise UsageError(f"invalid value {item!r} for --build-arg", remedy="Write --build-arg NAME=VALUE.")
        if given:
            found[name] = value
        elif name in os.environ:
            # As docker does: a name alone takes the caller's value, and counts as not given where there is none.
            found[name] = os.environ[name]
    return found


def pair(item: str, flag: str) -> tuple[str, str]:
    """``NAME=VALUE``. Raises ``UsageError``."""
    name, _, value = item.partition("=")
    if not name:
        raise UsageError(f"invalid value {item!r} for {flag}", remedy=f"Write {flag} NAME=VALUE.")
    return name, value


def environment(items: list[str]) -> dict[str, str]:
    """``-e NAME=VALUE``, or ``-e NAME`` for the caller's own value, if there is one. Raises ``UsageError``."""
    pairs = [(item, pair(item, "-e")) for item in items]
    return {name: value if "=" in item else os.environ[name] for item, (name, value) in pairs if "=" in item or name in os.environ}


def for_each(names: list[str], act: Callable[[str], None]) -> None:
    """Do it for every name, as docker does: one that fails does not keep the others from it. Raises the last failure, prints others."""
    failure: LayerlabError | None = None
    for name in names:
        try:
            act(name)
        except LayerlabError as error:
            if failure is not None:
                from layerlab.render import error_text

                print(error_text(failure), file=sys.stderr)
            failure = error
    if failure is not None:
        raise failure


def _secret(item: str) -> tuple[str, bytes]:
    fields = dict(part.partition("=")[::2] for part in item.split(","))
    identity = fields.get("id", "")
    if not identity:
        raise UsageError(
            f"invalid value {item!r} for --secret: it has no id", remedy="Write --secret id=NAME,src=FILE or id=NAME,env=VARIABLE."
        )
    variable = fields.get("env")
    path = fields.get("src") or fields.get("source")
    if variable is None and path is None:
        variable = identity if identity in os.environ else None
        path = None if variable else identity
    if variable is not None:
        if variable not in os.environ:
            raise UsageError(f"--secret {identity}: the variable {variable} is not set")
        return identity, os.environ[variable].encode("utf-8", "surrogateescape")
    try:
        with open(str(path), "rb") as stream:
            data = stream.read(_SECRET_LIMIT + 1)
    except OSError as error:
        raise UsageError(f"--secret {identity}: {path} cannot be read: {error.strerror}") from error
    if len(data) > _SECRET_LIMIT:
        raise UsageError(f"--secret {identity}: {path} is larger than 500 kB, the most that a secret may have")
    return identity, data


def lacking(error: ModuleNotFoundError) -> LayerlabError:
    """What to do where a package is missing that comes with an extra. Raises the error itself for any other."""
    name = (error.name or "").partition(".")[0]
    if name not in _OF_EXTRAS:
        raise error
    return LayerlabError(
        f"this needs the Python package {name}, which is not installed",
        remedy="Install layerlab with its extra: [docker], [notebook], or [grading], which has them all but Docker's.",
    )


def report_error(error: LayerlabError, *, as_json: bool) -> int:
    """Say what went wrong, on standard error and, with ``as_json``, on standard output too. Returns the exit status."""
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
