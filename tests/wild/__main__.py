"""Public repositories through layerlab: ``python -m tests.wild PLACE... [--docker] [--json FILE]``.

A PLACE is a git directory, bare or with a work tree, or a directory of files. Its newest commit is checked out, every Dockerfile gets its
real context and stand-ins for its base images, and is planned, asked what edits would cost, and checked; nothing is executed. Where that is
refused because a source is missing, which something outside makes, or an argument, which somebody gives, a second pass makes them up.
``--docker`` compares the checks with those of the daemon of ``DOCKER_HOST``, one of the tests' own (``tests/docker/daemon.sh``).
The exit status is 1 where something crashed, hung, took too much memory or differs.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from tests.docker.private import SharedDaemonError, check_private

from .contexts import Context, blank, choose, predicted, unset
from .oracle import Docker, neutral, options
from .repositories import Repository, check_out

_LIMIT: Final = 20.0
_MEMORY: Final = 1 << 30
_ROOT: Final = Path(__file__).parents[2]
# Flags of newer frontends than the daemon's, which layerlab has (docs/differences.md).
_NEWER: Final = re.compile(r"unknown flag: --(?:parents|security)\b")
_TEMPLATE: Final = re.compile(rb"\{\{|\{%|%%[A-Z]|<%|@[A-Z_]+@|\$\{\w+:\w|REPLACE")


class Child:
    """The process that asks layerlab; another one after it died."""

    def __init__(self, scratch: Path, limit: float) -> None:
        self._scratch = scratch
        self._limit = limit
        self._process: subprocess.Popen[str] | None = None
        self._said = scratch / "errors"

    def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        """The answer; of a process that ended, the phase in which it did, and its last words."""
        if self._process is None:
            command = [sys.executable, "-m", "tests.wild.examine", str(self._scratch / "store"), str(self._limit)]
            with self._said.open("w", encoding="utf-8") as errors:
                self._process = subprocess.Popen(
                    command, cwd=_ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True, errors="replace"
                )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        phase = ""
        for line in self._process.stdout:
            said: dict[str, Any] = json.loads(line)
            if "answer" in said:
                answer: dict[str, Any] = said["answer"]
                return answer
            phase = said["phase"]
        self.close()
        words = self._said.read_text(encoding="utf-8", errors="replace")
        what = "hang" if words.startswith("Timeout") else "crash"
        return {phase: {what: words[-4000:], "seconds": self._limit if what == "hang" else 0.0, "peak": 0}}

    def close(self) -> None:
        """End it."""
        if self._process is not None:
            assert self._process.stdin is not None
            self._process.stdin.close()
            self._process.wait()
            self._process = None


def main(arguments: Sequence[str] | None = None) -> int:
    """See above."""
    parser = argparse.ArgumentParser(prog="python -m tests.wild", description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("places", nargs="+", type=Path, metavar="PLACE")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write what was found of each file, one JSON document a line")
    parser.add_argument("--docker", action="store_true", help="compare the checks with Docker's")
    parser.add_argument("--limit", type=float, default=_LIMIT, metavar="SECONDS", help="a phase that takes longer hangs (default: 20)")
    parser.add_argument("--only", default="", metavar="PART", help="only Dockerfiles whose path has this in it")
    given = parser.parse_args(arguments)
    docker = None
    if given.docker:
        try:
            check_private(told=False, without="no --docker")
        except SharedDaemonError as error:
            parser.error(str(error))
        docker = Docker(120)
    found: list[dict[str, Any]] = []
    try:
        for place in given.places:
            began = time.monotonic()
            with tempfile.TemporaryDirectory(prefix="layerlab-wild-") as scratch:
                repository = check_out(place, Path(scratch))
                rows = list(_repository(repository, Path(scratch), docker, given))
            found += rows
            print(f"{repository.name}: {len(rows)} Dockerfiles, {time.monotonic() - began:.0f} s", flush=True)
            if given.json:
                with given.json.open("a" if len(found) > len(rows) else "w", encoding="utf-8") as stream:
                    stream.writelines(json.dumps(row) + "\n" for row in rows)
    finally:
        if docker is not None:
            docker.close()
    print("\n".join(report(found)))
    return int(any(map(_is_bad, found)))


def _repository(repository: Repository, scratch: Path, docker: Docker | None, given: argparse.Namespace) -> Iterator[dict[str, Any]]:
    child = Child(scratch, given.limit)
    try:
        files = [file for file in repository.dockerfiles if given.only in file]
        contexts = {file: choose(repository.root, file) for file in files}
        rows = {}
        for file, context in contexts.items():
            path = os.path.join(repository.root, file)
            request = {
                "context": context.path,
                "file": path,
                "phases": ["plan", "what_if", "predicted"],
                "files": predicted(context.path, path),
            }
            text = Path(path).read_text(encoding="utf-8", errors="replace")
            row: dict[str, Any] = {
                "repository": repository.name,
                "commit": repository.commit,
                "file": file,
                "context": os.path.relpath(context.path, repository.root),
                "rule": context.rule,
                "lacking": context.lacking,
                "unset": unset(text),
                "arguments": blank(text),
                "template": bool(_TEMPLATE.search(Path(path).read_bytes())),
                **child.ask(request),
                **_checks(path, context, scratch, child, docker),
            }
            rows[file] = row
        # Last, because what is made up is in the contexts of others, too.
        for file, context in contexts.items():
            path = os.path.join(repository.root, file)
            arguments = dict.fromkeys(rows[file]["arguments"], "made-up")
            refused = rows[file]["plan"].get("refused")
            if refused is not None and (arguments or (context.lacking and refused["kind"] in ("missing-source", "context"))):
                for source in context.lacking:
                    _make_up(context.path, source)
                again = {"context": context.path, "file": path, "build_args": arguments, "phases": ["plan", "what_if"]}
                rows[file]["made_up"] = child.ask(again)
        yield from rows.values()
    finally:
        child.close()


def _checks(path: str, context: Context, scratch: Path, child: Child, docker: Docker | None) -> dict[str, Any]:
    """What both say of the same text."""
    text = neutral(Path(path).read_bytes())
    ignore = next(
        (Path(file).read_bytes() for file in (f"{path}.dockerignore", f"{context.path}/.dockerignore") if os.path.isfile(file)), None
    )
    folder = scratch / "checked"
    folder.mkdir(exist_ok=True)
    (folder / "Dockerfile").write_bytes(text)
    (folder / ".dockerignore").write_bytes(ignore or b"")
    rules = options(text)
    found = child.ask({"context": str(folder), "file": str(folder / "Dockerfile"), "build_args": rules, "phases": ["check"]})
    if docker is not None:
        found["docker"] = docker.check(text, ignore, rules)
        found["differs"] = differences(found["check"], found["docker"])
    return found


def differences(ours: dict[str, Any], theirs: dict[str, Any]) -> list[str]:
    """What is not the same in two answers: ``accepted``, ``error``, ``line``, ``warnings``."""
    if "unasked" in theirs or "error" not in ours or _NEWER.search(theirs["error"]):
        return []
    found = []
    if bool(ours["error"]) != bool(theirs["error"]):
        found.append("accepted")
    elif ours["error"] != theirs["error"]:
        found.append("error")
    elif theirs["line"] is not None and ours["line"] != theirs["line"]:
        # Docker gives no line of an empty file.
        found.append("line")
    if _compared(ours["warnings"]) != _compared(theirs["warnings"]):
        found.append("warnings")
    return found


def _compared(warnings: list[list[Any]]) -> list[list[Any]]:
    """Without what is said of the stand-ins, which are for one platform and on one side not all there."""
    return [warning for warning in warnings if warning[0] != "InvalidBaseImagePlatform"]


def _make_up(context: str, source: str) -> None:
    path = os.path.normpath("/" + re.sub(r"\[[^]]*\]|[*?]", "x", source)).lstrip("/")
    place = Path(context, path)
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        if source.endswith("/"):
            place.mkdir(exist_ok=True)
        else:
            place.write_text("made up\n", encoding="utf-8")
    except OSError:
        # A file is where a directory should be; the plan will say what is missing.
        return


def _is_bad(row: dict[str, Any]) -> bool:
    return bool(row.get("differs")) or any(_faults(row))


def _faults(row: dict[str, Any]) -> Iterator[tuple[str, str, str]]:
    """What went wrong: ``crash``, ``hang``, ``memory`` or ``what-if``, where, and the details."""
    made_up = row.get("made_up") or {}
    phases = [(phase, row.get(phase)) for phase in ("plan", "what_if", "predicted", "check")]
    phases += [(f"{phase} with what is made up", made_up.get(phase)) for phase in ("plan", "what_if")]
    for phase, answer in phases:
        if not answer:
            continue
        for what in ("crash", "hang"):
            if what in answer:
                yield what, phase, answer[what]
        if answer.get("peak", 0) > _MEMORY:
            yield "memory", phase, f"{answer['peak'] >> 20} MiB"
        if answer.get("differ"):
            against = "the matrix and what was foretold" if phase == "predicted" else "the matrix and a plan of one edit"
            yield "what-if", phase, f"{against} differ: {answer['differ']}"
        # What is missing behind a stage that must run first is an error of what comes after it: a plan leaves it undecided.
        if phase.startswith("what_if") and "refused" in answer and not row["lacking"]:
            yield "what-if", phase, answer["refused"]["message"]


def report(rows: list[dict[str, Any]]) -> Iterator[str]:
    """The table, then what is behind its numbers."""
    here = [row for row in rows if not row["lacking"]]
    planned = [row for row in rows if "steps" in row["plan"]]
    made_up = [row["made_up"]["plan"] for row in rows if "made_up" in row and "plan" in row["made_up"]]
    faults = Counter(what for row in rows for what, _, _ in _faults(row))
    asked = [row for row in rows if "docker" in row and "unasked" not in row["docker"]]
    newer = sum(bool(_NEWER.search(row["docker"]["error"])) for row in asked)
    cells: Counter[str] = Counter()
    for row in rows:
        for answer in (row.get("what_if"), (row.get("made_up") or {}).get("what_if")):
            cells.update((answer or {}).get("rows", {}))
    seconds = Counter({phase: sum(row.get(phase, {}).get("seconds", 0) for row in rows) for phase in ("plan", "what_if", "check")})
    yield ""
    for name, value in (
        ("repositories", len({row["repository"] for row in rows})),
        ("Dockerfiles", len(rows)),
        *((f"  context: {rule}", number) for rule, number in Counter(row["rule"] for row in rows).most_common()),
        ("planned", len(planned)),
        ("  of those with all sources there", f"{sum('steps' in row['plan'] for row in here)} of {len(here)}"),
        ("  with sources or arguments made up", f"{sum('steps' in plan for plan in made_up)} of {len(made_up)}"),
        ("  of several stages", sum(row["plan"]["stages"] > 1 for row in planned)),
        ("what-if rows certain", cells["certain"]),
        ("what-if rows possible", cells["possible"]),
        ("what-if rows undecided", cells["undecided"]),
        ("edits foretold by somebody else", sum(row.get("predicted", {}).get("files", 0) for row in rows)),
        ("checks compared with Docker's", len(asked)),
        ("  agree", sum(not row["differs"] for row in asked) - newer),
        ("  flags that the daemon does not know", newer),
        *((f"  differ: {what}", number) for what, number in Counter(what for row in asked for what in row["differs"]).most_common()),
        ("  accepted by both", sum(not row["docker"]["error"] and not row["check"].get("error") for row in asked)),
        ("  not to be asked", sum("docker" in row for row in rows) - len(asked)),
        *((what, faults[what]) for what in ("crash", "hang", "memory", "what-if")),
        *((f"seconds: {phase}", f"{spent:.1f}") for phase, spent in seconds.items()),
        ("slowest plan, seconds", f"{max((row['plan'].get('seconds', 0) for row in rows), default=0):.1f}"),
        (
            "most memory, MiB",
            max((row[phase].get("peak", 0) >> 20 for row in rows for phase in ("plan", "what_if") if phase in row), default=0),
        ),
    ):
        yield f"{name:<40} {value}"
    yield from _reasons("refused", [(row, row["plan"]) for row in rows if "refused" in row["plan"]])
    again = [(row, row["made_up"]["plan"]) for row in rows if "refused" in row.get("made_up", {}).get("plan", {})]
    yield from _reasons("refused with sources or arguments made up", again)
    for row in rows:
        for what, phase, details in _faults(row):
            yield f"\n{what.upper()} {row['repository']}/{row['file']}, {phase}\n{details}"
        if row.get("differs"):
            yield f"\nDIFFERS {row['repository']}/{row['file']}: {', '.join(row['differs'])}"
            ours, theirs = row["check"], row["docker"]
            if ours["error"] != theirs["error"] or ours["line"] != theirs["line"]:
                yield f"  docker: {theirs['line']}: {theirs['error']}\n  ours:   {ours['line']}: {ours['error']}"
            yield from (f"  only docker: {warning}" for warning in theirs["warnings"] if warning not in ours["warnings"])
            yield from (f"  only ours:   {warning}" for warning in ours["warnings"] if warning not in theirs["warnings"])


def _reasons(title: str, refused: list[tuple[dict[str, Any], dict[str, Any]]]) -> Iterator[str]:
    """Refusals by reason, the commonest first, with an example of each."""
    by: dict[str, list[str]] = {}
    for row, plan in refused:
        by.setdefault(reason(row, plan["refused"]), []).append(
            f"{row['repository']}/{row['file']}:{plan['refused']['line'] or ''}: {plan['refused']['message'][:200]}"
        )
    if by:
        yield f"\n{title}:"
    for why, examples in sorted(by.items(), key=lambda item: -len(item[1])):
        yield f"{len(examples):6}  {why}\n          {examples[0]}"


def reason(row: dict[str, Any], refused: dict[str, Any]) -> str:
    """Why a plan was refused, without what is this file's own."""
    if refused["kind"] == "missing-source" or (refused["kind"] == "context" and refused["message"].startswith("lstat ")):
        if row["unset"]:
            return "a source is named by an argument that has no value"
        return "a source is not in the repository" if row["lacking"] else "a source is missing, though something of its name is there"
    if row["template"] and refused["kind"] in ("dockerfile", "usage"):
        return "a template, not filled in"
    if "should not be blank" in refused["message"] or (row["arguments"] and refused["message"].startswith("failed to parse stage name")):
        return "a base image is named by an argument that has no value"
    message = re.sub(r"[\"'`].*?[\"'`]|\S*[/:=@$]\S*|\d+", "…", refused["message"].splitlines()[0] if refused["message"] else "")
    return f"{refused['kind']}: {message[:110]}"


if __name__ == "__main__":
    sys.exit(main())
