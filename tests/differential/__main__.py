"""Drawn cases on Docker and on the embedded engine: ``python -m tests.differential [--cases N] [--seed SEED] [--first NUMBER]``.

Each case is built by the daemon that ``DOCKER_HOST`` names and by the embedded engine; verdicts, errors, images and their histories must
agree, and so must the contents of files and the times that are kept, which no recorded case has. An exception of the embedded engine is a
difference, too. Case NUMBER of a SEED is always the same, so a run goes on where it was stopped. What differs is made small and written to
``--keep DIR`` in the form of a conformance case, answers of Docker included; the exit status is 1 then.
"""

from __future__ import annotations

import argparse
import contextlib
import re
import secrets
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any, Final

import msgspec

from layerlab.solver.graph import NEWEST, Like
from tests.conformance.cases import OLDER, REFERENCE, with_answers, write
from tests.conformance.docker import DockerRunner, NotSavedError
from tests.conformance.edits import CannotEditError, MisfitError
from tests.conformance.embedded import EmbeddedRunner
from tests.conformance.layers import LIVE
from tests.conformance.outcome import Outcome, Runner
from tests.conformance.record import answer
from tests.docker.private import FLAG, FLAG_HELP, SharedDaemonError

from .compared import Found, Guarded, differ, outcomes
from .draw import THEMES, draw_case
from .known import reason
from .minimise import minimise
from .races import race

