"""The command line. Verbs and flags follow docker's; each verb turns arguments into a call and a record into text or JSON."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import msgspec

from layerlab import __version__
from layerlab.errors import BuildInterruptedError, LayerlabError, UnsupportedError, UsageError
from layerlab.interrupt import interruptible
from layerlab.platform import PLATFORM

if TYPE_CHECKING:
    from layerlab.engines.base import BuildOptions
    from layerlab.engines.embedded.engine import EmbeddedEngine

EXIT_BUILD_FAILED = 1


def main(argv: list[str] | None = None) -> int:
    """Run one command. Returns the exit status: 0 done, 1 build failed, 2 bad usage or bad Dockerfile, 130 stopped."""
    parser = _parser()
    arguments = parser.parse_args(argv)
    if getattr(arguments, "verb", None) is None:
        parser.print_help()
        return 2
    as_json = bool(getattr(arguments, "json", False))
    try:
        with interruptible():
            run: Callable[[argparse.Namespace], int] = arguments.run
            return run(arguments)
    except LayerlabError as error:
        return _report(error, as_json=as_json)
    except KeyboardInterrupt:
        return _report(BuildInterruptedError("stopped"), as_json=as_json)
    except BrokenPipeError:
        # Whoever read our output has gone; say nothing more, not even at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def _report(error: LayerlabError, *, as_json: bool) -> int:
    from layerlab.render import error_text

    if as_json:
        _print_json(
            {
                "schema": 1,
                "error": {
                    "kind": error.kind,
                    "message": error.message,
                    "file": error.file,
                    "line": error.line,
                    "column": error.column,
                    "remedy": error.remedy,
                },
            }
        )
    print(error_text(error), file=sys.stderr)
    return error.exit_code


def _print_json(value: Any) -> None:
    sys.stdout.write(msgspec.json.format(msgspec.json.encode(value), indent=2).decode() + "\n")
    sys.stdout.flush()


# --- arguments ------------------------------------------------------------------------------------------------------


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="layerlab",
        description="Build images and see which layers were reused, which were rebuilt, and exactly why.",
        epilog="Run `layerlab VERB --help` for the flags of a verb.",
    )
    parser.add_argument("--version", action="version", version=f"layerlab {__version__}")
    verbs = parser.add_subparsers(dest="verb", metavar="VERB")
    _add_build(verbs)
    _add_plan(verbs)
    _add_explain(verbs)
    history = verbs.add_parser("history", help="the layers of an image, and the instructions that made them")
    history.add_argument("image", metavar="IMAGE")
    history.add_argument("--no-trunc", action="store_true", help="show instructions in full")
    _common(history)
    history.set_defaults(run=_history)
    demo = verbs.add_parser("demo", help="the whole lesson on the real app, measured as it happens")
    demo.add_argument("--app", metavar="DIR", help="another app than the course's node-app")
    demo.add_argument("--offline", action="store_true", help="ask no registry")
    _common(demo)
    demo.set_defaults(run=_demo)
    doctor = verbs.add_parser("doctor", help="which engine and executor this machine gets, and why")
    _common(doctor)
    doctor.set_defaults(run=_doctor)
    return parser


def _common(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--engine", choices=("auto", "docker", "embedded"), default="auto", help="who builds (default: auto)")
    parser.add_argument("--store", metavar="DIR", help="store of the embedded engine (default: $LAYERLAB_STORE, else your data directory)")
    parser.add_argument("--json", action="store_true", help="print the record as JSON")


def _context(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("context", metavar="CONTEXT", help="directory with the files to copy")
    parser.add_argument("-f", "--file", metavar="FILE", help="the Dockerfile (default: CONTEXT/Dockerfile)")
    parser.add_argument("--target", metavar="STAGE", help="build up to this stage")
    parser.add_argument("--build-arg", action="append", default=[], metavar="NAME[=VALUE]", help="set a build argument")
    parser.add_argument("--network", choices=("default", "none", "host"), default="default", help="network of RUN steps")
    parser.add_argument("--offline", action="store_true", help="ask no registry for base images")
    _common(parser)


def _add_build(verbs: Any) -> None:
    build = verbs.add_parser("build", help="build an image from a Dockerfile and a build context")
    _context(build)
    build.add_argument("-t", "--tag", metavar="NAME[:TAG]", help="name of the image")
    build.add_argument("--label", action="append", default=[], metavar="NAME=VALUE", help="set a label of the image")
    build.add_argument("--secret", action="append", default=[], metavar="id=ID,src=FILE|env=NAME", help="a secret for RUN --mount=type=secret")
    build.add_argument("--no-cache", action="store_true", help="run every RUN, COPY and ADD")
    build.add_argument("--no-cache-filter", action="append", default=[], metavar="STAGE", help="run every step of these stages")
    build.add_argument("--pull", action="store_true", help="ask the registry again for base images")
    build.add_argument("--platform", metavar="OS/ARCH", help="only this machine's")
    build.add_argument("--iidfile", metavar="FILE", help="write the image ID to a file")
    build.add_argument("--progress", choices=("auto", "plain", "json", "quiet"), default="auto", help="how to show progress")
    build.add_argument("-q", "--quiet", action="store_true", help="print the image ID only")
    build.set_defaults(run=_build)


def _add_plan(verbs: Any) -> None:
    plan = verbs.add_parser("plan", help="what the next build would do, step by step, and why; runs nothing")
    _context(plan)
    plan.add_argument("--edit", action="append", default=[], metavar="PATH", help="assume that this file changes")
    plan.add_argument("--matrix", action="store_true", help="edits × steps: for each --edit (default: each file), which steps run again")
    plan.set_defaults(run=_plan)


def _add_explain(verbs: Any) -> None:
    explain = verbs.add_parser("explain", help="why the last build's misses were misses")
    _context(explain)
    explain.set_defaults(run=_explain)


def _options(arguments: argparse.Namespace) -> BuildOptions:
    from layerlab.engines.base import BuildOptions

    platform = getattr(arguments, "platform", None)
    if platform and platform != PLATFORM:
        raise UnsupportedError(
            f"--platform {platform} is not supported: this machine is {PLATFORM} and the embedded engine does not emulate others",
            remedy="Leave the flag out, or build with Docker.",
        )
    return BuildOptions(
        context=arguments.context,
        file=arguments.file,
        target=arguments.target,
        tag=getattr(arguments, "tag", None),
        build_args=_build_args(arguments.build_arg),
        labels=dict(_pair(item, "--label") for item in getattr(arguments, "label", [])),
        secrets=dict(_secret(item) for item in getattr(arguments, "secret", [])),
        no_cache=getattr(arguments, "no_cache", False),
        no_cache_filter=tuple(name for item in getattr(arguments, "no_cache_filter", []) for name in item.split(",") if name),
        network=arguments.network,
        offline=arguments.offline,
        pull=getattr(arguments, "pull", False),
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


def _pair(item: str, flag: str) -> tuple[str, str]:
    name, _, value = item.partition("=")
    if not name:
        raise UsageError(f"invalid value {item!r} for {flag}", remedy=f"Write {flag} NAME=VALUE.")
    return name, value


def _secret(item: str) -> tuple[str, bytes]:
    fields = dict(part.partition("=")[::2] for part in item.split(","))
    identity = fields.get("id", "")
    if not identity:
        raise UsageError(f"invalid value {item!r} for --secret: it has no id", remedy="Write --secret id=NAME,src=FILE or id=NAME,env=VARIABLE.")
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
            return identity, stream.read(500 << 10)
    except OSError as error:
        raise UsageError(f"--secret {identity}: {path} cannot be read: {error.strerror}") from error


def _engine(arguments: argparse.Namespace) -> EmbeddedEngine:
    if arguments.engine == "docker":
        raise UnsupportedError("--engine docker is not built yet", remedy="Leave the flag out: the embedded engine needs no daemon.")
    from layerlab.engines.embedded.engine import EmbeddedEngine

    return EmbeddedEngine(arguments.store)


# --- verbs ----------------------------------------------------------------------------------------------------------


def _build(arguments: argparse.Namespace) -> int:
    from layerlab.engines.base import Event
    from layerlab.render import build_summary

    options = _options(arguments)
    quiet = arguments.quiet or arguments.json

    def as_lines(event: Event) -> None:
        print(msgspec.json.encode(event).decode(), file=sys.stderr, flush=True)

    from layerlab.progress import TextProgress

    if arguments.progress == "json":
        progress: Callable[[Event], None] = as_lines
    else:
        progress = TextProgress(sys.stderr, quiet=arguments.progress == "quiet" or arguments.quiet)
    with _engine(arguments) as engine:
        record = engine.build(options, (lambda _event: None) if arguments.quiet else progress)
    if arguments.json:
        _print_json(record)
    elif arguments.quiet and record.image:
        print(record.image)
    if arguments.iidfile and record.image:
        from layerlab.fsutil import write_atomically

        write_atomically(os.path.abspath(arguments.iidfile), record.image.encode())
    if not quiet:
        print(build_summary(record))
    if record.failure is not None:
        failure = record.failure
        error = LayerlabError(failure.message, file=failure.file, line=failure.line, column=failure.column, remedy=failure.remedy)
        from layerlab.render import error_text

        print(error_text(error), file=sys.stderr)
        return EXIT_BUILD_FAILED
    return 0


def _plan(arguments: argparse.Namespace) -> int:
    from layerlab.render import matrix, plan_summary

    options = _options(arguments)
    with _engine(arguments) as engine:
        if arguments.matrix:
            edits = arguments.edit or engine.context_files(options)
            rows = [(edit, engine.plan(options, (edit,))) for edit in edits]
            if arguments.json:
                _print_json({"schema": 1, "matrix": [{"edit": edit, "plan": plan} for edit, plan in rows]})
            else:
                print(matrix(rows))
            return 0
        record = engine.plan(options, tuple(arguments.edit))
    if arguments.json:
        _print_json(record)
    else:
        print(plan_summary(record))
    return 0


def _explain(arguments: argparse.Namespace) -> int:
    from layerlab.render import explanation, plan_summary

    options = _options(arguments)
    with _engine(arguments) as engine:
        record = engine.explain(options)
        if record is None:
            plan = engine.plan(options)
            if arguments.json:
                _print_json({"schema": 1, "last_build": None, "plan": plan})
            else:
                print("No build of this Dockerfile and build context is known yet, so there is nothing to explain.\n")
                print(plan_summary(plan))
            return 0
    if arguments.json:
        _print_json(record)
    else:
        print(explanation(record))
    return 0


def _history(arguments: argparse.Namespace) -> int:
    from layerlab.render import history_table

    with _engine(arguments) as engine:
        rows = engine.history(arguments.image)
        row = engine.image_row(arguments.image)
    if arguments.json:
        _print_json({"schema": 1, "image": row.config, "stand_in": row.stand_in, "history": rows})
    else:
        print(history_table(rows, row.config, full=arguments.no_trunc))
        if row.stand_in:
            print(f"note: {row.stand_in}")
    return 0


def _demo(arguments: argparse.Namespace) -> int:
    from layerlab.demo import run_demo

    if arguments.engine == "docker":
        raise UnsupportedError("--engine docker is not built yet", remedy="Leave the flag out: the embedded engine needs no daemon.")
    result = run_demo(store=arguments.store, app=arguments.app, offline=arguments.offline, quiet=arguments.json)
    if arguments.json:
        _print_json(result)
    return 0


def _doctor(arguments: argparse.Namespace) -> int:
    from layerlab.doctor import examine, report

    with _engine(arguments) as engine:
        found = examine(engine)
    if arguments.json:
        _print_json(found)
    else:
        print(report(found))
    return 0 if found.works else 1
