"""Record cases: ``python -m tests.conformance.record --docker CASE.json …``.

Every build of a case is run on the Docker Engine that ``DOCKER_HOST`` names, and what it answers is written into the file as the
answers of that engine and its image store; a case is recorded on all of ``cases.ENGINES``, one after the other. ``image`` is recorded
for the builds that have the key already (``"image": null`` asks for it) or for all with ``--images``. With ``--check`` nothing is
written, and the exit code says whether the engine still answers the same.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from tests.docker.private import FLAG, FLAG_HELP, SharedDaemonError

from .cases import ENGINES, answers, load, with_answers, write
from .docker import DockerRunner, stable_error
from .outcome import COMMENT, Outcome
from .run import run_case


def main(arguments: Sequence[str] | None = None) -> int:
    """Record or check the files named on the command line; the exit code is 1 where a check found a difference."""
    parser = argparse.ArgumentParser(prog="python -m tests.conformance.record", description=__doc__)
    parser.add_argument("--docker", nargs="+", type=Path, required=True, metavar="CASE.json", help="cases to run on Docker")
    parser.add_argument("--images", action="store_true", help="record the image of every build")
    parser.add_argument("--check", action="store_true", help="compare with what is recorded, write nothing")
    parser.add_argument(FLAG, dest="told", action="store_true", help=FLAG_HELP)
    options = parser.parse_args(arguments)
    try:
        runner = DockerRunner(told=options.told)
    except SharedDaemonError as error:
        parser.error(str(error))
    if runner.engine not in ENGINES:
        parser.error(f"this is Docker Engine {runner.engine}; cases are recorded on {', '.join(ENGINES)} (cases.py)")
    different = 0
    with contextlib.closing(runner):
        for path in options.docker:
            before = json.loads(path.read_text(encoding="utf-8"))
            after = record(path, before, runner, images=options.images)
            if options.check:
                same = _without_base_size(before) == _without_base_size(after)
                different += not same
                print(f"{'same' if same else 'DIFFERENT'} {path.name}")
            else:
                write(path, after)
                print(f"recorded {path.name}: {len(after['steps'])} builds")
    return 1 if different else 0


def record(path: Path, value: dict[str, Any], runner: DockerRunner, *, images: bool) -> dict[str, Any]:
    """The case with the answers of the engine in place of whatever was recorded before."""
    case = load(path)
    wanted = [images or "image" in step or any("image" in other for other in step.get("elsewhere", {}).values()) for step in value["steps"]]
    with tempfile.TemporaryDirectory() as folder:
        outcomes = run_case(case, runner, Path(folder, "contexts"), images=lambda position: wanted[position])
    found = [answer(outcome, image=image) for (_, outcome), image in zip(outcomes, wanted, strict=True)]
    return with_answers(value, {**answers(value), runner.engine: found})


def _without_base_size(value: dict[str, Any]) -> dict[str, Any]:
    value = copy.deepcopy(value)
    for found in answers(value).values():
        for build in found:
            for row in build.get("image", {"history": []})["history"]:
                if row["comment"] == COMMENT:
                    row.pop("size", None)
    return value


def answer(outcome: Outcome, *, image: bool) -> dict[str, Any]:
    """What a build did, as a case file says it: ``cases.ANSWERS``, those that there are."""
    value: dict[str, Any] = {"expect": [row.to_json() for row in outcome.rows]}
    if outcome.error is not None:
        value["error"], value["expect_error"] = stable_error(outcome.error)
    if image and outcome.image is not None:
        value["image"] = msgspec.to_builtins(outcome.image)
    return value


if __name__ == "__main__":
    sys.exit(main())
