"""The command line: ``grade`` and ``release``. Results on standard output, progress on standard error."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import Any

import msgspec

from layerlab.errors import BuildInterruptedError, LayerlabError
from layerlab.interrupt import interruptible
from layerlab.render import error_text


def main(argv: list[str] | None = None) -> int:
    """Run one command. Returns 0 when it is done, 1 when it failed or the grader had trouble of its own, 2 for bad usage, 130 stopped."""
    parser = argparse.ArgumentParser(prog="autograder", description="Grade exercises on image layers.")
    add(parser.add_subparsers(dest="verb", metavar="VERB", required=True))
    arguments = parser.parse_args(argv)
    try:
        with interruptible():
            status: int = arguments.run(arguments)
            return status
    except LayerlabError as error:
        print(error_text(error), file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print(error_text(BuildInterruptedError("stopped; finished results are kept")), file=sys.stderr)
        return BuildInterruptedError.exit_code


def add(verbs: Any) -> None:
    """Declare the verbs on an argparse subparsers object."""
    grade = verbs.add_parser("grade", help="grade the submissions of an assignment")
    _common(grade)
    grade.add_argument("--workers", type=_count, default=os.cpu_count() or 1, metavar="N", help="submissions at once (default: processors)")
    grade.add_argument("--seed", metavar="TEXT", help="draws the edits; default: one that is drawn once and kept on this machine")
    grade.add_argument("--student", action="append", default=[], metavar="ID", help="only this one; may be repeated")
    grade.add_argument("--json", action="store_true", help="print the record as JSON")
    grade.set_defaults(run=_grade)
    release = verbs.add_parser("release", help="check the reference solution, then write the notebook for students")
    _common(release)
    release.add_argument("--json", action="store_true", help="print what was written as JSON")
    release.set_defaults(run=_release)


def _common(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("assignment", metavar="ASSIGNMENT", help="for example ps1")
    parser.add_argument("--course", type=Path, default=Path("exercises"), metavar="DIR", help="the nbgrader course (default: exercises)")
    parser.add_argument("--place", type=Path, metavar="DIR", help="where the grader works and keeps results (default: beside the store)")


def _count(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return number


def _grade(arguments: argparse.Namespace) -> int:
    from autograder.classroom import default_place, grade_class

    found = grade_class(
        arguments.course,
        arguments.assignment,
        place=arguments.place or default_place(),
        workers=arguments.workers,
        seed=arguments.seed,
        students=tuple(arguments.student),
        report=_report,
    )
    if arguments.json:
        print(msgspec.json.encode(found).decode())
    else:
        from autograder.table import class_table

        print(class_table(found))
    return 1 if any(result.status == "infrastructure-error" for result in found.submissions) else 0


def _release(arguments: argparse.Namespace) -> int:
    from autograder.classroom import default_place
    from autograder.release import release

    path = release(arguments.course, arguments.assignment, place=arguments.place or default_place(), report=_report)
    print(msgspec.json.encode({"schema": 1, "released": str(path)}).decode() if arguments.json else f"wrote {path}")
    return 0


def _report(text: str) -> None:
    print("".join(letter if letter.isprintable() else " " for letter in text), file=sys.stderr, flush=True)
