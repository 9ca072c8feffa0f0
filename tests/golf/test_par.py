"""Par is the least: against all orders, one by one, on levels that are drawn. A seed is printed; ``LAYERLAB_SEED`` plays it again."""

from __future__ import annotations

import itertools
import json
import os
import random
import secrets
from typing import Any

from layerlab.errors import UsageError
from layerlab.golf.level import Level, decode
from layerlab.golf.par import prove
from layerlab.golf.scoring import Course

SEED = os.environ.get("LAYERLAB_SEED") or secrets.token_hex(4)
CASES = int(os.environ.get("LAYERLAB_GOLF_LEVELS", "15"))
# All orders of more lines are too many to play in a quick test.
_MOST = 400


def _drawn(draws: random.Random) -> Level:
    """A level with few lines of all kinds, one stage or two."""
    names = "abc"[: draws.randrange(2, 4)]
    lines: list[dict[str, Any]] = [{"text": "FROM base:1 AS first"}]
    uses = draws.random() < 0.3
    if uses:
        lines.append({"text": "ARG V=1"})
    lines += [{"text": text} for text in ("WORKDIR /w", "ENV E=1", "LABEL e=$E", "USER 5") if draws.random() < 0.15]
    for name in names:
        copy = draws.choice((f"COPY {name} /w/", f"COPY {name} more /w/", f"COPY {name}* /w/"))
        lines.append({"text": copy, "seconds": draws.choice((0, 0.5))})
    lines = [lines[0], *draws.sample(lines[1:], len(lines) - 1)]
    for number in range(draws.randrange(1, 3)):
        reads = [f"/w/{name}" for name in draws.sample(names, draws.randrange(0, len(names) + 1))]
        lines.append(
            {
                "text": f"RUN make {number}",
                "seconds": draws.randrange(1, 9),
                "reads": reads,
                "makes": [f"/o/{number}"],
                **({"uses": ["V"]} if uses and draws.random() < 0.5 else {}),
            }
        )
    needs = [line["makes"][0] for line in lines if "makes" in line]
    if draws.random() < 0.4:
        source = draws.choice(names)
        mount = f"RUN --mount=type=bind,source={source},target=/w/{source} make 0"
        again = next(line for line in lines if line["text"] == "RUN make 0")
        again["does"] = "zero"
        lines.append({**again, "text": mount, "seconds": draws.randrange(1, 9), "spare": True})
    if draws.random() < 0.4:
        lines += [
            {"text": "FROM base:1"},
            {"text": draws.choice(("COPY --from=first /o /p", "COPY --from=first /o/0 /p/0")), "seconds": 1},
            {"text": "COPY more /m", "seconds": 0.5},
            {"text": "RUN last", "seconds": draws.randrange(1, 5), "reads": draws.choice((["/m"], ["/p"], [])), "makes": ["/l"]},
        ]
        needs = ["/l", "/m"]
        if draws.random() < 0.3:
            # Then the first stage may be needed by nobody.
            lines[-3].update(spare=True)
    edits = [{"title": name, "weight": draws.randrange(1, 9), "files": [name]} for name in (*names, "more") if draws.random() < 0.8]
    if uses or not edits:
        edits.append({"title": "V", "weight": draws.randrange(1, 9), **({"arguments": ["V"]} if uses else {"files": ["more"]})})
    files = {name: name for name in (*names, "more")}
    level = {"title": "drawn", "text": "", "files": files, "lines": lines, "edits": edits, "needs": needs}
    return decode(json.dumps(level).encode(), "drawn")


def _orders(level: Level) -> list[tuple[str, ...]]:
    """Every order of every choice of lines."""
    stages: list[list[str]] = []
    for line in level.lines:
        if line.keyword == "FROM":
            stages.append([])
        stages[-1].append(line.text)
    spare = {line.text for line in level.lines if line.spare or line.does}
    orders = []
    for first, *rest in stages:
        chosen = []
        for count in range(len(rest) + 1):
            # What no choice may leave out is left out of no choice; ``rate`` says so of the others.
            chosen += [kept for kept in itertools.combinations(rest, count) if set(rest) - set(kept) <= spare]
        orders.append([(first, *order) for kept in chosen for order in itertools.permutations(kept)])
    return [tuple(itertools.chain(*parts)) for parts in itertools.product(*orders)]


def test_no_order_of_a_drawn_level_costs_less() -> None:
    print(f"LAYERLAB_SEED={SEED} LAYERLAB_GOLF_LEVELS={CASES}")
    draws, proven, played = random.Random(SEED), 0, 0
    while proven < CASES:
        level = _drawn(draws)
        try:
            course = Course(level)
        except UsageError:
            # Its lines do not build in the order in which they were drawn.
            continue
        orders = _orders(level)
        if len(orders) > _MOST:
            continue
        totals = [score.total for score in map(course.rate, orders) if score.total is not None]
        assert abs(prove(level).seconds - min(totals)) < 1e-6, (SEED, proven, level.start)
        proven += 1
        played += len(orders)
    print(f"{proven} levels, {played} orders")
