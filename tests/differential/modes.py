"""Drawn cases on the embedded engine, in one mode after another: ``python -m tests.differential.modes --seed SEED --out FILE``.

The mode is what the environment says (``LAYERLAB_SNAPSHOTTER``, ``LAYERLAB_EXECUTOR``) and who runs it. Before each build a plan is made:
what it calls cached must be cached then, and what it says would run must run. What each build did is written to ``--out``, and with
``--against FILE`` compared with what another mode wrote there for the same seed. The exit status is 1 where anything differs.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import secrets
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from layerlab.errors import LayerlabError
from layerlab.model import BuildRecord, PlanRecord
from tests.conformance.cases import Image, Row, Settings
from tests.conformance.edits import CannotEditError, MisfitError
from tests.conformance.embedded import EmbeddedRunner
from tests.conformance.outcome import Outcome, compare_images, table

from .compared import RAISED, Guarded, outcomes
from .draw import THEMES, draw_case

_TOGETHER = 100
_SHOWN = 5


class PlanningRunner(EmbeddedRunner):
    """Makes a plan before each build; ``broken`` collects what a build did otherwise."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory, live=True)
        self.broken: list[str] = []
        self.cases = 0

    def start(self) -> None:
        """A new store for the first of many cases alone: what one leaves in the cache is there for the next, in every mode."""
        if self.cases % _TOGETHER == 0:
            super().start()
        self.cases += 1

    def build(self, directory: Path, settings: Settings, *, want_image: bool) -> Outcome:
        """Plan, build, and compare the two."""
        assert self._engine is not None
        options = self.options(directory, settings)
        plan: PlanRecord | LayerlabError
        try:
            plan = self._engine.plan(options)
        except LayerlabError as error:
            plan = error
        outcome, record = self.built(options, want_image=want_image)
        if not _unknowable(plan, outcome, record):
            self.broken += _broken(plan.message if isinstance(plan, LayerlabError) else plan, record)
        return outcome


def _unknowable(plan: PlanRecord | LayerlabError, outcome: Outcome, record: BuildRecord | str) -> bool:
    """Whether a build failed in what a plan does not ask for: what a command does, or whether a registry has an image."""
    if outcome.error is None or "failed to resolve source metadata" in outcome.error:
        return outcome.error is not None
    if isinstance(plan, LayerlabError):
        # What fails later by the text may be known before.
        ran = not isinstance(record, str) and any(step.status in ("executed", "failed") for step in record.steps)
        return ran and plan.line is not None and outcome.line is not None and outcome.line < plan.line
    return False


def _broken(plan: PlanRecord | str, record: BuildRecord | str) -> list[str]:
    """Where a build did otherwise than planned; texts are errors."""
    if isinstance(plan, str) and not isinstance(record, str) and record.failure is not None:
        record = record.failure.message
    if isinstance(plan, str) or isinstance(record, str):
        return [] if plan == record else [f"the plan: {_short(plan)}; the build: {_short(record)}"]
    done = {step.number: step for step in record.steps}
    lines = []
    for step in plan.steps:
        status = done[step.number].status if step.number in done else "skipped"
        if step.status == "cached" and status != "cached" and not (status == "skipped" and record.failure is not None):
            lines.append(f"planned as cached, {status}: {step.instruction}")
        if step.status == "executed" and status not in ("executed", "failed") and not (status == "skipped" and record.failure is not None):
            lines.append(f"planned as executed, {status}: {step.instruction}")
    return lines


def _short(value: PlanRecord | BuildRecord | str) -> str:
    return value if isinstance(value, str) else "no error"