_TOLD = 20
# Of a containerd that lost a snapshot which it had just made for a step beside one that failed: no word on the Dockerfile.
_TROUBLE: Final = "during finalize: failed to stat active key during commit"
_ATTEMPTS: Final = 3


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit status is 1 where something differs that ``known.py`` does not explain."""
    parser = argparse.ArgumentParser(prog="python -m tests.differential", description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--cases", type=int, default=60, metavar="N", help="how many (default: 60)")
    parser.add_argument("--seed", default=secrets.token_hex(4))
    parser.add_argument("--first", type=int, default=0, metavar="NUMBER", help="the first case's number (default: 0)")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="write what differs there, made small")
    parser.add_argument("--tries", type=int, default=120, metavar="N", help="builds of a case that is made small (default: 120)")
    parser.add_argument("--without", nargs="+", default=(), choices=THEMES, metavar="THEME", help=f"leave out: {', '.join(THEMES)}")
    parser.add_argument(FLAG, dest="told", action="store_true", help=FLAG_HELP)
    options = parser.parse_args(arguments)
    try:
        docker = DockerRunner(told=options.told, live=True)
    except SharedDaemonError as error:
        parser.error(str(error))
    like: Like = "26" if docker.engine == OLDER["26"] else NEWEST
    with (
        contextlib.closing(docker),
        tempfile.TemporaryDirectory() as folder,
        contextlib.closing(EmbeddedRunner(Path(folder), like, live=True)) as embedded,
    ):
        print(f"seed {options.seed}, Docker {docker.engine}", flush=True)
        return _run(options, docker, Guarded(embedded))


def _run(options: argparse.Namespace, docker: DockerRunner, embedded: Runner) -> int:
    counts: Counter[str] = Counter()
    explained: Counter[str] = Counter()
    older = docker.engine in OLDER.values()
    # With the classic store --link says nothing, and the embedded engine, which only for 26.1.5 does the same, cannot be asked.
    without = {*options.without, *(() if older or docker.engine == REFERENCE else ("link",))}
    began = time.monotonic()
    with ThreadPoolExecutor(1) as pool:

        def ask(number: int) -> tuple[dict[str, Any], Future[list[Outcome]]]:
            case = draw_case(options.seed, number, older=older, without=without)
            return case, pool.submit(_on_docker, case, docker, number)

        last = options.first + options.cases - 1
        coming = ask(options.first) if options.cases > 0 else None
        for number in range(options.first, last + 1):
            assert coming is not None
            case, asked = coming
            # The daemon is at the next case while the embedded engine is at this one: half of a case's time is the daemon's.
            coming = ask(number + 1) if number < last else None
            try:
                wanted = asked.result()
            except (CannotEditError, MisfitError, NotSavedError) as error:
                if not _refused(error, docker):
                    raise
                print(f"{number}: cannot be done here: {error}", flush=True)
                counts["not done"] += 1
                continue
            compared = _compare(case, wanted, docker.engine, embedded)
            counts.update(
                cases=1, builds=compared.builds, rows=compared.rows, failed=compared.failed, differ=int(compared.found is not None)
            )
            explained.update(compared.explained)
            for text in compared.notes:
                print(f"{number}: {text}", flush=True)
            if compared.found is not None:
                found = compared.found
                print(f"{number}: build {found.build}: DIFFERENT: {found.summary} ({case['description']})\n{found.details}", flush=True)
                if options.keep is not None:
                    if coming is not None:
                        wait([coming[1]])
                    _keep(case, found, options, docker, embedded)
            if (number + 1) % _TOLD == 0:
                print(f"... {number + 1}: {_said(counts)}", flush=True)
    minutes = (time.monotonic() - began) / 60
    print(
        f"seed {options.seed}, Docker {docker.engine}: {_said(counts)} in {minutes:.0f} min; "
        f"{counts['differ']} unexplained differences, {counts['not done']} not done"
    )
    for why, times in explained.most_common():
        print(f"  {times} explained: {why}")
    return 1 if counts["differ"] else 0


def _on_docker(case: dict[str, Any], docker: DockerRunner, number: int) -> list[Outcome]:
    """What Docker makes of each build; where its own store failed, what it makes of them when asked again."""
    for _ in range(_ATTEMPTS - 1):
        wanted = outcomes(case, docker)
        if not any(outcome.error is not None and _TROUBLE in outcome.error for outcome in wanted):
            return wanted
        print(f"{number}: Docker lost a snapshot of its own, and is asked again", flush=True)
    return outcomes(case, docker)


def _said(counts: Counter[str]) -> str:
    return f"{counts['cases']} cases, {counts['builds']} builds ({counts['failed']} fail), {counts['rows']} rows"


def _refused(error: Exception, docker: DockerRunner) -> bool:
    """Whether a case cannot be done: it does not fit together, or makes an image without a layer, which the classic store does not save."""
    return not isinstance(error, NotSavedError) or (not docker.engine.endswith("-containerd") and "empty export" in str(error))


def _compare(case: dict[str, Any], wanted: list[Outcome], engine: str, embedded: Runner) -> _Compared:
    answers = [answer(_recorded(outcome), image="image" in step) for outcome, step in zip(wanted, case["steps"], strict=True)]
    explained: list[str] = []
    notes: list[str] = []
    first: Found | None = None
    for found in differ(case, wanted, outcomes(case, embedded), layers=engine == REFERENCE, words=engine not in OLDER.values()):
        why = reason(case, found) or race(case, found, embedded)
        if not why:
            first = found
            break
        # What is explained is no reason to look no further: both went on with the same files.
        explained.append(why)
        notes.append(f"build {found.build}: {why}: {found.summary}")
    builds = len(wanted) if first is None else first.build
    return _Compared(
        builds=builds,
        rows=sum(len(outcome.rows) for outcome in wanted[:builds]),
        failed=sum(outcome.error is not None for outcome in wanted[:builds]),
        explained=explained,
        notes=notes,
        found=first,
        answers=answers,
    )


class _Compared(msgspec.Struct, frozen=True, kw_only=True):
    """What was compared, and the first difference that nothing explains."""

    builds: int
    rows: int
    failed: int
    explained: list[str]
    notes: list[str]
    found: Found | None
    answers: list[dict[str, Any]]


def _recorded(outcome: Outcome) -> Outcome:
    """An outcome with what a case file records, and no more."""
    rows = outcome.rows
    failed = [row for row in rows if row.error]
    if failed and failed[0].instruction.startswith(("COPY", "ADD")):
        rows = failed
    image = outcome.image
    if image is not None:
        layers = [[{key: value for key, value in member.items() if key not in LIVE} for member in layer] for layer in image.layers]
        image = msgspec.structs.replace(image, layers=layers, top=None)
    return msgspec.structs.replace(outcome, rows=rows, image=image)


def _keep(case: dict[str, Any], found: Found, options: argparse.Namespace, docker: DockerRunner, embedded: Runner) -> None:
    kind = _kind(found)
    last: dict[str, list[dict[str, Any]]] = {}

    def shows(candidate: dict[str, Any]) -> bool:
        try:
            compared = _compare(candidate, outcomes(candidate, docker), docker.engine, embedded)
        except (CannotEditError, MisfitError, NotSavedError):
            return False
        if compared.found is None or _kind(compared.found) != kind:
            return False
        last["answers"] = compared.answers
        return True

    small = minimise({**case, "steps": case["steps"][: found.build]}, shows, tries=options.tries)
    options.keep.mkdir(parents=True, exist_ok=True)
    path = options.keep / f"{case['name']}.json"
    if "answers" in last:
        small = with_answers(small, {docker.engine: last["answers"]})
    write(path, small)
    print(f"  kept as {path}", flush=True)


def _kind(found: Found) -> str:
    """What two differences must have in common for one to be a smaller case of the other."""
    if found.kind == "image":
        return found.summary + re.sub(r"\d+", "", found.details.partition(":")[0])
    return found.summary


if __name__ == "__main__":
    sys.exit(main())
