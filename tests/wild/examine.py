"""One Dockerfile after the other, through layerlab's public interface: ``python -m tests.wild.examine STORE LIMIT``.

It reads requests as JSON, one a line, and answers so; what a person would see of a plan is made, too. It is a process of its own because
what it is asked may crash it, hang it or fill the memory: a phase that takes longer than LIMIT seconds ends it, with the place on standard
error; the caller starts another.
"""

from __future__ import annotations

import contextlib
import faulthandler
import functools
import json
import re
import resource
import shutil
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import msgspec

from layerlab.engines.api import BuildOptions
from layerlab.engines.embedded.engine import EmbeddedEngine
from layerlab.errors import LayerlabError, MissingSourceError
from layerlab.linter import report
from layerlab.model import PlanRecord
from layerlab.render import group_names, matrix, plan_summary

from .standins import write_layout

# The address space of the process: far above what is reported, so that the report is of what was used.
_GUARD: Final = 6 << 30
_ROUNDS: Final = 40
_EDITS: Final = 5


class Examiner:
    """An engine on a store of its own, and what happened."""

    def __init__(self, store: str, limit: float) -> None:
        self._engine = EmbeddedEngine(store)
        self._limit = limit
        self._layouts = Path(tempfile.mkdtemp(prefix="layouts-", dir=Path(store).parent))
        # Images that have, for this Dockerfile, more than the others.
        self._furnished: list[str] = []
        self._bare = EmbeddedEngine(str(self._layouts / "bare"))

    def close(self) -> None:
        """End the engine's processes."""
        self._engine.close()
        self._bare.close()
        shutil.rmtree(self._layouts, ignore_errors=True)

    def examine(self, request: dict[str, Any]) -> dict[str, Any]:
        """The answer to a request: ``context``, ``file`` and perhaps ``build_args``; ``phases`` says what is wanted."""
        answer: dict[str, Any] = {}
        options = BuildOptions(context=request["context"], file=request["file"], build_args=request.get("build_args", {}), offline=True)
        for phase in request["phases"]:
            work: Callable[[BuildOptions], dict[str, Any]] = getattr(self, f"_{phase}")
            if phase == "predicted":
                work = functools.partial(self._predicted, files=request["files"])
            answer[phase] = self._guarded(phase, work, options)
            if phase == "plan" and "steps" not in answer[phase]:
                break
        if self._furnished:
            self._import(self._furnished, [])
            self._furnished = []
        return answer

    def _guarded(self, phase: str, work: Callable[[BuildOptions], dict[str, Any]], options: BuildOptions) -> dict[str, Any]:
        print(json.dumps({"phase": phase}), flush=True)
        _forget_peak()
        began = time.monotonic()
        answer: dict[str, Any]
        faulthandler.dump_traceback_later(self._limit, exit=True)
        try:
            answer = work(options)
        except LayerlabError as error:
            answer = {"refused": {"kind": error.kind, "message": error.message, "line": error.line}}
        except Exception:  # noqa: BLE001 - whatever it is: that is what is looked for
            answer = {"crash": traceback.format_exc()}
        finally:
            faulthandler.cancel_dump_traceback_later()
        return {**answer, "seconds": round(time.monotonic() - began, 3), "peak": _peak()}

    def _plan(self, options: BuildOptions) -> dict[str, Any]:
        record, made_up = self._planned(options)
        plan_summary(record)
        msgspec.json.encode(record)
        statuses: dict[str, int] = {}
        for step in record.steps:
            statuses[step.status] = statuses.get(step.status, 0) + 1
        return {"steps": statuses, "stages": len({step.stage for step in record.steps}), "warnings": record.warnings, "made_up": made_up}

    def _planned(self, options: BuildOptions) -> tuple[PlanRecord, list[str]]:
        """The plan, with every base image here, and in it what is copied from it."""
        extra: list[str] = []
        for _ in range(_ROUNDS):
            try:
                record = self._engine.plan(options)
            except MissingSourceError as error:
                # Where no image can be looked into, what is still missing is missing in the context.
                names = _not_here(self._bare.plan(options))
                path = _lacking(error.message)
                if path is None or path in extra or not names:
                    raise
                extra.append(path)
                self._import(names, extra)
                self._furnished += names
                continue
            names = _not_here(record)
            if not names:
                return record, extra
            self._import(names, extra)
        raise RuntimeError("base images are asked for without end")

    def _import(self, names: list[str], extra: list[str]) -> None:
        with tempfile.TemporaryDirectory(dir=self._layouts) as folder:
            write_layout(Path(folder, "image"), extra)
            for name in names:
                self._engine.import_layout(str(Path(folder, "image")), name)

    def _what_if(self, options: BuildOptions) -> dict[str, Any]:
        groups = self._engine.file_groups(options)
        step = max(1, len(groups) // _EDITS)
        edits = tuple(group[0] for group in groups[::step][:_EDITS])
        rows = {"certain": 0, "possible": 0, "undecided": 0}
        differ: list[str] = []
        plans = self._engine.matrix(options, edits)
        matrix(list(plans))
        group_names(groups)
        for edit, record in plans:
            runs = any(step.status == "executed" for step in record.steps)
            open_ = any(step.status == "undecided" for step in record.steps)
            rows["certain" if not open_ else "possible" if runs else "undecided"] += 1
            if edit == edits[0] and self._engine.plan(options, (edit,)).steps != record.steps:
                differ.append(edit)
        return {"files": sum(map(len, groups)), "groups": len(groups), "rows": rows, "differ": differ}

    def _predicted(self, options: BuildOptions, files: dict[str, bool]) -> dict[str, Any]:
        """Whether an edit of each file makes something run, as somebody else foretold."""
        differ = []
        for edit, record in self._engine.matrix(options, tuple(files)):
            if any(step.status == "executed" for step in record.steps) != files[edit]:
                differ.append(edit)
        return {"files": len(files), "differ": differ}

    def _check(self, options: BuildOptions) -> dict[str, Any]:
        record = self._engine.check(options)
        report(record)
        return {
            "warnings": sorted([warning.rule, warning.line, warning.end_line, warning.detail] for warning in record.warnings),
            "error": record.failure.message if record.failure is not None else "",
            "line": record.failure.line if record.failure is not None else None,
        }


def _not_here(record: PlanRecord) -> list[str]:
    return [sentence.partition(" could not be looked at")[0] for sentence in record.stand_in if " could not be looked at" in sentence]


def _lacking(message: str) -> str | None:
    """The path that an image lacks, as one without wildcards."""
    found = re.search(r'"([^"]+)": not found|lstat (\S+): no such file', message)
    if found is None:
        return None
    path = found[1] or found[2]
    return re.sub(r"\[[^]]*\]|[*?]", "x", path)


def _forget_peak() -> None:
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def _peak() -> int:
    """The most memory since it was forgotten, in bytes."""
    found = re.search(r"VmHWM:\s*(\d+)", Path("/proc/self/status").read_text(encoding="ascii"))
    return int(found[1]) << 10 if found else 0


def main() -> None:
    """See above."""
    resource.setrlimit(resource.RLIMIT_AS, (_GUARD, _GUARD))
    examiner = Examiner(sys.argv[1], float(sys.argv[2]))
    try:
        for line in sys.stdin:
            print(json.dumps({"answer": examiner.examine(json.loads(line))}), flush=True)
    finally:
        examiner.close()


if __name__ == "__main__":
    main()