def main(arguments: Sequence[str] | None = None) -> int:
    """See above."""
    parser = argparse.ArgumentParser(prog="python -m tests.differential.modes", description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--cases", type=int, default=200, metavar="N", help="how many (default: 200)")
    parser.add_argument("--seed", default=secrets.token_hex(4))
    parser.add_argument("--first", type=int, default=0, metavar="NUMBER", help="the first case's number (default: 0)")
    parser.add_argument("--no-commands", action="store_true", help="draw no RUN: ten times as fast")
    parser.add_argument("--out", type=Path, metavar="FILE", help="write there what each build did")
    parser.add_argument("--against", type=Path, metavar="FILE", help="compare with what another mode wrote")
    parser.add_argument("--without", nargs="+", default=(), choices=THEMES, metavar="THEME", help=f"leave out: {', '.join(THEMES)}")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder, contextlib.closing(PlanningRunner(Path(folder))) as runner:
        return _run(options, runner)


def _run(options: argparse.Namespace, runner: PlanningRunner) -> int:
    print(f"seed {options.seed}", flush=True)
    before: dict[int, list[dict[str, Any]]] = {}
    if options.against is not None:
        for line in options.against.read_text(encoding="utf-8").splitlines():
            item = json.loads(line)
            before[item["number"]] = item["answers"]
    guarded = Guarded(runner)
    counts: Counter[str] = Counter()
    began = time.monotonic()
    with contextlib.ExitStack() as stack:
        out = stack.enter_context(options.out.open("w", encoding="utf-8")) if options.out is not None else None
        for number in range(options.first, options.first + options.cases):
            case = draw_case(options.seed, number, commands=not options.no_commands, without=options.without, own=True)
            runner.broken.clear()
            try:
                found = outcomes(case, guarded)
            except (CannotEditError, MisfitError) as error:
                print(f"{number}: cannot be done here: {error}", flush=True)
                counts["not done"] += 1
                continue
            runner.broken += [outcome.error for outcome in found if outcome.error is not None and outcome.error.startswith(RAISED)]
            answers = [_answer(outcome) for outcome in found]
            counts.update(cases=1, builds=len(found), rows=sum(len(outcome.rows) for outcome in found), broken=int(bool(runner.broken)))
            for text in runner.broken:
                print(f"{number}: {text}", flush=True)
            if out is not None:
                out.write(msgspec.json.encode({"number": number, "answers": answers}).decode() + "\n")
            if number in before:
                lines = list(_differences(before[number], answers))
                counts.update(compared=1, differ=int(bool(lines)))
                for text in lines[:_SHOWN]:
                    print(f"{number}: {text}", flush=True)
    print(
        f"seed {options.seed}: {counts['cases']} cases, {counts['builds']} builds, {counts['rows']} rows in "
        f"{time.monotonic() - began:.0f} s; {counts['broken']} not as planned, {counts['differ']} of {counts['compared']} compared differ, "
        f"{counts['not done']} not done"
    )
    return 1 if counts["broken"] or counts["differ"] else 0


def _differences(before: Sequence[dict[str, Any]], now: Sequence[dict[str, Any]]) -> Iterator[str]:
    """What one mode did otherwise than another. Not what failed steps of other stages had begun: that is no promise of any."""
    for build, (left, right) in enumerate(zip(before, now, strict=True), 1):
        if left["error"] != right["error"]:
            yield f"build {build}: error {left['error']!r} and {right['error']!r}"
        elif left["expect"] != right["expect"]:
            rows = [msgspec.convert(value["expect"], list[Row]) for value in (left, right)]
            yield f"build {build}: rows\n{table(*rows)}"
        elif left.get("image") != right.get("image"):
            images = _without_hard_links(*(msgspec.convert(value["image"], Image) for value in (left, right)))
            if lines := compare_images(*images):
                yield f"build {build}: image\n" + "\n".join(lines)


def _without_hard_links(*images: Image) -> list[Image]:
    """The images less the layers with a file of several names, of which a copied tree tells in another way (docs/differences.md)."""
    linked = {
        number for image in images for number, layer in enumerate(image.layers) if any(member["type"] == "hardlink" for member in layer)
    }
    return [
        msgspec.structs.replace(image, layers=[[] if number in linked else layer for number, layer in enumerate(image.layers)])
        for image in images
    ]


def _answer(outcome: Outcome) -> dict[str, Any]:
    value: dict[str, Any] = {"expect": [row.to_json() for row in outcome.rows], "error": outcome.error, "expect_error": outcome.error}
    if outcome.image is not None:
        # A directory of an overlay's lower layers cannot be renamed: mv copies it there, and its links get another time.
        layers = [[{key: item for key, item in member.items() if key != "mtime"} for member in layer] for layer in outcome.image.layers]
        value["image"] = msgspec.to_builtins(msgspec.structs.replace(outcome.image, layers=layers))
    return value


if __name__ == "__main__":
    sys.exit(main())
