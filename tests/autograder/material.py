"""What the tests of the autograder are made of: the shipped assignment, notebooks with given answers, records by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from autograder.exercise.assignment import Assignment, load_assignment, notebook_of
from autograder.judge.observe import Built, Observation, Replay, Serving
from autograder.judge.step_roles import Role, StepRoles
from autograder.sandbox.serving import Answer
from layerlab.model import Cause, Status, StepRecord

ROOT = Path(__file__).resolve().parents[2]
COURSE = ROOT / "exercises"
APP = ROOT / "node-app"


def ps1() -> Assignment:
    """The first of the shipped assignments."""
    return load_assignment(COURSE, "ps1")


def ps2() -> Assignment:
    """The second, on stages."""
    return load_assignment(COURSE, "ps2")


def notebook(dockerfile: str | None = "FROM node:alpine\n", dockerignore: str = "node_modules\n") -> dict[str, Any]:
    """The shipped notebook with these answers, decoded; ``None`` leaves the reference solution."""
    decoded: dict[str, Any] = json.loads(notebook_of(COURSE, "ps1").read_text(encoding="utf-8"))
    if dockerfile is not None:
        cell_of(decoded, "dockerfile")["source"] = f"%%dockerfile\n{dockerfile}"
        cell_of(decoded, "dockerignore")["source"] = f"%%dockerignore\n{dockerignore}"
    return decoded


def cell_of(decoded: dict[str, Any], grade_id: str) -> dict[str, Any]:
    """The first cell with a grade_id."""
    return next(cell for cell in decoded["cells"] if cell["metadata"].get("nbgrader", {}).get("grade_id") == grade_id)


def submit(course: Path, student: str, decoded: dict[str, Any]) -> Path:
    """Put a notebook where a student's submission stands."""
    path = course / "submitted" / student / "ps1" / "ps1.ipynb"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(decoded), encoding="utf-8")
    return path


# A build in the lesson's shape: number, instruction, roles.
STEPS: tuple[tuple[int, str, frozenset[Role]], ...] = (
    (1, "FROM node:alpine", frozenset()),
    (2, "WORKDIR /app", frozenset()),
    (3, "COPY package.json package-lock.json ./", frozenset()),
    (4, "RUN npm ci", frozenset({"install"})),
    (5, "COPY prisma ./prisma", frozenset()),
    (6, "RUN npx prisma generate", frozenset({"generate"})),
    (7, "COPY . .", frozenset()),
    (8, "RUN npm run build", frozenset({"build"})),
)


def steps(ran: tuple[int, ...] = (), *, undecided: tuple[int, ...] = ()) -> tuple[StepRecord, ...]:
    """Verdicts: the steps in ``ran`` run, because of the first of them; the others are cached."""

    def status(number: int) -> Status:
        if number == 1:
            return "base"
        return "undecided" if number in undecided else "executed" if number in ran else "cached"

    return tuple(
        StepRecord(
            number=number,
            stage="0",
            instruction=text,
            line=number,
            end_line=number,
            status=status(number),
            makes_layer=True,
            cause=Cause(kind="file" if number == ran[0] else "parent", origin=ran[0], text="src/index.ts changed.")
            if number in ran
            else None,
        )
        for number, text, _ in STEPS
    )


def roles(size: int, *, without: frozenset[Role] = frozenset()) -> tuple[StepRoles, ...]:
    """Roles of the build's commands; ``size``: bytes of the compiled index.js."""
    return tuple(
        StepRoles(number=number, roles=found - without, compiled=(("app/dist/index.js", size),) if "build" in found - without else ())
        for number, text, found in STEPS
        if text.startswith("RUN ")
    )


def serving(**changes: Any) -> Serving:
    """What a perfect answer serves, with changes."""
    seen: dict[str, Any] = {
        "answer": Answer(body="amber dune 1\n", status=200),
        "follows": True,
        "code": ("/app/dist/index.js",),
        "loads": (("express", "/app/node_modules/express"),),
        "held": 100,
    }
    return Serving(**{**seen, **changes})


def observation(**changes: Any) -> Observation:
    """What is seen of a perfect answer, with changes."""
    seen: dict[str, Any] = {
        "first": Built(steps=steps((2, 3, 4, 5, 6, 7, 8)), roles=roles(100), image="sha256:1"),
        "again": steps(),
        "touched": steps(),
        "readme": steps(),
        "modules": steps(),
        "dependency": steps((3, 4, 5, 6, 7, 8)),
        "schema": steps((5, 6, 7, 8)),
        "edited": steps((7, 8)),
        "source": Built(steps=steps((7, 8)), roles=roles(117), image="sha256:2"),
        "serving": serving(),
        "replay": Replay(sizes=((8, 1000),)),
        "allowed": 1 << 20,
        "expected": "amber dune 1",
        "base": "node:alpine",
        "wasted": 1000,
    }
    return Observation(**{**seen, **changes})
