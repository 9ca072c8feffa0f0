"""``build``, ``plan`` and ``explain``."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from typing import TYPE_CHECKING, Any

import msgspec

from layerlab.commands import docker_flags
from layerlab.commands.common import add_context, engine_of, options_of, print_json
from layerlab.errors import LayerlabError, UsageError

if TYPE_CHECKING:
    from layerlab.engines.api import BuildOptions
    from layerlab.model import Failure

_FAILED = 1


def add(verbs: Any) -> None:
    """Declare the verbs."""
    build = verbs.add_parser("build", help="build an image from a Dockerfile and a build context")
    add_context(build)
    build.add_argument("-t", "--tag", action="append", metavar="NAME[:TAG]", help="name of the image; may be repeated")
    build.add_argument("--label", action="append", default=[], metavar="NAME=VALUE", help="set a label of the image")
    build.add_argument(
        "--secret", action="append", default=[], metavar="id=ID,src=FILE|env=NAME", help="a secret for RUN --mount=type=secret"
    )
    build.add_argument("--no-cache", action="store_true", help="run every RUN, COPY and ADD")
    build.add_argument("--no-cache-filter", action="append", default=[], metavar="STAGE", help="run every step of these stages")
    build.add_argument("--pull", action="store_true", help="ask the registry again for base images")
    build.add_argument("--platform", metavar="OS/ARCH", help="only this machine's")
    build.add_argument("--iidfile", metavar="FILE", help="write the image ID to a file")
    build.add_argument("--progress", choices=("auto", "plain", "json", "quiet"), default="auto", help="how to show progress")
    build.add_argument("-q", "--quiet", action="store_true", help="print the image ID only")
    build.add_argument("--check", action="store_true", help="build nothing; apply Docker's build checks to the Dockerfile")
    docker_flags.add(build)
    build.set_defaults(run=_build)

    plan = verbs.add_parser("plan", help="what the next build would do, step by step, and why; runs nothing")
    add_context(plan)
    plan.add_argument("--edit", action="append", default=[], metavar="PATH", help="assume that this file changes")
    plan.add_argument(
        "--matrix",
        action="store_true",
        help="edits × steps: for each --edit (default: all files), which steps run again",
    )
    plan.add_argument("--check", action="store_true", help="plan nothing; apply Docker's build checks to the Dockerfile")
    plan.set_defaults(run=_plan)

    explain = verbs.add_parser("explain", help="why the last build's misses were misses")
    add_context(explain)
    explain.set_defaults(run=_explain)


def _build(arguments: argparse.Namespace) -> int:
    from layerlab.engines.api import Event, Progress
    from layerlab.progress import LiveProgress, TextProgress
    from layerlab.render import build_summary, error_text

    options = options_of(arguments)
    if arguments.check:
        return _check(arguments, options)

    def as_lines(event: Event) -> None:
        print(msgspec.json.encode(event).decode(), file=sys.stderr, flush=True)

    with contextlib.ExitStack() as shown:
        progress: Progress | None = None
        if arguments.progress == "json" and not arguments.quiet:
            progress = as_lines
        elif arguments.progress == "auto" and not arguments.quiet and sys.stderr.isatty() and sys.stdout.isatty():
            # One terminal has both, and the report that follows tells of each step.
            progress = live = LiveProgress(sys.stderr)
            shown.callback(live.close)
        elif not arguments.quiet:
            progress = TextProgress(sys.stderr, quiet=arguments.progress == "quiet")
        engine = shown.enter_context(engine_of(arguments))
        handed = docker_flags.checked(arguments.docker_flags, engine)
        record = engine.build(msgspec.structs.replace(options, handed=handed), progress)
    if arguments.json:
        print_json(record)
    elif not arguments.quiet:
        print(build_summary(record))
    elif record.image:
        print(record.image)
    write_image_id(arguments.iidfile, record.image)
    failure = record.failure
    if failure is not None:
        print(error_text(_error(failure)), file=sys.stderr)
        return _FAILED
    return 0


def _check(arguments: argparse.Namespace, options: BuildOptions) -> int:
    """Returns 1 where there is anything to say, as Docker does."""
    from layerlab.linter import report
    from layerlab.render import error_text, printable

    with engine_of(arguments) as engine:
        record = engine.check(options)
    if arguments.json:
        print_json(record)
    else:
        print("\n".join(printable(line) for line in report(record).split("\n")))
        if record.failure is not None:
            print(error_text(_error(record.failure)), file=sys.stderr)
    return _FAILED if record.warnings or record.failure is not None else 0


def _error(failure: Failure) -> LayerlabError:
    return LayerlabError(failure.message, file=failure.file, line=failure.line, column=failure.column, remedy=failure.remedy)


def write_image_id(file: str | None, image: str | None) -> None:
    """What ``--iidfile`` asks for. Raises ``UsageError`` for a file that cannot be written."""
    if not file or not image:
        return
    from layerlab.fsutil import write_atomically

    try:
        write_atomically(os.path.abspath(file), image.encode())
    except OSError as error:
        raise UsageError(
            f"--iidfile {file} cannot be written: {error.strerror}; the image is built", remedy="Name another file."
        ) from error


def _plan(arguments: argparse.Namespace) -> int:
    from layerlab.render import group_names, matrix, plan_summary

    options = options_of(arguments)
    if arguments.check:
        return _check(arguments, options)
    with engine_of(arguments) as engine:
        if arguments.matrix:
            groups = tuple((edit,) for edit in arguments.edit) or engine.file_groups(options)
            rows = engine.matrix(options, tuple(files[0] for files in groups))
            if arguments.json:
                rows_with_files = zip(rows, groups, strict=True)
                print_json(
                    {"schema": 1, "matrix": [{"edit": edit, "files": files, "plan": plan} for (edit, plan), files in rows_with_files]}
                )
            else:
                print(matrix([(name, plan) for name, (_, plan) in zip(group_names(groups), rows, strict=True)]))
            return 0
        record = engine.plan(options, tuple(arguments.edit))
    if arguments.json:
        print_json(record)
    else:
        print(plan_summary(record))
    return 0


def _explain(arguments: argparse.Namespace) -> int:
    from layerlab.render import explanation, plan_summary

    options = options_of(arguments)
    with engine_of(arguments) as engine:
        record = engine.explain(options)
        plan = engine.plan(options) if record is None else None
    if arguments.json:
        print_json(record if record is not None else {"schema": 1, "last_build": None, "plan": plan})
    elif record is not None:
        print(explanation(record))
    elif plan is not None:
        print("No build of this Dockerfile and build context is known yet, so there is nothing to explain.\n")
        print(plan_summary(plan))
    return 0
