"""Drawn cases on Docker and on the embedded engine: ``python -m tests.differential [--cases N] [--seed SEED] [--first NUMBER]``.

Each case is built by the daemon that ``DOCKER_HOST`` names and by the embedded engine; verdicts, errors, images and their histories must
agree. Case NUMBER of a SEED is always the same, so a run goes on where it was stopped. What differs is made small and written to
``--keep DIR`` in the form of a conformance case, answers of Docker included; the exit status is 1 then.
"""

from __future__ import annotations

import argparse
import contextlib
import secrets
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.conformance.cases import with_answers, write
from tests.conformance.docker import DockerRunner
from tests.conformance.edits import CannotEditError
from tests.conformance.embedded import EmbeddedRunner
from tests.conformance.outcome import Runner
from tests.conformance.record import answer
from tests.docker.private import FLAG, FLAG_HELP, SharedDaemonError

from .compared import Found, differ, outcomes
from .draw import draw_case
from .known import reason
from .minimise import minimise

_FAILING = 5


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit status is 1 where something differs that ``known.py`` does not explain."""
    parser = argparse.ArgumentParser(prog="python -m tests.differential", description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--cases", type=int, default=60, metavar="N", help="how many (default: 60)")
    parser.add_argument("--seed", default=secrets.token_hex(4))
    parser.add_argument("--first", type=int, default=0, metavar="NUMBER", help="the first case's number (default: 0)")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="write what differs there, made small")
    parser.add_argument("--tries", type=int, default=120, metavar="N", help="builds of a case that is made small (default: 120)")
    parser.add_argument(FLAG, dest="told", action="store_true", help=FLAG_HELP)
    options = parser.parse_args(arguments)
    try:
        docker = DockerRunner(told=options.told)
    except SharedDaemonError as error:
        parser.error(str(error))
    with contextlib.closing(docker), tempfile.TemporaryDirectory() as folder, contextlib.closing(EmbeddedRunner(Path(folder))) as embedded:
        print(f"seed {options.seed}, Docker {docker.engine}", flush=True)
        return _run(options, docker, embedded)


def _run(options: argparse.Namespace, docker: DockerRunner, embedded: Runner) -> int:
    counts: Counter[str] = Counter()
    explained: Counter[str] = Counter()
    began = time.monotonic()
    for number in range(options.first, options.first + options.cases):
        case = draw_case(options.seed, number)
        try:
            found, _ = _compare(case, docker, embedded)
        except (CannotEditError, OSError) as error:
            print(f"{number}: cannot be done here: {error}", flush=True)
            counts["not done"] += 1
            continue
        counts.update(cases=1, builds=found.builds, rows=found.rows, differ=bool(found))
        if found:
            why = reason(case, found) or _race(case, found, embedded)
            explained.update([why] if why else [])
            print(f"{number}: build {found.builds}: {why or 'DIFFERENT'}: {found.summary}\n{found.details}", flush=True)
            if not why and options.keep is not None:
                _keep(case, found, options, docker, embedded)
    minutes = (time.monotonic() - began) / 60
    unexplained = counts["differ"] - explained.total()
    print(
        f"seed {options.seed}, Docker {docker.engine}: {counts['cases']} cases, {counts['builds']} builds, {counts['rows']} rows "
        f"in {minutes:.0f} min; {unexplained} unexplained differences, {counts['not done']} not done"
    )
    for why, times in explained.most_common():
        print(f"  {times} explained: {why}")
    return 1 if unexplained else 0


def _compare(case: dict[str, Any], docker: DockerRunner, embedded: Runner) -> tuple[Found, list[dict[str, Any]]]:
    wanted = outcomes(case, docker)
    answers = [answer(outcome, image="image" in step) for outcome, step in zip(wanted, case["steps"], strict=True)]
    return differ(answers, outcomes(case, embedded)), answers


def _race(case: dict[str, Any], found: Found, embedded: Runner) -> str:
    """Whether several steps fail, of which Docker, building side by side, tells of another one: without ours it must be the same one."""
    if found.summary not in ("the error says something else", "verdicts differ") or not found.error:
        return ""
    dropped: set[int] = set()
    while True:
        outcome = outcomes(_without_lines(case, found.builds, dropped), embedded)[found.builds - 1]
        if outcome.error is None or (dropped and found.error in outcome.error):
            break
        if outcome.line is None or outcome.line in dropped or len(dropped) > _FAILING:
            return ""
        dropped.add(outcome.line)
    return "" if outcome.error is None else "several steps fail, and Docker, which builds side by side, tells of another one first"


def _without_lines(case: dict[str, Any], builds: int, lines: set[int]) -> dict[str, Any]:
    """The case up to a build, whose Dockerfile has comments in the place of these lines; numbers of lines stay."""
    steps = [dict(step) for step in case["steps"][:builds]]
    text = next((step["build"]["dockerfile"] for step in reversed(steps) if "dockerfile" in step.get("build", {})), case["dockerfile"])
    left = "".join("#\n" if number in lines else f"{line}\n" for number, line in enumerate(text.splitlines(), 1))
    steps[-1] = {**steps[-1], "build": {**steps[-1].get("build", {}), "dockerfile": left}}
    return {**case, "steps": steps}


def _keep(case: dict[str, Any], found: Found, options: argparse.Namespace, docker: DockerRunner, embedded: Runner) -> None:
    kind = _kind(found)
    last: dict[str, list[dict[str, Any]]] = {}

    def shows(candidate: dict[str, Any]) -> bool:
        try:
            other, answers = _compare(candidate, docker, embedded)
        except (CannotEditError, OSError, RuntimeError):
            return False
        if not other or _kind(other) != kind or reason(candidate, other) or _race(candidate, other, embedded):
            return False
        last["answers"] = answers
        return True

    small = minimise({**case, "steps": case["steps"][: found.builds]}, shows, tries=options.tries)
    options.keep.mkdir(parents=True, exist_ok=True)
    path = options.keep / f"{case['name']}.json"
    if "answers" in last:
        small = with_answers(small, {docker.engine: last["answers"]})
    write(path, small)
    print(f"  kept as {path}", flush=True)


def _kind(found: Found) -> str:
    """What two differences must have in common for one to be a smaller case of the other."""
    if found.summary == "the image differs":
        return found.summary + found.details.partition(":")[0].rstrip("0123456789 ")
    return found.summary


if __name__ == "__main__":
    sys.exit(main())
