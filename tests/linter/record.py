"""Ask Docker: ``python -m tests.linter.record`` writes the answers of the daemon of ``DOCKER_HOST`` into ``cases.json``.

``docker`` is what it says to a check, ``built`` what it warns of when the file is built; that build needs no file to be there.
``--check`` writes nothing and says what is different now. It takes buildx 0.17 or later.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

CASES = Path(__file__).with_name("cases.json")
_RULES = "lint violation found for rules: "


def ask(case: dict[str, Any]) -> dict[str, Any]:
    """Docker's answer: its version, rule, first and last line and detail of each warning, by line; the error, and the exit status."""
    with _command(case, "--call=lint,format=json") as command:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    try:
        found = json.loads(done.stdout)
    except ValueError:
        # Nothing could be checked.
        error = next((line.removeprefix("ERROR: ") for line in done.stderr.splitlines() if line.startswith("ERROR: ")), "")
        return {"warnings": [], "error": error, "status": done.returncode}
    warnings = []
    for warning in found["warnings"] or []:
        ranges = warning["location"]["ranges"]
        lines = [one[end]["line"] for one in ranges for end in ("start", "end")]
        warnings.append([warning["ruleName"], min(lines), max(lines), warning["detail"]])
    error = (found.get("buildError") or {}).get("message", "")
    if error.startswith(_RULES):
        # In the order of a map.
        error = _RULES + ", ".join(sorted(error.removeprefix(_RULES).split(", ")))
    return {"warnings": sorted(warnings), "error": error, "status": done.returncode}


def warned(case: dict[str, Any]) -> dict[str, Any]:
    """What a build of it warns of, as Docker's client words it; ``error`` where the checks are one."""
    with _command(case, "--progress=rawjson") as command:
        lines = subprocess.run(command, capture_output=True, text=True, check=False).stderr.splitlines()
    documents = [json.loads(line) for line in lines if line.startswith("{")]
    short = [base64.b64decode(warning["short"]).decode() for document in documents for warning in document.get("warnings") or []]
    errors = [line.partition(_RULES)[2] for line in lines if _RULES in line and line.startswith("ERROR: ")]
    return {"warnings": sorted(short), "error": sorted(errors[0].split(", ")) if errors else []}


@contextlib.contextmanager
def _command(case: dict[str, Any], how: str) -> Iterator[list[str]]:
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "Dockerfile").write_text(case["dockerfile"], encoding="utf-8")
        if "dockerignore" in case:
            Path(folder, ".dockerignore").write_text(case["dockerignore"], encoding="utf-8")
        words = [f"--build-arg={key}={value}" for key, value in case.get("build_args", {}).items()]
        words += [f"--target={case['target']}"] if "target" in case else []
        yield ["docker", "buildx", "build", how, *words, folder]


def main() -> int:
    """The exit status is 1 where ``--check`` found a difference."""
    parser = argparse.ArgumentParser(prog="python -m tests.linter.record", description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--check", action="store_true", help="compare with what is recorded, write nothing")
    arguments = parser.parse_args()
    asked = subprocess.run(["docker", "version", "--format", "{{.Server.Version}}"], capture_output=True, text=True, check=True)
    version = asked.stdout.strip().split("+")[0]
    cases = json.loads(CASES.read_text(encoding="utf-8"))
    different = 0
    for case in cases:
        for name, answer in (("docker", {"version": version, **ask(case)}), ("built", warned(case))):
            if arguments.check and answer != case.get(name):
                different += 1
                print(f"DIFFERENT {case['name']}, {name}: {answer}")
            case[name] = answer
    if not arguments.check:
        CASES.write_text(json.dumps(cases, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    print(f"{len(cases)} cases, Docker {version}")
    return 1 if different else 0


if __name__ == "__main__":
    sys.exit(main())
